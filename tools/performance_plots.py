#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Write the page of measured times and its plots from the dated files of docs/measurements::

    python tools/performance_plots.py

It reads results of ``python tools/gpu_check`` (with ``infer``) and reports of ``trt-segmentation
bench --ros --json``. Of several files with the same network, the newest one counts.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'tools'))

import svg  # noqa: E402

MEASUREMENTS = ROOT / 'docs' / 'measurements'
PAGE = ROOT / 'docs' / 'explanation' / 'measured.md'
IMAGES = ROOT / 'docs' / 'images'

PRECISIONS = {'fp32': '#d29922', 'fp16': '#2f81f7', 'int8': '#2da44e'}
COPY, NODE, BASELINE = '#8b949e', '#2f81f7', '#8b949e'
"""Colours."""

ARMS = {'ours': 'node', 'node': 'node', 'usual': 'baseline', 'baseline': 'baseline'}
"""What reports call the node and the hand-written baseline."""

NAMES = {
    'road_scenes': 'demo network', 'deeplabv3_resnet50': 'DeepLabV3 ResNet-50',
    'lraspp_mobilenet_v3_large': 'LRASPP MobileNetV3',
    'deeplabv3_mnv2_voc257_nchw': 'DeepLabV3 MobileNetV2',
    'selfie_256_nchw': 'MediaPipe selfie',
    'road_segmentation_adas_0001_nhwc': 'road-segmentation-adas'}

MOST_LOST = 0.05
"""Fraction of the images above which a rate is more than the node or the baseline can take."""


@dataclass(frozen=True)
class Inference:
    """One network in one precision on a GPU, an image in a reused buffer; milliseconds."""

    network: str
    precision: str
    gpu: str
    agreement: float | None
    copy_in: float
    run: float
    copy_out: float
    p50: float
    p99: float
    size: tuple[int, int]
    date: str
    file: str

    @property
    def total(self) -> float:
        """Milliseconds of copies and engine."""
        return self.copy_in + self.run + self.copy_out


@dataclass(frozen=True)
class Latency:
    """Camera to mask, one rate of the camera; milliseconds."""

    machine: str
    network: str
    size: tuple[int, int]
    arm: str
    rate: float
    p50: float
    p99: float
    loss: float
    date: str
    file: str


def read_files() -> dict[str, dict[str, Any]]:
    """Return the JSON files of docs/measurements by name."""
    found = {path.name: json.loads(path.read_text(encoding='utf-8'))
             for path in sorted(MEASUREMENTS.glob('*.json'))}
    return {name: tree for name, tree in found.items() if isinstance(tree, dict)}


def newest_inferences(files: Mapping[str, Any]) -> list[Inference]:
    """Return the newest measurement of each network and precision."""
    newest: dict[tuple[str, str], Inference] = {}
    for name, tree in files.items():
        for found in _inferences(name, tree):
            key = found.network, found.precision
            if key not in newest or found.date >= newest[key].date:
                newest[key] = found
    fastest = {each.network: min(other.run for other in newest.values()
                                 if other.network == each.network) for each in newest.values()}
    return sorted(newest.values(), key=lambda each: (
        fastest[each.network], each.network, list(PRECISIONS).index(each.precision)))


def _inferences(file: str, tree: Mapping[str, Any]) -> Iterator[Inference]:
    agreements = tree.get('agree', {})
    for key, row in tree.get('infer', {}).items() if 'machine' in tree else ():
        if times := row.get('reused'):
            height, width = map(int, row['size'].split('x'))
            yield Inference(
                _name(row['network']), row['precision'], tree['machine']['gpu'],
                agreements.get(key, {}).get('agreement'), times['copy_in'], times['run'],
                times['copy_out'], times['p50'], times['p99'], (height, width),
                row.get('date', tree['machine']['date']), file)


def newest_latencies(files: Mapping[str, Any]) -> list[Latency]:
    """Return the newest latencies of each machine, network, size of the image and arm.

    Reports of fewer than three rates are of variants of the node, and one without a latency of
    the mask alone is of another output.
    """
    newest: dict[tuple[Any, ...], list[Latency]] = {}
    for name, tree in files.items():
        for key, found in _latencies(name, tree):
            if len(found) > 2 and (key not in newest or found[0].date >= newest[key][0].date):
                newest[key] = found
    return [each for _, found in sorted(newest.items()) for each in found]


def _latencies(file: str, tree: Mapping[str, Any]
               ) -> Iterator[tuple[tuple[Any, ...], list[Latency]]]:
    for arm, rows in tree.get('ros', {}).get('rates', {}).items():
        only_mask = tree['outputs'] == ['mask']
        size, date = tuple(tree['source_size']), tree['host']['date'][:10]
        machine, network = _machine(tree), _name(Path(tree['model']).stem)
        found = [Latency(machine, network, size, ARMS[arm], row['rate'], times['p50'],
                         times['p99'], row['loss'], date, file)
                 for row in rows
                 if (times := row.get('mask_latency_ms') or (only_mask and row['latency_ms']))]
        yield (machine, network, size[0], ARMS[arm]), found


def _machine(tree: Mapping[str, Any]) -> str:
    """The processor that the network ran on, in a few words."""
    if gpus := tree['host']['gpus']:
        return re.sub(r'NVIDIA | \d+GB.*', '', gpus[0]['name'])
    return f"{tree['host']['cpu']}, {tree['host']['cores']} cores"


def _name(network: str) -> str:
    return NAMES.get(network, network)


# Plots

_WIDTH, _LEFT, _RIGHT, _TOP = 780, 206, 110, 84
"""Pixels: of a plot, and its margins beside the axes."""


def plot_inferences(found: Sequence[Inference]) -> str:
    """Return the plot of GPU times as SVG: one bar for each network and precision."""
    bar, gap, between = 15, 4, 13
    most = _axis_end([each.total for each in found])
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts, y = [], float(_TOP)
    for network, rows in _grouped(found, 'network'):
        middle = y + (len(rows) * (bar + gap) - gap) / 2
        parts.append(svg.text(_LEFT - 12, middle + 4, network, anchor='end'))
        for each in rows:
            parts += _bar(each, y, bar, scale, min(each.total, most * 1.03))
            y += bar + gap
        y += between - gap
    height = round(y + 34)
    legend = [(precision, color) for precision, color in PRECISIONS.items()
              if any(each.precision == precision for each in found)]
    sizes, gpus = (' and '.join(sorted(set(values))) for values in (
        map(_size, (each.size for each in found)), (each.gpu for each in found)))
    return svg.picture(_WIDTH, height, 'GPU time of each network and precision', [
        *_head('From image to mask on the GPU',
               f'{sizes} BGR image in a reused buffer, {gpus}; number: infer, median',
               [*((f'engine, {name}', color) for name, color in legend), ('copies', COPY)]),
        *_axis(most, scale, height - 34), *parts])


def _bar(each: Inference, y: float, height: int, scale: float, end: float) -> Iterator[str]:
    """A bar with its number; one that is longer than ``end`` milliseconds has a gap."""
    start = 0.0
    for value, color in ((each.copy_in, COPY), (each.run, PRECISIONS[each.precision]),
                         (each.copy_out, COPY)):
        if (length := min(value, end - start)) > 0:
            yield svg.rect(_LEFT + start * scale, y, length * scale, height, color=color)
        start += value
    x = _LEFT + end * scale
    for gap in (22, 16) if each.total > end else ():
        yield svg.line(x - gap, y + height + 2, x - gap + 5, y - 2, kind='gap', width=3)
    yield svg.text(x + 7, y + height - 3, f'{each.p50:.2f} ms', size=12, weight=600)


def _axis_end(totals: Sequence[float]) -> float:
    """The longest bar to scale: among the longest fifth, not one of twice the length before."""
    ordered = sorted(totals)
    for number in range(max(len(ordered) * 4 // 5, 1), len(ordered)):
        if ordered[number] > 2 * ordered[number - 1]:
            return ordered[number - 1]
    return ordered[-1]


def plot_latencies(found: Sequence[Latency]) -> str:
    """Return the plot of latencies as SVG: node and baseline in one row for each network."""
    row = 46
    groups = list(_grouped(found, 'machine', 'network', 'size'))
    most = max(each.p99 for each in found)
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts, y = [], float(_TOP)
    for _, rows in groups:
        parts += [svg.text(_LEFT - 12, y + 9, rows[0].network, anchor='end'),
                  svg.text(_LEFT - 12, y + 25, f'{_size(rows[0].size)}, {rows[0].machine}',
                           size=11, kind='faint', anchor='end')]
        parts += _dots(rows, y, scale)
        y += row
    height = round(y + 34)
    return svg.picture(_WIDTH, height, 'Latency from camera to mask, node and baseline', [
        *_head('From the camera to the mask, over DDS',
               'dots: median at each rate of the camera; bars: to the 99th percentile; '
               f'rings: more than {MOST_LOST:.0%} of the images lost',
               [('node', NODE), ('hand-written baseline', BASELINE)]),
        *_axis(most, scale, height - 34), *parts])


def _dots(rows: Sequence[Latency], y: float, scale: float) -> Iterator[str]:
    for arm, color, rise in (('node', NODE, 4), ('baseline', BASELINE, 20)):
        of_arm = [each for each in rows if each.arm == arm]
        for each in of_arm:
            yield svg.line(_LEFT + each.p50 * scale, y + rise, _LEFT + each.p99 * scale,
                           y + rise, color=color, width=2)
        for each in of_arm:
            yield svg.dot(_LEFT + each.p50 * scale, y + rise, 5, color,
                          hollow=each.loss > MOST_LOST)
        if of_arm:
            least, most = (pick(each.p50 for each in of_arm) for pick in (min, max))
            x = _LEFT + max(each.p99 for each in of_arm) * scale
            label = f'{least:.0f} to {most:.0f} ms' if f'{least:.0f}' != f'{most:.0f}' \
                else f'{least:.0f} ms'
            yield svg.text(x + 9, y + rise + 4, label, size=12, weight=600)


def _head(title: str, below: str, legend: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield svg.text(20, 30, title, size=16, weight=600)
    yield svg.text(20, 50, below, size=12, kind='faint')
    x = _WIDTH - 20.0
    for name, color in reversed(legend):
        x -= 7 * len(name) + 32
        yield svg.rect(x, 20, 11, 11, color=color, radius=2)
        yield svg.text(x + 16, 30, name, size=12, kind='faint')


def _axis(most: float, scale: float, bottom: float) -> Iterator[str]:
    """Vertical lines with milliseconds, about six of them."""
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
                if most / step <= 8)
    for number in range(int(most / step) + 1):
        x = _LEFT + number * step * scale
        yield svg.line(x, _TOP - 10, x, bottom)
        yield svg.text(x, bottom + 18, f'{number * step:g} ms', size=11, kind='faint',
                       anchor='middle')


def _grouped(found: Iterable[Any], *names: str) -> Iterator[tuple[Any, list[Any]]]:
    """Yield rows with the same values of these attributes, in their order."""
    groups: dict[Any, list[Any]] = {}
    for each in found:
        key = tuple(getattr(each, name) for name in names)
        groups.setdefault(key[0] if len(names) == 1 else key, []).append(each)
    yield from groups.items()


def _size(size: tuple[int, int]) -> str:
    height, width = size
    return f'{width}x{height}'


# The page

_PAGE = """<!-- Written by tools/performance_plots.py from docs/measurements; do not edit. -->

# Measured

The newest measurement of each network, from the dated files in `docs/measurements`. Each file
holds the machine, the versions and all runs.

## On the GPU

An image in a reused buffer to its mask: copy to the GPU, engine with head and tail, copy of the
mask. `infer` is the wall time of all of it. Agreement is the fraction of the pixels that have the
class that ONNX Runtime gives them in fp32.

![GPU time of each network and precision](../images/gpu_time.svg)

{inferences}
{gpu_files}
## From the camera to the mask

A camera process publishes images, the node segments them, and a third process receives the mask:
the time from the stamp of an image until its mask is there. The baseline is a node around a
hand-written pipeline (OpenCV, NumPy, and the same runtime). A rate that is higher than a node can
take loses images.

![latency from the camera to the mask, node and baseline](../images/latency.svg)

{latencies}
{bench_files}"""


def page(files: Mapping[str, Any]) -> str:
    """Return docs/explanation/measured.md."""
    inferences, latencies = newest_inferences(files), newest_latencies(files)
    return _PAGE.format(
        inferences=_inference_table(inferences), latencies=_latency_table(latencies),
        gpu_files=_sources(inferences, partial(_gpu_source, files)),
        bench_files=_sources(latencies, partial(_bench_source, files)))


def _inference_table(found: Sequence[Inference]) -> str:
    head = ('network', 'precision', 'agreement', 'copy in, ms', 'engine, ms', 'copy out, ms',
            '`infer` p50, ms', 'p99, ms')
    return _table(head, (
        (each.network, each.precision,
         '' if each.agreement is None else f'{each.agreement:.3%}',
         *(f'{value:.2f}' for value in (each.copy_in, each.run, each.copy_out, each.p50,
                                        each.p99))) for each in found))


def _latency_table(found: Sequence[Latency]) -> str:
    head = ('network', 'image', 'on', 'camera, Hz', 'node p50, ms', 'p99, ms', 'lost',
            'baseline p50, ms', 'p99, ms', 'lost')
    rows = []
    for (machine, network, size, rate), both in _grouped(found, 'machine', 'network', 'size',
                                                         'rate'):
        arms = {each.arm: each for each in both}
        rows.append((network, _size(size), machine, f'{rate:g}',
                     *_latency_cells(arms.get('node')), *_latency_cells(arms.get('baseline'))))
    return _table(head, rows)


def _latency_cells(found: Latency | None) -> tuple[str, ...]:
    if found is None:
        return '', '', ''
    return f'{found.p50:.1f}', f'{found.p99:.1f}', f'{found.loss:.0%}'


def _sources(found: Sequence[Any], describe: Any) -> str:
    """A list of the files that a table comes from."""
    files = sorted({each.file for each in found})
    return ''.join(f'- [{file}](../measurements/{file}): {describe(file)}\n' for file in files)


def _gpu_source(files: Mapping[str, Any], file: str) -> str:
    tree = files[file]
    machine = tree['machine']
    command = tree.get('command', 'python tools/gpu_check OUT_DIR')
    return (f"{machine['gpu']}, {machine['tensorrt']}, {machine['date']}, by "
            f'`{command}`')


def _bench_source(files: Mapping[str, Any], file: str) -> str:
    tree = files[file]
    names = [ARMS[arm] for arm in tree['ros']['rates']]
    return (f"{' and '.join(names)}, to {' and '.join(tree['outputs'])}, "
            f"{tree['runs_on']}, {tree['host']['date'][:10]}, "
            f"{tree['ros']['runs']} runs of {tree['ros']['seconds']:g} s at each rate")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def outputs() -> dict[Path, str]:
    """Return the text of every file that this script writes."""
    files = read_files()
    return {PAGE: page(files), IMAGES / 'gpu_time.svg': plot_inferences(newest_inferences(files)),
            IMAGES / 'latency.svg': plot_latencies(newest_latencies(files))}


if __name__ == '__main__':
    for path, content in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding='utf-8')
