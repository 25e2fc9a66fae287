# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""tools/gpu_check on a stand-in for the GPU: every network has a row, a second run continues."""

import argparse
import contextlib
import importlib.util
import io
import json
import sys
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from trt_segmentation.backends.onnxruntime import OnnxGraph
from trt_segmentation.backends.tensorrt import build_requests, engine_loader
from trt_segmentation.benchmark.frames import FrameTimes, Run
from trt_segmentation.cli.bench import add_arguments
from trt_segmentation.cli.main import main as run_command
from trt_segmentation.graph.precision.fp16 import to_fp16
from trt_segmentation.options import RunOptions

FOLDER = Path(__file__).parents[1] / 'tools' / 'gpu_check'
SUPPORT = Path(__file__).with_name('support')
SIZE = 36, 64
RANDOM = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
PRECISIONS = 'fp32', 'fp16'
FED = {'color': 'bgr', 'scale': 0.01, 'mean': [0.0] * 3, 'std': [1.0] * 3}


@pytest.fixture
def tool(monkeypatch, networks):
    """The tool's modules by name, with small images; removed from sys.modules after the test."""
    names = [path.stem for path in FOLDER.glob('*.py')]
    sys.path.insert(0, str(FOLDER))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location('gpu_check', FOLDER / '__main__.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    modules = {'tool': tool, **{name: sys.modules[name] for name in names if name in sys.modules}}
    image = networks.random_image(72, 128)
    for name in ('subjects', 'infer'):
        monkeypatch.setattr(modules[name], 'read_frame', lambda *_: SimpleNamespace(image=image))
    for module in (build_requests, engine_loader):
        monkeypatch.setattr(module, 'sample_images', lambda *_, **__: [image])
    monkeypatch.setattr(tool, 'RUN_FRAMES', 2)
    for name, value in {'SIZE': (72, 128), 'ROUNDS': 1, 'FRAMES': 6}.items():
        monkeypatch.setattr(modules['infer'], name, value)
    yield SimpleNamespace(**modules)
    sys.path.remove(str(FOLDER))  # not the whole path: importing ONNX Runtime adds to it
    for name in names:
        sys.modules.pop(name, None)


class Immediately:
    """An executor without threads: the stand-in for the GPU runs in this process, too."""

    def __init__(self, jobs):
        self.jobs = jobs

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def run(tool, tensorrt, monkeypatch, networks, tmp_path):
    """Runs the tool over networks with their configs; returns its results and its table."""
    def in_this_process(command, **options):
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                status = run_command(command[3:])
            except SystemExit as error:  # arguments that the command does not take
                status = error.code
        return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=errors.getvalue())

    gpu = {'name': 'GPU', 'driver_version': '1', 'clocks.max.sm': '1 MHz'}
    monkeypatch.setattr(tool.tool, 'query_gpus', lambda: [gpu])
    monkeypatch.setattr(tool.tool, 'ThreadPoolExecutor', Immediately)
    monkeypatch.setattr(tool.tool, 'subprocess', SimpleNamespace(
        run=in_this_process, TimeoutExpired=TimeoutError))

    def run(models, *arguments):
        folder, out = tmp_path / 'given', tmp_path / 'out'
        folder.mkdir(exist_ok=True)
        (tmp_path / 'images').mkdir(exist_ok=True)
        for name, (model, config) in models.items():
            path = folder / f'{name}.onnx'
            path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
            path.with_suffix('.yaml').write_text(networks.config_of(**config).to_text())
        only = [f'{name}:{precision}' for precision in PRECISIONS for name in models]
        monkeypatch.setattr(sys, 'argv', ['gpu_check', str(out), '--models', str(folder),
                                          '--images', str(tmp_path / 'images'), '--jobs', '1',
                                          '--only', *only, *arguments])
        out.mkdir(exist_ok=True)
        tool.tool.main()
        return json.loads((out / 'results.json').read_text()), (out / 'gpu.md').read_text()

    return run


def kinds(networks):
    """Networks of many kinds with their model configs."""
    one = RANDOM[:1]
    ids = np.arange(SIZE[0] * SIZE[1]).reshape(1, *SIZE) % 3
    return {
        'logits': (networks.pointwise(RANDOM, SIZE), {'input': FED}),
        'nhwc': (networks.pointwise(RANDOM, SIZE, layout='nhwc'), {'input': FED}),
        'one_channel': (networks.pointwise(one, SIZE),
                        {'input': FED, 'output': {'kind': 'logits'}}),
        'sigmoid': (networks.pointwise(one, SIZE, activation='Sigmoid'), {'input': FED}),
        'several_sigmoids': (networks.pointwise(RANDOM, SIZE, activation='Sigmoid'),
                             {'input': FED, 'output': {'kind': 'sigmoid'}}),
        'ids': (networks.fixed(ids, size=SIZE), {'input': FED}),
        'open': (networks.pointwise(RANDOM, (None, None)),
                 {'input': {**FED, 'resize': 'none'}}),
        'letterbox': (networks.pointwise(RANDOM, SIZE), {'input': {**FED, 'resize': 'letterbox'}}),
    }


def test_every_network_has_a_row(run, networks):
    models = kinds(networks)
    results, table = run({**models, 'broken': (b'no network', {})})
    for step in ('build', 'agree', 'infer'):
        rows = results[step]
        found = {name for name, row in rows.items() if 'error' not in row}
        assert found == {f'{name} {precision}' for name in models
                         for precision in PRECISIONS}, (step, rows)
    assert all(row['agreement'] > 0.99 for row in results['agree'].values())
    assert 'confidence_off_max' not in results['agree']['ids fp32']
    head, *rows = [line for line in table.splitlines() if line.startswith('|')]
    assert len(rows) == 1 + 2 * (len(models) + 1)
    assert {row.count('|') for row in rows} == {head.count('|')}
    (broken, _) = [row for row in rows if row.startswith('| broken')]
    assert 'not built: ' in broken and 'no valid ONNX model' in broken
    assert table.startswith('GPU (at most 1 MHz), driver 1, tensorrt 10.3.0')


def test_a_second_run_continues_the_first_one(run, tool, networks, tensorrt,
                                                        monkeypatch):
    models = {name: kinds(networks)[name] for name in ('logits', 'ids')}
    note = tool.tool.Check.note

    def killed(self, step, *rest):
        note(self, step, *rest)
        if step == 'agree':
            raise KeyboardInterrupt

    monkeypatch.setattr(tool.tool.Check, 'note', killed)
    with pytest.raises(KeyboardInterrupt):
        run(models)
    monkeypatch.setattr(tool.tool.Check, 'note', note)
    built = len(tensorrt.builds)
    results, _ = run(models)
    assert len(tensorrt.builds) == 4
    again, _ = run(models)
    assert len(tensorrt.builds) == 4 >= built > 0
    assert again['infer'] == results['infer']  # not measured again


def test_an_engine_that_is_late_has_a_row_and_is_built_by_the_next_run(run, networks, tensorrt):
    models = {'logits': kinds(networks)['logits']}
    results, table = run(models, '--build-seconds', '0')
    assert results['build']['logits fp32']['error'].endswith('0 s of --build-seconds')
    assert 'not built: TimeoutError: not done within the 0 s' in table
    results, _ = run(models)
    assert 'error' not in results['build']['logits fp32']
    assert len(tensorrt.builds) == 2


def test_results_of_another_machine_are_not_mixed(run, networks, tensorrt):
    models = {'logits': kinds(networks)['logits']}
    run(models)
    tensorrt.module.__version__ = '10.9.0'
    with pytest.raises(SystemExit, match=r'tensorrt is tensorrt 10\.9\.0 here and was .*10\.3'):
        run(models)


def test_converters_of_cameras_have_rows(run, tool, gpu, networks, monkeypatch):
    monkeypatch.setattr(tool.camera_encodings, 'find_device', lambda index: gpu.device)
    monkeypatch.setattr(tool.camera_encodings, 'SIZES', ((64, 96),))
    monkeypatch.setattr(tool.camera_encodings, 'RUNS', 2)
    monkeypatch.setattr(tool.camera_encodings, 'ENCODINGS', ('nv12', 'bayer_rggb8', 'mono8'))
    results, table = run({'logits': kinds(networks)['logits']}, '--steps', 'encodings')
    assert [row.get('error') for row in results['encodings']] == [None] * 3
    for row in results['encodings']:
        assert max(max(each) for each in row['differences'].values()) <= 1
        assert row['mask_agreement'] > 0.99
    assert '| bayer_rggb8 | 96x64 | ' in table and '| 0, 0, 0 | 0, 0, 0 | ' in table


def test_smoothing_and_instances_have_rows(run, tool, gpu, networks, monkeypatch):
    monkeypatch.setattr(tool.tail_costs, 'find_device', lambda index: gpu.device)
    for name, value in {'SIZE': (72, 96), 'RUNS': 2, 'WARM_UP': 1}.items():
        monkeypatch.setattr(tool.tail_costs, name, value)
    models = {name: kinds(networks)[name] for name in ('logits', 'ids')}
    rows = np.array([[[2, 3, 40, 30, 0.9, 1, *[-1, 2] * 2],
                      [20, 5, 60, 33, 0.8, 0, *[-2, 4] * 2]]])
    models['instances'] = networks.instances(rows, np.ones((1, 4, 9, 16)), size=SIZE), {
        'classes': {'labels': ['car', 'bus', 'person']}}
    results, table = run(models, '--steps', 'smoothing', '--only',
                         *(f'{name}:fp32' for name in models))
    rows = results['smoothing']
    assert {row['network']: list(row['tail_ms']) for row in rows.values()} == {
        'logits': ['plain', 'smoothing'], 'ids': ['plain'],
        'instances': ['plain', 'smoothing', 'instances']}
    assert 'gives class ids, which cannot be smoothed' in rows['ids fp32']['without_smoothing']
    assert rows['logits fp32']['agreement'] > 0.999 > rows['logits fp32']['agreement_unsmoothed']
    assert rows['instances fp32']['agreement'] == 1
    assert '| logits | fp32 | 72x96 | smoothing | ' in table


def test_near_ties_do_not_count(tool, networks):
    spec = networks.spec_of(networks.pointwise(np.eye(3), SIZE), input={**FED, 'scale': 1.0})
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :32] = [200, 100, 0]  # clear
    image[:, 32:] = [200, 199, 0]  # nearly a tie
    clear = tool.agreement._clear_pixels(spec, image)
    assert clear[:, :32].all() and not clear[:, 32:].any()


@pytest.fixture
def kinds_module(tool):
    """The script kinds.py, which brings the tests' networks."""
    yield importlib.import_module('kinds')
    sys.path.remove(str(SUPPORT))
    sys.modules.pop('networks', None)


def test_queries_in_fp16_are_decided_clearly(tool, kinds_module, networks):
    model, values, precision, _ = kinds_module.kinds()['instances of queries, grown masks']
    assert precision == 'fp16'
    spec = networks.spec_of(model, **values)
    images = [kinds_module.smooth(*size) for size in kinds_module.COLOR_SIZES]
    clear = []
    for image in images:
        scores = OnnxGraph(spec.network.model).run(
            tool.agreement.fed_to_network(spec, image), [spec.scores.name])[spec.scores.name][0]
        assert len(np.unique(scores.argmax(0))) > 1
        margins = tool.agreement._margins(spec, scores)
        clear.append(margins > 4 * np.finfo(np.float16).eps * scores.max(0))
    assert np.mean(clear) >= 0.99
    assert to_fp16(spec, images).agreement >= 0.999


def test_comparing_without_clear_pixels_is_an_error(tool):
    nothing = np.zeros((2, 2), bool)
    reference = tool.agreement.Reference([np.zeros((2, 2, 3), np.uint8)], [nothing], [], [nothing])
    segmenter = SimpleNamespace(infer=lambda image, outputs: SimpleNamespace(mask=nothing))
    with pytest.raises(ValueError, match='no pixel'):
        reference.compare(segmenter)


def test_start_up_is_split_into_parts(tool, monkeypatch):
    monkeypatch.setattr(tool.startup, 'RUNS', 1)
    subject = SimpleNamespace(model='', config='', options=lambda precision, builds: RunOptions(
        'onnxruntime', num_threads=1))
    found = tool.startup.check_startup(subject, 'fp32', None)
    assert set(found['parts']) == {'interpreter', 'imports', 'open', 'first image'}
    assert sum(found['parts'].values()) == pytest.approx(found['seconds'][0])
    assert 'segmenter.py' in found['profile']
    (line,) = [line for line in tool.report.markdown({'startup': {'a': {
        'network': 'demo', 'precision': 'fp32', **found}}}).splitlines() if 'demo' in line]
    assert line.count('|') == 8


def test_the_arms_of_cameras_are_those_that_are_compared(tool):
    arms = list(tool.tool.arms())
    assert len(set(arms)) == len(set(map(str, arms))) == len(arms)
    assert {arm.encoding for arm in arms} == {'bgr8', 'nv12', 'yuyv', 'bayer_rggb8', 'jpeg'}
    assert {arm.size for arm in arms if arm.encoding == 'bgr8' and arm.cameras == 1} == {
        '480x640', '720x1280', '1080x1920', '2160x3840'}
    assert {(arm.cameras, arm.batch) for arm in arms if arm.size == '720x1280'} == {
        (1, 1), (2, 2), (2, 1), (3, 3), (3, 1), (4, 4), (4, 1)}
    assert {arm.builds for arm in arms} == {
        (), *[('--batch', str(count)) for count in (2, 3, 4)],
        *[('--input-encodings', name) for name in ('nv12', 'yuyv', 'bayer_rggb8')]}


def test_cameras_are_measured_once_and_have_a_row(tool, monkeypatch):
    arm = tool.camera_costs.Arm('jpeg', '96x128', 2)
    monkeypatch.setattr(tool.tool, 'arms', lambda: [arm])
    subject, measured = SimpleNamespace(name='demo'), []
    check = SimpleNamespace(seconds=0.6, results={}, devices=['0'],
                            built=lambda: [(subject, 'fp32')],
                            command=lambda *arguments: [sys.executable, '-c', ''])
    check.done = lambda step: [(subject, 'fp32')] if step in check.results else []

    def note(step, subject, precision, work):
        measured.append(step)
        check.results[step] = {f'{subject.name} {precision}': {
            'network': subject.name, 'precision': precision, **work()}}

    check.note = note
    monkeypatch.setattr(tool.tool, '_bench',
                        lambda *arguments, device: report_of(arguments[3:]))
    for _ in range(2):
        tool.tool.cameras(check)
    assert measured == ['cameras jpeg 96x128 2 depth 2']
    lines = [line for line in tool.report.markdown(check.results).splitlines() if 'demo' in line]
    start = '| demo | fp32 | jpeg | 128x96 | 2, one batch | 2 | 2.00 | 30'
    assert lines == [f'{start}{peak} | 10.0 | 0.0% | 30.0 | 30.0 | 4.00 | 1.00 | 0.25 |'
                     for peak in ('', ' (peak)')]


def test_what_cameras_need_is_built_once(tool, monkeypatch):
    subject, commands = SimpleNamespace(name='demo'), []
    check = SimpleNamespace(devices=['0', '1'], jobs=3, notes={}, build_seconds=60,
                            built=lambda: [(subject, 'fp16')])
    check.done = lambda step: check.built() if step in check.notes else []
    check.note = lambda step, subject, precision, work: check.notes.update({step: work()})
    monkeypatch.setattr(tool.tool, '_command', lambda check, subject, precision, *arguments,
                        device, timeout: commands.append((*arguments, device)))
    for _ in range(2):
        tool.tool.build_cameras(check)
    built = [command[:-1] for command in commands]
    assert sorted(built) == sorted(('build', *arm) for arm in {
        arm.builds for arm in tool.tool.arms()} - {()})
    assert {command[-1] for command in commands} <= {'0', '1'}
    assert check.notes['build_cameras --batch 4']['jobs'] == 3


def report_of(arguments):
    """Return a report of ``bench`` for these arguments, with figures of two frames."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(arguments)
    ms, sent = 1_000_000, [0, 100_000_000]
    times = {stamp: FrameTimes(*[stamp + 5 * ms] * 6, user=stamp // 25, system=stamp // 100)
             for stamp in sent}
    received = {stamp: {'camera0/mask': stamp + 30 * ms, 'camera1/mask': stamp + 9 * ms}
                for stamp in sent}
    entry = {'rate': 30.0, **Run(30.0, sent, times, received, {'image': 250_000.0}).figures()}
    return {'source_size': list(args.size), 'wall_ms': {'segmenter': {'p50': 2.0}},
            'ros': {'encoding': args.encoding, 'cameras': args.cameras,
                    'one_node_each': args.one_node_each, 'rates': {'node': [entry]},
                    'peak': {'node': entry}}}
