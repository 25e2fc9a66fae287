# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The report of ``trt-segmentation bench`` as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from trt_segmentation.benchmark.frames import divide_infer


def as_text(report: Mapping[str, Any]) -> str:
    """Return the report as tables for the terminal."""
    lines = [*_alone(report)]
    if 'ros' in report:
        lines += ['', *_over_dds(report['ros'], report.get('split_ms', {}))]
    return '\n'.join(lines)


def _alone(report: Mapping[str, Any]) -> Iterator[str]:
    height, width = report['source_size']
    host = report['host']
    yield f"{report['model']}: {report['runs_on']}, {host['cpu']}, {host['cores']} cores"
    yield (f"{width}x{height} to {', '.join(report['outputs'])}, {report['frames']} frames, "
           f"memory grew by {report['memory_growth_mb']} MB")
    yield f"{'wall time, ms':16}{'p50':>9}{'p95':>9}{'p99':>9}"
    for name, at in report['wall_ms'].items():
        yield f"{name:16}{at['p50']:9.2f}{at['p95']:9.2f}{at['p99']:9.2f}"
    if 'gpu_ms_p50' in report:
        yield (f"on the GPU, ms (p50): {_list(report['gpu_ms_p50'])}; wall time is "
               f"{report['wall_over_gpu']:.2f} times their sum")
    if report.get('split_ms'):
        yield f"by the runtime's profile, ms (p50): {_list(report['split_ms'])}"
    if 'ratio_p50' in report:
        yield (f"{report['ratio_p50']:.2f} times as fast as the baseline (p50); the masks agree "
               f"on {report['mask_agreement']:.2%} of the pixels")


def _over_dds(ros: Mapping[str, Any], parts: Mapping[str, float]) -> Iterator[str]:
    middleware = ', '.join(value for value in ros['middleware'].values() if value)
    if ros['cameras'] > 1:
        how = 'a node each' if ros['one_node_each'] else 'in one batch'
        yield f"{ros['cameras']} cameras, {how}; a frame is an image of each"
    yield f"the camera sends {ros['encoding']}"
    runs = '1 run' if ros['runs'] == 1 else f"{ros['runs']} runs"
    yield (f'camera, node, subscriber over DDS ({middleware}), {runs} of {ros["seconds"]:g} s'
           + ', best and worst dropped' * (ros['runs'] > 2))
    yield (f"{'':14}{'Hz in':>8}{'Hz out':>8}{'loss':>8}{'p50':>8}{'p95':>8}{'p99':>8}"
           f"{'mask p50':>10}{'callback':>10}{'beyond infer':>14}{'CPU':>8}  ms")
    for name, entries in ros['rates'].items():
        for entry in entries:
            yield _row(name, entry)
    for name, entry in ros['peak'].items():
        limit = '  (the camera could not go faster)' if entry['camera_limited'] else ''
        yield _row(f'{name}, peak', entry) + limit
    for name, value in ros['ratios'].items():
        yield f'{value:.2f} times as good as the baseline: {name}'
    for name, entries in ros['rates'].items():
        for entry in entries:
            if cpu := entry.get('cpu_ms'):
                yield (f"{name} at {entry['rate']:g} Hz, CPU ms of a frame: {_list(cpu)}; MB of a "
                       f"message: {_list({t: n / 1e6 for t, n in entry['bytes'].items()})}")
    for entry in ros['rates'].get('node', ()):
        if split := entry.get('split_ms'):
            yield (f"node at {entry['rate']:g} Hz, mean ms of each stage: "
                   f'{_list(divide_infer(split, parts))}')


def _row(title: str, entry: Mapping[str, Any]) -> str:
    if not entry.get('latency_ms'):
        return f'{title:14}no frame arrived'
    late, own = entry['latency_ms'], entry['callback_beyond_infer_ms'].get('p50', 0.0)
    return (f"{title:14}{entry['sent_rate']:8.1f}{entry['received_rate']:8.1f}"
            f"{entry['loss']:8.1%}{late['p50']:8.1f}{late['p95']:8.1f}{late['p99']:8.1f}"
            f"{entry['mask_latency_ms']['p50']:10.1f}"
            f"{entry['callback_ms'].get('p50', 0.0):10.2f}{own:14.2f}"
            f"{entry.get('cpu_ms', {}).get('total', 0.0):8.2f}")


def _list(values: Mapping[str, float]) -> str:
    return ', '.join(f'{name} {value:.3f}' for name, value in values.items())
