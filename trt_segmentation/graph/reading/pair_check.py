# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that two outputs with the shapes of queries or instances hold such values."""

import numpy as np

from trt_segmentation.graph.analysis.kind_tracing import read_meaning
from trt_segmentation.graph.analysis.measurement import Measurement, Probe, measurement_of
from trt_segmentation.graph.onnx_tools.network import Network, TensorInfo
from trt_segmentation.graph.reading.instances import Instances
from trt_segmentation.graph.reading.queries import Queries

_BOX = 4


def pair_fault(network: Network, pair: Queries | Instances, probe: Probe, is_given: bool = False,
               ) -> str:
    """Return why two outputs are not the queries or instances of their shapes; '' if they may be.

    Args:
        network: has both outputs.
        pair: the two outputs.
        probe: runs the network if its graph does not determine what the values mean.
        is_given: whether the config has the kind; then coefficients may have one sign.
    """
    if isinstance(pair, Instances):
        return _instances_fault(pair, probe) or ('' if is_given else
                                                 _coefficients_fault(pair, probe))
    return _logits_fault(network, pair.classes, probe) or _logits_fault(network, pair.masks, probe)


def _logits_fault(network: Network, info: TensorInfo, probe: Probe) -> str:
    """Why an output does not hold logits; '' if it may."""
    meaning = read_meaning(network.model, info.name)
    if meaning.kind == 'logits' and not meaning.one_sided:
        return ''
    measured = probe.measurement(info.name, 'all', lambda values: measurement_of(values, None))
    if measured is None or measured.is_constant or measured.lowest < 0:
        return ''
    return f"'{info.name}' was measured: {measured}; logits have both signs"


def _instances_fault(pair: Instances, probe: Probe) -> str:
    """Why the values after a box are no scores or no classes; '' if they may be."""
    name, count = pair.classes.name, pair.count
    if pair.are_final:
        scores = _measured(pair, probe, 'score', _BOX, _BOX + 1)
        classes = _measured(pair, probe, 'class', _BOX + 1, _BOX + 2)
        if classes is not None and not classes.integers:
            return f"'{name}' has classes that are no integers"
    else:
        scores = _measured(pair, probe, f'{count} scores', _BOX, _BOX + count)
    if scores is None or scores.are_within_0_and_1:
        return ''
    return f"the scores in '{name}' were measured: {scores}; scores must be 0 to 1"


def _coefficients_fault(pair: Instances, probe: Probe) -> str:
    """Why the last values are no coefficients; '' if they may be."""
    found = _coefficients(pair, probe)
    if found is None or found.is_constant or found.lowest < 0:
        return ''
    return (f"the coefficients in '{pair.classes.name}' were measured: {found}; coefficients have "
            'both signs')


def _coefficients(pair: Instances, probe: Probe) -> Measurement | None:
    """The measured coefficients of all instances."""
    return _measured(pair, probe, f'{pair.coefficients} coefficients', -pair.coefficients, None)


def _measured(pair: Instances, probe: Probe, part: str, first: int, end: int | None,
              ) -> Measurement | None:
    """Measure the values ``first:end`` of all instances.

    Args:
        pair: its ``classes`` are measured.
        probe: runs the network.
        part: names the values in the cache.
        first, end: see above.
    """
    def measure(values: np.ndarray) -> Measurement | None:
        return measurement_of(values[..., first:end] if pair.are_final else values[:, first:end],
                              None)
    return probe.measurement(pair.classes.name, part, measure)


def pair_origin(pair: Queries | Instances, probe: Probe | None) -> str:
    """Return the origin of the kind of two outputs, as ``Provenance`` has it; 'assumed' if only
    their shapes tell it.

    Args:
        pair: without a fault.
        probe: runs the network if names do not tell the kind; None disables this.
    """
    if pair.has_telling_names:
        return 'graph'
    if isinstance(pair, Instances) and probe is not None:
        found = _coefficients(pair, probe)
        if found is not None and found.lowest < 0 < found.highest:
            return f'measured (coefficients {found})'
    return 'assumed'
