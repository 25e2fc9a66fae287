# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measure the cost of running networks to determine the kind of their output::

    python tools/model_zoo ZOO --export-only --only SegFormer Unet
    python tools/model_zoo SMALL --export-only --small
    python tools/measuring_cost.py RESULT.json ZOO/models [...] --not-timed SMALL/models

Each network is read with the .yaml beside it. Then a sigmoid of single operators, which the
graph analysis does not recognize, is appended to its output, and it is opened on ONNX Runtime in
three variants, in turn and each in a new process: without a measurement, with one, and with the
cached one. For networks that are not timed, only whether their graphs decide is written.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from trt_segmentation.benchmark.host import describe_host  # noqa: E402, after the path is set
from trt_segmentation.graph.analysis.measurement import MeasurementSetup  # noqa: E402
from trt_segmentation.graph.onnx_tools.network import read_network  # noqa: E402
from trt_segmentation.graph.reading.resolve import ModelSpec, resolve  # noqa: E402
from trt_segmentation.model_config import ModelConfig, OutputConfig  # noqa: E402

VARIANTS = ('without', 'measured', 'kept')
ROUNDS = 5
CHILD = """
import json, sys, time
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

model, config, folder, measure = sys.argv[1:]
options = RunOptions('onnxruntime', engine_cache=folder, measure=measure == 'True')
start = time.perf_counter()
segmenter = Segmenter.open(model, config=ModelConfig.from_text(config, 'config'), options=options)
seconds = time.perf_counter() - start
with open('/proc/self/status') as file:
    peak = dict(line.split(':', 1) for line in file)['VmHWM']
(entry,) = (entry for entry in segmenter.spec.provenance if entry.key == 'output.kind')
print(json.dumps({'ms': 1000 * seconds, 'peak_mb': int(peak.split()[0]) / 1024,
                  'origin': entry.origin}))
"""


def decided(model: Path, config: ModelConfig) -> tuple[bool, ModelSpec]:
    """Return whether a network's graph alone decides its kind, and the resolved network."""
    fed_shapes: list[tuple[int, ...]] = []

    def run(fed: np.ndarray) -> dict[str, np.ndarray]:
        fed_shapes.append(fed.shape)
        return {}

    spec = resolve(read_network(model), config, measuring=MeasurementSetup(run=run))
    return not fed_shapes, spec


def append_sigmoid(spec: ModelSpec, path: Path) -> None:
    """Write a network with a sigmoid at its end that the graph analysis does not recognize."""
    model = onnx.ModelProto()
    model.CopyFrom(spec.network.model)
    (output,) = (each for each in model.graph.output if each.name == spec.output_name)
    dtype = helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((), dtype), 'cost/one'))
    model.graph.node.extend(
        helper.make_node(op, inputs, [name]) for op, inputs, name in (
            ('Neg', [output.name], 'cost/n'), ('Exp', ['cost/n'], 'cost/e'),
            ('Add', ['cost/e', 'cost/one'], 'cost/d'), ('Div', ['cost/one', 'cost/d'], 'cost')))
    output.name = 'cost'
    value = output.SerializeToString()
    del model.graph.output[:]
    model.graph.output.add().ParseFromString(value)
    onnx.save(model, path)


def open_in_child(model: Path, config: ModelConfig, folder: str, variant: str) -> dict[str, Any]:
    """Open a model in a new process; return its time, memory and origin of the kind."""
    done = subprocess.run([sys.executable, '-c', CHILD, str(model), config.to_text(), folder,
                           str(variant != 'without')], check=True, capture_output=True, text=True,
                          env=os.environ | {'PYTHONPATH': str(HERE)})
    return json.loads(done.stdout)


def cost(model: Path, config: ModelConfig) -> dict[str, Any]:
    """Return the medians of all variants; check the origin of the kind in every round."""
    times: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:  # 'kept' uses the cache of 'measured'
            for variant in VARIANTS:
                found = open_in_child(model, config, folder, variant)
                assert found['origin'].startswith('measured') == (variant != 'without'), found
                if number:  # the first round warms up the file system cache
                    times[variant].append(found)
    return {'measured_as': times['measured'][0]['origin'],
            **{f'{variant}_{key}': round(
                statistics.median(each[key] for each in times[variant]), 1)
               for variant in VARIANTS for key in ('ms', 'peak_mb')},
            'more_ms': [round(one['ms'] - other['ms'], 1) for one, other
                        in zip(times['measured'], times['without'], strict=True)]}


def examine(path: Path, is_timed: bool) -> dict[str, Any]:
    """Return the results of one network."""
    config_path = path.with_suffix('.yaml')
    config = ModelConfig.from_file(config_path) if config_path.is_file() else ModelConfig()
    is_decided, spec = decided(path, config)
    row: dict[str, Any] = {
        'network': path.stem, 'megabytes': round(path.stat().st_size / 1e6, 1),
        'input': list(spec.network.inputs[0].shape or ()), 'decided_by_graph': is_decided}
    if not is_timed or spec.pair is not None or spec.kind == 'ids':
        return row  # the sigmoid of a pair or of ids has no meaning
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / path.name
        append_sigmoid(spec, model)
        without_kind = ModelConfig(config.input, OutputConfig(), config.classes)
        return row | cost(model, without_kind)


def files_of(models: list[Path]) -> list[Path]:
    """Return the given .onnx files, and those in the given folders."""
    return [path for given in models
            for path in (sorted(given.glob('*.onnx')) if given.is_dir() else [given])]


def main() -> None:
    """Measure all networks and write the results after each."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument('result', type=Path, metavar='RESULT.json')
    parser.add_argument('models', type=Path, nargs='+', metavar='MODELS',
                        help='.onnx files, or folders of them')
    parser.add_argument('--not-timed', type=Path, nargs='+', default=[], metavar='MODELS')
    args = parser.parse_args()
    report: dict[str, Any] = {**describe_host(), 'rounds': ROUNDS, 'networks': []}
    for path, is_timed in [*((path, True) for path in files_of(args.models)),
                           *((path, False) for path in files_of(args.not_timed))]:
        row = examine(path, is_timed)
        report['networks'].append(row)
        print(json.dumps(row), flush=True)
        args.result.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
