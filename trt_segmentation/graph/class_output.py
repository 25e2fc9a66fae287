# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The output of a network that holds classes, and what its values mean."""

from dataclasses import replace

from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.facts import Ledger
from trt_segmentation.graph.instances import (
    Instances,
    find_instances,
    said_open,
    told_instances,
    with_instance_scores,
)
from trt_segmentation.graph.network import FLOAT_TYPES, Network, Shape, TensorInfo, dtype_name
from trt_segmentation.graph.queries import (
    Queries,
    find_queries,
    said_pairs,
    told_queries,
    with_scores,
)
from trt_segmentation.graph.tail import Scores
from trt_segmentation.model_config import ModelConfig

_ID_TYPES = (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
_PAIRS = ('queries', 'instances')
"""Kinds of which a network gives two outputs that belong together."""

_KIND_MADE_BY = {'Softmax': 'probabilities', 'Sigmoid': 'sigmoid', 'HardSigmoid': 'sigmoid'}
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
        network, output = with_scores(network, pair, input_layout, batch)
    else:
        network, output = with_instance_scores(network, pair, input_layout, batch)
    count = (output.shape or ())[1] or 0
    scores = Scores(output.name, count, CHANNEL_AXIS['nchw'], output.dtype)
    return network, pair, scores, 'probabilities' if isinstance(pair, Queries) else 'sigmoid'


def choose_output(network: Network, config: ModelConfig, ledger: Ledger) -> TensorInfo:
    """Return the output that is the segmentation."""
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
    elif sorted(len(info.shape or ()) for info in maps if info.dtype in FLOAT_TYPES) == [3, 4]:
        fix += ('; if they are the instances and prototypes of an instance segmentation, they are '
                'not as those of Ultralytics\' YOLO from version 8 on, which are understood: '
                'anchors [1, 4 + classes + m, n] or instances [1, n, 6 + m], and [1, m, height, '
                f'width]{said_open(network)}')
    return ConfigError(f'{network.source}: {len(maps)} outputs could be the segmentation '
                       f'({found}); {fix}')


def resolve_scores(network: Network, output: TensorInfo, input_layout: str, config: ModelConfig,
                   ledger: Ledger) -> Scores:
    """Return how the output's values are laid out."""
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
                         'needed' + _seems_boxes(shape))
    candidates = _output_layouts(network, shape, input_layout)
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
    return Scores(output.name, channels, axis, output.dtype)


def _seems_boxes(shape: Shape) -> str:
    """What to say of [1, values, anchors], which detection networks give."""
    return ('; if it is of boxes, as a detection network gives them, take one for segmentation '
            '(of YOLO, one with -seg or -sem in its name)') if len(shape) == 3 else ''


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
    likely = [input_layout, *(layout for layout in CHANNEL_AXIS if layout != input_layout)]
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


def resolve_kind(network: Network, output: TensorInfo, scores: Scores, config: ModelConfig,
                 ledger: Ledger) -> str:
    """Return what the output's values mean, one of ``model_config.KINDS``."""
    told = config.output.kind
    is_integer = output.dtype in _ID_TYPES
    if not is_integer and output.dtype not in FLOAT_TYPES:
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
