# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The engines that convert a camera's bytes to BGR, in front of a network."""

import threading
from collections.abc import Callable

from trt_segmentation.backends.tensorrt.cuda import Device, close_all
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_BYTES, image_size, main_name

_MAX_BYTES_PER_PIXEL = 64
"""Of scratch space. TensorRT 8.6 took 16 for mono8 and 24 to 28 for Bayer images on an H200."""

_ALWAYS_ALLOWED = 1 << 24
"""Bytes of scratch space, for small images."""


class Converters:
    """One engine for each encoding, loaded when it is first needed. Any thread may use it.

    Args:
        device: the GPU.
        plan_of: returns the plan for an encoding, from the cache or after a build.
    """

    def __init__(self, device: Device, plan_of: Callable[[str], bytes]) -> None:
        self._device = device
        self._plan_of = plan_of
        self._stages: dict[str, Stage] = {}
        self._fetching = threading.Lock()
        self._changing = threading.Lock()
        self._closed = False

    def fetch(self, encoding: str) -> Stage:
        """Return the engine for an encoding. A loaded one is returned at once, even while another
        is built.

        Args:
            encoding: one of ``graph.pipeline.camera_bytes.CAMERA_ENCODINGS``.

        Raises:
            BackendError: it cannot be built or loaded, takes too much memory, or the session is
                closed.
        """
        name = main_name(encoding)
        if (stage := self._stages.get(name)) is not None:
            return stage
        with self._fetching:
            if (stage := self._stages.get(name)) is not None:
                return stage
            stage = Stage.load(self._plan_of(name), self._device)
            try:
                _check_scratch(name, stage)
            except BackendError:
                with self._device.current():
                    stage.close()
                raise
            return self._keep(name, stage)

    def close(self) -> None:
        """Free the engines; one that is being fetched is freed when it is loaded."""
        with self._changing:
            self._closed = True
            stages, self._stages = self._stages, {}
        with self._device.current():
            close_all(stage.close for stage in stages.values())

    def _keep(self, name: str, stage: Stage) -> Stage:
        with self._changing:
            if not self._closed:
                self._stages[name] = stage
                return stage
        with self._device.current():
            stage.close()
        raise BackendError('the session is closed; open the network again')


def _check_scratch(name: str, stage: Stage) -> None:
    """Refuse an engine that takes much more memory than its images."""
    _, largest = stage.bounds(CAMERA_BYTES)
    height, width = image_size(name, largest[1:])
    limit = _ALWAYS_ALLOWED + _MAX_BYTES_PER_PIXEL * largest[0] * height * width
    if stage.scratch() > limit:
        raise BackendError(f'the conversion of {name} takes {stage.scratch() / 1e6:.0f} MB of GPU '
                           f'memory for images of up to {width}x{height}, more than '
                           f'{limit / 1e6:.0f} MB; lower max_size', settings=('max_size',))
