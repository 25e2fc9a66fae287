# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network and what its owner says about it, checked against each other and made complete."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from onnx import TensorProto

from trt_segmentation.class_merge import ClassMerge, resolve_merge
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
from trt_segmentation.graph.queries import (
    Queries,
    find_queries,
    said_pairs,
    told_queries,
    with_scores,
)
from trt_segmentation.graph.tail import Scores
from trt_segmentation.mask_encoding import MONO8, MaskEncoding, mask_encoding
from trt_segmentation.model_config import (
    METADATA_KEY,
    MOST_CLASSES,
    UNLABELLED,
    ClassesConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
)
from trt_segmentation.options import RunOptions
from trt_segmentation.palette import Palette

T = TypeVar('T')
_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_ID_TYPES = (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
_KIND_MADE_BY = {'Softmax': 'probabilities', 'Sigmoid': 'sigmoid', 'HardSigmoid': 'sigmoid'}
_LARGEST_STRIDE = 64
"""Input pixels a cell; no segmentation network known to us has maps coarser than that."""

_CHANNEL_AXIS = {'nchw': 1, 'nhwc': 3}

_MAIN_OUTPUTS = ('out', 'logits')
"""What torchvision and transformers call the output that is no auxiliary one."""

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
        labels: names of the mask's classes by id; empty where nobody told them.
        palette: colours of the mask's classes.
        unlabelled: the network's id for "no class".
        facts: all of that, with where it comes from.
        merge: how the network's classes become those of the mask; None where they are the same.
        mask_size: height and width of mask and confidence; None for those of the image.
        encoding: of the mask.
        queries: what ``scores`` is combined from; None where the network gives scores itself.
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
    merge: ClassMerge | None = None
    mask_size: tuple[int, int] | None = None
    encoding: MaskEncoding = MONO8
    queries: Queries | None = None

    def channels(self, color: str) -> tuple[int, int, int]:
        """Return which channel of an 'rgb' or 'bgr' image is the network's channel 0, 1, 2."""
        first, second, third = (color.index(name) for name in self.color)
        return first, second, third

    def palette_table(self, color: str) -> np.ndarray:
        """Return the colours of all values of the mask for an 'rgb' or 'bgr' image: uint8
        [256 or 65536, 3]."""
        return self.palette.table(color, self.encoding.unlabelled + 1)

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
    queries = _choose_queries(network, config)
    if queries is not None:
        network, queries, scores, kind = _combine(network, queries, layout, config, ledger)
    else:
        output = _choose_output(network, config, ledger)
        scores = _resolve_scores(network, output, layout, config, ledger)
        kind = _resolve_kind(network, output, scores, config, ledger)
    threshold = ledger.told('output.threshold', config.output.threshold, lambda: 0.5, 'default')
    labels, palette = _resolve_classes(network, scores, kind, config, ledger)
    unlabelled = ledger.told(
        'classes.unlabelled', config.classes.unlabelled,
        lambda: UNLABELLED if len(labels) <= UNLABELLED else MOST_CLASSES, 'default')
    spec = ModelSpec(network, color, scale, mean, std, resize, size, layout, scores, kind,
                     threshold, labels, palette, unlabelled, tuple(ledger.facts),
                     queries=queries)
    return spec if config.classes.merge is None else _with_merge(spec, config)


def _with_merge(spec: ModelSpec, config: ModelConfig) -> ModelSpec:
    told = config.classes.merge or ()
    try:
        merge = resolve_merge(told, spec.labels, spec.palette, len(spec.labels) or MOST_CLASSES,
                              spec.unlabelled)
    except ConfigError as error:
        raise ConfigError(f'{spec.network.source}: {error}') from None
    fact = Fact('classes.merge', merge.merged_labels, 'config')
    return replace(spec, labels=merge.merged_labels, palette=merge.merged_palette, merge=merge,
                   facts=(*spec.facts, fact))


def with_mask(spec: ModelSpec, options: RunOptions) -> ModelSpec:
    """Return a spec for masks of the size and encoding that options ask for.

    Raises:
        ConfigError: the network has more classes than such a mask can hold.
    """
    encoding, count = mask_encoding(options.mask_encoding), len(spec.labels)
    if count > encoding.unlabelled:
        raise ConfigError(
            f'{spec.network.source}: has {count} classes, but a {encoding.name} mask holds at '
            f'most {encoding.unlabelled}; take 16 bits with mask_encoding:=mono16 '
            '(--mask-encoding mono16), or merge classes with classes.merge in the model config')
    return replace(spec, mask_size=options.mask_size, encoding=encoding)


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


def _choose_queries(network: Network, config: ModelConfig) -> Queries | None:
    told = config.output
    if told.kind == 'queries' or (told.kind is None and told.class_name is not None):
        return told_queries(network, told.name, told.class_name)
    for key, value in (('class_name', told.class_name), ('grow_masks', told.grow_masks)):
        if value is not None and told.kind is not None:
            raise ConfigError(f"{network.source}: output.{key} is '{value}', but output.kind "
                              f'{told.kind}; it is for queries only')
    if told.kind is not None or told.name is not None:
        return None
    pairs = find_queries(network)
    return pairs[0] if len(pairs) == 1 else None


def _combine(network: Network, queries: Queries, input_layout: str, config: ModelConfig,
             ledger: _Ledger) -> tuple[Network, Queries, Scores, str]:
    """Combine queries within the network, which gives scores that are probabilities, then."""
    told, origin = config.output, 'graph'
    ledger.note('output.name', queries.masks.name, 'config' if told.name else origin)
    ledger.note('output.class_name', queries.classes.name, 'config' if told.class_name else origin)
    ledger.note('output.kind', 'queries', 'config' if told.kind else origin)
    grow = ledger.told('output.grow_masks', told.grow_masks, lambda: False, 'assumed')
    queries = replace(queries, grow=grow)
    network, output = with_scores(network, queries, input_layout)
    count = (output.shape or ())[1] or 0
    scores = Scores(output.name, count, _CHANNEL_AXIS['nchw'], output.dtype)
    return network, queries, scores, 'probabilities'


def _choose_output(network: Network, config: ModelConfig, ledger: _Ledger) -> TensorInfo:
    by_name = {info.name: info for info in network.outputs}
    name = config.output.name
    if name is not None:
        if name not in by_name:
            raise ConfigError(f"{network.source}: output.name is '{name}', but the graph's "
                              f'outputs are {", ".join(by_name)}')
        return by_name[ledger.note('output.name', name, 'config')]
    maps = [info for info in network.outputs if info.shape is None or len(info.shape) in (3, 4)]
    main = [info for info in maps if info.name in _MAIN_OUTPUTS]
    chosen = main if len(main) == 1 else maps
    # Alike in all but their values: of a main and an auxiliary output, exporters put main first.
    alike = len({(info.dtype, info.shape) for info in chosen}) == 1 and chosen[0].shape is not None
    if not chosen or (len(chosen) > 1 and not alike):
        raise _undecided(network, maps)
    ledger.note('output.name', chosen[0].name, 'graph' if len(chosen) == 1 else 'assumed')
    return chosen[0]


def _undecided(network: Network, maps: list[TensorInfo]) -> ConfigError:
    """The error for a network without one output that is clearly the segmentation."""
    found = ', '.join(str(info) for info in network.outputs)
    fix = 'scores [1, classes, height, width] or ids [1, height, width] are needed'
    if maps:
        fix = 'name one as output.name'
    if pairs := find_queries(network):
        fix += (f'; if they are queries of masks and classes ({said_pairs(pairs)}), say so with '
                'output.kind: queries, output.name (the masks) and output.class_name')
    elif sorted(len(info.shape or ()) for info in maps if info.dtype in _FLOAT_TYPES) == [3, 4]:
        fix += ('; if they are the boxes and prototypes of an instance segmentation (as YOLO '
                'gives them), no mask of classes follows from them: a semantic one is needed')
    return ConfigError(f'{network.source}: {len(maps)} outputs could be the segmentation '
                       f'({found}); {fix}')


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
    _check_is_map(network, output, layout)
    channels = shape[axis]
    if channels is None:
        raise ModelError(f'{network.source}: output {output} leaves its number of classes open; '
                         'export the network with fixed shapes')
    return Scores(output.name, channels, axis, output.dtype)


def _check_is_map(network: Network, output: TensorInfo, layout: str) -> None:
    fed, found = network.inputs[0].shape or (), output.shape or ()
    is_one_cell = (found[2:] if layout == 'nchw' else found[1:3]) == (1, 1)
    if is_one_cell and max(extent or 0 for extent in fed) > _LARGEST_STRIDE:
        raise ModelError(f'{network.source}: output {output} is 1x1, one class for the whole '
                         'image; a class for each pixel is needed: export the network without '
                         'its pooling, or name another output as output.name')


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
    if count is not None and count > MOST_CLASSES:
        raise ModelError(f"{network.source}: output '{scores.name}' has {count} classes; a mask "
                         f'holds at most {MOST_CLASSES}')
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

    # Names that a merge replaces cannot be wrong.
    origin = 'assumed' if config.classes.merge is None else 'default'
    labels = ledger.told('classes.labels', labels, default_labels, origin)
    palette_size = count or len(labels) or UNLABELLED
    background = labels[:1] == ('background',)
    colors = ledger.told('classes.colors', colors,
                         lambda: Palette.generate(palette_size, background).colors, 'default')
    return labels, Palette(colors)


def complete_config(spec: ModelSpec) -> ModelConfig:
    """Return the config that says everything a spec says, nothing left to the graph."""
    layout = next((name for name, axis in _CHANNEL_AXIS.items() if axis == spec.scores.axis), None)
    own = spec if spec.merge is None else spec.merge
    told = None if spec.merge is None else spec.merge.told
    output = OutputConfig(spec.scores.name, spec.kind, layout, spec.threshold)
    if spec.queries is not None:
        output = OutputConfig(spec.queries.masks.name, 'queries', threshold=spec.threshold,
                              class_name=spec.queries.classes.name,
                              grow_masks=spec.queries.grow)
    return ModelConfig(
        InputConfig(spec.color, spec.scale, spec.mean, spec.std, spec.resize, spec.size),
        output,
        ClassesConfig(own.labels or None, own.palette.colors, spec.unlabelled, told))


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
