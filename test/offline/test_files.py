# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation run`` on folders: results, resuming, refused inputs, and messages."""

import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.errors import BackendError
from trt_segmentation.offline.checkpoint import open_checkpoint
from trt_segmentation.segmenter import Segmenter


def run(*arguments):
    return main(['run', *map(str, arguments)])


def masks(folder):
    return sorted(path.name for path in folder.rglob('*_mask.png'))


def segmented(output):
    """Return how many files are in the journal of a run."""
    path = output / '.unfinished' / 'done.jsonl'
    return path.read_text().count('\n') if path.is_file() else 0


def test_every_image_gets_the_outputs_that_were_asked_for(tmp_path, write_images, scenes):
    folder = write_images(tmp_path / 'in' / 'below', 7)
    (tmp_path / 'in' / 'notes.txt').write_text('none')
    assert run(tmp_path / 'in', '--output', tmp_path / 'out', '--outputs', 'confidence', 'mask',
               'mask', '--threads', '1') == 0
    segmenter = Segmenter.open()
    for index in range(7):
        expected = segmenter.infer(scenes[index % 5], outputs=('mask', 'confidence'))
        for name, array in expected.arrays.items():
            path = tmp_path / 'out' / 'below' / f'{index:05d}_{name}.png'
            np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), array)
    assert len(list((tmp_path / 'out').rglob('*'))) == 1 + 2 * 7
    assert len(list(folder.iterdir())) == 7


@pytest.mark.parametrize('options', [['--workers', '2'], ['--threads', '2']])
def test_the_bytes_do_not_depend_on_the_workers(tmp_path, write_images, write_video, contents,
                                                options):
    folder = write_images(tmp_path / 'in', 40)
    write_video(folder / 'clip.mp4', 12)
    several = [*options, '--backend', 'onnxruntime']
    assert run(folder, '--output', tmp_path / 'one') == 0
    assert run(folder, '--output', tmp_path / 'several', *several) == 0
    assert len(contents(tmp_path / 'one')) == 2 * 40 + 12 + 1
    assert contents(tmp_path / 'one') == contents(tmp_path / 'several')


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_folder_is_resumed(tmp_path, write_images, contents, interrupt, capsys,
                                          number):
    folder, out = write_images(tmp_path / 'in', 150), tmp_path / 'out'
    status, _, shown = interrupt([folder, '--output', out, '--threads', '1'],
                                 lambda: segmented(out) > 15, number)
    assert status == (130 if number == signal.SIGINT else -9)
    if number == signal.SIGINT:
        assert 'of 150 inputs segmented into' in shown
        assert 'the same command resumes this run' in shown
        assert 'Traceback' not in shown
    before = {path: path.stat().st_mtime_ns for path in out.glob('*_mask.png')}
    written = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    recorded = segmented(out)
    assert 15 < recorded < 150
    assert run(folder, '--output', out, '--alpha', '0.9') == 1
    assert '.unfinished: belongs to a run with alpha 0.5, this run has 0.9' in \
        capsys.readouterr().err
    # Threads and workers may change.
    assert run(folder, '--output', out, '--threads', '2') == 0
    assert f'150 of 150 inputs segmented into {out}, {recorded} of them by an earlier run' in \
        capsys.readouterr().out
    kept = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert recorded <= len(kept) <= recorded + 5
    assert run(folder, '--output', tmp_path / 'whole') == 0
    assert contents(out) == contents(tmp_path / 'whole')
    assert written.items() <= contents(out).items(), 'a file was incomplete meanwhile'


@pytest.mark.parametrize('name', ['manifest.json', 'done.jsonl', 'lock'])
def test_a_run_killed_during_cleanup_is_finished_by_the_same_command(
        tmp_path, write_images, monkeypatch, capsys, name):
    class Killed(BaseException):
        pass

    def removed(path, missing_ok=False):
        if path.name == name:
            raise Killed
        unlink(path, missing_ok)

    folder, out = write_images(tmp_path / 'in', 3), tmp_path / 'out'
    unlink = Path.unlink
    monkeypatch.setattr(Path, 'unlink', removed)
    with pytest.raises(Killed):
        run(folder, '--output', out)
    monkeypatch.undo()
    assert (out / '.unfinished').exists()
    assert run(folder, '--output', out) == 0
    assert '3 of 3 inputs segmented' in capsys.readouterr().out
    assert len(list(out.iterdir())) == 6


def test_a_finished_run_can_be_repeated_with_other_options(tmp_path, write_images, contents):
    folder, out = write_images(tmp_path / 'in', 3), tmp_path / 'out'
    assert run(folder, '--output', out) == 0
    first = contents(out)
    assert run(folder, '--output', out, '--alpha', '0.9') == 0
    assert contents(out).keys() == first.keys()
    assert contents(out) != first


def test_an_input_that_has_changed_is_segmented_again(tmp_path, write_images, scenes, capsys):
    folder, out = write_images(tmp_path / 'in', 6), tmp_path / 'out'
    (folder / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    out.mkdir()
    first = Segmenter.open().infer(scenes[0]).mask.copy()
    with pytest.raises(RuntimeError), open_checkpoint(out / '.unfinished') as unfinished:
        from trt_segmentation.cli import run_files
        from trt_segmentation.offline.items import find_items
        for item in find_items([folder], out).items:
            for name in ('mask', 'overlay'):
                item.target(name).write_bytes(b'earlier')
            unfinished.append(file=run_files._noted(item), source=run_files._source(item),
                              outputs=['mask', 'overlay'])
        raise RuntimeError('killed')
    (folder / '00000.png').write_bytes((folder / '00000.png').read_bytes())  # a new time
    (folder / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n again')
    (out / '00003_mask.png').unlink()
    assert run(folder, '--output', out) == 1
    np.testing.assert_array_equal(
        cv2.imread(str(out / '00000_mask.png'), cv2.IMREAD_UNCHANGED), first)
    written = [path.name for path in sorted(out.glob('0*_mask.png'))
               if path.read_bytes() != b'earlier']
    assert written == ['00000_mask.png', '00003_mask.png']
    assert 'broken.png' in capsys.readouterr().err


def interrupted(folder, out, *options, after=2):
    """Run until some files are in the journal; return how many."""
    from trt_segmentation.offline.checkpoint import RunCheckpoint
    append, entries = RunCheckpoint.append, []

    def append_few(self, **entry):
        if len(entries) == after:
            raise KeyboardInterrupt
        entries.append(entry)
        append(self, **entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCheckpoint, 'append', append_few)
        assert run(folder, '--output', out, *options) == 130
    return len(entries)


def test_one_image_keeps_to_the_settings_of_an_unfinished_run(tmp_path, write_images, contents,
                                                              capsys):
    folder, out = write_images(tmp_path / 'in', 5), tmp_path / 'out'
    interrupted(folder, out)
    before = contents(out)
    for image in ('00000.png', '00004.png'):
        assert run(folder / image, '--output', out, '--mask-interpolation', 'bilinear') == 1
        assert "this run has 'bilinear'" in capsys.readouterr().err
    assert contents(out) == before
    assert run(folder / '00004.png', '--output', out) == 0
    assert '1 of 1 inputs segmented' in capsys.readouterr().out
    assert run(folder, '--output', out) == 0
    assert f'5 of 5 inputs segmented into {out}, 3 of them by an earlier run' in \
        capsys.readouterr().out
    assert run(folder, '--output', tmp_path / 'whole') == 0
    assert contents(out) == contents(tmp_path / 'whole')


def test_one_image_does_not_write_where_another_run_works(tmp_path, write_images, capsys):
    folder, out = write_images(tmp_path / 'in', 1), tmp_path / 'out'
    out.mkdir()
    with open_checkpoint(out / '.unfinished'):
        assert run(folder / '00000.png', '--output', out) == 1
        assert masks(out) == []
    assert 'is in use by another process' in capsys.readouterr().err
    assert run(folder / '00000.png', '--output', out) == 0
    assert sorted(path.name for path in out.iterdir()) == ['00000_mask.png', '00000_overlay.png']


def test_an_output_that_is_added_is_not_taken_from_an_earlier_run(tmp_path, write_images,
                                                                  contents):
    folder, out = write_images(tmp_path / 'in', 5), tmp_path / 'out'
    assert run(folder, '--output', out, '--alpha', '0.1') == 0
    interrupted(folder, out, '--alpha', '0.9', '--outputs', 'mask')
    assert run(folder, '--output', out, '--alpha', '0.9') == 0
    assert run(folder, '--output', tmp_path / 'whole', '--alpha', '0.9') == 0
    assert contents(out) == contents(tmp_path / 'whole')


def test_weights_beside_the_network_are_among_the_settings(tmp_path, write_images, networks,
                                                           capsys):
    folder, out, model = write_images(tmp_path / 'in', 5), tmp_path / 'out', tmp_path / 'net.onnx'
    onnx.save(networks.pointwise(np.eye(3), (64, 96)), model, save_as_external_data=True,
              location='net.data', size_threshold=0)
    interrupted(folder, out, '--model', model)
    onnx.save(networks.pointwise(2 * np.eye(3), (64, 96)), model, save_as_external_data=True,
              location='net.data', size_threshold=0)
    assert run(folder, '--output', out, '--model', model) == 1
    assert 'belongs to a run with model_sha256' in capsys.readouterr().err


def test_a_cluster_writes_the_same_bytes_though_its_workers_are_elsewhere(
        tmp_path, write_images, contents, monkeypatch):
    distributed = pytest.importorskip('distributed')
    write_images(tmp_path / 'here' / 'in', 3)
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    with distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.chdir(tmp_path / 'here')
        assert run('in', '--output', 'out', '--cluster', cluster.scheduler_address) == 0
    assert list((tmp_path / 'elsewhere').rglob('*.png')) == []
    assert run('in', '--output', 'alone') == 0
    assert masks(tmp_path / 'here' / 'out') == [f'{index:05d}_mask.png' for index in range(3)]
    assert contents(tmp_path / 'here' / 'out') == contents(tmp_path / 'here' / 'alone')


def test_an_output_that_is_a_file_is_one_sentence(tmp_path, write_images, capsys):
    folder = write_images(tmp_path / 'in', 2)
    (tmp_path / 'out').write_text('mine')
    assert run(folder, '--output', tmp_path / 'out') == 1
    shown = capsys.readouterr().err
    assert 'out: is a file; name a folder' in shown
    assert 'resumes' not in shown


def test_nothing_is_kept_before_the_network_is_open(tmp_path, write_images, capsys):
    folder, out = write_images(tmp_path / 'in', 3), tmp_path / 'out'
    wrong = tmp_path / 'wrong.onnx'
    wrong.write_text('no network')
    for workers in (['--workers', '1'], ['--workers', '2']):
        assert run(folder, '--output', out, '--model', wrong, *workers) == 1
        assert 'wrong.onnx' in capsys.readouterr().err
        assert list(out.glob('*') if out.is_dir() else []) == []
    assert run(folder, '--output', out) == 0


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (['--topic', '/camera'], '--topic /camera: only a rosbag has topics'),
    (['--workers', '-1'], '--workers'),
    (['--workers', '30000'], '--workers is 30000; it must be from 1 to 1024'),
    (['--temporal-smoothing', '0.5'], '.png: is an image, but --temporal-smoothing needs a video'),
    (['--temporal-smoothing', '0.96'], "'0.96' is not a weight from 0 to 0.95"),
    (['--cluster', 'x', '--workers', '2'], 'remove --workers'),
    (['--outputs', 'depth'], "'depth'")])
def test_options_are_honoured_or_refused(tmp_path, write_images, capsys, arguments, sentence):
    folder = write_images(tmp_path / 'in', 2)
    try:
        status = run(folder, '--output', tmp_path / 'out', *arguments)
    except SystemExit as ended:
        status = ended.code
    assert status != 0
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_an_output_that_the_network_cannot_give_is_refused_before_anything(tmp_path, write_images,
                                                                           networks, capsys):
    model = tmp_path / 'ids.onnx'
    onnx.save(networks.fixed(np.zeros((1, 8, 8), np.int64)), model)
    for workers in ('1', '2'):
        assert run(write_images(tmp_path / f'in{workers}', 3), '--model', model, '--output',
                   tmp_path / 'out', '--outputs', 'mask', 'confidence', '--workers', workers) == 1
        shown = capsys.readouterr().err
        assert 'confidence' in shown
        assert shown.count('error: ') == 1
        assert list((tmp_path / 'out').glob('*')) == []


def test_a_failure_is_reported_once_and_does_not_stop_the_run(tmp_path, write_images, capsys):
    folder = write_images(tmp_path / 'in', 3)
    (folder / 'cut.png').write_bytes((folder / '00000.png').read_bytes()[:100])
    assert run(folder, '--output', tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert '3 of 4 inputs segmented' in shown.out
    assert shown.err.count('cut.png') == 1
    assert masks(tmp_path / 'out') == [f'{index:05d}_mask.png' for index in range(3)]
    assert not (tmp_path / 'out' / '.unfinished').exists()


def test_twice_into_the_folder_of_the_inputs(tmp_path, write_images):
    folder = write_images(tmp_path / 'm', 2)
    for _ in range(2):
        assert run(folder, '--output', folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        f'0000{index}{end}' for index in range(2)
        for end in ('.png', '_mask.png', '_overlay.png')]


def test_a_run_ended_by_a_full_disk_is_resumed_with_more_space(tmp_path, write_images, small_disk,
                                                               contents, capsys):
    folder, disk = write_images(tmp_path / 'in', 60), small_disk(256)
    assert run(folder, '--output', disk) == 1
    shown = capsys.readouterr()
    assert shown.out == ''
    assert shown.err.count('No space left on device') == 1
    assert 'of 60 inputs segmented' in shown.err
    assert 'the same command resumes this run' in shown.err
    for path in disk.glob('*.png'):  # nothing half-written
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[:2] == (64, 96)
    assert 0 < segmented(disk) < 60
    subprocess.run(['mount', '-o', 'remount,size=16m', disk], check=True)
    assert run(folder, '--output', disk) == 0
    assert '60 of 60 inputs segmented' in capsys.readouterr().out
    assert run(folder, '--output', tmp_path / 'whole') == 0
    assert contents(disk) == contents(tmp_path / 'whole')


def test_one_image_on_a_full_disk_leaves_nothing(tmp_path, write_images, small_disk, capsys):
    folder, disk = write_images(tmp_path / 'in', 1), small_disk(64)
    (disk / 'others').write_bytes(bytes(64 * 1024))
    assert run(folder / '00000.png', '--output', disk) == 1
    assert 'No space left on device' in capsys.readouterr().err
    assert [path.name for path in disk.iterdir()] == ['others']


def test_only_one_run_at_a_time_writes_a_folder(tmp_path, write_images, capsys):
    folder, out = write_images(tmp_path / 'in', 3), tmp_path / 'out'
    out.mkdir()
    with open_checkpoint(out / '.unfinished'):
        assert run(folder, '--output', out) == 1
    assert 'is in use by another process' in capsys.readouterr().err
    assert run(folder, '--output', out) == 0


@pytest.mark.parametrize('count', [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_files(tmp_path, networks, capsys, count):
    model = tmp_path / 'net.onnx'
    onnx.save(networks.pointwise(np.eye(3), (8, 8)), model)
    png = cv2.imencode('.png', np.full((8, 8, 3), (0, 0, 255), np.uint8))[1].tobytes()
    for index in range(count):
        path = tmp_path / 'in' / str(index % 10) / f'{index:05d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    assert run(tmp_path / 'in', '--model', model, '--output', tmp_path / 'out', '--outputs',
               'mask') == 0
    assert f'{count} of {count} inputs segmented' in capsys.readouterr().out
    assert len(masks(tmp_path / 'out')) == count


@pytest.mark.parametrize('workers', ['1', '2'])
def test_a_result_whose_name_is_too_long_is_one_failed_input(tmp_path, write_images, scenes,
                                                             write_video, capsys, workers):
    folder, out = write_images(tmp_path / 'in', 2), tmp_path / 'out'
    for name in ('x' * 244 + '.png', 'ü' * 122 + '.png', 'y' * 243 + '.png'):
        cv2.imwrite(str(folder / name), scenes[0])
    write_video(folder / 'clip.mp4', 2).rename(folder / ('z' * 251 + '.mp4'))
    assert run(folder, '--output', out, '--workers', workers) == 1
    shown = capsys.readouterr()
    assert '3 of 6 inputs segmented' in shown.out
    for name, length in (('x' * 244 + '.png', 256), ('ü' * 122 + '.png', 256),
                         ('z' * 251 + '.mp4', 263)):
        assert f'{name}: the name of its result would have {length} bytes' in shown.err
    assert masks(out) == ['00000_mask.png', '00001_mask.png', 'y' * 243 + '_mask.png']
    assert not (out / '.unfinished').exists()


def test_only_the_names_of_requested_results_have_to_fit(tmp_path, write_images):
    path = write_images(tmp_path / 'in', 1, 'x' * 246 + '.png') / ('x' * 246 + '.png')
    assert run(path, '--output', tmp_path / 'out', '--outputs', 'mask') == 0
    assert run(path, '--output', tmp_path / 'out') == 1


@pytest.mark.parametrize('name', ['with blanks', 'ümläut 路', "quote'", 'per%cent{{}}', '-dash',
                                  'a.b.c'])
def test_names_of_every_kind(tmp_path, write_images, name):
    folder = write_images(tmp_path / 'in', 1, name + '.png')
    assert run(folder, '--output', tmp_path / 'out') == 0
    assert masks(tmp_path / 'out') == [name.format() + '_mask.png']


class Failing(Segmenter):
    """A segmenter whose backend fails on images of one size."""

    def infer(self, image, **options):
        if image.shape[0] == 65:
            raise BackendError('out of memory on a 96x65 image')
        return super().infer(image, **options)

    def twin(self):
        return None


@pytest.fixture
def failing(monkeypatch):
    from trt_segmentation.cli import run_options
    opened = run_options.open_segmenter

    def open_failing(args):
        segmenter = opened(args)
        segmenter.__class__ = Failing
        return segmenter

    monkeypatch.setattr(run_options, 'open_segmenter', open_failing)


def test_images_that_the_backend_fails_on_do_not_stop_the_run(tmp_path, write_images, failing,
                                                              capsys):
    folder = write_images(tmp_path / 'in', 12)
    for index in (2, 3, 4, 5, 8, 9, 10, 11):
        cv2.imwrite(str(folder / f'{index:05d}.png'), np.zeros((65, 96, 3), np.uint8))
    assert run(folder, '--output', tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert '4 of 12 inputs segmented' in shown.out
    assert shown.err.count('out of memory on a 96x65 image') == 8


def test_a_backend_that_fails_on_many_in_a_row_ends_the_run(tmp_path, write_images, failing,
                                                            capsys):
    folder, out = write_images(tmp_path / 'in', 12), tmp_path / 'out'
    for index in range(3, 8):  # five; with one more allowed, the run would go on behind them
        cv2.imwrite(str(folder / f'{index:05d}.png'), np.zeros((65, 96, 3), np.uint8))
    assert run(folder, '--output', out) == 1
    shown = capsys.readouterr()
    assert shown.out == ''
    assert '3 of 12 inputs segmented' in shown.err
    assert 'the same command resumes this run' in shown.err
    write_images(tmp_path / 'good', 12)
    for path in (tmp_path / 'good').iterdir():
        if not (out / f'{path.stem}_mask.png').exists():
            path.replace(folder / path.name)
    assert run(folder, '--output', out) == 0
    assert '12 of 12 inputs segmented' in capsys.readouterr().out
