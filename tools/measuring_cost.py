# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Whether networks have to be run to know what they give, and what that costs at opening::

    python tools/model_zoo ZOO --export-only --only SegFormer Unet
    python tools/model_zoo SMALL --export-only --small
    python tools/measuring_cost.py RESULT.json ZOO/models [...] --not-timed SMALL/models

Each network is read with the .yaml beside it. Then its output is hidden behind a sigmoid of single
operators, which no graph tells, and opened on ONNX Runtime: without measuring, measured, and with
the measurement of before. These take turns, each opening in a process of its own. Of networks that
are not timed, only whether their graphs decide is written.
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

ARMS = ('without', 'measured', 'kept')
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
(fact,) = (fact for fact in segmenter.spec.provenance if fact.key == 'output.kind')
print(json.dumps({'ms': 1000 * seconds, 'peak_mb': int(peak.split()[0]) / 1024,
                  'origin': fact.origin}))
"""


def decided(model: Path, config: ModelConfig) -> tuple[bool, ModelSpec]:
    """Return whether a network's graph decides, so that it is not run, and what it is."""
    asked: list[tuple[int, ...]] = []

    def run(fed: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(fed.shape)
        return {}

    spec = resolve(read_network(model), config, measuring=MeasurementSetup(run=run))
    return not asked, spec


def hide(spec: ModelSpec, path: Path) -> None:
    """Write a network whose scores are behind a sigmoid that the graph does not tell."""
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
    kept = output.SerializeToString()
    del model.graph.output[:]
    model.graph.output.add().ParseFromString(kept)
    onnx.save(model, path)


def opening(model: Path, config: ModelConfig, folder: str, arm: str) -> dict[str, Any]:
    """Open a model in a new process."""
    done = subprocess.run([sys.executable, '-c', CHILD, str(model), config.to_text(), folder,
                           str(arm != 'without')], check=True, capture_output=True, text=True,
                          env=os.environ | {'PYTHONPATH': str(HERE)})
    return json.loads(done.stdout)


def cost(model: Path, config: ModelConfig) -> dict[str, Any]:
    """Return medians of all arms, and that every round was what it should have been."""
    times: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:  # 'kept' follows 'measured' in it
            for arm in ARMS:
                found = opening(model, config, folder, arm)
                assert found['origin'].startswith('measured') == (arm != 'without'), found
                if number:  # the first one only warms up the file system's cache
                    times[arm].append(found)
    return {'measured_as': times['measured'][0]['origin'],
            **{f'{arm}_{key}': round(statistics.median(each[key] for each in times[arm]), 1)
               for arm in ARMS for key in ('ms', 'peak_mb')},
            'more_ms': [round(one['ms'] - other['ms'], 1) for one, other
                        in zip(times['measured'], times['without'], strict=True)]}


def examine(path: Path, is_timed: bool) -> dict[str, Any]:
    """Return the row of one network."""
    config_path = path.with_suffix('.yaml')
    config = ModelConfig.from_file(config_path) if config_path.is_file() else ModelConfig()
    is_decided, spec = decided(path, config)
    row: dict[str, Any] = {
        'network': path.stem, 'megabytes': round(path.stat().st_size / 1e6, 1),
        'input': list(spec.network.inputs[0].shape or ()), 'decided_by_graph': is_decided}
    if not is_timed or spec.pair is not None or spec.kind == 'ids':
        return row  # a pair or ids, of which a sigmoid makes nothing that means anything
    with tempfile.TemporaryDirectory() as folder:
        hidden = Path(folder) / path.name
        hide(spec, hidden)
        told = ModelConfig(config.input, OutputConfig(), config.classes)
        return row | cost(hidden, told)


def files_of(models: list[Path]) -> list[Path]:
    """Return the .onnx files that are named, and those in the folders that are."""
    return [path for given in models
            for path in (sorted(given.glob('*.onnx')) if given.is_dir() else [given])]


def main() -> None:
    """Examine all networks and write the result after each."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument('result', type=Path, metavar='RESULT.json')
    parser.add_argument('models', type=Path, nargs='+', metavar='MODELS',
                        help='.onnx files, and folders of them')
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
