# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Combines a network with its model config into a complete, checked ``ModelSpec``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding, mask_encoding
from trt_segmentation.classes.merging import ClassMerge, resolve_merge
from trt_segmentation.classes.palette import Palette
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.measurement import (
    MeasurementSetup,
    Preprocessing,
    Probe,
    measurement_setup,
)
from trt_segmentation.graph.onnx_tools.network import (
    Network,
    read_network,
    shape_text,
    with_supported_types,
)
from trt_segmentation.graph.reading.batch import check_batch
from trt_segmentation.graph.reading.class_output import (
    Pair,
    choose_pair,
    combine_pair,
    read_output,
)
from trt_segmentation.graph.reading.id_count import IdCount, count_ids
from trt_segmentation.graph.reading.image_input import (
    resolve_color,
    resolve_input,
    resolve_normalisation,
    with_fixed_input,
)
from trt_segmentation.graph.reading.instance_tensors import InstanceTensors, instance_tensors
from trt_segmentation.graph.reading.instances import THRESHOLD
from trt_segmentation.graph.reading.provenance import Ledger, Provenance
from trt_segmentation.graph.reading.scores import Scores
from trt_segmentation.graph.reading.ultralytics import exported_class_count, exporter_config
from trt_segmentation.images.header import MAX_SIDE
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
from trt_segmentation.options import OVERLAY_SCALES, RunOptions


@dataclass(frozen=True)
class TaskSpec:
    """Everything that a tail needs to know about one mask of a network.

    Attributes:
        name: of its topics and files; '' if the network has one mask.
        scores: the output that is used.
        kind: one of ``model_config.KINDS``.
        threshold: 0..1.
        labels: names of the mask's classes by id; empty if they are not known.
        palette: colours of the mask's classes.
        unlabelled: the network's id for "no class".
        merge: maps the network's classes to those of the mask; None if they are the same.
        pair: the two outputs that ``scores`` is computed from; None for one output.
        align_corners: alignment of scores and network input; see ``OutputConfig``.
        output_name: the network's own output that ``scores`` is, or is computed from.
        instances: the outputs of instances; None if the network finds none, or
            ``RunOptions.instances`` is false.
        id_count: one more than the highest id that the network gives; 0 if it gives scores, or if
            that is not known.
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
    instances: InstanceTensors | None = None
    id_count: int = 0


@dataclass(frozen=True)
class ModelSpec:
    """Everything that head and tails need to know about a network.

    The attributes of ``TaskSpec`` are those of its only task. If it has several tasks, they raise
    a ConfigError that names the tasks.

    Attributes:
        network: the network; its input shape is fixed if ``size`` is not None.
        color: 'rgb' or 'bgr'; 'gray' for a network of one channel.
        scale, mean, std: the input is ``(pixel * scale - mean) / std``.
        resize: 'stretch', 'letterbox' or 'none'.
        size: height and width of the network's input; None if ``resize`` is 'none'.
        input_layout: 'nchw' or 'nhwc'.
        tasks: its masks, at least one.
        provenance: all settings with their origins.
        mask_size: height and width of masks and confidences; None for the image size.
        smoothing: whether the graph has the inputs and outputs of temporal smoothing; see
            ``graph.pipeline.smoothing``.
        encoding: of the masks.
        border: pixel value around a letterboxed image, 0..255; None for ``mean``.
        batch: number of images in one inference. ``network`` has a batch of one image;
            ``graph.reading.batch.batched`` changes that.
        depth: bits of a gray pixel, 8 or 16; see ``InputConfig``.
        overlay_scale: see ``RunOptions``.
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
    provenance: tuple[Provenance, ...]
    mask_size: tuple[int, int] | None = None
    smoothing: bool = False
    encoding: MaskEncoding = MONO8
    border: float | None = None
    batch: int = 1
    depth: int = 8
    overlay_scale: float = 1.0

    @property
    def channel_count(self) -> int:
        """Channels of the network's input: 3, or 1 for gray."""
        return len(self.mean)

    @property
    def gray_bits(self) -> int:
        """Bits of a gray pixel; 0 for a colour network."""
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
        """Raise ConfigError if there are several tasks."""
        if len(self.tasks) > 1:
            names = ', '.join(task.name for task in self.tasks)
            raise ConfigError(f'{self.network.source}: has several masks ({names}), but one is '
                              'needed here; select one with a model config of output: '
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
        """Return the channel of an 'rgb' or 'bgr' image for the network's channels 0, 1, 2;
        for a gray network, the channels of red, green and blue."""
        order = 'rgb' if self.color == 'gray' else self.color
        first, second, third = (color.index(name) for name in order)
        return first, second, third

    def palette_table(self, color: str, task: TaskSpec | None = None) -> np.ndarray:
        """Return the colours of all values of a task's mask for an 'rgb' or 'bgr' image: uint8
        [256 or 65536, 3]. The default is the only task."""
        return (task or self.task).palette.table(color, self.encoding.unlabelled + 1)

    def detections(self, task: str) -> int:
        """Return the number of rows of a task's ``detections``; 0 if it has none."""
        return next((each.instances.count for each in self.tasks
                     if each.name == task and each.instances), 0)

    @property
    def assumed(self) -> tuple[Provenance, ...]:
        """Assumed settings, which may be wrong."""
        return tuple(entry for entry in self.provenance if entry.origin == 'assumed')

    def assumption_warning(self, *, labels: bool) -> str:
        """Return a sentence that names the assumed settings; '' if there are none.

        Args:
            labels: of the names of classes, which change no mask; else of all other settings.
        """
        keys = [entry.key for entry in self.assumed if entry.key.endswith('.labels') == labels]
        source = self.network.source
        return (f'{source}: neither a model config nor the network defines {", ".join(keys)}; '
                'assumed values are used, and if one is wrong, the results are wrong. See '
                f'trt-segmentation inspect {source}') if keys else ''


def read_spec(path: str | Path, config: ModelConfig, options: RunOptions) -> ModelSpec:
    """Read a network and resolve it with all options.

    Args:
        path: an .onnx file.
        config: see ``resolve``.
        options: how it will be opened.

    Raises:
        ConfigError, ModelError: see ``resolve`` and ``with_mask``.
    """
    spec = resolve(read_network(path), config, options.batch,
                   measuring=measurement_setup(options), instances=options.instances)
    return with_mask(spec, options)


def resolve(network: Network, config: ModelConfig, batch: int = 1, *,
            measuring: MeasurementSetup | None = None, instances: bool = False) -> ModelSpec:
    """Complete a model config from the graph, and check the config against the graph.

    Args:
        network: see ``read_network``.
        config: of the user; takes precedence over the file's metadata.
        batch: images in one inference, 1 or more.
        measuring: how to run the network once if its graph does not determine what its output
            values mean; None assumes their meaning.
        instances: see ``RunOptions``.

    Raises:
        ConfigError: the config contradicts the graph or the measured values (the message names
            both), or a setting that the graph does not determine is missing.
        ModelError: the network does not map one image to a class for each pixel, or does not
            accept the batch.
    """
    given = config.over(embedded_config(network))
    config = given.over(exporter_config(network, given))
    ledger = Ledger(from_metadata=config.set_keys() - given.set_keys())
    layout, channels, size, resize = resolve_input(network, config, ledger)
    network = with_supported_types(with_fixed_input(network, layout, channels, size))
    color, depth = resolve_color(network, channels, config, ledger)
    scale, mean, std = resolve_normalisation(network, channels, depth, config, ledger)
    border = None
    if resize == 'letterbox' and config.input.border is not None:
        border = ledger.resolve('input.border', config.input.border, lambda: 0.0, 'default')
    preprocessing = Preprocessing(layout, size, scale * (257 if depth == 16 else 1), mean, std,
                                  color)
    can_run = network.model.graph.node or (measuring and measuring.run)
    probe = Probe(network, preprocessing, measuring) if measuring and can_run else None
    tasks: list[TaskSpec] = []
    for task in config.tasks:
        own = Ledger(ledger.from_metadata, task.task)
        with naming_task(task.task):
            network, resolved = _resolve_task(network, layout, config.of_task(task), own, probe,
                                              batch, instances)
        tasks.append(resolved)
        ledger.entries += own.entries
    return ModelSpec(network, color, scale, mean, std, resize, size, layout, tuple(tasks),
                     tuple(ledger.entries), border=border, batch=batch, depth=depth)


def _resolve_task(network: Network, layout: str, config: ModelConfig, ledger: Ledger,
                  probe: Probe | None, batch: int, instances: bool) -> tuple[Network, TaskSpec]:
    """Return the network, with more outputs if the mask needs them, and the mask.

    Args:
        network: with a resolved input.
        layout: of the input.
        config: of the mask.
        ledger: of the task; records its settings.
        probe, batch, instances: see ``read_output`` and ``resolve``.
    """
    pair = choose_pair(network, layout, _class_count(network, config), config, ledger, probe)
    if pair is not None:
        check_batch(network, (pair.masks.name, pair.classes.name), batch)
        network, pair, scores, kind = combine_pair(network, pair, layout, config, ledger, batch,
                                                   instances)
    else:
        network, scores, kind = read_output(network, layout, config, ledger, probe)
        check_batch(network, (scores.name,), batch)
    align_corners = _resolve_corners(network, kind if pair is None else pair.kind, config, ledger)
    threshold = _resolve_threshold(network, pair, config, ledger)
    output_name = _name_of(ledger, scores)
    void = config.classes.unlabelled
    ids = count_ids(network, output_name, UNLABELLED if void is None else void) \
        if kind == 'ids' else IdCount()
    labels, palette = _resolve_classes(network, scores, kind, ids, config, ledger)
    unlabelled = ledger.resolve(
        'classes.unlabelled', config.classes.unlabelled,
        lambda: UNLABELLED if max(len(labels), ids.count) <= UNLABELLED else MOST_CLASSES,
        'default')
    task = TaskSpec(ledger.task, scores, kind, threshold, labels, palette, unlabelled, pair=pair,
                    align_corners=align_corners, output_name=output_name, id_count=ids.count,
                    instances=None if pair is None else
                    instance_tensors(network, ledger.task))
    return network, _with_merge(task, config, ledger, network.source)


def _name_of(ledger: Ledger, scores: Scores) -> str:
    key = ledger.key('output.name')
    return next((str(entry.value) for entry in ledger.entries if entry.key == key), scores.name)


def _class_count(network: Network, config: ModelConfig) -> int | None:
    """The number of classes, if the file or the config has it."""
    count = exported_class_count(network)
    return len(config.classes.labels) if count is None and config.classes.labels else count


def _resolve_corners(network: Network, kind: str, config: ModelConfig, ledger: Ledger) -> bool:
    given = config.output.align_corners
    if given is None:
        return False
    if given and kind not in SCORE_KINDS:
        raise ConfigError(f'{network.source}: output.align_corners is true, but output.kind '
                          f'is {kind}; it is for {", ".join(SCORE_KINDS)} only')
    return ledger.resolve('output.align_corners', given, lambda: False, 'default')


def _resolve_threshold(network: Network, pair: Pair | None, config: ModelConfig, ledger: Ledger,
                       ) -> float:
    is_instances = pair is not None and pair.kind == 'instances'
    if is_instances and config.output.threshold == 0:
        raise ConfigError(f'{network.source}: output.threshold is 0, which is the score '
                          'without an instance; set it above 0')
    return ledger.resolve('output.threshold', config.output.threshold,
                          lambda: THRESHOLD if is_instances else 0.5, 'default')


def _with_merge(task: TaskSpec, config: ModelConfig, ledger: Ledger, source: str) -> TaskSpec:
    if config.classes.merge is None:
        return task
    try:
        merge = resolve_merge(config.classes.merge, task.labels, task.palette,
                              len(task.labels) or MOST_CLASSES, task.unlabelled)
    except ConfigError as error:
        raise ConfigError(f'{source}: {error}') from None
    ledger.record('classes.merge', merge.merged_labels, 'config')
    return replace(task, labels=merge.merged_labels, palette=merge.merged_palette, merge=merge)


def with_mask(spec: ModelSpec, options: RunOptions) -> ModelSpec:
    """Return the spec with the mask size, encoding, smoothing and overlay scale of the options.

    Raises:
        ConfigError: the network has more classes than such a mask can hold, outputs no instances
            although they are requested, or gives no probabilities to smooth; or there is no such
            overlay scale or mask size.
    """
    if options.mask_size is not None and not _is_size(options.mask_size):
        raise ConfigError(f'mask_size is {options.mask_size!r}; it is (height, width) in pixels, '
                          f'each 1 to {MAX_SIDE}')
    if options.overlay_scale not in OVERLAY_SCALES:
        raise ConfigError(f'overlay_scale is {options.overlay_scale:g}; it is one of '
                          f'{", ".join(f"{scale:g}" for scale in OVERLAY_SCALES)}')
    encoding = mask_encoding(options.mask_encoding)
    count = max(max(len(task.labels), 0 if task.merge else task.id_count) for task in spec.tasks)
    if count > encoding.unlabelled:
        raise ConfigError(
            f'{spec.network.source}: needs {count} class ids, but a {encoding.name} mask holds at '
            f'most {encoding.unlabelled}; set mask_encoding to mono16, or merge classes with '
            'classes.merge in the model config', settings=['mask_encoding'])
    if options.instances:
        check_instances(spec)
    if options.smoothing and all(task.kind == 'ids' for task in spec.tasks):
        raise ConfigError(f'{spec.network.source}: gives class ids, which cannot be smoothed over '
                          'time; export the network with its scores as output, or open it without '
                          'smoothing')
    size = options.mask_size and (int(options.mask_size[0]), int(options.mask_size[1]))
    return replace(spec, mask_size=size, encoding=encoding,
                   smoothing=options.smoothing, overlay_scale=options.overlay_scale)


def _is_size(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 \
        and all(isinstance(extent, Integral) and 1 <= int(extent) <= MAX_SIDE for extent in value)


def check_instances(spec: ModelSpec) -> None:
    """Check that a network outputs instances.

    Raises:
        ConfigError: it does not.
    """
    if any(task.instances for task in spec.tasks):
        return
    kinds = ' and '.join(dict.fromkeys(task.pair.kind if task.pair else task.kind
                                       for task in spec.tasks))
    raise ConfigError(
        f'{spec.network.source}: instances were requested, but its output is {kinds}; networks '
        "of kind instances (Ultralytics' segmentation networks) and queries (Mask2Former, "
        'MaskFormer) give them, opened from an .onnx file or from an engine that was built with '
        'instances', settings=['instances'])


def embedded_config(network: Network) -> ModelConfig:
    """Return the config in the model's metadata; an empty config if there is none.

    Raises:
        ConfigError: the config in the metadata is not valid.
    """
    return config_in(network.metadata, network.source)


def config_in(metadata: Mapping[str, str], source: str) -> ModelConfig:
    """Return the config in the metadata of the model ``source``; see ``embedded_config``."""
    return ModelConfig.from_text(metadata.get(METADATA_KEY, ''),
                                 f"{source}, metadata '{METADATA_KEY}'")


def _resolve_classes(network: Network, scores: Scores, kind: str, ids: IdCount,
                     config: ModelConfig, ledger: Ledger) -> tuple[tuple[str, ...], Palette]:
    """Return labels and palette; ``ids`` are those of an output of kind ids."""
    count = None if kind == 'ids' else max(scores.channels, 2)
    if count is not None and count > MOST_CLASSES:
        raise ModelError(f"{network.source}: output '{scores.name}' has {count} classes; a mask "
                         f'holds at most {MOST_CLASSES}')
    labels, colors = config.classes.labels, config.classes.colors
    for key, given in (('labels', labels), ('colors', colors)):
        # More colours than ids do no harm; a complete config of ids has one for every value.
        known = count or (ids.count if key == 'labels' and ids.are_all_classes else 0)
        if given is not None and known and len(given) != known:
            means = f'{known} classes' if scores.channels > 1 or ids.count else \
                '1 channel, which makes 2 classes (background, foreground)'
            raise ConfigError(f'{network.source}: classes.{key} has {len(given)} entries, but '
                              f"output '{scores.name}' has {means}")
    if labels is not None and len(labels) < ids.count:
        raise ConfigError(f'{network.source}: classes.labels has {len(labels)} entries, for the '
                          f"ids 0 to {len(labels) - 1}, but output '{scores.name}' gives ids up "
                          f'to {ids.count - 1}; list the names by id')

    if fault := config.classes.fault():  # labels and colours may come from different sources
        raise ConfigError(f'{network.source}: {fault}')

    def default_labels() -> tuple[str, ...]:
        if count is None:
            return ()
        if scores.channels == 1:
            return 'background', 'foreground'
        return tuple(f'class {index}' for index in range(count))

    # A merge replaces these names, so that they cannot be wrong.
    origin = 'assumed' if config.classes.merge is None else 'default'
    labels = ledger.resolve('classes.labels', labels, default_labels, origin)
    palette_size = count or len(labels) or UNLABELLED
    background = labels[:1] == ('background',)
    colors = ledger.resolve('classes.colors', colors,
                            lambda: Palette.generate(palette_size, background).colors, 'default')
    return labels, Palette(colors)


def complete_config(spec: ModelSpec) -> ModelConfig:
    """Return a config with all settings of a spec."""
    fed = InputConfig(spec.color, spec.scale, spec.mean, spec.std, spec.resize, spec.size,
                      spec.border, spec.input_layout, spec.gray_bits or None)
    found = {entry.key: entry.value for entry in spec.provenance}
    return ModelConfig.of_tasks(fed, tuple(_complete_task(task, found) for task in spec.tasks))


def _complete_task(task: TaskSpec, found: Mapping[str, object]) -> TaskConfig:
    layout = found.get(Ledger(task=task.name).key('output.layout'))
    own = task if task.merge is None else task.merge
    merge = None if task.merge is None else task.merge.classes
    output = OutputConfig(task.output_name, task.kind, str(layout) if layout else None,
                          task.threshold, align_corners=task.align_corners or None)
    if task.pair is not None:
        output = OutputConfig(task.pair.masks.name, task.pair.kind, threshold=task.threshold,
                              class_name=task.pair.classes.name, grow_masks=task.pair.grow)
    return TaskConfig(task.name, output, ClassesConfig(own.labels or None, own.palette.colors,
                                                       task.unlabelled, merge))


def format_provenance(spec: ModelSpec) -> str:
    """Return the spec's settings as an aligned table: key, value, origin."""
    rows = [(entry.key, _short(entry.value), entry.origin) for entry in spec.provenance]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return '\n'.join(f'{key:{widths[0]}}  {value:{widths[1]}}  {origin}'
                     for key, value, origin in rows)


def _short(value: object) -> str:
    """A value as text of at most 60 characters."""
    text = str(value)
    if isinstance(value, tuple) and len(value) > 4:
        text = f'{len(value)}: {", ".join(str(item) for item in value[:3])}, ...'
    elif isinstance(value, tuple):
        text = shape_text(value) if all(isinstance(item, int) for item in value) else \
            f'[{", ".join(map(_short, value))}]'
    elif isinstance(value, float):
        text = f'{value:.6g}'
    return text if len(text) <= 60 else text[:57] + '...'
