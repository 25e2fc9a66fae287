# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network and what its owner says about it, checked against each other and made complete."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding, mask_encoding
from trt_segmentation.classes.merging import ClassMerge, resolve_merge
from trt_segmentation.classes.palette import Palette
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.measurement import Feeding, Measuring, Probe
from trt_segmentation.graph.onnx_tools.network import Network, shape_text, with_usual_types
from trt_segmentation.graph.reading.batch import check_batch
from trt_segmentation.graph.reading.class_output import (
    Pair,
    choose_pair,
    combine_pair,
    read_output,
)
from trt_segmentation.graph.reading.image_input import (
    resolve_color,
    resolve_input,
    resolve_normalisation,
    with_fixed_input,
)
from trt_segmentation.graph.reading.instances import THRESHOLD
from trt_segmentation.graph.reading.provenance import Fact, Ledger
from trt_segmentation.graph.reading.scores import Scores
from trt_segmentation.graph.reading.ultralytics import exported_class_count, exporter_config
from trt_segmentation.model_config import (
    METADATA_KEY,
    MOST_CLASSES,
    SCORE_KINDS,
    UNLABELLED,
    ClassesConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
    TaskConfig,
    naming_task,
)
from trt_segmentation.options import RunOptions


@dataclass(frozen=True)
class TaskSpec:
    """Everything that a tail needs to know about one mask that a network gives.

    Attributes:
        name: of its topics and files; '' where the network gives one mask.
        scores: the output that is used.
        kind: one of ``model_config.KINDS``.
        threshold: 0..1.
        labels: names of the mask's classes by id; empty where nobody told them.
        palette: colours of the mask's classes.
        unlabelled: the network's id for "no class".
        merge: how the network's classes become those of the mask; None where they are the same.
        pair: what ``scores`` is combined from; None where the network gives scores itself.
        align_corners: how the scores lie on the network's input; see ``OutputConfig``.
        output_name: the network's own output that ``scores`` is, or is made from.
    """

    name: str
    scores: Scores
    kind: str
    threshold: float
    labels: tuple[str, ...]
    palette: Palette
    unlabelled: int
    merge: ClassMerge | None = None
    pair: Pair | None = None
    align_corners: bool = False
    output_name: str = ''


@dataclass(frozen=True)
class ModelSpec:
    """Everything that head and tails need to know about a network.

    What it has of ``TaskSpec`` is that of its only task. Where it has several, these attributes
    raise ConfigError, which names the tasks.

    Attributes:
        network: the network, with its input shape fixed where ``size`` is.
        color: 'rgb' or 'bgr'; 'gray' of a network of one channel.
        scale, mean, std: the value fed is ``(pixel * scale - mean) / std``.
        resize: 'stretch', 'letterbox' or 'none'.
        size: height and width of the network's input; None where ``resize`` is 'none'.
        input_layout: 'nchw' or 'nhwc'.
        tasks: the masks that it gives, at least one.
        facts: all of that, with where it comes from.
        mask_size: height and width of masks and confidences; None for those of the image.
        encoding: of the masks.
        border: of 'letterbox', the pixel value around the image, 0..255; None for ``mean``.
        batch: images that head and tails take at once. ``network`` is that of one image;
            ``graph.reading.batch.batched`` makes it take so many.
        depth: of gray, how many bits of a pixel are fed, 8 or 16; see ``InputConfig``.
    """

    network: Network
    color: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    size: tuple[int, int] | None
    input_layout: str
    tasks: tuple[TaskSpec, ...]
    facts: tuple[Fact, ...]
    mask_size: tuple[int, int] | None = None
    encoding: MaskEncoding = MONO8
    border: float | None = None
    batch: int = 1
    depth: int = 8

    @property
    def channel_count(self) -> int:
        """Channels of the network's input: 3, or 1 of gray."""
        return len(self.mean)

    @property
    def gray_bits(self) -> int:
        """How many bits of a pixel a network of one channel is fed; 0 for one of three."""
        return self.depth if self.color == 'gray' else 0

    @property
    def task(self) -> TaskSpec:
        """Its only task.

        Raises:
            ConfigError: it has several.
        """
        self.check_single()
        return self.tasks[0]

    def check_single(self) -> None:
        """Raise ConfigError where there are several tasks."""
        if len(self.tasks) > 1:
            names = ', '.join(task.name for task in self.tasks)
            raise ConfigError(f'{self.network.source}: gives several masks ({names}), and one is '
                              'needed here; choose it with a model config of output: '
                              f'{{name: {self.tasks[0].output_name}}}')

    scores = property(lambda self: self.task.scores)
    kind = property(lambda self: self.task.kind)
    threshold = property(lambda self: self.task.threshold)
    labels = property(lambda self: self.task.labels)
    palette = property(lambda self: self.task.palette)
    unlabelled = property(lambda self: self.task.unlabelled)
    merge = property(lambda self: self.task.merge)
    pair = property(lambda self: self.task.pair)
    align_corners = property(lambda self: self.task.align_corners)
    output_name = property(lambda self: self.task.output_name)

    def channels(self, color: str) -> tuple[int, int, int]:
        """Return which channel of an 'rgb' or 'bgr' image is the network's channel 0, 1, 2; for
        one of gray, which is red, green and blue."""
        order = 'rgb' if self.color == 'gray' else self.color
        first, second, third = (color.index(name) for name in order)
        return first, second, third

    def palette_table(self, color: str, task: TaskSpec | None = None) -> np.ndarray:
        """Return the colours of all values of a task's mask, or the only one's, for an 'rgb' or
        'bgr' image: uint8 [256 or 65536, 3]."""
        return (task or self.task).palette.table(color, self.encoding.unlabelled + 1)

    @property
    def assumed(self) -> tuple[Fact, ...]:
        """What may be wrong, since nobody said it and the graph cannot tell."""
        return tuple(fact for fact in self.facts if fact.origin == 'assumed')


def resolve(network: Network, config: ModelConfig, batch: int = 1, *,
            measuring: Measuring | None = None) -> ModelSpec:
    """Read everything else off the graph, and check what was told against it.

    Args:
        network: see ``read_network``.
        config: what the user says; it goes before what the file's own metadata says.
        batch: images in one enqueue, 1 and up.
        measuring: how the network is run once where its graph does not say what its values
            mean; None assumes it.

    Raises:
        ConfigError: config and graph, or config and measured values, contradict each other (both
            sides are named), or something that no graph tells is missing.
        ModelError: this is no network from one image to classes per pixel, or it does not take
            so many images at once.
    """
    told = config.over(embedded_config(network))
    config = told.over(exporter_config(network, told))
    ledger = Ledger(from_metadata=config.set_keys() - told.set_keys())
    layout, channels, size, resize = resolve_input(network, config, ledger)
    network = with_usual_types(with_fixed_input(network, layout, channels, size))
    color, depth = resolve_color(network, channels, config, ledger)
    scale, mean, std = resolve_normalisation(network, channels, depth, config, ledger)
    border = None
    if resize == 'letterbox' and config.input.border is not None:
        border = ledger.told('input.border', config.input.border, lambda: 0.0, 'default')
    feeding = Feeding(layout, size, scale * (257 if depth == 16 else 1), mean, std, color)
    can_run = network.model.graph.node or (measuring and measuring.run)
    probe = Probe(network, feeding, measuring) if measuring and can_run else None
    tasks: list[TaskSpec] = []
    for task in config.tasks:
        own = Ledger(ledger.from_metadata, task.task)
        with naming_task(task.task):
            network, resolved = _resolve_task(network, layout, config.of_task(task), own, probe,
                                              batch)
        tasks.append(resolved)
        ledger.facts += own.facts
    return ModelSpec(network, color, scale, mean, std, resize, size, layout, tuple(tasks),
                     tuple(ledger.facts), border=border, batch=batch, depth=depth)


def _resolve_task(network: Network, layout: str, config: ModelConfig, ledger: Ledger,
                  probe: Probe | None, batch: int) -> tuple[Network, TaskSpec]:
    """Return one of the network's masks, and the network, which has more outputs where that takes
    some.

    Args:
        network: its input is known.
        layout: of the input.
        config: that of the mask.
        ledger: gets what is found, and knows the name of the task.
        probe, batch: as of ``read_output`` and ``resolve``.
    """
    pair = choose_pair(network, layout, _class_count(network, config), config, probe)
    if pair is not None:
        check_batch(network, (pair.masks.name, pair.classes.name), batch)
        network, pair, scores, kind = combine_pair(network, pair, layout, config, ledger, batch)
    else:
        network, scores, kind = read_output(network, layout, config, ledger, probe)
        check_batch(network, (scores.name,), batch)
    align_corners = _resolve_corners(network, kind if pair is None else pair.kind, config, ledger)
    threshold = _resolve_threshold(network, pair, config, ledger)
    labels, palette = _resolve_classes(network, scores, kind, config, ledger)
    unlabelled = ledger.told(
        'classes.unlabelled', config.classes.unlabelled,
        lambda: UNLABELLED if len(labels) <= UNLABELLED else MOST_CLASSES, 'default')
    task = TaskSpec(ledger.task, scores, kind, threshold, labels, palette, unlabelled, pair=pair,
                    align_corners=align_corners, output_name=_name_of(ledger, scores))
    return network, _with_merge(task, config, ledger, network.source)


def _name_of(ledger: Ledger, scores: Scores) -> str:
    key = ledger.key('output.name')
    return next((str(fact.value) for fact in ledger.facts if fact.key == key), scores.name)


def _class_count(network: Network, config: ModelConfig) -> int | None:
    """How many classes there are, where file or config tell."""
    count = exported_class_count(network)
    return len(config.classes.labels) if count is None and config.classes.labels else count


def _resolve_corners(network: Network, kind: str, config: ModelConfig, ledger: Ledger) -> bool:
    told = config.output.align_corners
    if told is None:
        return False
    if told and kind not in SCORE_KINDS:
        raise ConfigError(f'{network.source}: output.align_corners is true, but output.kind '
                          f'{kind}; it is for {", ".join(SCORE_KINDS)} only')
    return ledger.told('output.align_corners', told, lambda: False, 'default')


def _resolve_threshold(network: Network, pair: Pair | None, config: ModelConfig, ledger: Ledger,
                       ) -> float:
    is_instances = pair is not None and pair.kind == 'instances'
    if is_instances and config.output.threshold == 0:
        raise ConfigError(f'{network.source}: output.threshold is 0, which is the score where '
                          'there is no instance; say one above it')
    return ledger.told('output.threshold', config.output.threshold,
                       lambda: THRESHOLD if is_instances else 0.5, 'default')


def _with_merge(task: TaskSpec, config: ModelConfig, ledger: Ledger, source: str) -> TaskSpec:
    if config.classes.merge is None:
        return task
    try:
        merge = resolve_merge(config.classes.merge, task.labels, task.palette,
                              len(task.labels) or MOST_CLASSES, task.unlabelled)
    except ConfigError as error:
        raise ConfigError(f'{source}: {error}') from None
    ledger.note('classes.merge', merge.merged_labels, 'config')
    return replace(task, labels=merge.merged_labels, palette=merge.merged_palette, merge=merge)


def with_mask(spec: ModelSpec, options: RunOptions) -> ModelSpec:
    """Return a spec for masks of the size and encoding that options ask for.

    Raises:
        ConfigError: the network has more classes than such a mask can hold.
    """
    encoding = mask_encoding(options.mask_encoding)
    count = max(len(task.labels) for task in spec.tasks)
    if count > encoding.unlabelled:
        raise ConfigError(
            f'{spec.network.source}: has {count} classes, but a {encoding.name} mask holds at '
            f'most {encoding.unlabelled}; set mask_encoding to mono16, or merge classes with '
            'classes.merge in the model config', settings=['mask_encoding'])
    return replace(spec, mask_size=options.mask_size, encoding=encoding)


def embedded_config(network: Network) -> ModelConfig:
    """Return the config in the model's own metadata; an empty one if there is none.

    Raises:
        ConfigError: it is there and not understood.
    """
    return config_in(network.metadata, network.source)


def config_in(metadata: Mapping[str, str], source: str) -> ModelConfig:
    """Return the config in the metadata of the model ``source``; see ``embedded_config``."""
    return ModelConfig.from_text(metadata.get(METADATA_KEY, ''),
                                 f"{source}, metadata '{METADATA_KEY}'")


def _resolve_classes(network: Network, scores: Scores, kind: str, config: ModelConfig,
                     ledger: Ledger) -> tuple[tuple[str, ...], Palette]:
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
    fed = InputConfig(spec.color, spec.scale, spec.mean, spec.std, spec.resize, spec.size,
                      spec.border, spec.input_layout, spec.gray_bits or None)
    found = {fact.key: fact.value for fact in spec.facts}
    return ModelConfig.of_tasks(fed, tuple(_complete_task(task, found) for task in spec.tasks))


def _complete_task(task: TaskSpec, found: Mapping[str, object]) -> TaskConfig:
    layout = found.get(Ledger(task=task.name).key('output.layout'))
    own = task if task.merge is None else task.merge
    told = None if task.merge is None else task.merge.classes
    output = OutputConfig(task.output_name, task.kind, str(layout) if layout else None,
                          task.threshold, align_corners=task.align_corners or None)
    if task.pair is not None:
        output = OutputConfig(task.pair.masks.name, task.pair.kind, threshold=task.threshold,
                              class_name=task.pair.classes.name, grow_masks=task.pair.grow)
    return TaskConfig(task.name, output, ClassesConfig(own.labels or None, own.palette.colors,
                                                       task.unlabelled, told))


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
