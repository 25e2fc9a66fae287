# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The page of measured times, and its plots, are those of the files in docs/measurements."""

from xml.etree import ElementTree

import performance_plots as plots
import pytest


def test_page_and_plots_are_up_to_date():
    for path, content in plots.outputs().items():
        assert path.read_text(encoding='utf-8') == content, \
            f'{path.name}: python tools/performance_plots.py writes it again'


def test_plots_are_well_formed():
    for path, content in plots.outputs().items():
        if path.suffix == '.svg':
            assert ElementTree.fromstring(content).get('role') == 'img'


def gpu_results(date, run):
    times = {'copy_in': 0.1, 'run': run, 'copy_out': 0.1, 'p50': run + 0.2, 'p99': run + 1}
    row = {'network': 'road_scenes', 'precision': 'fp16', 'size': '1080x1920', 'reused': times}
    return {'machine': {'gpu': 'GPU', 'date': date, 'tensorrt': '10'},
            'infer': {'road_scenes fp16': row}}


def test_the_newest_measurement_counts():
    found, = plots.newest_inferences({'a.json': gpu_results('2026-11-29', 1),
                                      'b.json': gpu_results('2026-11-28', 2)})
    assert (found.run, found.file, found.network) == (1, 'a.json', 'demo network')


def report(date, rates, outputs=('mask',), arm='ours', **times):
    latency = {'p50': 5.0, 'p99': 6.0}
    rows = [{'rate': rate, 'loss': 0.0, 'latency_ms': latency, **times} for rate in rates]
    return {'model': 'net.onnx', 'outputs': list(outputs), 'source_size': [10, 20],
            'host': {'date': date, 'gpus': [], 'cpu': 'CPU', 'cores': 2},
            'ros': {'rates': {arm: rows}}}


def test_variants_and_latencies_of_other_outputs_are_left_out():
    files = {'one rate.json': report('2026-11-30', [30]),
             'overlay.json': report('2026-11-30', [10, 30, 60], ['mask', 'overlay']),
             'old.json': report('2026-11-27', [10, 30, 60]),
             'newest.json': report('2026-11-28', [10, 30, 60], ['mask', 'overlay'],
                                   mask_latency_ms={'p50': 4.0, 'p99': 5.0}),
             'baseline.json': report('2026-11-20', [10, 30, 60], arm='usual')}
    found = plots.newest_latencies(files)
    assert {each.file for each in found} == {'newest.json', 'baseline.json'}
    assert [each.p50 for each in found if each.arm == 'node'] == [4.0] * 3


@pytest.mark.parametrize(('totals', 'end'), [
    ([1, 1, 2, 2, 15], 2), ([1, 3, 5, 6, 9], 9), ([1, 1, 1, 1, 2], 2), ([4], 4), ([1, 5], 1)])
def test_one_long_bar_does_not_squeeze_the_others(totals, end):
    assert plots._axis_end(totals) == end
