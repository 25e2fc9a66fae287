# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Memory and time of each set of outputs on ONNX Runtime, for the first and for later images::

    python tools/output_sets.py RESULT.json [--against OTHER_CHECKOUT] [--megabytes 150]

Creates a network of random 3x3 convolutions, opens it in a new process for each checkout, and
requests all seven sets of outputs in turn. It repeats this three times and reports the run with
the median stall.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from trt_segmentation.benchmark.host import describe_host  # noqa: E402, after the path is set

CLASSES, CHANNELS, SIZE = 19, 512, (256, 256)
CHILD = """
import hashlib, itertools, json, sys, time
import numpy as np
import onnx  # imported by open(); its memory is not counted for the network
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

NAMES, SIZE, REPEATS = ('mask', 'confidence', 'overlay'), (480, 640), int(sys.argv[3])


def megabytes():
    with open('/proc/self/status') as file:
        fields = dict(line.split(':', 1) for line in file)
    return int(fields['VmRSS'].split()[0]) // 1024, int(fields['VmHWM'].split()[0]) // 1024


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu), result


config = ModelConfig.from_text(sys.argv[2], 'config')
options = RunOptions('onnxruntime', num_threads=1)
at_start, _ = megabytes()
opening, opening_cpu, segmenter = timed(lambda: Segmenter.open(sys.argv[1], config=config,
                                                               options=options))
opened, peak = megabytes()
image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
rows = []
for count in (1, 2, 3):
    for outputs in itertools.combinations(NAMES, count):
        first, first_cpu, found = timed(lambda: segmenter.infer(image, outputs=outputs))
        digest = hashlib.sha256(b''.join(found.arrays[name].tobytes() for name in outputs))
        wall, cpu, _ = zip(*(timed(lambda: segmenter.infer(image, outputs=outputs))
                             for _ in range(REPEATS)))
        rows.append({'outputs': outputs, 'first_ms': round(first, 1),
                     'median_ms': round(float(np.median(wall)), 1),
                     'first_cpu_ms': round(first_cpu, 1), 'least_cpu_ms': round(min(cpu), 1),
                     'rss_mb': megabytes()[0], 'sha256': digest.hexdigest()})
print(json.dumps({'opening_ms': round(opening, 1), 'opening_cpu_ms': round(opening_cpu, 1),
                  'start_mb': at_start, 'opened_mb': opened, 'opening_peak_mb': peak,
                  'sets': rows}))
"""


def write_network(path: Path, megabytes: float) -> None:
    """Write a network with ``megabytes`` MB of weights.

    Its features have 1/16 of the input size, its scores 1/4.
    """
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def convolve(x: str, shape: tuple[int, int, int], stride: int) -> str:
        outputs, inputs, size = shape
        name = f'conv_{len(weights)}'
        kernel = random.standard_normal((outputs, inputs, size, size)) * (2 / inputs) ** .5 / size
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f'{name}/weight'))
        nodes.append(helper.make_node('Conv', [x, f'{name}/weight'], [name], name,
                                      pads=[size // 2] * 4, strides=[stride] * 2))
        nodes.append(helper.make_node('Relu', [name], [f'{name}/relu'], f'{name}/relu'))
        return f'{name}/relu'

    x, channels = 'image', 3
    for more in (64, 128, 256, CHANNELS):
        x, channels = convolve(x, (more, channels, 3), 2), more
    each = 9 * CHANNELS ** 2 * 4 / 1e6
    for _ in range(max(1, round(megabytes / each))):
        x = convolve(x, (CHANNELS, CHANNELS, 3), 1)
    x = convolve(x, (CLASSES, CHANNELS, 1), 1)
    shape = [1, CLASSES, SIZE[0] // 4, SIZE[1] // 4]
    weights.append(numpy_helper.from_array(np.array(shape, np.int64), 'shape'))
    nodes.append(helper.make_node('Resize', [x, '', '', 'shape'], ['scores'], 'grow',
                                  mode='linear'))
    graph = helper.make_graph(
        nodes, 'random', [helper.make_tensor_value_info('image', TensorProto.FLOAT,
                                                        [1, 3, *SIZE])],
        [helper.make_tensor_value_info('scores', TensorProto.FLOAT, shape)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)],
                                ir_version=8), path)


def measure(model: Path, checkout: Path, repeats: int = 20) -> dict[str, Any]:
    """Return the measurements of a new process with the package of a checkout."""
    labels = ', '.join(f'class_{index}' for index in range(CLASSES))
    config = f'input: {{color: rgb, scale: 0.01}}\nclasses: {{labels: [{labels}]}}'
    done = subprocess.run([sys.executable, '-c', CHILD, str(model), config, str(repeats)],
                          check=True, capture_output=True, text=True,
                          env=os.environ | {'PYTHONPATH': str(checkout)}, cwd=model.parent)
    return summarized(json.loads(done.stdout))


def summarized(found: dict[str, Any]) -> dict[str, Any]:
    """Add the memory of all sets relative to the first one, and the longest stall.

    The stall of a set is the time of its first image beyond that of later ones, as wall clock and
    as CPU time.
    """
    sets, start = found['sets'], found['start_mb']
    return found | {
        'memory_of_all_over_one': round((max(row['rss_mb'] for row in sets) - start)
                                        / (sets[0]['rss_mb'] - start), 3),
        'longest_stall_ms': round(max(row['first_ms'] - row['median_ms'] for row in sets), 1),
        'longest_stall_cpu_ms': round(max(row['first_cpu_ms'] - row['least_cpu_ms']
                                          for row in sets), 1)}


def middle_runs(model: Path, checkouts: dict[str, Path]) -> dict[str, Any]:
    """Measure the checkouts in turn, three times; return the run with the median stall of each."""
    runs = [{name: measure(model, checkout) for name, checkout in checkouts.items()}
            for _ in range(3)]
    return {name: sorted((run[name] for run in runs), key=lambda run: run['longest_stall_ms'])[1]
            for name in checkouts}


def main() -> None:
    """Measure this checkout, and optionally another one; write the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument('result', type=Path, metavar='RESULT.json')
    parser.add_argument('--against', type=Path, metavar='OTHER_CHECKOUT')
    parser.add_argument('--megabytes', type=float, default=150, help='of weights (default 150)')
    args = parser.parse_args()
    checkouts: dict[str, Path] = {'this': HERE}
    if args.against:
        checkouts['against'] = args.against.resolve()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / 'random.onnx'
        write_network(model, args.megabytes)
        report: dict[str, Any] = {
            'date': date.today().isoformat(), 'host': describe_host(),
            'network_mb': round(model.stat().st_size / 1e6, 1), 'num_threads': 1,
            **middle_runs(model, checkouts)}
    if args.against:
        pairs = zip(report['this']['sets'], report['against']['sets'], strict=True)
        report['same_bytes'] = all(one['sha256'] == other['sha256'] for one, other in pairs)
    args.result.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    for name in checkouts:
        print(name, {key: value for key, value in report[name].items() if key != 'sets'})
        for row in report[name]['sets']:
            print(' ', {key: value for key, value in row.items() if key != 'sha256'})
    print('same bytes:', report.get('same_bytes'))


if __name__ == '__main__':
    main()
