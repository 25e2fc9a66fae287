# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Plot of the report of ``trt-segmentation bench``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_segmentation.benchmark.frames import divide_infer
from trt_segmentation.requirements import require

PERCENTS = ('p50', 'p95', 'p99')

STAGES = ('to_node', 'take', 'dispatch', 'read', 'copy_in', 'head', 'network', 'tail',
             'copy_out', 'infer', 'publish', 'to_subscriber')
"""The stages of a frame, in their order; each has its own colour."""


def write_plot(report: Mapping[str, Any], path: Path) -> None:
    """Draw the time of each stage of a frame, and the latency over the rate.

    Args:
        report: of ``trt-segmentation bench``.
        path: of the PNG.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    require('matplotlib')
    from matplotlib.figure import Figure
    figure = Figure(figsize=(12, 5), layout='constrained')
    left, right = figure.subplots(1, 2)
    height, width = report['source_size']
    figure.suptitle(f"{Path(report['model']).name}, {report['runs_on']}\n"
                    f"{width}x{height} to {', '.join(report['outputs'])}", fontsize=10)
    _draw_split(left, _bars(report))
    if 'ros' in report:
        _draw_latency(right, report['ros'])
    else:
        _draw_wall(right, report['wall_ms'])
    figure.savefig(path, format='png', dpi=110)


def _bars(report: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Milliseconds by stage of each bar, by the bar's name."""
    parts = report.get('split_ms', {})
    if 'ros' not in report:
        return {'infer': parts} if parts else {}
    bars = {}
    for name, entries in report['ros']['rates'].items():
        for entry in (*entries, *_peak_of(report['ros'], name)):
            if split := entry.get('split_ms'):
                bars[f"{name}\n{entry['rate']:.0f} Hz"] = \
                    divide_infer(split, parts) if name == 'node' else split
    return bars


def _peak_of(ros: Mapping[str, Any], implementation: str) -> list[Mapping[str, Any]]:
    return [ros['peak'][implementation]] if implementation in ros['peak'] else []


def _draw_split(axes: Any, bars: Mapping[str, Mapping[str, float]]) -> None:
    floor = [0.0] * len(bars)
    for index, stage in enumerate(STAGES):
        if not any(stage in bar for bar in bars.values()):
            continue
        values = [bar.get(stage, 0.0) for bar in bars.values()]
        axes.bar(list(bars), values, bottom=floor, label=stage, color=f'C{index % 10}',
                 hatch='//' if index >= 10 else None, width=0.6)
        floor = [below + value for below, value in zip(floor, values, strict=True)]
    axes.set_ylabel('ms (mean)')
    axes.set_title('time of each stage of a frame', fontsize=10)
    if bars:
        handles, labels = axes.get_legend_handles_labels()  # reversed, as the bars are stacked
        axes.legend(handles[::-1], labels[::-1], fontsize=8, loc='upper left',
                    bbox_to_anchor=(1, 1))


def _draw_latency(axes: Any, ros: Mapping[str, Any]) -> None:
    for color, (name, entries) in enumerate(ros['rates'].items()):
        known = sorted((entry for entry in (*entries, *_peak_of(ros, name))
                        if entry.get('latency_ms')), key=lambda entry: entry['sent_rate'])
        rates = [entry['sent_rate'] for entry in known]
        lines = {f'{name} {percent}': [entry['latency_ms'][percent] for entry in known]
                 for percent in PERCENTS}
        lines[f'{name} p50 of the mask'] = [entry['mask_latency_ms']['p50'] for entry in known]
        for (label, values), style in zip(lines.items(), ('-', '--', ':', '-.'), strict=True):
            axes.plot(rates, values, style, marker='o', markersize=3, color=f'C{color}',
                      label=label)
    axes.set_xlabel('camera rate, Hz, up to the peak (at most 5 % loss)')
    axes.set_ylabel('ms from stamp to subscriber')
    axes.set_ylim(bottom=0)
    axes.set_title('latency over DDS', fontsize=10)
    axes.legend(fontsize=8)


def _draw_wall(axes: Any, wall: Mapping[str, Mapping[str, float]]) -> None:
    for index, (name, percents) in enumerate(wall.items()):
        places = [place + 0.35 * index for place in range(len(PERCENTS))]
        axes.bar(places, [percents[percent] for percent in PERCENTS], width=0.3, label=name)
    axes.set_xticks(range(len(PERCENTS)), PERCENTS)
    axes.set_ylabel('ms')
    axes.set_title('wall time of infer', fontsize=10)
    axes.legend(fontsize=8)
