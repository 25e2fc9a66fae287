# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The output of a network that holds classes, and what its values mean."""

import logging
from dataclasses import dataclass, replace

from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.combining import combined_already, input_size
from trt_segmentation.graph.facts import Ledger
from trt_segmentation.graph.instances import (
    Instances,
    find_instances,
    said_open,
    told_instances,
    with_instance_scores,
)
from trt_segmentation.graph.meaning import UNDECIDED, Meaning, read_meaning
from trt_segmentation.graph.measured import Measurement, Probe, measurement_of
from trt_segmentation.graph.network import FLOAT_TYPES, Network, Shape, TensorInfo, dtype_name
from trt_segmentation.graph.other_outputs import (
    NO_MAPS,
    boxes_of_masks,
    is_named,
    said_heads,
    seems,
    seems_no_map,
)
from trt_segmentation.graph.output_form import (
    Decoding,
    Form,
    find_form,
    plain_name,
    with_plain_output,
)
from trt_segmentation.graph.queries import (
    Queries,
    find_queries,
    said_pairs,
    told_queries,
    with_scores,
)
from trt_segmentation.graph.tail import Scores
from trt_segmentation.model_config import ModelConfig

logger = logging.getLogger(__name__)

INTEGER_OUTPUTS = (TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16,
                   TensorProto.INT16, TensorProto.UINT32, TensorProto.INT32, TensorProto.UINT64,
                   TensorProto.INT64)
_PAIRS = ('queries', 'instances')
"""Kinds of which a network gives two outputs that belong together."""

_LINEAR_OPS = ('Conv', 'ConvTranspose', 'FusedConv', 'NhwcFusedConv', 'NhwcConv', 'QLinearConv',
               'ConvInteger', 'BatchNormalization', 'QLinearAdd')
"""Operators after which even one channel is logits."""

_LARGEST_STRIDE = 64
"""Input pixels a cell; no segmentation network known to us has maps coarser than that."""

CHANNEL_AXIS = {'nchw': 1, 'nhwc': 3}

_MAIN_OUTPUTS = ('out', 'logits')
"""What torchvision and transformers call the output that is no auxiliary one."""


Pair = Queries | Instances


def choose_pair(network: Network, input_layout: str, class_count: int | None,
                config: ModelConfig) -> Pair | None:
    """Return the two outputs that only give scores together; None for a network of scores.

    Args:
        network: its outputs are looked at.
        input_layout: 'nchw' or 'nhwc'.
        class_count: how many classes there are, where that is known.
        config: what is told of them.
    """
    told = config.output
    if told.kind == 'instances':
        return told_instances(network, told.name, told.class_name, input_layout, class_count)
    if told.kind == 'queries':
        return told_queries(network, told.name, told.class_name)
    for key, value in (('class_name', told.class_name), ('grow_masks', told.grow_masks)):
        if value is not None and told.kind is not None:
            raise ConfigError(f"{network.source}: output.{key} is '{value}', but output.kind "
                              f'{told.kind}; it is for {" and ".join(_PAIRS)} only')
    if told.kind is not None or (told.name is not None and told.class_name is None):
        return None
    pairs = find_queries(network, told.name, told.class_name)
    if told.class_name is None:  # of other names, four values are a box as likely as classes
        pairs = tuple(pair for pair in pairs if not pair.may_be_boxes)
    # Those that do not tell their number of classes are found, too: what they lack is said.
    if not pairs and len(find_instances(network, told.name, told.class_name, input_layout,
                                        class_count or 1)) == 1:
        return told_instances(network, told.name, told.class_name, input_layout, class_count)
    if told.class_name is not None:
        return told_queries(network, told.name, told.class_name)
    return pairs[0] if len(pairs) == 1 else None


def combine_pair(network: Network, pair: Pair, input_layout: str, config: ModelConfig,
                 ledger: Ledger, batch: int = 1) -> tuple[Network, Pair, Scores, str]:
    """Combine two outputs within the network, which gives scores of one of the other kinds."""
    told = config.output
    ledger.note('output.name', pair.masks.name, 'config' if told.name else 'graph')
    ledger.note('output.class_name', pair.classes.name, 'config' if told.class_name else 'graph')
    ledger.note('output.kind', pair.kind, 'config' if told.kind else 'graph')
    # Queries' families differ. Of instances it is a choice: finer edges, much more work.
    origin = 'assumed' if pair.kind == 'queries' else 'default'
    pair = replace(pair, grow=ledger.told('output.grow_masks', told.grow_masks, lambda: False,
                                          origin))
    if isinstance(pair, Queries):
        network, output = with_scores(network, pair, input_layout, batch, ledger.task)
    else:
        network, output = with_instance_scores(network, pair, input_layout, batch, ledger.task)
    count = (output.shape or ())[1] or 0
    scores = Scores(output.name, count, CHANNEL_AXIS['nchw'], output.dtype)
    return network, pair, scores, 'probabilities' if isinstance(pair, Queries) else 'sigmoid'


def choose_output(network: Network, input_layout: str, config: ModelConfig, ledger: Ledger,
                  ) -> TensorInfo:
    """Return the output that is the segmentation."""
    by_name = {info.name: info for info in network.outputs}
    name = config.output.name
    if name is not None:
        if name not in by_name:
            raise ConfigError(f"{network.source}: output.name is '{name}', but the graph's "
                              f'outputs are {", ".join(by_name)}')
        return by_name[ledger.note('output.name', name, 'config')]
    maps = [info for info in network.outputs if info.shape is None or len(info.shape) in (3, 4)]
    fed = input_size(network, input_layout)
    if (boxes := boxes_of_masks(network.outputs)) and config.output.kind is None:
        raise ConfigError(
            f"{network.source}: outputs {boxes[0]} and {boxes[1]} are boxes and their masks, "
            'instances as those of Mask R-CNN; no class of each pixel follows from them alone. '
            "Instances as those of Ultralytics' YOLO from version 8 on and queries as those of "
            'MaskFormer are understood')
    maps = maps or [info for info in network.outputs
                    if info.shape and find_form(info.shape, fed) is not None]
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
        fix = 'name one as output.name, or each that is to become a mask in outputs'
    if heads := said_heads(maps):
        fix += f'; {heads}'
    elif len(network.outputs) == 1 or not maps:
        fix += ''.join(dict.fromkeys(seems(info, (None, None)) for info in network.outputs))
    if pairs := find_queries(network):
        fix += (f'; if they are queries of masks and classes ({said_pairs(pairs)}), say so with '
                'output.kind: queries, output.name (the masks) and output.class_name')
    elif sorted(len(info.shape or ()) for info in maps if info.dtype in FLOAT_TYPES) == [3, 4]:
        fix += ('; if they are the instances and prototypes of an instance segmentation, they are '
                'not as those of Ultralytics\' YOLO from version 8 on, which are understood: '
                'anchors [1, 4 + classes + m, n] or instances [1, n, 6 + m], and [1, m, height, '
                f'width]{said_open(network)}')
    return ConfigError(f'{network.source}: {len(maps)} outputs could be the segmentation '
                       f'({found}); {fix}')


def read_output(network: Network, input_layout: str, config: ModelConfig, ledger: Ledger,
                probe: Probe | None = None) -> tuple[Network, Scores, str]:
    """Choose the output that is the segmentation and find out what it means.

    Args:
        network: its input's size is fixed, where it is known.
        input_layout: 'nchw' or 'nhwc'.
        config: what is told of the output.
        ledger: gets what is found.
        probe: runs the network where its graph does not say what its values mean; None where
            that is not wanted.

    Returns:
        The network, which has one more output where its own is not of a form that a tail reads;
        that output's layout; and what it means.
    """
    output = choose_output(network, input_layout, config, ledger)
    output = combined_already(network, plain_name(ledger.task)) or output
    meaning = read_meaning(network.model, output.name)
    form = _resolve_form(network, output, input_layout, config, ledger, meaning)
    found = _Found(network, output, form, _decided(meaning, output, form))
    kind, decoding = _resolve_kind(found, config.output.kind, ledger, probe)
    network, scores = with_plain_output(network, output, form, kind, decoding, ledger.task)
    return network, scores, kind


def _resolve_form(network: Network, output: TensorInfo, input_layout: str, config: ModelConfig,
                  ledger: Ledger, meaning: Meaning) -> Form:
    """Return how the output's values are laid out."""
    shape = output.shape
    if shape is None:
        raise ModelError(f'{network.source}: the rank of output {output} is not known; '
                         'export the network with fixed shapes')
    fed = input_size(network, input_layout)
    form = None
    if len(shape) != 4 or shape[0] not in (None, 1):
        form = _other_form(output, shape, fed, meaning)
    if form is not None:
        if config.output.layout not in (None, _layout_of(form)):
            raise ConfigError(f'{network.source}: output.layout says {config.output.layout}, but '
                              f'output {output} fits {_layout_of(form) or "neither layout"}')
        return form
    if shape and shape[0] not in (None, 1):
        raise ModelError(f'{network.source}: output {output} has a batch of {shape[0]}, not 1')
    if len(shape) != 4:
        raise ModelError(f'{network.source}: output {output} is no segmentation; scores '
                         '[1, classes, height, width] or integer ids [1, height, width] are '
                         'needed' + seems(output, fed))
    candidates = _output_layouts(network, shape, input_layout)
    if not candidates:
        if what := seems_no_map(shape, fed):
            raise ModelError(f'{network.source}: output {output} is no segmentation; {what}')
        candidates = _likely_layouts(shape, fed, input_layout)
    told = config.output.layout
    if told is not None and told not in candidates:
        raise ConfigError(f'{network.source}: output.layout says {told}, but output {output} '
                          f'fits {candidates[0]}')
    layout = ledger.told('output.layout', told, lambda: candidates[0], 'graph')
    axis = CHANNEL_AXIS[layout]
    _check_is_map(network, output, layout)
    channels = shape[axis]
    if channels is None:
        raise ModelError(f'{network.source}: output {output} leaves its number of classes open; '
                         'export the network with fixed shapes')
    return Form(channels, axis, shape)


def _layout_of(form: Form) -> str | None:
    return next((name for name, axis in CHANNEL_AXIS.items() if axis == form.axis), None)


def _other_form(output: TensorInfo, shape: Shape, fed: tuple[int | None, int | None],
                meaning: Meaning) -> Form | None:
    """Return the form of an output that has not the four axes of most."""
    form = None if is_named(output, NO_MAPS) else find_form(shape, fed)
    if form is not None and form.channels != 1 and output.dtype not in FLOAT_TYPES \
            and meaning.kind in ('', 'ids'):
        form = None
    is_flat = form is not None and form.steps[0][0] == 'reshape'
    if len(shape) == 3 and shape[0] in (None, 1) and not is_flat:
        if output.dtype not in FLOAT_TYPES and meaning.kind in ('', 'ids'):
            return Form(1, None, shape)
        if form is None and meaning.kind in ('sigmoid', 'ids') and None in shape[1:]:
            return Form(1, 1, (1, 1, *shape[1:]), (('unsqueeze', (1,)),))
    return form


def _check_is_map(network: Network, output: TensorInfo, layout: str) -> None:
    fed, found = network.inputs[0].shape or (), output.shape or ()
    is_one_cell = (found[2:] if layout == 'nchw' else found[1:3]) == (1, 1)
    if is_one_cell and max(extent or 0 for extent in fed) > _LARGEST_STRIDE:
        raise ModelError(f'{network.source}: output {output} is 1x1, one class for the whole '
                         'image; a class for each pixel is needed: export the network without '
                         'its pooling, or name another output as output.name')


def _output_layouts(network: Network, shape: Shape, input_layout: str) -> list[str]:
    """The layouts whose height and width have the input's aspect ratio, likeliest first."""
    fed = input_size(network, input_layout)

    def fits(layout: str) -> bool:
        height, width = shape[2:] if layout == 'nchw' else shape[1:3]
        full_height, full_width = fed
        if height is None or width is None or full_height is None or full_width is None:
            return True
        # Strides round: each extent may be off by one.
        return abs(height * full_width - width * full_height) <= max(full_height, full_width)

    return [layout for layout in _likely_layouts(shape, fed, input_layout) if fits(layout)]


def _likely_layouts(shape: Shape, fed: tuple[int | None, int | None], input_layout: str,
                    ) -> list[str]:
    likely = [input_layout, *(layout for layout in CHANNEL_AXIS if layout != input_layout)]
    if shape[CHANNEL_AXIS[input_layout]] is None and not all(fed):
        # Where one of them leaves the number of classes open, the other one is meant.
        likely.sort(key=lambda layout: shape[CHANNEL_AXIS[layout]] is None)
    return likely


@dataclass(frozen=True)
class _Found:
    """The output that is used.

    Attributes:
        network, output: it is one of the network's.
        form: how its values are laid out.
        meaning: what the graph says that they mean.
    """

    network: Network
    output: TensorInfo
    form: Form
    meaning: Meaning

    @property
    def is_integer(self) -> bool:
        return self.output.dtype not in FLOAT_TYPES

    @property
    def says(self) -> str:
        """The start of a message about it."""
        return f'{self.network.source}: output {self.output}'


def _decided(meaning: Meaning, output: TensorInfo, form: Form) -> Meaning:
    """Return a meaning, or that the graph does not decide it for values of this form."""
    is_integer = output.dtype not in FLOAT_TYPES
    if meaning.kind == 'logits' and is_integer and meaning.is_plain:
        return UNDECIDED  # numbers that were cut, such as ids that were computed
    if meaning.kind == 'logits' and form.channels == 1 and (
            meaning.one_sided or meaning.made_by not in _LINEAR_OPS):
        return UNDECIDED
    if meaning.made_by == 'Tanh' and form.channels != 1 and not meaning.is_plain:
        return Meaning('logits', 'Tanh')
    if meaning.kind == 'probabilities' and form.channels == 1 and meaning.axis == form.axis:
        return UNDECIDED  # a sum over one class is 1 everywhere
    return meaning


def _resolve_kind(found: _Found, told: str | None, ledger: Ledger, probe: Probe | None,
                  ) -> tuple[str, Decoding]:
    """Return what the output's values mean, one of ``model_config.KINDS``, and how they become
    that."""
    meaning, channels = found.meaning, found.form.channels
    if found.output.dtype not in (*FLOAT_TYPES, *INTEGER_OUTPUTS):
        raise ModelError(f'{found.says} is neither scores (float) nor ids (integers or bool)')
    if meaning.kind:
        kind, origin, decoding = meaning.kind, 'graph', _decoding(meaning, channels)
        _check_told(found, told, kind)
    else:
        kind, origin, decoding = _measured_kind(found, told, probe)
    if kind == 'ids' and channels != 1:
        raise ModelError(f'{found.says} has {channels} channels of integers; class ids have one')
    return ledger.told('output.kind', told, lambda: kind, origin), decoding


def _decoding(meaning: Meaning, channels: int | None) -> Decoding:
    plain = Decoding() if meaning.is_plain else Decoding(meaning.scale, meaning.offset)
    return replace(plain, exponential=meaning.log and not _is_log_softmax(meaning, channels))


def _is_log_softmax(meaning: Meaning, channels: int | None) -> bool:
    """Whether a softmax of the values gives the probabilities, as it does of logits."""
    return meaning.kind == 'probabilities' and channels != 1


def _check_told(found: _Found, told: str | None, kind: str) -> None:
    """Raise ConfigError where what is told of an output is not what the graph says."""
    if told is None or told == kind:
        return
    if (told == 'ids') != (kind == 'ids'):
        raise _wrong_type(found, told, f'class ids of {found.meaning.made_by}'
                          if kind == 'ids' else '')
    are_logits = (found.meaning.made_by in ('Conv', 'ConvTranspose')
                  and not found.meaning.one_sided)
    if told in ('probabilities', 'sigmoid') and are_logits:
        raise ConfigError(f'{found.network.source}: output.kind says {told}, but output '
                          f'{found.output} comes straight from a {found.meaning.made_by}; '
                          'those are logits')
    if told == 'logits' and found.form.channels == 1 and kind != 'logits':
        raise ConfigError(f'{found.network.source}: output.kind says logits, but output '
                          f'{found.output} comes from a {found.meaning.made_by}; those are '
                          f'{kind}')


def _wrong_type(found: _Found, told: str, holds: str = '') -> ConfigError:
    return ConfigError(f'{found.network.source}: output.kind says {told}, but output '
                       f'{found.output} holds {holds or dtype_name(found.output.dtype)}'
                       f'{"" if holds else " values"}')


def _measured_kind(found: _Found, told: str | None, probe: Probe | None,
                   ) -> tuple[str, str, Decoding]:
    """Return kind, origin and decoding of values of which the graph says nothing."""
    if found.is_integer and told not in (None, 'ids'):
        raise _wrong_type(found, told or '')
    kind = 'ids' if found.is_integer else told or 'logits'
    origin = 'graph' if found.is_integer else 'assumed'
    if found.output.dtype == TensorProto.BOOL or probe is None or found.form.channels is None:
        return kind, origin, Decoding()
    values = probe.values(found.output.name)
    if values is None:
        if origin == 'assumed' and told is None:
            # A network that the runtime does not take is refused later, or runs elsewhere.
            logger.log(logging.WARNING if probe.is_missing else logging.DEBUG,
                       '%s: the graph does not say what its values mean, and they could not '
                       'be measured (%s); they are taken for logits. Write output.kind into '
                       'the model config', found.says, probe.fault)
        return kind, origin, Decoding()
    axis = found.form.axis if not found.form.steps else None
    if found.form.steps and found.form.channels > 1:
        axis = values.shape.index(found.form.channels) if found.form.channels in values.shape \
            else None
    measured = measurement_of(values, axis)
    if measured is None or measured.is_constant:
        return kind, origin, Decoding()
    return _kind_of(found, told, measured)


def _kind_of(found: _Found, told: str | None, measured: Measurement) -> tuple[str, str, Decoding]:
    """Return kind, origin and decoding of values that were measured."""
    origin = f'measured ({measured})'
    is_one = found.form.channels == 1
    if is_one and measured.two == (0, 255) and told in (None, 'ids'):
        return 'ids', origin, Decoding(scale=255.0)
    if found.is_integer:
        return 'ids', 'graph', Decoding()
    if told is not None:
        _check_measured(found, told, measured)
        return told, origin, Decoding()
    if is_one and measured.integers and measured.lowest >= -1:
        return 'ids', origin, Decoding()
    if measured.are_probabilities:
        return 'probabilities' if measured.sums_to_one else 'sigmoid', origin, Decoding()
    if is_one and measured.lowest >= 0:
        raise ConfigError(f'{found.says} has values from {measured.lowest:.4g} to '
                          f'{measured.highest:.4g} on a test image, which are neither '
                          'probabilities nor class ids, and never negative, as logits are; a '
                          'depth or a distance is no segmentation. If it is one, write what its '
                          'values mean as output.kind, or name another output as output.name')
    return 'logits', origin if measured.lowest < 0 < measured.highest or not is_one else \
        'assumed', Decoding()


def _check_measured(found: _Found, told: str, measured: Measurement) -> None:
    """Compare what is told of values with what they were."""
    fault = ''
    if told == 'ids' and not measured.integers:
        fault = 'class ids are whole numbers'
    elif told in ('probabilities', 'sigmoid') and not measured.are_probabilities \
            and not (measured.lowest >= 0 and measured.highest <= 1):
        fault = 'probabilities are within 0 and 1'
    if fault:
        raise ConfigError(f'{found.network.source}: output.kind says {told}, but output '
                          f'{found.output} was measured: {measured}; {fault}')
    if told == 'logits' and found.form.channels == 1 and measured.lowest >= 0:
        logger.warning('%s: output.kind says logits, but its values were measured: %s. Logits '
                       'have both signs; is it sigmoid or ids?', found.says, measured)
