# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Hints for error messages: the line of code that converts another object to an image."""

from pathlib import PurePath
from typing import Any

import numpy as np

from trt_segmentation.images.gray import can_be_gray


def array_hint(image: Any, color: str, gray: bool = False) -> str:
    """Return the expression that converts ``image`` to uint8 [H, W, 3].

    Args:
        image: any object that is no such array.
        color: order of its channels, 'bgr' or 'rgb'.
        gray: whether an image of one channel is accepted, see ``images.gray.can_be_gray``.

    Returns:
        An expression of ``image``, ``np`` and ``cv2``, a call of the segmenter, or a sentence;
        '' if there is no hint.
    """
    if isinstance(image, np.ndarray):
        return _array_remedy(image, color, gray)
    if image is None:
        return 'cv2.imread returns None where a file is missing or is no image; is the path right?'
    if isinstance(image, (str, PurePath)):
        return f'infer(cv2.imread({str(image)!r})), or predict({str(image)!r})'
    library = type(image).__module__.partition('.')[0]
    if library == 'PIL':
        return "infer(np.asarray(image.convert('RGB')), color='rgb')"
    if library == 'torch':
        return _after('image.detach().cpu().numpy()', image.detach().cpu().numpy(), color, gray)
    if hasattr(image, '__dlpack__') and hasattr(np, 'from_dlpack'):  # NumPy 1.22
        return _after('np.from_dlpack(image)', np.from_dlpack(image), color, gray)
    if isinstance(image, (list, tuple)):
        if image and all(isinstance(each, np.ndarray) and each.ndim == 3 for each in image):
            return 'infer_batch(images) takes several'
        try:
            values = np.asarray(image)
        except ValueError:  # rows of several lengths
            return ''
        return _after('np.asarray(image)', values, color, gray)
    return ''


def _after(step: str, values: np.ndarray, color: str, gray: bool) -> str:
    """The expression ``step``, completed by the conversion that its result needs."""
    if values.dtype == object or values.ndim < 2:
        return ''
    return _array_remedy(values, color, gray, step) or step


def _array_remedy(image: np.ndarray, color: str, gray: bool, step: str = 'image') -> str:
    if 0 in image.shape:
        return ''
    if image.ndim == 4 and len(image) == 1:
        step, image = f'{step}[0]', image[0]
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] not in (1, 3, 4):
        step, image = f'{step}.transpose(1, 2, 0)', image.transpose(1, 2, 0)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        return ''
    is_gray = image.ndim == 2 or image.shape[2] == 1
    is_taken = gray and can_be_gray(image)
    if image.dtype != np.uint8 and not is_taken:
        step = _as_bytes(step, image)
    if not step:
        return ''
    if is_gray and not gray:
        step = f'cv2.cvtColor({step}, cv2.COLOR_GRAY2BGR)'
    elif not is_gray and image.shape[2] == 4:
        conversion = 'RGBA2RGB' if color == 'rgb' else 'BGRA2BGR'
        step = f'cv2.cvtColor({step}, cv2.COLOR_{conversion})'
    if is_gray and image.dtype != np.uint8 and not is_taken:
        step += ', if its values are brightness, not depth or class ids'
    return '' if step == 'image' else step


def _as_bytes(step: str, image: np.ndarray) -> str:
    """The conversion of values to bytes, chosen by their range; '' if they are no brightness."""
    if image.dtype == bool:
        return f'{step}.astype(np.uint8) * 255'
    if image.dtype.kind not in 'iuf':
        return ''
    smallest, largest = image.min(), image.max()
    if not 0 <= smallest <= largest:  # also false for NaN
        return ''
    if image.dtype.kind == 'f' and largest <= 1:
        return f'({step} * 255).round().astype(np.uint8)'
    if image.dtype == np.uint16 and largest > 255:
        return f'({step} >> 8).astype(np.uint8)'
    if largest > 255:
        return ''
    return f'{step}{".round()" * (image.dtype.kind == "f")}.astype(np.uint8)'
