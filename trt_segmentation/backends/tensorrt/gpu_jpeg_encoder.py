# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding of images in GPU memory as JPEG with nvImageCodec, where it is installed."""

from typing import Any

from trt_segmentation.backends.device_arrays import DeviceArray
from trt_segmentation.backends.tensorrt import gpu_jpeg
from trt_segmentation.backends.tensorrt.cuda import Device

_START_OF_IMAGE = b'\xff\xd8'


class GpuJpegEncoder:
    """nvImageCodec's encoder on one GPU. Use it from one thread at a time.

    It is created for the first image. After two failures in a row it is recreated, as
    ``gpu_jpeg.Retries`` describes.

    Args:
        device: the GPU.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._retries = gpu_jpeg.Retries('encode', 'overlays')
        self._stream: Any = None
        self._encoder: Any = None
        self._params: tuple[int, Any] = (0, None)

    def encode(self, image: DeviceArray, quality: int, is_rgb: bool) -> bytes | None:
        """Return an image as a baseline JPEG with chroma subsampling 4:2:0, as OpenCV's.

        Args:
            image: uint8 [H, W, 3] in GPU memory, without pending work.
            quality: 1 to 100.
            is_rgb: whether its channels are RGB, not BGR.

        Returns:
            None if nvImageCodec is missing or does not encode it.
        """
        api = gpu_jpeg.find_nvimgcodec()
        if api is None or self._retries.is_skipped():
            return None
        why = 'nvImageCodec does not report why'
        try:
            with self._device.current():
                data = self._encode(api, image, quality, is_rgb)
        except Exception as error:  # of nvImageCodec or CUDA
            data, why = b'', str(error)
        if data.startswith(_START_OF_IMAGE):
            self._retries.note_success()
            return data
        if self._retries.note_failure(why):
            self._drop_encoder()
        return None

    def close(self) -> None:
        """Free the encoder."""
        self._drop_encoder()
        self._stream = None

    def _encode(self, api: Any, image: DeviceArray, quality: int, is_rgb: bool) -> bytes:
        if self._encoder is None:
            self._stream = self._stream or self._device.stream()
            # One thread: images come one at a time.
            self._encoder = api.Encoder(device_id=self._device.index, max_num_cpu_threads=1)
        if self._params[0] != quality:
            self._params = quality, api.EncodeParams(
                quality_type=api.QualityType.QUALITY, quality_value=quality,
                chroma_subsampling=api.ChromaSubsampling.CSS_420)
        form = api.SampleFormat.I_RGB if is_rgb else api.SampleFormat.I_BGR
        source = api.as_image(image, cuda_stream=self._stream.handle, sample_format=form)
        found = self._encoder.encode(source, 'jpeg', params=self._params[1],
                                     cuda_stream=self._stream.handle)
        self._stream.synchronize()
        return b'' if found is None else bytes(found)

    def _drop_encoder(self) -> None:
        if self._encoder is not None:
            with self._device.current():
                self._encoder = None
