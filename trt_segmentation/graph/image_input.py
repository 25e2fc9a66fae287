# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The input of a network: an image, and how it is fed."""

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.facts import Ledger
from trt_segmentation.graph.head import INTEGER_TYPES
from trt_segmentation.graph.network import FLOAT_TYPES, Network, Shape, TensorInfo, fix_input_shape
from trt_segmentation.model_config import ModelConfig

# The means and deviations of ImageNet's training set, which torchvision, timm and most exports
# trained from its weights use (torchvision.transforms.Normalize's documented example).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resolve_input(network: Network, config: ModelConfig, ledger: Ledger,
                  ) -> tuple[str, tuple[int, int] | None, str]:
    """Return layout, height and width (None where any will do), and resize of the input."""
    info = _only_input(network)
    shape = info.shape
    if shape is None or len(shape) != 4:
        raise ModelError(f'{network.source}: input {info} is no batch of images; '
                         'a network from [1, 3, height, width] or [1, height, width, 3] is needed')
    if shape[0] not in (None, 1):
        raise ModelError(f'{network.source}: input {info} takes batches of {shape[0]}; '
                         'export it with a batch of 1 or a dynamic one')
    layout = ledger.note('input.layout', _input_layout(network, info, shape), 'graph')
    known = shape[2:] if layout == 'nchw' else shape[1:3]
    size = _resolve_size(network, (known[0], known[1]), config, ledger)
    resize = ledger.told('input.resize', config.input.resize, lambda: 'stretch', 'default')
    if resize == 'none':
        if None not in known:
            raise ConfigError(f'{network.source}: input.resize is none, but the graph takes '
                              f'{known[0]}x{known[1]} only; use stretch or letterbox')
        if config.input.size is not None:
            height, width = config.input.size
            raise ConfigError(f'{network.source}: input.resize is none, which feeds each image at '
                              f'its own size, but input.size says {height}x{width}; leave one of '
                              'them out')
        return layout, None, resize
    if size is None:
        raise ConfigError(f'{network.source}: input {info} leaves its size open and input.size '
                          'is not told; give input.size: [height, width], or resize: none to '
                          "feed each image at the camera's own size")
    return layout, size, resize


def _only_input(network: Network) -> TensorInfo:
    if len(network.inputs) != 1:
        found = ', '.join(str(info) for info in network.inputs) or 'none'
        raise ModelError(f'{network.source}: a network with one image input is needed, '
                         f'this one has {len(network.inputs)}: {found}')
    info = network.inputs[0]
    if info.dtype not in FLOAT_TYPES + INTEGER_TYPES:
        raise ModelError(f'{network.source}: input {info} is no image type; '
                         'float32, float16 or uint8 is needed')
    return info


def _input_layout(network: Network, info: TensorInfo, shape: Shape) -> str:
    first, last = shape[1] == 3, shape[3] == 3
    if first and not last:
        return 'nchw'
    if last and not first:
        return 'nhwc'
    if first and last:
        raise ModelError(f'{network.source}: input {info} has extent 3 at axis 1 and at axis 3, '
                         'so its layout cannot be told; export it with another size')
    raise ModelError(f'{network.source}: input {info} has not 3 channels at axis 1 or 3; '
                     'networks that take one colour image are supported')


def _resolve_size(network: Network, known: tuple[int | None, int | None], config: ModelConfig,
                  ledger: Ledger) -> tuple[int, int] | None:
    told = config.input.size
    for axis, name in enumerate(('height', 'width')):
        if told is not None and known[axis] not in (None, told[axis]):
            raise ConfigError(f'{network.source}: input.size says {name} {told[axis]}, '
                              f'the graph {known[axis]}; leave input.size out or export anew')
    if told is not None:
        return ledger.note('input.size', told, ledger.teller('input.size'))
    if known[0] is not None and known[1] is not None:
        return ledger.note('input.size', (known[0], known[1]), 'graph')
    return None


def with_fixed_input(network: Network, layout: str, size: tuple[int, int] | None) -> Network:
    """Return the network with that size of its input filled in."""
    if size is None:
        return network
    height, width = size
    shape = (1, 3, height, width) if layout == 'nchw' else (1, height, width, 3)
    return fix_input_shape(network, shape)


def resolve_normalisation(network: Network, config: ModelConfig, ledger: Ledger,
                          ) -> tuple[str, float, tuple[float, ...], tuple[float, ...]]:
    """Return colour order, scale, mean and std."""
    told = config.input
    color = ledger.told('input.color', told.color, lambda: 'rgb', 'assumed')
    if network.inputs[0].dtype in INTEGER_TYPES:
        defaults, origin = (1.0, (0.0,) * 3, (1.0,) * 3), 'default'
    elif told.scale is None and told.mean is None and told.std is None:
        defaults, origin = (1 / 255, IMAGENET_MEAN, IMAGENET_STD), 'assumed'
    else:  # whoever tells one of the three means the others to do nothing
        defaults, origin = (1.0, (0.0,) * 3, (1.0,) * 3), 'default'
    return (color,
            ledger.told('input.scale', told.scale, lambda: defaults[0], origin),
            ledger.told('input.mean', told.mean, lambda: defaults[1], origin),
            ledger.told('input.std', told.std, lambda: defaults[2], origin))
