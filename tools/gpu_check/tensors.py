# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Comparison of TensorRT and ONNX Runtime by tensor, for networks whose masks differ."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from agreement import fed_to_network
from onnx import TensorProto
from subjects import Builds, Subject, fitting

from trt_segmentation.backends.onnxruntime import OnnxGraph
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

TOLERANCE = 0.01
"""Allowed difference of an element, as a share of its tensor's range."""

KEPT = 1_000_000
"""Tensors with more elements are compared, but not written."""


def check_tensors(subject: Subject, precision: str, builds: Builds, prefixes: Sequence[str],
                  folder: Path) -> dict[str, Any]:
    """Compare a network's outputs, and then all tensors whose names begin with ``prefixes``.

    A tensor that is an output is not fused with the layers after it: if only 'outputs' differs,
    fusion is the cause. The tensors of both are written to FOLDER/NAME_HOW.npz, as
    'tensorrt NAME' and 'onnxruntime NAME'.

    Returns:
        For 'outputs' and 'marked', by tensor, the share of elements that differ.
    """
    segmenter = Segmenter.open(subject.model, config=subject.config or None,
                               options=RunOptions('onnxruntime'))
    spec = segmenter.spec
    segmenter.close()
    inputs = fed_to_network(spec, fitting(subject.images()[0], spec))
    loader, build = EngineLoader(cache=str(builds.cache)), subject.options(precision, builds).build
    found = {}
    folder.mkdir(exist_ok=True)
    for how, marked in {'outputs': (), 'marked': tuple(prefixes)}.items():
        model = with_outputs(spec.network.model, marked)
        names = [value.name for value in model.graph.output]
        expected = OnnxGraph(model).run(inputs, names)
        network = loader.open_network_only(
            replace(spec, network=replace(spec.network, model=model)), build)
        (fed,) = inputs.values()
        given = network(fed)
        network.close()
        found[how] = {name: _differing_share(given[name], expected[name]) for name in names}
        kept: dict[str, Any] = {
            f'{side} {name}'.replace('/', '.'): tensors[name]
            for side, tensors in {'tensorrt': given, 'onnxruntime': expected}.items()
            for name in names if expected[name].size <= KEPT}
        np.savez_compressed(folder / f'{subject.name}_{how}.npz', **kept)
    return found


def with_outputs(model: onnx.ModelProto, prefixes: tuple[str, ...]) -> onnx.ModelProto:
    """Return a network with more outputs: its numeric tensors with these prefixes.

    Tensors of one axis are left out: they may be sizes, which TensorRT keeps on the host.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    known = {value.name for value in model.graph.output}
    numbers = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
    made = {name for node in model.graph.node for name in node.output}
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.output.extend(
        value for value in inferred.graph.value_info
        if value.name in made - known and value.name.startswith(prefixes)
        and value.type.tensor_type.elem_type in numbers
        and len(value.type.tensor_type.shape.dim) > 1)
    return model


def _differing_share(given: np.ndarray, expected: np.ndarray) -> float:
    difference = np.abs(given.astype(float) - expected)
    return float((~(difference <= TOLERANCE * max(np.ptp(expected), 1e-6))).mean())
