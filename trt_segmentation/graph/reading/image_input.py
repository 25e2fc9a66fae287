# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the input of a network: layout, size, colour order and normalisation."""

import logging
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.network import (
    FLOAT_TYPES,
    INTEGER_TYPES,
    Network,
    Shape,
    TensorInfo,
    fix_input_shape,
)
from trt_segmentation.graph.reading.input_layout import (
    CHANNEL_AXIS,
    CHANNEL_COUNTS,
    image_shape,
    layout_of_convolution,
)
from trt_segmentation.graph.reading.input_range import Range, read_range
from trt_segmentation.graph.reading.input_sizes import by_inference, multiple_of, multiple_text
from trt_segmentation.graph.reading.provenance import Ledger
from trt_segmentation.model_config import COLOR_ORDERS, ModelConfig

logger = logging.getLogger(__name__)


# The means and deviations of ImageNet's training set, which torchvision, timm and most exports
# trained from its weights use (torchvision.transforms.Normalize's documented example).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resolve_input(network: Network, config: ModelConfig, ledger: Ledger,
                  ) -> tuple[str, int, tuple[int, int] | None, str]:
    """Return layout, channels (3 or 1), height and width (None: any size is valid), and resize."""
    info = _only_input(network)
    shape = info.shape
    if shape is None or len(shape) != 4:
        raise ModelError(f'{network.source}: input {info} is no batch of images; '
                         'it must be [1, 3, height, width] or [1, height, width, 3], or have '
                         'one channel instead of three')
    if shape[0] not in (None, 1):
        raise ModelError(f'{network.source}: input {info} has a batch of {shape[0]}; '
                         'export it with a batch of 1 or a dynamic batch')
    layout = ledger.resolve('input.layout', _configured_layout(network, info, shape, config),
                            lambda: _input_layout(network, info, shape), 'graph')
    channels = shape[CHANNEL_AXIS[layout]] or _open_channels(network, info, layout, config)
    known = shape[2:] if layout == 'nchw' else shape[1:3]
    size = _resolve_size(network, (known[0], known[1]), config, ledger)
    resize = ledger.resolve('input.resize', config.input.resize, lambda: 'stretch', 'default')
    if resize == 'none':
        if None not in known:
            raise ConfigError(f'{network.source}: input.resize is none, but the graph has '
                              f'the fixed size {known[0]}x{known[1]}; use stretch or letterbox')
        if config.input.size is not None:
            height, width = config.input.size
            raise ConfigError(f'{network.source}: input.resize is none, which feeds each image at '
                              f'its own size, but input.size is {height}x{width}; remove one of '
                              'them')
        return layout, channels, None, resize
    if size is None:
        raise UnknownSizeError(f'{network.source}: input {info} has a dynamic size and input.size '
                               'is not set; set input.size: [height, width], or resize: none to '
                               "feed each image at the camera's own size")
    if None in known:
        _check_size(network, layout, channels, size)
    return layout, channels, size, resize


class UnknownSizeError(ConfigError):
    """The input size is dynamic, and ``input.size`` is not set."""


def _check_size(network: Network, layout: str, channels: int, size: tuple[int, int]) -> None:
    """Check by shape inference that a network of dynamic size accepts this size.

    Raises:
        ConfigError: it does not; the message gives the number of which sizes must be multiples.
    """
    fault = by_inference(network, layout, channels)
    if not (why := fault(size)) or (multiple := multiple_of(fault, size)) is None:
        return  # an error at every size has another cause
    raise ConfigError(f'{network.source}: input.size is {size[0]}x{size[1]}, which the network '
                      f'does not accept ({why}); {multiple_text(multiple, size)}')


def _only_input(network: Network) -> TensorInfo:
    if len(network.inputs) != 1:
        found = ', '.join(str(info) for info in network.inputs) or 'none'
        fix = '; export it with the others as constants' if network.inputs else ''
        raise ModelError(f'{network.source}: a network with one image input is needed, '
                         f'but this one has {len(network.inputs)}: {found}{fix}')
    info = network.inputs[0]
    if info.dtype not in FLOAT_TYPES + INTEGER_TYPES:
        raise ModelError(f'{network.source}: input {info} is no image type; it '
                         'must be float32, float16, uint8 or another integer')
    return info


def _configured_layout(network: Network, info: TensorInfo, shape: Shape, config: ModelConfig,
                 ) -> str | None:
    given = config.input.layout
    if given is not None and shape[CHANNEL_AXIS[given]] not in (None, *CHANNEL_COUNTS):
        raise ConfigError(f'{network.source}: input.layout is {given}, but input {info} then '
                          f'has {shape[CHANNEL_AXIS[given]]} channels, not 3 or 1')
    return given


def _open_channels(network: Network, info: TensorInfo, layout: str, config: ModelConfig) -> int:
    """The channel count of an input whose channel axis is dynamic."""
    found, count = layout_of_convolution(network.model, info.name)
    return count if found == layout else 1 if config.input.color == 'gray' else 3


def _input_layout(network: Network, info: TensorInfo, shape: Shape) -> str:
    of_color, of_gray = ([layout for layout, axis in CHANNEL_AXIS.items() if shape[axis] == count]
                         for count in CHANNEL_COUNTS)
    if len(of_color) == 1:
        return of_color[0]
    layout, count = layout_of_convolution(network.model, info.name)
    if layout is not None and shape[CHANNEL_AXIS[layout]] in (None, count):
        return layout
    if of_color:
        raise ModelError(f'{network.source}: input {info} has extent 3 at axis 1 and at axis 3, '
                         'so its layout is ambiguous; write input.layout: nchw or nhwc into '
                         'the model config, or export it with another size')
    if len(of_gray) == 1:
        return of_gray[0]
    if None in (shape[1], shape[3]):
        raise ConfigError(f'{network.source}: input {info} has dynamic channels, and no '
                          'convolution shows their axis; write input.layout: nchw (most '
                          'PyTorch exports) or nhwc (most TensorFlow ones) into the model config')
    raise ModelError(f'{network.source}: input {info} has neither 3 channels, as a colour '
                     'image has, nor 1, as a gray one has, at axis 1 or 3; other inputs (depth, '
                     'infrared, several images) are not supported')


def _resolve_size(network: Network, known: tuple[int | None, int | None], config: ModelConfig,
                  ledger: Ledger) -> tuple[int, int] | None:
    given = config.input.size
    for axis, name in enumerate(('height', 'width')):
        if given is not None and known[axis] not in (None, given[axis]):
            raise ConfigError(f'{network.source}: input.size has {name} {given[axis]}, but '
                              f'the graph has {known[axis]}; remove input.size or export it again')
    if given is not None:
        return ledger.record('input.size', given, ledger.config_origin('input.size'))
    if known[0] is not None and known[1] is not None:
        return ledger.record('input.size', (known[0], known[1]), 'graph')
    return None


def with_fixed_input(network: Network, layout: str, channels: int, size: tuple[int, int] | None,
                     ) -> Network:
    """Return the network with a fixed input size."""
    if size is None:
        return network
    return fix_input_shape(network, image_shape(layout, channels, size))


Normalisation = tuple[float, tuple[float, ...], tuple[float, ...]]
"""Scale, mean and std: the input is ``(pixel * scale - mean) / std``."""

_PIXEL_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))
"""Value ranges of quantized networks whose integer input is the pixel, or the pixel minus 128."""

_RANGE_TOLERANCE = 0.02
"""Tolerance of a calibrated range, as a fraction of the range."""


def _default_normalisation(channels: int, depth: int) -> Normalisation:
    """The default for float inputs: ImageNet's mean and std for colour; 0 to 1 for gray, as
    torchvision's ToTensor gives it, since there is no common mean of gray images."""
    if channels == 3:
        return 1 / 255, IMAGENET_MEAN, IMAGENET_STD
    return 1 / (2 ** depth - 1), (0.0,), (1.0,)


def _integer_normalisation(network: Network, channels: int, depth: int,
                           ) -> tuple[Normalisation, str]:
    """Return scale, mean and std of an integer input, and their origin."""
    info = network.inputs[0]
    limits = np.iinfo(helper.tensor_dtype_to_np_dtype(info.dtype))
    byte = 255 / (2 ** depth - 1)
    found = input_quantization(network.model, info.name) if limits.bits <= 16 else None
    if found is None:  # int8 cannot hold pixels above 127
        lowest = limits.min if info.dtype == TensorProto.INT8 else 0
        is_usual = info.dtype in (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
        return ((byte, (float(-lowest),) * channels, (1.0,) * channels),
                'default' if is_usual else 'assumed')
    step, zero = found
    fed = (limits.min - zero) * step, (limits.max - zero) * step
    for low, high in _PIXEL_RANGES:
        if all(abs(a - b) <= _RANGE_TOLERANCE * (high - low)
               for a, b in zip(fed, (low, high), strict=True)):
            whole = (limits.max - limits.min) / 255
            return (whole * byte, (float(-limits.min),) * channels, (1.0,) * channels), 'graph'
    # Quantized normalised values: ((pixel / 255 - mean) / std) / step + zero.
    scale, means, stds = _default_normalisation(channels, depth)
    mean = tuple(mean - zero * step * std for mean, std in zip(means, stds, strict=True))
    return (scale, mean, tuple(std * step for std in stds)), 'assumed'


def input_quantization(model: onnx.ModelProto, name: str) -> tuple[float, int] | None:
    """Return scale and zero point of an input that the network dequantizes; None for others."""
    readers = [node for node in model.graph.node if name in node.input]
    while len(readers) == 1 and readers[0].op_type in ('Transpose', 'Identity'):
        name = readers[0].output[0]
        readers = [node for node in model.graph.node if name in node.input]
    if not readers or any(node.op_type not in ('DequantizeLinear', 'QLinearConv')
                          for node in readers):
        return None
    constants = constants_by_name(model.graph.node, model.graph.initializer)
    values = []
    for place in (1, 2):
        given = readers[0].input[place] if place < len(readers[0].input) else ''
        if given and given not in constants:
            return None
        array = numpy_helper.to_array(constants[given]) if given else np.zeros(1)
        if array.size != 1:
            return None
        values.append(float(array.reshape(-1)[0]))
    return values[0], int(values[1])


_DEEP_SCALE = 1 / 1000
"""Below this, ``input.scale`` is for pixels of 16 bits: 1/65535, or 1/4095 for cameras of 12 bits.
For 8 bits, it would map all pixels to nearly 0."""


def resolve_color(network: Network, channels: int, config: ModelConfig, ledger: Ledger,
                  ) -> tuple[str, int]:
    """Return colour order, or 'gray', and depth.

    Raises:
        ConfigError: the config contradicts the number of channels.
    """
    given, source, info = config.input, network.source, network.inputs[0]
    if channels == 1 and given.color in COLOR_ORDERS:
        raise ConfigError(f'{source}: input.color is {given.color}, but input {info} has 1 '
                          'channel; write input.color: gray')
    if channels == 3 and (given.color == 'gray' or given.depth is not None):
        key = 'color is gray' if given.color == 'gray' else f'depth is {given.depth}'
        raise ConfigError(f'{source}: input.{key}, but input {info} has 3 channels; write '
                          'input.color: rgb or bgr without a depth, which feeds a gray image to '
                          'all three')
    color = ledger.resolve('input.color', given.color, *(
        (lambda: 'gray', 'graph') if channels == 1 else (lambda: 'rgb', 'assumed')))
    if fault := replace(given, color=color).fault():
        raise ConfigError(f'{source}: {fault}')
    if color != 'gray':
        return color, 8
    is_deep = given.scale is not None and given.scale < _DEEP_SCALE
    return color, ledger.resolve('input.depth', given.depth, lambda: 16 if is_deep else 8,
                                 'config' if is_deep else 'default')


def resolve_normalisation(network: Network, channels: int, depth: int, config: ModelConfig,
                          ledger: Ledger,
                          ) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Return scale, mean and std."""
    given = config.input
    nothing = 1.0, (0.0,) * channels, (1.0,) * channels
    is_unset = given.scale is None and given.mean is None and given.std is None
    if network.inputs[0].dtype in INTEGER_TYPES:
        defaults, origin = (nothing, 'default') if not is_unset else \
            _integer_normalisation(network, channels, depth)
    elif is_unset and (fed := read_range(network.model, network.inputs[0].name)):
        black, white = fed
        defaults, origin = ((white - black) / (2 ** depth - 1), (0.0 - black,) * channels,
                            nothing[2]), 'graph'
    elif is_unset:
        defaults, origin = _default_normalisation(channels, depth), 'assumed'
    else:  # if one of the three is set, the others have no effect by default
        defaults, origin = nothing, 'default'
    found = (ledger.resolve('input.scale', given.scale, lambda: defaults[0], origin),
             ledger.resolve('input.mean', given.mean, lambda: defaults[1], origin),
             ledger.resolve('input.std', given.std, lambda: defaults[2], origin))
    if is_unset:
        return found
    if network.inputs[0].dtype in INTEGER_TYPES:
        return _as_integers(network, depth, *found)
    _check_range(network, depth, *found)
    return found


_RANGE_FACTOR = 20
"""Ranges whose widths differ by this factor are different, such as 0 to 255 and -2 to 2."""

_RANGE_EXCESS = 0.7
"""So is a range that goes beyond another by this fraction of the other's width, such as -2 to 2 or
-1 to 1 beyond 0 to 1. Pixels minus their mean, which a network may divide, go beyond by a half."""


def _check_range(network: Network, depth: int, scale: float, mean: tuple[float, ...],
                 std: tuple[float, ...]) -> None:
    """Warn if a network has built-in normalisation and the config feeds another range."""
    takes = read_range(network.model, network.inputs[0].name)
    white, channels = scale * (2 ** depth - 1), list(zip(mean, std, strict=True))
    lowest = min((0.0 - m) / s for m, s in channels)  # -m would give -0
    highest = max((white - m) / s for m, s in channels)
    if takes is not None and _differ((lowest, highest), takes):
        logger.warning('%s: input.scale, mean and std feed %.3g to %.3g, but the network '
                       'has built-in normalisation for %.3g to %.3g; remove these three settings',
                       network.source, lowest, highest, *takes)


def _differ(fed: Range, taken: Range) -> bool:
    """Whether a range is so different from the one that a network takes that no rounding and no
    choice of a mean explains it."""
    (lowest, highest), (black, white) = fed, taken
    width = white - black
    excess = max(black - lowest, highest - white)
    return not width / _RANGE_FACTOR < highest - lowest < width * _RANGE_FACTOR \
        or excess > _RANGE_EXCESS * width


_MIN_INTEGER_RANGE = 16
"""Minimum difference of black and white in an integer input. In normalised values, it is 1 to
5."""


def _as_integers(network: Network, depth: int, scale: float, mean: tuple[float, ...],
                 std: tuple[float, ...]) -> Normalisation:
    """Return the normalisation of an integer input whose config may be that of the training.

    Normalised values, such as -1 to 1, are quantized with the input's scale and zero point.

    Raises:
        ConfigError: the input has neither, and rounding would leave only a few integers.
    """
    black = [-m / s for m, s in zip(mean, std, strict=True)]
    white = [((2 ** depth - 1) * scale - m) / s for m, s in zip(mean, std, strict=True)]
    if any(abs(high - low) >= _MIN_INTEGER_RANGE for low, high in zip(black, white, strict=True)):
        return scale, mean, std
    info = network.inputs[0]
    found = input_quantization(network.model, info.name)
    if found is None:
        raise ConfigError(
            f'{network.source}: input {info} takes integers, but input.scale, mean and std map '
            f'black to {black[0]:.3g} and white to {white[0]:.3g}; set them for integers (scale: '
            '1 feeds the pixel, with mean: [128, 128, 128] the pixel minus 128), or remove them')
    step, zero = found
    return (scale, tuple(m - zero * step * s for m, s in zip(mean, std, strict=True)),
            tuple(s * step for s in std))
