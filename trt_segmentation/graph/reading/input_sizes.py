# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Which heights and widths a network of open size takes."""

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
"""What networks of open size are often trained on."""

_MULTIPLES = (2, 4, 8, 14, 16, 28, 32, 64, 128)
"""Strides and patches of known networks."""


def multiple_of(fault: Fault, size: Size) -> int | None:
    """Return what height and width have to be multiples of; None where that is not found.

    Args:
        fault: says what is wrong with a size, '' if nothing is.
        size: one that the network does not take.
    """
    for multiple in _MULTIPLES:
        next_ones = [tuple((extent // multiple + more) * multiple for extent in size)
                     for more in (1, 2)]
        if not any(fault((height, width)) for height, width in next_ones):
            return multiple
    return None


def said_fault(network: Network, layout: str, channels: int, size: Size) -> str:
    """Return what sizes a network takes instead of this one, found by running it; '' where the
    size is not what is wrong, or nothing is.

    Args:
        network: with one input.
        layout: of the input, 'nchw' or 'nhwc'.
        channels: of the input.
        size: height and width that it was or would be fed.
    """
    try:
        fault = by_running(network, layout, channels)
    except Exception:  # ONNX Runtime is not here, or does not take the network at any size
        return ''
    if not fault(size):
        return ''
    if (multiple := multiple_of(fault, size)) is not None:
        return said_multiple(multiple, size)
    runs = next((each for each in LIKELY_SIZES if not fault(each)), None)
    return f'{runs[0]}x{runs[1]} runs: input.size: [{runs[0]}, {runs[1]}]' if runs else ''


def wrong_size(size: Size, right: str) -> str:
    """Return the sentence for a network that does not run at the size that it is fed at.

    Args:
        size: height and width.
        right: see ``said_fault``.
    """
    return (f'the network does not run at its input.size, {size[0]}x{size[1]}; {right} (where '
            'the graph has its size built in, export it again with such a one)')


def said_multiple(multiple: int, size: Size) -> str:
    """Return what sizes a network takes, with the next one."""
    height, width = (-(-extent // multiple) * multiple for extent in size)
    return (f'height and width have to be multiples of {multiple}, for example input.size: '
            f'[{height}, {width}]')


def by_inference(network: Network, layout: str, channels: int) -> Fault:
    """Return what finds the fault of a size in the shapes alone, without running."""
    def fault(size: Size) -> str:
        return inference_fault(_with_shape(network, image_shape(layout, channels, size)))

    return fault


def by_running(network: Network, layout: str, channels: int) -> Fault:
    """Return what finds the fault of a size by running the network on ONNX Runtime.

    Raises:
        Exception: ONNX Runtime is not here, or does not take the network whatever its size.
    """
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 4
    model = _with_shape(network, image_shape(layout, channels, (None, None)))
    session = open_session(model.SerializeToString(), options)
    info = network.inputs[0]
    dtype = np.dtype(np.float32 if info.dtype == TensorProto.BFLOAT16
                     else helper.tensor_dtype_to_np_dtype(info.dtype))
    quiet = import_onnxruntime().RunOptions()
    quiet.log_severity_level = 4

    def fault(size: Size) -> str:
        fed = np.zeros([extent or 1 for extent in image_shape(layout, channels, size)], dtype)
        try:
            session.run(None, {info.name: fed}, quiet)
        except Exception as error:  # each status of the runtime has its own type
            return ' '.join(str(error).split())
        return ''

    return fault


def _with_shape(network: Network, shape: Shape) -> onnx.ModelProto:
    """The network with that shape of its input; what follows from it is left out."""
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
