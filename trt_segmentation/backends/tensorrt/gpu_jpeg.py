# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of JPEG into GPU memory with nvImageCodec, where it is installed (extra gpu-jpeg).

``images.decoding`` checks size, type and end of the file first. It also takes over every JPEG that
is not decoded here, so that OpenCV decides whether the file is damaged.
"""

import functools
import itertools
import logging
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from trt_segmentation.backends.device_arrays import DeviceArray
from trt_segmentation.backends.tensorrt.cuda import LASTING_STREAMS, Device
from trt_segmentation.errors import BackendError

logger = logging.getLogger(__name__)

_WARN_AFTER = 5
_MOST_SKIPPED = 1024

JpegReader = Callable[[Any], DeviceArray | None]
"""Decodes a JPEG; None where OpenCV must decode it."""


class Retries:
    """Decides when nvImageCodec is tried again after failures.

    Where failures go on, more and more images are left to OpenCV before the next attempt: a codec
    that never works on this machine then costs almost nothing.

    Args:
        verb: what OpenCV does on the CPU instead: 'decode' or 'encode'.
        images: what it does that with, such as 'JPEGs'.
    """

    def __init__(self, verb: str, images: str) -> None:
        self._verb, self._images = verb, images
        self._failures = self._skipped = 0

    def is_skipped(self) -> bool:
        """Return whether the next image is left to OpenCV."""
        self._skipped -= self._skipped > 0
        return self._skipped > 0

    def note_success(self) -> None:
        """Start again at no failures."""
        self._failures = 0

    def note_failure(self, why: str) -> bool:
        """Count a failure, and log a warning at the fifth in a row; return whether the codec must
        be recreated."""
        self._failures += 1
        is_repeated = self._failures > 1
        if is_repeated:
            self._skipped = min(2 ** self._failures, _MOST_SKIPPED) - 1
        logger.debug('%s are left to OpenCV: %s', self._images, why)
        if self._failures == _WARN_AFTER:
            logger.warning('nvImageCodec failed to %s %d %s in a row; OpenCV does it on the CPU, '
                           'and nvImageCodec is tried again less and less often: %s', self._verb,
                           _WARN_AFTER, self._images, why)
        return is_repeated


class GpuJpeg:
    """nvImageCodec's decoder on one GPU; several threads may use it, one at a time.

    A damaged JPEG does not change what the decoder makes of the next one (nvImageCodec 0.9). After
    two failures in a row it is recreated nevertheless; see ``Retries``.

    Args:
        device: the GPU.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._is_closed = False
        self._readers = itertools.count()
        self._decoder: Any = None
        self._params: Any = None
        self._retries = Retries('decode', 'JPEGs')

    def reader(self, reuse: bool = True) -> JpegReader:
        """Return a function that decodes the bytes of a JPEG.

        It returns uint8 BGR [H, W, 3] in GPU memory, which is being decoded on the array's
        ``stream``: the CPU does not wait. The bytes are read by then. EXIF orientation is not
        applied. It returns None if nvImageCodec is missing or does not decode the JPEG.

        Args:
            reuse: whether it decodes into the same memory again while the size stays the same; an
                array is then valid until the next call.
        """
        last: list[Any] = [None]
        number = next(self._readers) % LASTING_STREAMS

        def read(data: Any) -> DeviceArray | None:
            decoded = self._decode(data, last[0], number)
            last[0] = decoded.owner if reuse and decoded is not None else None
            return decoded

        return read

    def close(self) -> None:
        """Free the decoder; readers return None from now on."""
        with self._lock:
            self._is_closed = True
            self._drop_decoder()

    def _decode(self, data: Any, last: Any, number: int) -> DeviceArray | None:
        """Return the image, whose owner is nvImageCodec's; None if OpenCV must decode the JPEG.

        Args:
            data: bytes of the JPEG.
            last: nvImageCodec's image to decode into, or None.
            number: of the device's lasting stream.
        """
        with self._lock:
            api = None if self._is_closed else find_nvimgcodec()
            if api is None or self._retries.is_skipped():
                return None
            try:
                with self._device.current():
                    image = self._decode_now(api, data, last, number)
            except Exception as error:  # of nvImageCodec or CUDA
                self._note_failure(str(error))
                return None
            self._retries.note_success()
            return image

    def _decode_now(self, api: Any, data: Any, last: Any, number: int) -> DeviceArray:
        if self._decoder is None:
            self._start(api)
        code = api.CodeStream(np.frombuffer(data, np.uint8))
        shape = code.height, code.width, 3
        if last is not None and tuple(last.shape) != shape:
            last = None  # otherwise the largest image's memory would be kept
        stream = self._device.lasting_streams[number].handle
        image = self._decoder.decode(code, image=last, params=self._params, cuda_stream=stream)
        # nvImageCodec may fall back to decoders on the CPU, whose result is in host memory.
        if image is None or tuple(image.shape) != shape \
                or image.buffer_kind != api.ImageBufferKind.STRIDED_DEVICE:
            raise BackendError('nvImageCodec does not report why')
        address, _ = image.__cuda_array_interface__['data']
        return DeviceArray(int(address), shape, np.dtype(np.uint8), self._device.index, stream,
                           owner=image)

    def _start(self, api: Any) -> None:
        self._params = api.DecodeParams(apply_exif_orientation=False,
                                        color_spec=api.ColorSpec.SRGB,
                                        sample_format=api.SampleFormat.I_BGR)
        # One thread: images come one at a time.
        self._decoder = api.Decoder(device_id=self._device.index, max_num_cpu_threads=1)

    def _note_failure(self, why: str) -> None:
        if self._retries.note_failure(why):
            self._drop_decoder()

    def _drop_decoder(self) -> None:
        if self._decoder is not None:
            with self._device.current():
                self._decoder = None


@functools.cache
def find_nvimgcodec() -> Any:
    """Return the module ``nvidia.nvimgcodec``; None if it is missing, which is logged once."""
    try:
        return import_module('nvidia.nvimgcodec')
    except ModuleNotFoundError:
        logger.info('JPEG is decoded and encoded on the CPU. With nvImageCodec the GPU does it: '
                    'pip install nvidia-nvimgcodec-cu12 nvidia-nvjpeg-cu12')
    except Exception as error:  # libraries that do not load raise ImportError and others
        logger.warning('JPEG is decoded and encoded on the CPU, since nvImageCodec cannot be '
                       'loaded: %s', error)
    return None
