# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Whether two outputs of the right shapes hold what queries or instances consist of."""

import numpy as np

from trt_segmentation.graph.instances import Instances
from trt_segmentation.graph.meaning_reader import read_meaning
from trt_segmentation.graph.measured import Measurement, Probe, measurement_of
from trt_segmentation.graph.network import Network, TensorInfo
from trt_segmentation.graph.queries import Queries

_BOX = 4


def pair_fault(network: Network, pair: Queries | Instances, probe: Probe) -> str:
    """Return why two outputs are not what their shapes are those of; '' where they may be.

    Args:
        network: they are two of its outputs.
        pair: the two.
        probe: runs the network where its graph does not tell what their values mean.
    """
    if isinstance(pair, Instances):
        return _instances_fault(pair, probe)
    return _logits_fault(network, pair.classes, probe) or _logits_fault(network, pair.masks, probe)


def _logits_fault(network: Network, info: TensorInfo, probe: Probe) -> str:
    """Say of an output that is to hold logits why it does not."""
    meaning = read_meaning(network.model, info.name)
    if meaning.kind == 'logits' and not meaning.one_sided:
        return ''
    measured = _measured(info, probe)
    if measured is None or measured.is_constant or measured.lowest < 0:
        return ''
    return f"'{info.name}' was measured: {measured}; logits are negative, too"


def _measured(info: TensorInfo, probe: Probe) -> Measurement | None:
    values = probe.values(info.name)
    return None if values is None else measurement_of(values, None)


def _instances_fault(pair: Instances, probe: Probe) -> str:
    """Say of the values beside a box why they are no scores, or no classes."""
    values = probe.values(pair.classes.name)
    if values is None or not values.size:
        return ''
    if pair.are_final:
        scores, classes = values[..., _BOX], values[..., _BOX + 1]
        if not np.array_equal(classes, np.round(classes)):
            return f"'{pair.classes.name}' has classes that are no whole numbers"
    else:
        scores = values[:, _BOX:_BOX + pair.count]
    measured = measurement_of(scores, None)
    if measured is None or measured.are_within_0_and_1:
        return ''
    return f"the scores in '{pair.classes.name}' were measured: {measured}; scores are 0 to 1"
