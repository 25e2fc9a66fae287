# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The Python API without ROS: open a model, segment images."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from importlib import resources
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from trt_segmentation.array_checks import check_images, check_out, encoded_size, no_converter
from trt_segmentation.backends import open_engine, open_network, start_gpu
from trt_segmentation.backends.base import BackendInfo, Session, output_dtype, output_shape
from trt_segmentation.backends.device_arrays import (
    ON_GPU,
    DeviceArray,
    host_remedy,
    is_on_device,
)
from trt_segmentation.errors import BackendError, ConfigError, ImageError, ModelError
from trt_segmentation.graph.pipeline.output_names import kind_of, split
from trt_segmentation.images.gray import as_bands
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import ENGINE_SUFFIXES, RunOptions
from trt_segmentation.segmentation import Prediction, Segmentation

if TYPE_CHECKING:
    from trt_segmentation.graph.reading.resolve import ModelSpec

logger = logging.getLogger(__name__)


def demo_model() -> Path:
    """Return the path of the embedded demo network (rendered road scenes, 7 classes)."""
    return Path(str(resources.files('trt_segmentation') / 'demo' / 'road_scenes.onnx'))


class Segmenter:
    """A model on a backend::

        with Segmenter.open('net.onnx', config='net.yaml') as segmenter:
            mask = segmenter.infer(cv2.imread('street.jpg')).mask

    Several threads may use it: one call runs at a time, the others wait for it. All threads share
    the opacity and the state of the session. It cannot be pickled, copied or used in a fork: each
    process opens its own. After ``close``, everything that needs the network raises BackendError;
    ``spec`` and ``info`` remain.

    Args:
        session: an open backend session.
        spec: the network that the session was prepared from.
        gpu_jpeg: see ``RunOptions``.
    """

    def __init__(self, session: Session, spec: 'ModelSpec', gpu_jpeg: bool = True) -> None:
        self.spec = spec
        self._gpu_jpeg = gpu_jpeg
        self._session = session
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._own = _OwnArrays()
        self._requested = _Requested()
        self._color = ''
        self._size = 0, 0
        self._smoothing = 0.0
        self.overlay_alpha = 0.5

    @classmethod
    def open(cls, model: str | Path = '', *, config: str | Path | ModelConfig | None = None,
             options: RunOptions | None = None) -> 'Segmenter':
        """Open a model. Assumed settings are logged as a warning, except for the names of classes,
        which change no mask.

        Args:
            model: an .onnx file, or a TensorRT .engine or .plan; '' opens the embedded demo
                network.
            config: a model config or the path of one; None takes the one in the model file.
            options: where and how it runs; None takes the fastest backend, in fp32.

        Raises:
            ModelError: the file is no segmentation network, or an engine that does not run on
                this machine.
            ConfigError: the config contradicts the network, or the options each other.
            BackendError: the backend is missing or does not support the network.
        """
        path = Path(model) if str(model) else demo_model()
        if not isinstance(config, (ModelConfig, str, os.PathLike, type(None))):
            raise ConfigError(f'config is {config!r}; it is a ModelConfig or the path of a YAML '
                              "file; ModelConfig.from_text('input: {color: rgb}', 'here') makes "
                              'one')
        if not isinstance(config, ModelConfig):
            config = ModelConfig.from_file(config) if config else ModelConfig()
        options = options or RunOptions()
        try:
            session, spec = _open(path, config, options)
        except OSError as error:  # of a path without permission, or longer than the system allows
            raise ModelError(f'{error.filename or path}: cannot be read ({error.strerror})') \
                from error
        _log_kind(spec)
        if sentence := spec.assumption_warning(labels=False):
            logger.warning('%s', sentence)
        return cls(session, spec, options.gpu_jpeg)

    def __enter__(self) -> 'Segmenter':
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError('a Segmenter cannot be pickled or copied, since it holds an open network; '
                        f'open one in each process: Segmenter.open({self.spec.network.source!r})')

    @property
    def info(self) -> BackendInfo:
        """Backend, device and precision in use, also after ``close``."""
        return self._session.info

    @property
    def available_outputs(self) -> tuple[str, ...]:
        """Outputs that ``infer`` can return; networks that give class ids have no confidence."""
        from trt_segmentation.graph.pipeline.prepare import available_outputs
        self._check_open()
        return available_outputs(self.spec)

    @property
    def gpu_encodings(self) -> tuple[str, ...]:
        """Encodings of cameras that ``infer`` takes as they are and converts on the GPU; empty on
        ONNX Runtime and for networks of one channel."""
        self._check_open()
        return () if self.spec.gray_bits else self._session.encodings

    def fetch_converter(self, encoding: str) -> None:
        """Make ready what converts an encoding on the GPU: load it from the cache, or build it
        first, which takes seconds to a minute. Other threads can segment images meanwhile.

        Args:
            encoding: one of ``gpu_encodings``.

        Raises:
            ImageError: it is another one.
            BackendError: it cannot be built or loaded, or the segmenter is closed.
        """
        if encoding not in self.gpu_encodings:
            raise ImageError(no_converter(encoding, self.gpu_encodings))
        self._session.fetch_converter(encoding)

    def output_shape(self, name: str, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of an output for an image of ``size`` (height, width).

        Raises:
            ModelError: the network cannot give it.
            BackendError: the segmenter is closed.
        """
        self._check_open()
        self._named((name,))
        return self._shape(name, size)

    def _shape(self, name: str, size: tuple[int, int]) -> tuple[int, ...]:
        spec = self.spec
        return output_shape(name, size, spec.mask_size, spec.detections(split(name)[0]),
                            spec.overlay_scale)

    def output_dtype(self, name: str) -> np.dtype:
        """Return the type of an output: uint8; the mask's own, uint16 for instances, float32 for
        detections.

        Raises:
            ModelError, BackendError: as of ``output_shape``.
        """
        self._check_open()
        self._named((name,))
        return output_dtype(name, self.spec.encoding)

    @property
    def overlay_alpha(self) -> float:
        """Opacity of the overlay's colours, 0..1; may change between two images.

        Setting it waits for a running call of another thread.

        Raises:
            ConfigError: it is out of range.
            BackendError: the segmenter is closed.
        """
        self._check_open()
        return self._alpha

    @overlay_alpha.setter
    def overlay_alpha(self, alpha: float) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigError(f'overlay_alpha is {alpha}; it is an opacity, 0 to 1')
        with self._in_turn():
            self._session.set_alpha(alpha)
            self._alpha = alpha

    @property
    def smoothing(self) -> float:
        """Weight of the previous images in the class probabilities, 0 (off) to 0.95; needs
        ``RunOptions.smoothing``. It may change between two images.

        The mean starts again with an image of another size, after an error, and after
        ``reset_smoothing``.

        Raises:
            ConfigError: it is out of range.
            BackendError: the segmenter is closed, or was opened without smoothing.
        """
        self._check_open()
        return self._smoothing

    @smoothing.setter
    def smoothing(self, weight: float) -> None:
        from trt_segmentation.graph.pipeline.smoothing import MAX_WEIGHT
        if not 0 <= weight <= MAX_WEIGHT:
            raise ConfigError(f'smoothing is {weight}; it must be 0 to {MAX_WEIGHT}')
        with self._in_turn():
            if weight and not self.spec.smoothing:
                raise BackendError(f'{self.spec.network.source}: was opened without temporal '
                                   'smoothing; set RunOptions.smoothing')
            if self.spec.smoothing:
                self._session.set_smoothing(weight)
            self._smoothing = weight

    def reset_smoothing(self) -> None:
        """Forget the previous images, for example at the start of another video.

        Raises:
            BackendError: the segmenter is closed.
        """
        with self._in_turn():
            self._session.reset_smoothing()

    @property
    def image_buffers(self) -> int:
        """Number of arrays that the caller of ``infer`` uses for images in turn, 1 and up. On a
        GPU, each of them is page-locked.

        Raises:
            ConfigError: it is less than 1.
            BackendError: the segmenter is closed.
        """
        self._check_open()
        return self._session.image_buffers

    @image_buffers.setter
    def image_buffers(self, count: int) -> None:
        if count < 1:
            raise ConfigError(f'image_buffers is {count}; it must be 1 or more arrays')
        with self._in_turn():
            self._session.image_buffers = count

    def call_when_enqueued(self, function: Callable[[], None]) -> None:
        """Let ``infer`` call a function in its thread when it only has to wait for the processor:
        what another thread does from then on in Python does not delay the image.

        Args:
            function: replaces that of an earlier call; must not use the segmenter, nor raise.

        Raises:
            BackendError: the segmenter is closed.
        """
        with self._in_turn():
            self._session.on_enqueued = function

    def infer(self, image: Any, *, color: str = 'bgr', encoding: str = '',
              outputs: str | Sequence[str] = 'mask',
              out: Mapping[str, Any] | None = None) -> Segmentation:
        """Segment one image. The first image of a size, or of a set of outputs, takes longer.

        Args:
            image: uint8 [H, W, 3]; a network of one channel also takes uint8 and uint16 [H, W],
                see ``InputConfig.depth``. It is copied unless it is C-contiguous. TensorRT also
                takes a C-contiguous uint8 [H, W, 3] in the memory of its GPU: any object with
                ``__cuda_array_interface__`` or DLPack, such as of PyTorch or CuPy. It is read
                after the work that is pending on it, and not after ``infer`` returns.
            color: 'bgr' (OpenCV's) or 'rgb', the order of its channels.
            encoding: one of ``gpu_encodings``, such as 'nv12'; the image is then the bytes of
                the camera, uint8 [rows, bytes per row], without padding, and the overlay is BGR.
                The first image of an encoding waits for ``fetch_converter``.
            outputs: one of ``available_outputs``, or several: 'mask', ('mask', 'overlay').
                Nothing else is computed. Where the network has several tasks, 'mask' means the
                masks of all tasks, and 'lanes/mask' the mask of one.
            out: C-contiguous arrays of ``output_shape`` and ``output_dtype`` to write the
                outputs into; with TensorRT also in the memory of its GPU, where every stream may
                read them when ``infer`` returns. ``ON_GPU`` in place of an overlay's array leaves
                it there for ``encode_jpeg``. Without it they are written into arrays that
                belong to the segmenter and the calling thread. This thread's next call overwrites
                them, unless you take a ``Segmentation.copy``.

        Raises:
            ImageError: the image, or an array in ``out``, has a wrong shape or type, or is in
                memory that the backend does not read. For an image, the message gives the line
                of code that converts it.
            BackendError: the runtime failed, and the segmenter can be used again; or it is closed.
            ModelError: the network cannot give one of the outputs.
        """
        outs = None if out is None else (out,)
        return self.infer_batch((image,), color=color, encoding=encoding, outputs=outputs,
                                outs=outs)[0]

    def infer_batch(self, images: Sequence[Any], *, color: str = 'bgr',
                    encoding: str = '', outputs: str | Sequence[str] = 'mask',
                    outs: Sequence[Mapping[str, Any]] | None = None,
                    ) -> tuple[Segmentation, ...]:
        """Segment a batch of ``RunOptions.batch`` images at once; see ``infer``::

            segmenter = Segmenter.open('net.onnx', options=RunOptions(batch=3))
            front, left, right = segmenter.infer_batch([front, left, right])

        Args:
            images: ``batch`` of them, all of one size; each as of ``infer``.
            color, encoding, outputs: as of ``infer``, the same for all.
            outs: for each image, ``out`` as of ``infer``.

        Returns:
            The results for each image.

        Raises:
            ImageError: there are more or fewer images, or their sizes differ; or as of ``infer``.
            BackendError, ModelError: as of ``infer``.
        """
        if encoding:
            self.fetch_converter(encoding)
        with self._in_turn():
            return self._infer(images, color, outputs, outs, encoding)

    def predict(self, source: str | Path, *, outputs: str | Sequence[str] = 'mask',
                topic: str = '', count: int = 0,
                on_error: Callable[[ImageError], None] | None = None) -> Iterator[Prediction]:
        """Segment all images of a file, a folder, a video or a rosbag, one at a time::

            for prediction in segmenter.predict('drive.mp4', outputs=('mask', 'overlay')):
                cv2.imwrite(f'{prediction.name}.png', prediction.segmentation.overlay)

        Nothing is read ahead or kept, so that a source of any length fits into memory.

        Args:
            source: an image, a folder of images (other files are skipped), a video, or a
                rosbag (a folder with metadata.yaml, or a .mcap, .db3 or .bag file).
            outputs: as of ``infer``.
            topic: image topic in a rosbag; '' takes the only one there is.
            count: the largest number of images, spread evenly over the source, 1 and up; 0
                takes all.
            on_error: called with the error where an image in a folder, or a message in a
                rosbag, cannot be decoded; the iteration continues with the next. Without it,
                the error is raised and ends the iteration.

        Returns:
            An iterator of predictions. The arrays of a ``segmentation`` belong to the segmenter
            and are overwritten by the next step, and by ``infer`` in this thread.

        Raises:
            ImageError: there is no image, or see ``on_error``.
            ConfigError: ``count`` is no such number.
            BackendError, ModelError: as of ``infer``.
        """
        from trt_segmentation.images.sources import open_images, source_files  # brings OpenCV
        self._check_open()
        self._check_count(1)
        if not isinstance(count, Integral) or count < 0:
            raise ConfigError(f'count is {count}; it must be 0 (all images) or more')
        names = self._named(outputs)
        source_files(source)
        images = open_images(source, topic, count, on_error, self.spec.gray_bits)
        return self._predictions(images, names)

    def _predictions(self, images: Iterator[tuple[str, np.ndarray]], outputs: tuple[str, ...],
                     ) -> Iterator[Prediction]:
        with closing(images):  # type: ignore[type-var]  # a generator
            for name, image in images:
                yield Prediction(name, image, self.infer(image, outputs=outputs))

    def _infer(self, images: Sequence[Any], color: str, outputs: str | Sequence[str],
               outs: Sequence[Mapping[str, Any]] | None, encoding: str = '',
               ) -> tuple[Segmentation, ...]:
        fed: list[Any]
        bands = 3
        self._check_count(len(images))
        if encoding:
            height, width = encoded_size(images, color, encoding)
            fed = [np.ascontiguousarray(image) for image in images]
        else:
            images = [self._readable(image, 'the image', 'image') for image in images]
            check_images(images, color, bool(self.spec.gray_bits))
            fed = [image if isinstance(image, DeviceArray)
                   else as_bands(np.ascontiguousarray(image)) for image in images]
            height, width, bands = fed[0].shape
        asked_for = outputs if isinstance(outputs, str) else tuple(outputs)
        if self._requested.outputs != asked_for:
            self._requested = self._resolve_outputs(asked_for)
        names = self._requested.names
        if outs is None:
            outs = self._own_arrays((height, width))
            written: Sequence[Mapping[str, Any]] = outs
        else:
            written = self._checked_outs(outs, (height, width))
        self._session.resize(height, width, names, bands, encoding)
        if color != self._color:
            self._set_color(color)
        self._session.infer(fed, written)
        self._size = height, width
        return tuple(Segmentation({name: out[name] for name in names}) for out in outs)

    def gpu_times(self, image: np.ndarray, outputs: str | Sequence[str], count: int,
                  encoding: str = '') -> dict[str, float]:
        """Measure where the time of ``infer`` goes on the GPU.

        Args:
            image, outputs, encoding: as of ``infer``.
            count: number of repetitions.

        Returns:
            Median milliseconds of copy_in, run and copy_out; empty without a GPU.
        """
        self._check_open()
        if encoding:
            self.fetch_converter(encoding)
        with self._in_turn():
            images, outs = self._repeated(image, outputs, encoding)
            found = [self._session.measure(images, outs) for _ in range(count)]
        times = [asdict(each) for each in found if each is not None]
        return {part: float(np.median([each[part] for each in times]))
                for part in (times[0] if times else ())}

    def layer_times(self, image: np.ndarray, outputs: str | Sequence[str], count: int,
                    ) -> list[dict[str, float]]:
        """Measure where the time of the graph goes, by the runtime's own profiler.

        Args:
            image, outputs: as of ``infer``.
            count: number of repetitions.

        Returns:
            For each repetition, milliseconds by the runtime's name of the layer; empty where the
            runtime has no profiler.
        """
        with self._in_turn():
            images, outs = self._repeated(image, outputs)
            return self._session.layer_times(images, outs, count)

    def gpu_memory(self) -> tuple[int, int] | None:
        """Return the bytes of GPU memory that the session takes, and those that are free.

        The first number counts tensors, weights (as large as the engine's file) and scratch
        space. It does not count CUDA's context, which all sessions of a process share.

        Returns:
            None without a GPU.

        Raises:
            BackendError: CUDA reports an error, possibly of an earlier call, or the segmenter is
                closed; ``close`` still works.
        """
        with self._in_turn():
            return self._session.gpu_memory()

    def jpeg_decoder(self, reuse: bool = True) -> Callable[[Any], Any] | None:
        """Return the ``decode_jpeg`` of ``images.decoding`` whose images ``infer`` accepts: it
        decodes into GPU memory, and may still decode when it returns; ``infer`` waits for it.
        None where JPEG is decoded on the CPU.

        Args:
            reuse: whether an image is valid only until the function's next call.

        Raises:
            BackendError: the segmenter is closed.
        """
        self._check_open()
        return self._session.jpeg_reader(reuse) if self._gpu_jpeg else None

    @property
    def encodes_jpeg(self) -> bool:
        """Whether ``encode_jpeg`` can be used: with TensorRT, where nvImageCodec is installed."""
        self._check_open()
        if not self._gpu_jpeg or not self._session.encodes_jpeg:
            return False
        from trt_segmentation.backends.tensorrt.gpu_jpeg import find_nvimgcodec
        return find_nvimgcodec() is not None

    def encode_jpeg(self, name: str, quality: int, index: int = 0) -> bytes:
        """Encode an overlay of the last ``infer`` on the GPU, without a copy of its pixels::

            segmenter.infer(image, outputs='overlay', out={'overlay': ON_GPU})
            data = segmenter.encode_jpeg('overlay', 80)

        What nvImageCodec does not encode, OpenCV does. Needs ``encodes_jpeg``.

        Args:
            name: of the output, as in ``Segmentation.arrays``.
            quality: of the JPEG, 1 to 100.
            index: of the image in the batch.

        Raises:
            BackendError: the last ``infer`` failed, or did not compute this output.
        """
        if not self.encodes_jpeg:
            raise BackendError('overlays are encoded on the GPU only with TensorRT and '
                               'nvImageCodec (pip install nvidia-nvimgcodec-cu12 '
                               'nvidia-nvjpeg-cu12)')
        with self._in_turn():
            overlays = [each for each in self._requested.names if kind_of(each) == 'overlay']
            if name not in overlays:
                raise BackendError(f'{name} is no overlay of the last image; it has '
                                   f'{", ".join(overlays) or "none"}')
            is_rgb = self._color == 'rgb'
            data = self._session.encode_jpeg(name, index, quality, is_rgb)
            if data is not None:
                return data
            pixels = np.empty(self._shape(name, self._size), np.uint8)
            self._session.fetch(name, index, pixels)
        from trt_segmentation.images.encoding import encode_jpeg  # brings OpenCV
        return encode_jpeg(np.ascontiguousarray(pixels[..., ::-1]) if is_rgb else pixels, quality)

    def twin(self) -> 'Segmenter | None':
        """Return another segmenter on the same weights that can run at the same time, with the
        same opacity and weight of smoothing; None where the backend does not support that.

        Raises:
            BackendError: the segmenter is closed.
        """
        with self._in_turn():
            twin = self._session.twin()
        if twin is None:
            return None
        other = Segmenter(twin, self.spec, self._gpu_jpeg)
        other.overlay_alpha, other.smoothing = self._alpha, self._smoothing
        return other

    def close(self) -> None:
        """Free everything, after a running call of another thread has ended.

        The segmenter cannot be used again; a second ``close``, or one in a fork, does nothing.
        """
        if self._process != os.getpid():
            return
        with self._lock:
            self._closed = True
            self._session.close()
            self._own = _OwnArrays()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let one thread at a time use the session.

        Raises:
            BackendError: it is closed.
        """
        self._check_process()
        with self._lock:
            self._check_open()
            yield

    def _check_process(self) -> None:
        """Refuse a fork: the threads of the runtime, the holder of the lock, and CUDA stayed in
        the process that opened the segmenter, so that a call would wait forever."""
        if self._process != os.getpid():
            raise BackendError(f'{self.spec.network.source}: the segmenter was opened in process '
                               f'{self._process} and is used in its fork {os.getpid()}; open '
                               'another one in each process')

    def _check_open(self) -> None:
        self._check_process()
        if self._closed:
            raise BackendError(f'{self.spec.network.source}: the segmenter is closed; open '
                               'another one')

    def _named(self, outputs: str | Sequence[str]) -> tuple[str, ...]:
        """Return the names of the requested outputs.

        Raises:
            ModelError: the network cannot give one of them; or none is requested.
        """
        from trt_segmentation.graph.pipeline.prepare import check_outputs, named_outputs
        names = named_outputs(self.spec,
                              (outputs,) if isinstance(outputs, str) else tuple(outputs))
        check_outputs(self.spec, names)
        return names

    def _own_arrays(self, size: tuple[int, int]) -> list[dict[str, np.ndarray]]:
        """Return the calling thread's arrays; new ones where these do not fit an image of
        ``size``."""
        own, requested = self._own, self._requested
        if own.names != requested.names or any(
                own.arrays[0][name].shape != self._shape(name, size)
                for name in requested.names):
            own.arrays = [{name: np.empty(self._shape(name, size), dtype)
                           for name, dtype in requested.dtypes.items()}
                          for _ in range(self.spec.batch)]
            own.names = requested.names
        return own.arrays

    def _repeated(self, image: np.ndarray, outputs: str | Sequence[str], encoding: str = '',
                  ) -> tuple[list[np.ndarray], list[Mapping[str, np.ndarray]]]:
        """A batch of one image, and the arrays with its results after one run."""
        one = np.ascontiguousarray(image)
        images = [one if encoding else as_bands(one)] * self.spec.batch
        found = self._infer([image] * self.spec.batch, 'bgr', outputs, None, encoding)
        return images, [each.arrays for each in found]

    def _check_count(self, count: int) -> None:
        if count != self.spec.batch:
            raise ImageError(f'images given: {count}; the network was opened for '
                             f'{self.spec.batch} at once, see RunOptions.batch')

    def _resolve_outputs(self, outputs: str | tuple[str, ...]) -> '_Requested':
        """Return names and types of the outputs that were requested; see ``_named``."""
        names = self._named(outputs)
        return _Requested(outputs, names, {name: self.output_dtype(name) for name in names})

    def _readable(self, array: Any, what: str, code: str) -> Any:
        """Return an array in GPU memory as a ``DeviceArray``, and anything else unchanged.

        Args:
            array: of the caller.
            what, code: its name in messages, and in lines of code in messages.

        Raises:
            ImageError: the backend reads host memory only, or the memory is of another device.
        """
        if not is_on_device(array):
            return array
        found = self._session.device_array(array, what)
        if found is None:
            raise ImageError(f'{what} is in GPU memory, and {self.info.backend} reads and writes '
                             f'host memory: {host_remedy(array, code)}')
        return found

    def _checked_outs(self, outs: Sequence[Mapping[str, Any]], size: tuple[int, int],
                      ) -> list[dict[str, Any]]:
        """Return the arrays that the session writes into: the caller's, or their GPU memory."""
        if len(outs) != self.spec.batch:
            raise ImageError(f'outs has arrays for {len(outs)} images; {self.spec.batch} are '
                             'segmented at once')
        written = []
        for out in outs:
            written.append({name: self._readable(out[name], f"out['{name}']", f"out['{name}']")
                            for name in self._requested.names if name in out})
            for name, dtype in self._requested.dtypes.items():
                if written[-1].get(name) is ON_GPU and self._stays_on_gpu(name):
                    continue
                check_out(written[-1], name, self._shape(name, size), dtype)
        return written

    def _stays_on_gpu(self, name: str) -> bool:
        """Whether ``ON_GPU`` is possible for an output."""
        return kind_of(name) == 'overlay' and self._session.encodes_jpeg

    def _set_color(self, color: str) -> None:
        self._color = ''  # a failure may leave only a part set
        self._session.set_channels(self.spec.channels(color))
        for task in self.spec.tasks:
            self._session.set_palette(self.spec.palette_table(color, task), task.name)
        self._color = color


@dataclass(frozen=True)
class _Requested:
    """The outputs of the last image. Their size is known only to the session and the arrays.

    Attributes:
        outputs: as given to ``infer``.
        names: of the outputs.
        dtypes: by name.
    """

    outputs: str | tuple[str, ...] | None = None
    names: tuple[str, ...] = ()
    dtypes: Mapping[str, np.dtype] = field(default_factory=dict)


class _OwnArrays(threading.local):
    """Arrays for results where the caller gives none; each thread has its own.

    Attributes:
        names: of the outputs.
        arrays: of each image, by name.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.arrays: list[dict[str, np.ndarray]] = []


def _open(path: Path, config: ModelConfig, options: RunOptions) -> tuple[Session, 'ModelSpec']:
    start_gpu(options)
    if path.suffix in ENGINE_SUFFIXES:
        return open_engine(path, config, options)
    from trt_segmentation.graph.reading.resolve import read_spec  # imports ONNX, while CUDA starts
    spec = read_spec(path, config, options)
    return open_network(spec, options), spec


def _log_kind(spec: 'ModelSpec') -> None:
    """Log the kind of output where neither the graph nor a config defines it."""
    for fact in spec.provenance:
        is_kind = fact.key.endswith('.kind')  # of the only task, or of one of them
        if is_kind and fact.origin.startswith('measured'):
            logger.info('%s: %s is %s, %s', spec.network.source, fact.key, fact.value,
                        fact.origin)
        elif is_kind and fact.origin == 'assumed':
            logger.warning('%s: %s is assumed to be %s; neither the model config nor '
                           'the network defines it, and no measurement decides it',
                           spec.network.source, fact.key, fact.value)
