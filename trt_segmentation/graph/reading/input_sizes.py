# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the input sizes that a network of dynamic size accepts."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from trt_segmentation.graph.onnx_tools.network import Network, Shape
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime, open_session
from trt_segmentation.graph.reading.batch import inference_fault
from trt_segmentation.graph.reading.input_layout import image_shape

Size = tuple[int, int]
Fault = Callable[[Size], str]

LIKELY_SIZES = ((512, 512), (256, 256), (640, 640), (224, 224), (1024, 1024), (518, 518),
                (384, 384), (320, 320), (128, 128), (64, 64), (32, 32))
"""Frequent training sizes of networks with dynamic size."""

_MULTIPLES = (2, 4, 8, 14, 16, 28, 32, 64, 128)
"""Strides and patch sizes of known networks."""


def multiple_of(fault: Fault, size: Size) -> int | None:
    """Return the number of which height and width must be multiples; None if none is found.

    Args:
        fault: returns the error for a size, or ''.
        size: one that the network does not accept.
    """
    for multiple in _MULTIPLES:
        next_ones = [tuple((extent // multiple + more) * multiple for extent in size)
                     for more in (1, 2)]
        if not any(fault((height, width)) for height, width in next_ones):
            return multiple
    return None


def size_hint(network: Network, layout: str, channels: int, size: Size) -> str:
    """Run a network and return a hint on the sizes that it accepts; '' if it accepts this one, or
    fails for another reason.

    Args:
        network: with one input.
        layout: of the input, 'nchw' or 'nhwc'.
        channels: of the input.
        size: height and width of the input.
    """
    try:
        fault = by_running(network, layout, channels)
    except Exception:  # no ONNX Runtime, or it cannot load the network
        return ''
    if not fault(size):
        return ''
    if (multiple := multiple_of(fault, size)) is not None:
        return multiple_text(multiple, size)
    runs = next((each for each in LIKELY_SIZES if not fault(each)), None)
    return f'{runs[0]}x{runs[1]} runs: input.size: [{runs[0]}, {runs[1]}]' if runs else ''


def wrong_size(size: Size, right: str) -> str:
    """Return the error message for a network that does not run at its input size.

    Args:
        size: height and width.
        right: the accepted sizes; see ``size_hint``.
    """
    return (f'the network does not run at its input.size, {size[0]}x{size[1]}; {right} (if '
            'the size is fixed in the graph, export it again with an accepted size)')


def multiple_text(multiple: int, size: Size) -> str:
    """Return the accepted sizes as text, with the next larger one."""
    height, width = (-(-extent // multiple) * multiple for extent in size)
    return (f'height and width must be multiples of {multiple}, for example input.size: '
            f'[{height}, {width}]')


def by_inference(network: Network, layout: str, channels: int) -> Fault:
    """Return a function that checks a size by shape inference."""
    def fault(size: Size) -> str:
        return inference_fault(_with_shape(network, image_shape(layout, channels, size)))

    return fault


def by_running(network: Network, layout: str, channels: int) -> Fault:
    """Return a function that checks a size by running the network on ONNX Runtime.

    Raises:
        Exception: ONNX Runtime is not installed, or cannot load the network.
    """
    model = _with_shape(network, image_shape(layout, channels, (None, None)))
    session = open_session(model.SerializeToString())
    info = network.inputs[0]
    dtype = np.dtype(np.float32 if info.dtype == TensorProto.BFLOAT16
                     else helper.tensor_dtype_to_np_dtype(info.dtype))
    quiet = import_onnxruntime().RunOptions()
    quiet.log_severity_level = 4

    def fault(size: Size) -> str:
        fed = np.zeros([extent or 1 for extent in image_shape(layout, channels, size)], dtype)
        try:
            session.run(None, {info.name: fed}, quiet)
        except Exception as error:  # ONNX Runtime has many types
            return ' '.join(str(error).split())
        return ''

    return fault


def _with_shape(network: Network, shape: Shape) -> onnx.ModelProto:
    """The network with that input shape, without the shapes of other values."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    for value in model.graph.input:
        if value.name == network.inputs[0].name:
            value.CopyFrom(helper.make_tensor_value_info(
                value.name, value.type.tensor_type.elem_type, shape))
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    del model.graph.value_info[:]
    return model
