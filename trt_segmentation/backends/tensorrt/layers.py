# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The layers of an engine and their precision, read from TensorRT's engine inspector."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX

_DATATYPES = (
    ('bf16', r'bf16|bfloat16'), ('fp16', r'fp16|half|float16'), ('fp8', r'fp8|float8|e4m3|e5m2'),
    ('fp4', r'fp4|float4|e2m1'), ('fp32', r'fp32|float'), ('uint8', r'uint8'), ('int8', r'int8'),
    ('int4', r'int4'), ('int32', r'int32'), ('int64', r'int64'), ('bool', r'bool'))
"""Element types and patterns of the inspector's names for them; the first match counts.

They stand alone ('Half') or in a sentence ('Channel major FP16 format where channel % 8 == 0').
"""

_COMPUTED = ('fp4', 'int4', 'fp8', 'int8', 'fp16', 'bf16', 'fp32')
"""Types that a network's values can have, the narrowest first."""

_INDEXED = ('int64', 'int32', 'uint8', 'bool')


@dataclass(frozen=True)
class Layer:
    """One layer of an engine; often several nodes of the graph, fused.

    Attributes:
        name: the engine's name of the layer, built from the names of the graph's nodes.
        kind: TensorRT's type of layer, such as 'CaskConvolution' or 'Myelin'.
        precision: the narrowest type of its input and output values, such as 'fp16' or 'int8';
            that of its indices ('int32', 'bool', ...) if it has no values; '' if TensorRT does
            not report it.
        tactic: the kernel.
        in_network: whether it has nodes of the user's network, not only of head and tail.
    """

    name: str
    kind: str = ''
    precision: str = ''
    tactic: str = ''
    in_network: bool = False


def parse_layers(text: str) -> tuple[Layer, ...]:
    """Read the layers out of the JSON of ``EngineInspector.get_engine_information``.

    Returns:
        The layers; none if TensorRT reports nothing or its JSON is invalid.
    """
    try:
        report = json.loads(text, strict=False)  # 8.6 puts bare control characters into names
    except ValueError as error:  # names are not always escaped
        logging.getLogger(__name__).debug('the engine inspector gives no JSON: %s', error)
        return ()
    entries = report.get('Layers', ()) if isinstance(report, Mapping) else ()
    return tuple(_layer(entry) for entry in entries if isinstance(entry, str | Mapping))


def layer_counts(layers: Iterable[Layer]) -> dict[str, int]:
    """Return the number of layers of each precision, the commonest first; '' for unknown."""
    return dict(Counter(layer.precision for layer in layers).most_common())


def summary(layers: Iterable[Layer]) -> str:
    """Return a phrase such as 'fp16 in 41 of 52 layers, fp32 in 11'; '' for no layers."""
    counts = [(name or 'unknown', count) for name, count in layer_counts(layers).items()]
    if not counts:
        return ''
    (first, most), *others = counts
    total = most + sum(count for _, count in others)
    return ', '.join([f'{first} in {most} of {total} layer{"s" * (total > 1)}',
                      *(f'{name} in {count}' for name, count in others)])


def precision_run(layers: Iterable[Layer]) -> str:
    """Return the precision that most layers of the network run in; '' if that is unknown.

    Layers of head and tail count only if no layer is known to be the network's; layers without
    values (shapes, indices) never count. Of two equally common ones, the wider is returned.
    """
    valued = [layer for layer in layers if layer.precision in _COMPUTED]
    of_network = [layer for layer in valued if layer.in_network]
    counts = layer_counts(of_network or valued)
    return max(counts, key=lambda name: (counts[name], _COMPUTED.index(name)), default='')


def as_json(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """Return the layers as values that ``json`` can write."""
    return [asdict(layer) for layer in layers]


def from_json(entries: Iterable[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """Return the layers that ``as_json`` was given."""
    return tuple(Layer(**entry) for entry in entries)


def _layer(entry: str | Mapping[str, Any]) -> Layer:
    if isinstance(entry, str):  # only the name, if the engine was built without detailed profiling
        return Layer(entry, in_network=NETWORK_PREFIX in entry)
    name = str(entry.get('Name', ''))
    return Layer(name, str(entry.get('LayerType', '')), _precision(entry),
                 str(entry.get('TacticName') or entry.get('TacticValue') or ''),
                 NETWORK_PREFIX in name + str(entry.get('Metadata', '')))


def _precision(entry: Mapping[str, Any]) -> str:
    tensors = [tensor for side in ('Inputs', 'Outputs') for tensor in entry.get(side) or ()
               if isinstance(tensor, Mapping)]
    words = [str(tensor.get('Format/Datatype') or tensor.get('Datatype') or '')
             for tensor in tensors]
    # A layer with float inputs and outputs can still compute in the type of its weights.
    words += [str(entry[part].get('Type', '')) for part in ('Weights', 'Bias')
              if isinstance(entry.get(part), Mapping)]
    found = {_datatype(word) for word in words} - {''}
    # With open dimensions TensorRT 8.6 reports no formats; kernels have types in their names.
    found = found or {_datatype(str(entry.get('TacticName', '')))}
    return next((name for name in (*_COMPUTED, *_INDEXED) if name in found), '')


def _datatype(words: str) -> str:
    return next((name for name, pattern in _DATATYPES if re.search(pattern, words, re.I)), '')
