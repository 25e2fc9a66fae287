# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the arrays that the callers of a segmenter pass, and what errors say of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trt_segmentation.backends.device_arrays import ON_GPU, DeviceArray
from trt_segmentation.errors import ImageError
from trt_segmentation.images.array_hints import array_hint
from trt_segmentation.images.gray import GRAY_SHAPES, can_be_gray, is_color
from trt_segmentation.model_config import COLOR_ORDERS


def check_images(images: Sequence[Any], color: str, gray: bool) -> None:
    """Check the images of a batch.

    Args:
        images: one or more objects, which should be as of ``Segmenter.infer``.
        color: order of their channels.
        gray: whether the network has one channel.

    Raises:
        ImageError: one of them is no image for the network, or their sizes or types differ; or
            there is no such order.
    """
    for image in images:
        _check_image(image, color, gray)
        if image.shape != images[0].shape or image.dtype != images[0].dtype:
            raise ImageError(f'one image is {_size_text(images[0])} and another '
                             f'{_size_text(image)}; images of one batch must have one size '
                             'and one type')


def encoded_size(images: Sequence[Any], color: str, encoding: str) -> tuple[int, int]:
    """Return the height and width of the images of a batch, given as the bytes of a camera.

    Args:
        images: one or more objects, which should be uint8 [rows, bytes per row].
        color: as given to ``Segmenter.infer``.
        encoding: one of ``Segmenter.gpu_encodings``.

    Raises:
        ImageError: one of them has another type or an impossible shape, their sizes differ, or
            ``color`` is not 'bgr'.
    """
    from trt_segmentation.graph.pipeline.camera_bytes import image_size
    if color != 'bgr':
        raise ImageError(f"color is '{color}' and encoding is '{encoding}', whose images "
                         'become BGR; leave color out')
    for image in images:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            raise ImageError(f'the image is {_described(image)}; the bytes of {encoding} are '
                             'uint8 [rows, bytes per row]')
    sizes = {image_size(encoding, image.shape) for image in images}
    if len(sizes) > 1:
        found = ', '.join('{1}x{0}'.format(*size) for size in sorted(sizes))
        raise ImageError(f'the images are {found}; images of one batch must have one size')
    return sizes.pop()


def check_out(out: Mapping[str, Any], name: str, shape: tuple[int, ...],
              dtype: np.dtype) -> None:
    """Check the array of an output.

    Args:
        out: the arrays of one image by output, as given to ``Segmenter.infer``; arrays in GPU
            memory as ``DeviceArray``.
        name: of the output.
        shape, dtype: that it needs.

    Raises:
        ImageError: it is missing, or nothing can be written into it as it is.
    """
    array: Any = out.get(name)
    if not _is_writable(array) or array.shape != shape or array.dtype != dtype:
        found = 'missing' if name not in out else _described(array)
        if isinstance(array, np.ndarray):
            found += ', read-only' * (not array.flags.writeable)
            found += ', not C-contiguous' * (not array.flags.c_contiguous)
        raise ImageError(f"out['{name}'] is {found}; a writable, C-contiguous {dtype} "
                         f'{list(shape)} is needed')


def no_converter(encoding: str, known: tuple[str, ...]) -> str:
    """Return the sentence about an encoding that a session does not convert.

    Args:
        encoding: as given to ``Segmenter.infer``.
        known: those that it converts; may be empty.
    """
    if known:
        return (f"encoding is '{encoding}', which the GPU does not convert; those that it "
                f'converts: {", ".join(known)}')
    return (f"encoding is '{encoding}', but only TensorRT converts encodings, for networks of "
            'three channels; convert the image with cv2.cvtColor and leave encoding out')


def _check_image(image: Any, color: str, gray: bool) -> None:
    if color not in COLOR_ORDERS:
        raise ImageError(f"color is '{color}'; it is one of {', '.join(COLOR_ORDERS)}")
    if isinstance(image, DeviceArray):
        if not is_color(image):
            raise ImageError(f'the image is {_described(image)}; uint8 [height, width, 3] is '
                             f'needed{_device_remedy(image)}')
        return
    if isinstance(image, np.ndarray) and (can_be_gray(image) if gray else is_color(image)):
        return
    remedy = array_hint(image, color, gray)
    needed = GRAY_SHAPES if gray else 'uint8 [height, width, 3] is needed'
    raise ImageError(f'the image is {_described(image)}; {needed}'
                     + (f': {remedy}' if remedy else ''))


def _size_text(image: np.ndarray) -> str:
    kind = '' if is_color(image) else ' gray' if image.dtype == np.uint8 else ' gray 16-bit'
    return '{1}x{0}'.format(*image.shape) + kind


def _device_remedy(image: DeviceArray) -> str:
    """The line for PyTorch's usual [3, H, W]; '' for other shapes."""
    planes = image.shape[1:] if image.ndim == 4 and image.shape[0] == 1 else image.shape
    if len(planes) != 3 or planes[0] != 3:
        return ''
    step = 'image' if image.ndim == 3 else 'image[0]'
    return f': {step}.permute(1, 2, 0).contiguous() in PyTorch, with values from 0 to 255'


def _described(value: object) -> str:
    if value is ON_GPU:
        return 'ON_GPU'
    if isinstance(value, DeviceArray):
        return f'{value.dtype} {list(value.shape)} in GPU memory'
    if isinstance(value, np.ndarray):
        return f'{value.dtype} {list(value.shape)}'
    return 'None' if value is None else f'a {type(value).__module__}.{type(value).__name__}' \
        .replace(' builtins.', ' ')


def _is_writable(array: Any) -> bool:
    """Whether a session can write into an array; DeviceArrays are always C-contiguous."""
    if isinstance(array, DeviceArray):
        return array.is_writable
    return isinstance(array, np.ndarray) and array.flags.c_contiguous and array.flags.writeable
