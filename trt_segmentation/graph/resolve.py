# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network and what its owner says about it, checked against each other and made complete."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.head import INTEGER_TYPES
from trt_segmentation.graph.network import (
    Network,
    Shape,
    TensorInfo,
    dtype_name,
    fix_input_shape,
    shape_text,
)
from trt_segmentation.graph.tail import Scores
from trt_segmentation.model_config import (
    MAX_CLASSES,
    METADATA_KEY,
    UNLABELLED,
    ClassesConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
)
from trt_segmentation.palette import Palette

T = TypeVar('T')
_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_ID_TYPES = (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
_KIND_MADE_BY = {'Softmax': 'probabilities', 'Sigmoid': 'sigmoid', 'HardSigmoid': 'sigmoid'}
_CHANNEL_AXIS = {'nchw': 1, 'nhwc': 3}

# The means and deviations of ImageNet's training set, which torchvision, timm and most exports
# trained from its weights use (torchvision.transforms.Normalize's documented example).
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Fact:
    """One thing known about a network and how: 'config', 'graph', 'default' or 'assumed'.

    'assumed' marks what no graph tells and nobody said, so that it may be wrong.
    """

    key: str
    value: object
    origin: str


@dataclass(frozen=True)
class ModelSpec:
    """Everything that head and tail need to know about a network.

    Attributes:
        network: the network, with its input shape fixed where ``size`` is.
        color: 'rgb' or 'bgr'.
        scale, mean, std: the value fed is ``(pixel * scale - mean) / std``.
        resize: 'stretch', 'letterbox' or 'none'.
        size: height and width of the network's input; None where ``resize`` is 'none'.
        input_layout: 'nchw' or 'nhwc'.
        scores: the output that is used.
        kind: one of ``model_config.KINDS``.
        threshold: 0..1.
        labels: class names by id; empty where nobody told them.
        palette: class colours.
        unlabelled: the network's id for "no class".
        facts: all of that, with where it comes from.
        mask_size: height and width of mask and confidence; None for those of the image.
    """

    network: Network
    color: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    size: tuple[int, int] | None
    input_layout: str
    scores: Scores
    kind: str
    threshold: float
    labels: tuple[str, ...]
    palette: Palette
    unlabelled: int
    facts: tuple[Fact, ...]
    mask_size: tuple[int, int] | None = None

    def channels(self, color: str) -> tuple[int, int, int]:
        """Return which channel of an 'rgb' or 'bgr' image is the network's channel 0, 1, 2."""
        first, second, third = (color.index(name) for name in self.color)
        return first, second, third

    @property
    def assumed(self) -> tuple[Fact, ...]:
        """What may be wrong, since nobody said it and the graph cannot tell."""
        return tuple(fact for fact in self.facts if fact.origin == 'assumed')


class _Ledger:
    """Writes down every decision together with its origin."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def note(self, key: str, value: T, origin: str) -> T:
        self.facts.append(Fact(key, value, origin))
        return value

    def told(self, key: str, value: T | None, otherwise: Callable[[], T], origin: str) -> T:
        if value is not None:
            return self.note(key, value, 'config')
        return self.note(key, otherwise(), origin)


def resolve(network: Network, config: ModelConfig) -> ModelSpec:
    """Read everything else off the graph, and check what was told against it.

    Args:
        network: see ``read_network``.
        config: what the user says; it goes before what the file's own metadata says.

    Raises:
        ConfigError: config and graph contradict each other (both sides are named), or
            something that no graph tells is missing.
        ModelError: this is no network from one image to classes per pixel.
    """
    config = config.over(embedded_config(network))
    ledger = _Ledger()
    layout, size, resize = _resolve_input(network, config, ledger)
    network = _with_fixed_input(network, layout, size)
    color, scale, mean, std = _resolve_normalisation(network, config, ledger)
    output = _choose_output(network, config, ledger)
    scores = _resolve_scores(network, output, layout, config, ledger)
    kind = _resolve_kind(network, output, scores, config, ledger)
    threshold = ledger.told('output.threshold', config.output.threshold, lambda: 0.5, 'default')
    labels, palette = _resolve_classes(network, scores, kind, config, ledger)
    unlabelled = ledger.told('classes.unlabelled', config.classes.unlabelled,
                             lambda: UNLABELLED, 'default')
    return ModelSpec(network, color, scale, mean, std, resize, size, layout, scores, kind,
                     threshold, labels, palette, unlabelled, tuple(ledger.facts))


def embedded_config(network: Network) -> ModelConfig:
    """Return the config in the model's own metadata; an empty one if there is none.

    Raises:
        ConfigError: it is there and not understood.
    """
    text = network.metadata.get(METADATA_KEY, '')
    return ModelConfig.from_text(text, f"{network.source}, metadata '{METADATA_KEY}'")


def _resolve_input(network: Network, config: ModelConfig, ledger: _Ledger,
                   ) -> tuple[str, tuple[int, int] | None, str]:
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
    if info.dtype not in _FLOAT_TYPES + INTEGER_TYPES:
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
                  ledger: _Ledger) -> tuple[int, int] | None:
    told = config.input.size
    for axis, name in enumerate(('height', 'width')):
        if told is not None and known[axis] not in (None, told[axis]):
            raise ConfigError(f'{network.source}: input.size says {name} {told[axis]}, '
                              f'the graph {known[axis]}; leave input.size out or export anew')
    if told is not None:
        return ledger.note('input.size', told, 'config')
    if known[0] is not None and known[1] is not None:
        return ledger.note('input.size', (known[0], known[1]), 'graph')
    return None


def _with_fixed_input(network: Network, layout: str, size: tuple[int, int] | None) -> Network:
    if size is None:
        return network
    height, width = size
    shape = (1, 3, height, width) if layout == 'nchw' else (1, height, width, 3)
    return fix_input_shape(network, shape)


def _resolve_normalisation(network: Network, config: ModelConfig, ledger: _Ledger,
                           ) -> tuple[str, float, tuple[float, ...], tuple[float, ...]]:
    told = config.input
    color = ledger.told('input.color', told.color, lambda: 'rgb', 'assumed')
    if network.inputs[0].dtype in INTEGER_TYPES:
        defaults, origin = (1.0, (0.0,) * 3, (1.0,) * 3), 'default'
    elif told.scale is None and told.mean is None and told.std is None:
        defaults, origin = (1 / 255, _IMAGENET_MEAN, _IMAGENET_STD), 'assumed'
    else:  # whoever tells one of the three means the others to do nothing
        defaults, origin = (1.0, (0.0,) * 3, (1.0,) * 3), 'default'
    return (color,
            ledger.told('input.scale', told.scale, lambda: defaults[0], origin),
            ledger.told('input.mean', told.mean, lambda: defaults[1], origin),
            ledger.told('input.std', told.std, lambda: defaults[2], origin))


def _choose_output(network: Network, config: ModelConfig, ledger: _Ledger) -> TensorInfo:
    by_name = {info.name: info for info in network.outputs}
    name = config.output.name
    if name is not None:
        if name not in by_name:
            raise ConfigError(f"{network.source}: output.name is '{name}', but the graph's "
                              f'outputs are {", ".join(by_name)}')
        return by_name[ledger.note('output.name', name, 'config')]
    maps = [info for info in network.outputs if info.shape is None or len(info.shape) in (3, 4)]
    if len(maps) != 1:
        found = ', '.join(str(info) for info in network.outputs)
        fix = 'name one as output.name' if maps else \
            'scores [1, classes, height, width] or ids [1, height, width] are needed'
        raise ConfigError(f'{network.source}: {len(maps)} outputs could be the segmentation '
                          f'({found}); {fix}')
    ledger.note('output.name', maps[0].name, 'graph')
    return maps[0]


def _resolve_scores(network: Network, output: TensorInfo, input_layout: str, config: ModelConfig,
                    ledger: _Ledger) -> Scores:
    shape = output.shape
    if shape is None:
        raise ModelError(f'{network.source}: the rank of output {output} is not known; '
                         'export the network with fixed shapes')
    if shape and shape[0] not in (None, 1):
        raise ModelError(f'{network.source}: output {output} has a batch of {shape[0]}, not 1')
    if len(shape) == 3 and output.dtype in _ID_TYPES:
        return Scores(output.name, 1, None, output.dtype)
    if len(shape) != 4:
        raise ModelError(f'{network.source}: output {output} is no segmentation; scores '
                         '[1, classes, height, width] or integer ids [1, height, width] are '
                         'needed')
    candidates = _output_layouts(network, shape, input_layout)
    told = config.output.layout
    if told is not None and told not in candidates:
        raise ConfigError(f'{network.source}: output.layout says {told}, but output {output} '
                          f'fits {candidates[0]}')
    layout = ledger.told('output.layout', told, lambda: candidates[0], 'graph')
    axis = _CHANNEL_AXIS[layout]
    channels = shape[axis]
    if channels is None:
        raise ModelError(f'{network.source}: output {output} leaves its number of classes open; '
                         'export the network with fixed shapes')
    return Scores(output.name, channels, axis, output.dtype)


def _output_layouts(network: Network, shape: Shape, input_layout: str) -> list[str]:
    """The layouts whose height and width have the input's aspect ratio, likeliest first."""
    wanted = network.inputs[0].shape
    likely = [input_layout, *(layout for layout in _CHANNEL_AXIS if layout != input_layout)]
    if wanted is None:
        return likely

    def fits(layout: str) -> bool:
        height, width = shape[2:] if layout == 'nchw' else shape[1:3]
        full_height, full_width = wanted[2:] if input_layout == 'nchw' else wanted[1:3]
        if height is None or width is None or full_height is None or full_width is None:
            return True
        # Strides round: each extent may be off by one.
        return abs(height * full_width - width * full_height) <= max(full_height, full_width)

    return [layout for layout in likely if fits(layout)] or likely


def _resolve_kind(network: Network, output: TensorInfo, scores: Scores, config: ModelConfig,
                  ledger: _Ledger) -> str:
    told = config.output.kind
    is_integer = output.dtype in _ID_TYPES
    if not is_integer and output.dtype not in _FLOAT_TYPES:
        raise ModelError(f'{network.source}: output {output} is neither scores (float) nor ids '
                         '(int32, int64, uint8)')
    if told is not None and (told == 'ids') != is_integer:
        raise ConfigError(f'{network.source}: output.kind says {told}, but output {output} holds '
                          f'{dtype_name(output.dtype)} values')
    if is_integer and scores.channels != 1:
        raise ModelError(f'{network.source}: output {output} has {scores.channels} channels of '
                         'integers; class ids have one')
    found = 'ids' if is_integer else _KIND_MADE_BY.get(output.made_by, 'logits')
    if told in ('probabilities', 'sigmoid') and output.made_by in ('Conv', 'ConvTranspose'):
        raise ConfigError(f'{network.source}: output.kind says {told}, but output {output} comes '
                          f'straight from a {output.made_by}; those are logits')
    return ledger.told('output.kind', told, lambda: found, 'graph')


def _resolve_classes(network: Network, scores: Scores, kind: str, config: ModelConfig,
                     ledger: _Ledger) -> tuple[tuple[str, ...], Palette]:
    count = None if kind == 'ids' else max(scores.channels, 2)
    if count is not None and count > MAX_CLASSES:
        raise ModelError(f"{network.source}: output '{scores.name}' has {count} classes; a mono8 "
                         f'mask holds at most {MAX_CLASSES}')
    labels, colors = config.classes.labels, config.classes.colors
    for key, told in (('labels', labels), ('colors', colors)):
        if told is not None and count is not None and len(told) != count:
            means = f'{count} classes' if scores.channels > 1 else \
                '1 channel, which makes 2 classes (background, foreground)'
            raise ConfigError(f'{network.source}: classes.{key} has {len(told)} entries, but '
                              f"output '{scores.name}' has {means}")

    if fault := config.classes.fault():  # each from a place of its own
        raise ConfigError(f'{network.source}: {fault}')

    def default_labels() -> tuple[str, ...]:
        if count is None:
            return ()
        if scores.channels == 1:
            return 'background', 'foreground'
        return tuple(f'class {index}' for index in range(count))

    labels = ledger.told('classes.labels', labels, default_labels, 'assumed')
    palette_size = count or len(labels) or MAX_CLASSES
    background = labels[:1] == ('background',)
    colors = ledger.told('classes.colors', colors,
                         lambda: Palette.generate(palette_size, background).colors, 'default')
    return labels, Palette(colors)


def complete_config(spec: ModelSpec) -> ModelConfig:
    """Return the config that says everything a spec says, nothing left to the graph."""
    layout = next((name for name, axis in _CHANNEL_AXIS.items() if axis == spec.scores.axis), None)
    return ModelConfig(
        InputConfig(spec.color, spec.scale, spec.mean, spec.std, spec.resize, spec.size),
        OutputConfig(spec.scores.name, spec.kind, layout, spec.threshold),
        ClassesConfig(spec.labels or None, spec.palette.colors, spec.unlabelled))


def format_facts(spec: ModelSpec) -> str:
    """Return the spec's facts as an aligned table: key, value, origin."""
    rows = [(fact.key, _short(fact.value), fact.origin) for fact in spec.facts]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return '\n'.join(f'{key:{widths[0]}}  {value:{widths[1]}}  {origin}'
                     for key, value, origin in rows)


def _short(value: object, limit: int = 60) -> str:
    if isinstance(value, tuple):
        if len(value) > 4:
            head = ', '.join(str(item) for item in value[:3])
            return _clipped(f'{len(value)}: {head}, ...', limit)
        return _clipped(shape_text(value) if all(isinstance(v, int) for v in value)
                        else '[' + ', '.join(_short(item) for item in value) + ']', limit)
    if isinstance(value, float):
        return f'{value:.6g}'
    return _clipped(str(value), limit)


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit - 3] + '...'
