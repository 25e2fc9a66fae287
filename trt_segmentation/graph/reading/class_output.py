# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Selects the output with the classes, and determines the meaning of its values."""

import logging
from dataclasses import replace
from functools import partial

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.analysis.kind_tracing import has_fixed_weights, read_meaning
from trt_segmentation.graph.analysis.measurement import Probe
from trt_segmentation.graph.onnx_tools.network import FLOAT_TYPES, Network, TensorInfo
from trt_segmentation.graph.reading.dual_outputs import Size, existing_output, input_size
from trt_segmentation.graph.reading.input_layout import CHANNEL_AXIS
from trt_segmentation.graph.reading.instances import (
    Instances,
    find_instances,
    open_shape_hint,
    required_instances,
    with_instance_scores,
)
from trt_segmentation.graph.reading.other_outputs import (
    boxes_of_classes,
    boxes_of_masks,
    detection_heads_hint,
    is_auxiliary,
    is_other_output,
    output_hint,
    ratings_of_masks,
)
from trt_segmentation.graph.reading.output_form import (
    Output,
    canonical_name,
    find_forms,
    with_canonical_output,
)
from trt_segmentation.graph.reading.output_kind import FoundOutput, resolve_kind
from trt_segmentation.graph.reading.output_layout import ChosenOutput, resolve_form
from trt_segmentation.graph.reading.pair_check import pair_fault, pair_origin
from trt_segmentation.graph.reading.provenance import Ledger
from trt_segmentation.graph.reading.queries import (
    Queries,
    find_queries,
    pairs_text,
    required_queries,
    with_scores,
)
from trt_segmentation.graph.reading.scores import Scores
from trt_segmentation.model_config import ModelConfig

logger = logging.getLogger(__name__)

_PAIRS = ('queries', 'instances')
"""Kinds that consist of two outputs."""

_MAIN_OUTPUTS = ('out', 'logits')
"""Names of the main output in torchvision and transformers."""


Pair = Queries | Instances


def choose_pair(network: Network, input_layout: str, class_count: int | None,
                config: ModelConfig, ledger: Ledger, probe: Probe | None = None) -> Pair | None:
    """Return the two outputs of queries or instances, and record them; None for a network of
    scores.

    Args:
        network: with a resolved input.
        input_layout: 'nchw' or 'nhwc'.
        class_count: number of classes; None if not known.
        config: of the mask.
        ledger: records names and kind of the two.
        probe: runs the network if its graph does not determine what the outputs hold; None
            disables this.

    Raises:
        ConfigError: no outputs match the config; or two have the right shapes, but not the values.
    """
    pair = _pair_by_shape(network, input_layout, class_count, config)
    if pair is None:
        return None
    is_given = config.output.kind is not None
    if fault := pair_fault(network, pair, probe, is_given) if probe is not None else '':
        raise ConfigError(
            f"{network.source}: outputs '{pair.masks.name}' and '{pair.classes.name}' have the "
            f'shapes of {pair.kind}, but {fault}. Boxes with a mask for each of them are not '
            'supported; if one output is the segmentation, name it as output.name')
    _record_pair(pair, config, ledger, probe)
    return pair


def _record_pair(pair: Pair, config: ModelConfig, ledger: Ledger, probe: Probe | None) -> None:
    """Record names and kind of two outputs; a config with both names says that they belong
    together."""
    given = config.output
    ledger.record('output.name', pair.masks.name, 'config' if given.name else 'graph')
    ledger.record('output.class_name', pair.classes.name,
                  'config' if given.class_name else 'graph')
    origin = 'graph' if given.class_name else pair_origin(pair, probe)
    ledger.record('output.kind', pair.kind, 'config' if given.kind else origin)


def _pair_by_shape(network: Network, input_layout: str, class_count: int | None,
                   config: ModelConfig) -> Pair | None:
    """Return the two outputs whose shapes are those of queries or instances."""
    given = config.output
    if given.kind == 'instances':
        return required_instances(network, given.name, given.class_name, input_layout, class_count)
    if given.kind == 'queries':
        return required_queries(network, given.name, given.class_name)
    for key, value in (('class_name', given.class_name), ('grow_masks', given.grow_masks)):
        if value is not None and given.kind is not None:
            raise ConfigError(f"{network.source}: output.{key} is '{value}', but output.kind "
                              f'is {given.kind}; it is for {" and ".join(_PAIRS)} only')
    if given.kind is not None or (given.name is not None and given.class_name is None):
        return None
    pairs = find_queries(network, given.name, given.class_name)
    if given.class_name is None:
        pairs = tuple(pair for pair in pairs if _is_likely(network, pair))
    # Instances without a known number of classes are found, too, to report what is missing.
    if not pairs and len(find_instances(network, given.name, given.class_name, input_layout,
                                        class_count or 1)) == 1:
        return required_instances(network, given.name, given.class_name, input_layout, class_count)
    if given.class_name is not None:
        return required_queries(network, given.name, given.class_name)
    return pairs[0] if len(pairs) == 1 else None


def _is_likely(network: Network, queries: Queries) -> bool:
    """Whether two outputs with the shapes of queries are no scores beside other values, such as
    lanes, and no instances.

    A query's mask is the product of its embedding and the features of the pixels, both of which
    the network computes. Scores are mostly a convolution with constant weights.
    """
    if queries.is_known:
        return True
    has_boxes = boxes_of_masks(network.outputs) is not None  # of instances, as RF-DETR's
    if has_boxes or queries.may_be_boxes or is_other_output(queries.classes):
        return False
    return queries.has_telling_names or not has_fixed_weights(network.model, queries.masks.name)


def combine_pair(network: Network, pair: Pair, input_layout: str, config: ModelConfig,
                 ledger: Ledger, batch: int = 1, listed: bool = False,
                 ) -> tuple[Network, Pair, Scores, str]:
    """Add nodes that compute scores from the two outputs, and record how; with ``listed`` also
    those of ``instance_tensors``."""
    # Families of queries differ. For instances it is a choice: finer edges, but slower.
    origin = 'assumed' if pair.kind == 'queries' else 'default'
    pair = replace(pair, grow=ledger.resolve('output.grow_masks', config.output.grow_masks,
                                             lambda: False, origin))
    if isinstance(pair, Queries):
        network, output = with_scores(network, pair, input_layout, batch, ledger.task, listed)
    else:
        network, output = with_instance_scores(network, pair, input_layout, batch, ledger.task,
                                               listed)
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
        return by_name[ledger.record('output.name', name, 'config')]
    maps = [info for info in network.outputs if info.dtype
            and (info.shape is None or len(info.shape) in (3, 4))]
    fed = input_size(network, input_layout)
    if config.output.kind is None:
        _check_no_instances(network, maps)
    maps = maps or [info for info in network.outputs if info.shape and (
        None in info.shape[1:] or find_forms(info.shape, fed))]
    for is_less in (is_other_output, is_auxiliary, partial(_is_confidence, network)):
        maps = [info for info in maps if not is_less(info)] or maps
    main = [info for info in maps if info.name in _MAIN_OUTPUTS]
    chosen = main if len(main) == 1 else _proven_maps(network, maps, fed) or maps
    if len(chosen) == 1 and (found := boxes_of_classes(chosen[0], network.outputs)):
        raise ConfigError(f'{network.source}: outputs {found} and {chosen[0]} are boxes and the '
                          'class of each, the outputs of a detection network, which do not give '
                          'a class for each pixel: use a segmentation network')
    # Of outputs with the same shape, exporters write the main one before an auxiliary one.
    alike = len({(info.dtype, info.shape) for info in chosen}) == 1 and chosen[0].shape is not None
    if not chosen or (len(chosen) > 1 and not alike):
        raise _undecided(network, maps)
    if len(chosen) > 1:
        logger.warning('%s: outputs %s are alike; the first one is assumed to be the '
                       'segmentation. Write output.name into the model config, or all of them '
                       'into outputs', network.source, ', '.join(info.name for info in chosen))
    ledger.record('output.name', chosen[0].name, 'graph' if len(chosen) == 1 else 'assumed')
    return chosen[0]


def _check_no_instances(network: Network, maps: list[TensorInfo]) -> None:
    """Check that no output holds the boxes, scores or classes of the masks of another.

    Args:
        network: with its outputs.
        maps: those that may be the segmentation; the error names them.

    Raises:
        ConfigError: one does.
    """
    for find, what in ((boxes_of_masks, 'boxes and their masks, as Mask R-CNN has them'),
                       (ratings_of_masks, 'the scores or classes of masks, and the masks, as '
                        'instance segmentations and SAM have them')):
        if found := find(network.outputs):
            names = ' or '.join(info.name for info in maps if info.name != found[0].name)
            raise ConfigError(
                f'{network.source}: outputs {found[0]} and {found[1]} are {what}, which do not '
                'give a class for each pixel. Supported are instances of Ultralytics\' YOLO '
                'from version 8 on, and queries as MaskFormer has them. If an output gives it, '
                f'set output.name: {names}')


def _is_confidence(network: Network, info: TensorInfo) -> bool:
    """Whether an output is the highest probability of each pixel, without its class."""
    return read_meaning(network.model, info.name).kind == 'confidence'


def _proven_maps(network: Network, maps: list[TensorInfo], fed: Size) -> list[TensorInfo]:
    """Return the outputs with a probability for each class or an id by the graph, if by their
    shapes no other output is a map, or describes their channels; else none."""
    proven = [info for info in maps if _may_be_map(info, fed)]
    lengths = {(info.shape or (None,) * 2)[1] for info in maps if info not in proven}
    are_others = None not in lengths and all(
        lengths.isdisjoint((info.shape or ())[1:]) for info in proven)
    kinds = {read_meaning(network.model, info.name).kind for info in proven}
    return proven if are_others and kinds <= {'probabilities', 'ids'} else []


def _may_be_map(info: TensorInfo, fed: Size) -> bool:
    """Whether an output of a known shape may be scores or ids of each pixel."""
    shape = info.shape or ()
    return len(shape) == 4 or bool(find_forms(shape, fed))


def _undecided(network: Network, maps: list[TensorInfo]) -> ConfigError:
    """The error for a network whose segmentation output is ambiguous."""
    found = ', '.join(str(info) for info in network.outputs)
    fix = 'scores [1, classes, height, width] or ids [1, height, width] are needed'
    if maps:
        fix = 'name one as output.name, or several masks in outputs'
    if heads := detection_heads_hint(maps):
        fix += f'; {heads}'
    elif len(network.outputs) == 1 or not maps:
        fix += ''.join(dict.fromkeys(output_hint(info, (None, None)) for info in network.outputs))
    if pairs := find_queries(network):
        fix += (f'; if they are queries of masks and classes ({pairs_text(pairs)}), set '
                'output.kind: queries, output.name (the masks) and output.class_name')
    elif sorted(len(info.shape or ()) for info in maps if info.dtype in FLOAT_TYPES) == [3, 4]:
        fix += ('; if they are the instances and prototypes of an instance segmentation, they are '
                'not those of Ultralytics\' YOLO from version 8 on, which are supported: '
                'anchors [1, 4 + classes + m, n] or instances [1, n, 6 + m], and [1, m, height, '
                f'width]{open_shape_hint(network)}')
    return ConfigError(f'{network.source}: {len(maps)} outputs could be the segmentation '
                       f'({found}); {fix}')


def read_output(network: Network, input_layout: str, config: ModelConfig, ledger: Ledger,
                probe: Probe | None = None) -> tuple[Network, Scores, str]:
    """Select the segmentation output, and determine its layout and its kind.

    Args:
        network: with a fixed input size, unless any size is valid.
        input_layout: 'nchw' or 'nhwc'.
        config: of the mask.
        ledger: records the settings.
        probe: runs the network if its graph does not determine what its values mean; None
            disables this.

    Returns:
        The network, with one more output if a tail cannot read its own; the scores; and their
        kind.
    """
    output = choose_output(network, input_layout, config, ledger)
    output = existing_output(network, canonical_name(ledger.task)) or output
    meaning = read_meaning(network.model, output.name)
    form = resolve_form(ChosenOutput(network, output, input_layout, config), meaning, ledger,
                        probe)
    kind, decoding = resolve_kind(FoundOutput(network, output, form, meaning), config.output.kind,
                                  ledger, probe)
    network, scores = with_canonical_output(network, Output(output, form, kind, decoding),
                                            input_layout, ledger.task)
    return network, scores, kind
