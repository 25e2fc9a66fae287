# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The input of a network: an image, and how it is fed."""

import logging
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.network import (
    FLOAT_TYPES,
    INTEGER_TYPES,
    Network,
    Shape,
    TensorInfo,
    fix_input_shape,
)
from trt_segmentation.graph.reading.input_layout import (
    CHANNEL_COUNTS,
    image_shape,
    layout_of_convolution,
)
from trt_segmentation.graph.reading.input_range import read_scale
from trt_segmentation.graph.reading.input_sizes import by_inference, multiple_of, multiple_text
from trt_segmentation.graph.reading.provenance import Ledger
from trt_segmentation.model_config import COLOR_ORDERS, ModelConfig

logger = logging.getLogger(__name__)

CHANNEL_AXES = {'nchw': 1, 'nhwc': 3}

# The means and deviations of ImageNet's training set, which torchvision, timm and most exports
# trained from its weights use (torchvision.transforms.Normalize's documented example).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resolve_input(network: Network, config: ModelConfig, ledger: Ledger,
                  ) -> tuple[str, int, tuple[int, int] | None, str]:
    """Return layout, channels (3 or 1), height and width (None where any will do), and resize of
    the input."""
    info = _only_input(network)
    shape = info.shape
    if shape is None or len(shape) != 4:
        raise ModelError(f'{network.source}: input {info} is no batch of images; '
                         'a network from [1, 3, height, width] or [1, height, width, 3], or with '
                         'one channel instead of three, is needed')
    if shape[0] not in (None, 1):
        raise ModelError(f'{network.source}: input {info} takes batches of {shape[0]}; '
                         'export it with a batch of 1 or a dynamic one')
    layout = ledger.resolve('input.layout', _configured_layout(network, info, shape, config),
                         lambda: _input_layout(network, info, shape), 'graph')
    channels = shape[CHANNEL_AXES[layout]] or _open_channels(network, info, layout, config)
    known = shape[2:] if layout == 'nchw' else shape[1:3]
    size = _resolve_size(network, (known[0], known[1]), config, ledger)
    resize = ledger.resolve('input.resize', config.input.resize, lambda: 'stretch', 'default')
    if resize == 'none':
        if None not in known:
            raise ConfigError(f'{network.source}: input.resize is none, but the graph takes '
                              f'{known[0]}x{known[1]} only; use stretch or letterbox')
        if config.input.size is not None:
            height, width = config.input.size
            raise ConfigError(f'{network.source}: input.resize is none, which feeds each image at '
                              f'its own size, but input.size says {height}x{width}; leave one of '
                              'them out')
        return layout, channels, None, resize
    if size is None:
        raise UnknownSizeError(f'{network.source}: input {info} leaves its size open and input.size '
                            'is not told; give input.size: [height, width], or resize: none to '
                            "feed each image at the camera's own size")
    if None in known:
        _check_size(network, layout, channels, size)
    return layout, channels, size, resize


class UnknownSizeError(ConfigError):
    """A network takes any size, and nobody has said which."""


def _check_size(network: Network, layout: str, channels: int, size: tuple[int, int]) -> None:
    """Make sure that a network of open size takes that one, as far as its shapes tell.

    Raises:
        ConfigError: it does not; the message says what a size has to be a multiple of.
    """
    fault = by_inference(network, layout, channels)
    if not (why := fault(size)) or (multiple := multiple_of(fault, size)) is None:
        return  # what is wrong at any size is not the size
    raise ConfigError(f'{network.source}: input.size says {size[0]}x{size[1]}, which does not fit '
                      f'through the network ({why}); {multiple_text(multiple, size)}')


def _only_input(network: Network) -> TensorInfo:
    if len(network.inputs) != 1:
        found = ', '.join(str(info) for info in network.inputs) or 'none'
        raise ModelError(f'{network.source}: a network with one image input is needed, '
                         f'this one has {len(network.inputs)}: {found}')
    info = network.inputs[0]
    if info.dtype not in FLOAT_TYPES + INTEGER_TYPES:
        raise ModelError(f'{network.source}: input {info} is no image type; '
                         'float32, float16, uint8 or another integer is needed')
    return info


def _configured_layout(network: Network, info: TensorInfo, shape: Shape, config: ModelConfig,
                 ) -> str | None:
    told = config.input.layout
    if told is not None and shape[CHANNEL_AXES[told]] not in (None, *CHANNEL_COUNTS):
        raise ConfigError(f'{network.source}: input.layout says {told}, but input {info} has '
                          f'{shape[CHANNEL_AXES[told]]} channels there, not 3 or 1')
    return told


def _open_channels(network: Network, info: TensorInfo, layout: str, config: ModelConfig) -> int:
    """How many channels an input has whose shape leaves them open."""
    found, count = layout_of_convolution(network.model, info.name)
    return count if found == layout else 1 if config.input.color == 'gray' else 3


def _input_layout(network: Network, info: TensorInfo, shape: Shape) -> str:
    of_color, of_gray = ([layout for layout, axis in CHANNEL_AXES.items() if shape[axis] == count]
                         for count in CHANNEL_COUNTS)
    if len(of_color) == 1:
        return of_color[0]
    layout, count = layout_of_convolution(network.model, info.name)
    if layout is not None and shape[CHANNEL_AXES[layout]] in (None, count):
        return layout
    if of_color:
        raise ModelError(f'{network.source}: input {info} has extent 3 at axis 1 and at axis 3, '
                         'so its layout cannot be told; write input.layout: nchw or nhwc into '
                         'the model config, or export it with another size')
    if len(of_gray) == 1:
        return of_gray[0]
    if None in (shape[1], shape[3]):
        raise ConfigError(f'{network.source}: input {info} leaves its channels open, and no '
                          'convolution tells where they are; write input.layout: nchw (most '
                          'PyTorch exports) or nhwc (most TensorFlow ones) into the model config')
    raise ModelError(f'{network.source}: input {info} has neither 3 channels, as of a colour '
                     'image, nor 1, as of a gray one, at axis 1 or 3; of others (depth, infrared, '
                     'several images) nothing tells what to feed them')


def _resolve_size(network: Network, known: tuple[int | None, int | None], config: ModelConfig,
                  ledger: Ledger) -> tuple[int, int] | None:
    told = config.input.size
    for axis, name in enumerate(('height', 'width')):
        if told is not None and known[axis] not in (None, told[axis]):
            raise ConfigError(f'{network.source}: input.size says {name} {told[axis]}, '
                              f'the graph {known[axis]}; leave input.size out or export anew')
    if told is not None:
        return ledger.record('input.size', told, ledger.config_origin('input.size'))
    if known[0] is not None and known[1] is not None:
        return ledger.record('input.size', (known[0], known[1]), 'graph')
    return None


def with_fixed_input(network: Network, layout: str, channels: int, size: tuple[int, int] | None,
                     ) -> Network:
    """Return the network with that size of its input filled in."""
    if size is None:
        return network
    return fix_input_shape(network, image_shape(layout, channels, size))


Normalisation = tuple[float, tuple[float, ...], tuple[float, ...]]
"""Scale, mean and std: the value fed is ``(pixel * scale - mean) / std``."""

_PIXEL_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))
"""Lowest and highest value of what quantized networks are trained on: their integer input is the
pixel itself, or the pixel minus 128."""

_NEAR = 0.02
"""By which part of its range a calibrated range may differ from these."""


def _default_normalisation(channels: int, depth: int) -> Normalisation:
    """What float inputs are usually fed: ImageNet's colours; of gray, 0 to 1, as torchvision's
    ToTensor makes it, since no mean of gray images is common to many networks."""
    if channels == 3:
        return 1 / 255, IMAGENET_MEAN, IMAGENET_STD
    return 1 / (2 ** depth - 1), (0.0,), (1.0,)


def _integer_normalisation(network: Network, channels: int, depth: int,
                           ) -> tuple[Normalisation, str]:
    """Return scale, mean and std of an integer input, and where they come from."""
    info = network.inputs[0]
    limits = np.iinfo(helper.tensor_dtype_to_np_dtype(info.dtype))
    byte = 255 / (2 ** depth - 1)
    found = input_quantization(network.model, info.name) if limits.bits <= 16 else None
    if found is None:  # only as int8 is a pixel not the number that it is
        lowest = limits.min if info.dtype == TensorProto.INT8 else 0
        is_usual = info.dtype in (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
        return ((byte, (float(-lowest),) * channels, (1.0,) * channels),
                'default' if is_usual else 'assumed')
    step, zero = found
    fed = (limits.min - zero) * step, (limits.max - zero) * step
    for low, high in _PIXEL_RANGES:
        if all(abs(a - b) <= _NEAR * (high - low) for a, b in zip(fed, (low, high), strict=True)):
            whole = (limits.max - limits.min) / 255
            return (whole * byte, (float(-limits.min),) * channels, (1.0,) * channels), 'graph'
    # Integers of normalised values: ((pixel / 255 - mean) / std) / step + zero.
    scale, means, stds = _default_normalisation(channels, depth)
    mean = tuple(mean - zero * step * std for mean, std in zip(means, stds, strict=True))
    return (scale, mean, tuple(std * step for std in stds)), 'assumed'


def input_quantization(model: onnx.ModelProto, name: str) -> tuple[float, int] | None:
    """Return scale and zero point of an input that the network dequantizes; None for others."""
    readers = [node for node in model.graph.node if name in node.input]
    while len(readers) == 1 and readers[0].op_type in ('Transpose', 'Identity'):
        name = readers[0].output[0]
        readers = [node for node in model.graph.node if name in node.input]
    kinds = {'DequantizeLinear': 1, 'QLinearConv': 1}
    if not readers or any(node.op_type not in kinds for node in readers):
        return None
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants.update((node.output[0], node.attribute[0].t) for node in model.graph.node
                     if node.op_type == 'Constant' and node.attribute[0].name == 'value')
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
"""Below this, ``input.scale`` is a factor of pixels of 16 bits, such as 1/65535, or 1/4095 of
cameras of 12 bits; 255 times it would be next to nothing."""


def resolve_color(network: Network, channels: int, config: ModelConfig, ledger: Ledger,
                  ) -> tuple[str, int]:
    """Return colour order, or 'gray', and depth.

    Raises:
        ConfigError: the network has another number of channels than what is told of them.
    """
    told, source, info = config.input, network.source, network.inputs[0]
    if channels == 1 and told.color in COLOR_ORDERS:
        raise ConfigError(f'{source}: input.color says {told.color}, but input {info} has 1 '
                          'channel; write input.color: gray')
    if channels == 3 and (told.color == 'gray' or told.depth is not None):
        key = 'color says gray' if told.color == 'gray' else f'depth says {told.depth}'
        raise ConfigError(f'{source}: input.{key}, but input {info} has 3 channels; write '
                          'input.color: rgb or bgr without a depth, which feeds a gray image to '
                          'all three')
    color = ledger.resolve('input.color', told.color, *(
        (lambda: 'gray', 'graph') if channels == 1 else (lambda: 'rgb', 'assumed')))
    if fault := replace(told, color=color).fault():
        raise ConfigError(f'{source}: {fault}')
    if color != 'gray':
        return color, 8
    is_deep = told.scale is not None and told.scale < _DEEP_SCALE
    return color, ledger.resolve('input.depth', told.depth, lambda: 16 if is_deep else 8,
                              'config' if is_deep else 'default')


def resolve_normalisation(network: Network, channels: int, depth: int, config: ModelConfig,
                          ledger: Ledger,
                          ) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Return scale, mean and std."""
    told = config.input
    nothing = 1.0, (0.0,) * channels, (1.0,) * channels
    is_unset = told.scale is None and told.mean is None and told.std is None
    if network.inputs[0].dtype in INTEGER_TYPES:
        defaults, origin = (nothing, 'default') if not is_unset else \
            _integer_normalisation(network, channels, depth)
    elif is_unset and (factor := read_scale(network.model, network.inputs[0].name)):
        defaults, origin = (factor * 255 / (2 ** depth - 1), *nothing[1:]), 'graph'
    elif is_unset:
        defaults, origin = _default_normalisation(channels, depth), 'assumed'
    else:  # whoever tells one of the three means the others to do nothing
        defaults, origin = nothing, 'default'
    found = (ledger.resolve('input.scale', told.scale, lambda: defaults[0], origin),
             ledger.resolve('input.mean', told.mean, lambda: defaults[1], origin),
             ledger.resolve('input.std', told.std, lambda: defaults[2], origin))
    if is_unset:
        return found
    if network.inputs[0].dtype in INTEGER_TYPES:
        return _as_integers(network, depth, *found)
    _check_range(network, depth, *found)
    return found


_OTHER_RANGE = 20
"""How many times as wide a range is another one: 0 to 255 is, of about -2 to 2."""


def _check_range(network: Network, depth: int, scale: float, mean: tuple[float, ...],
                 std: tuple[float, ...]) -> None:
    """Warn of a network that normalises its image itself and is told to be fed another range."""
    factor = read_scale(network.model, network.inputs[0].name)
    white, channels = scale * (2 ** depth - 1), list(zip(mean, std, strict=True))
    lowest, highest = min(-m / s for m, s in channels), max((white - m) / s for m, s in channels)
    takes = (factor or 0.0) * 255
    if takes and not takes / _OTHER_RANGE < highest - lowest < takes * _OTHER_RANGE:
        logger.warning('%s: input.scale, mean and std feed %.3g to %.3g, but the network '
                       'normalises its image itself and takes 0 to %.3g; leave the three out',
                       network.source, lowest, highest, takes)


_FEW = 16
"""So far black and white are apart in an integer input at least; values of training are 1 to 5
apart."""


def _as_integers(network: Network, depth: int, scale: float, mean: tuple[float, ...],
                 std: tuple[float, ...]) -> Normalisation:
    """Return what feeds an integer input, where a config may say how the network was trained.

    Values of training, such as -1 to 1, become integers by the input's own scale and zero point.

    Raises:
        ConfigError: the input has neither, and the values would be rounded to a few integers.
    """
    black = [-m / s for m, s in zip(mean, std, strict=True)]
    white = [((2 ** depth - 1) * scale - m) / s for m, s in zip(mean, std, strict=True)]
    if any(abs(high - low) >= _FEW for low, high in zip(black, white, strict=True)):
        return scale, mean, std
    info = network.inputs[0]
    found = input_quantization(network.model, info.name)
    if found is None:
        raise ConfigError(
            f'{network.source}: input {info} takes integers, but input.scale, mean and std bring '
            f'black to {black[0]:.3g} and white to {white[0]:.3g}; say what its integers are '
            '(scale: 1 feeds the pixel, with mean: [128, 128, 128] the pixel minus 128), or leave '
            'the three out')
    step, zero = found
    return (scale, tuple(m - zero * step * s for m, s in zip(mean, std, strict=True)),
            tuple(s * step for s in std))
