# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation compare``: the table, and the layers of a precision below its threshold."""

import json

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from trt_segmentation.cli.compare_text import comparison_text
from trt_segmentation.cli.main import main
from trt_segmentation.segmenter import Segmenter


@pytest.fixture
def model(networks, tmp_path):
    """A network that finds the strongest channel, and noise to try it on with its truth."""
    networks.write_noise(tmp_path, 3)
    return networks.save_colours(tmp_path / 'net.onnx')


@pytest.fixture
def fragile(networks, model):
    """The same network with a channel between its two layers that drowns the others in int8."""
    first = np.concatenate([networks.COLOUR_WEIGHTS, np.full((1, 3), 500, np.float32)])
    last = np.concatenate([networks.COLOUR_WEIGHTS, np.full((3, 1), 1e-3, np.float32)], axis=1)
    nodes = [helper.make_node('Conv', ['pixels', 'first'], ['x'], 'loud'),
             helper.make_node('Conv', ['x', 'last'], ['scores'], 'drowned')]
    shape = [1, 3, 32, 48]
    onnx.save(networks.onnx_model(
        nodes, [networks.tensor('pixels', shape)], [networks.tensor('scores', shape)],
        {'first': first[..., None, None], 'last': last[..., None, None]},
        metadata=networks.COLOUR_CONFIG), model)
    return model


def compare(tmp_path, *arguments):
    """Run it with two frames; return its exit code and its report."""
    report = tmp_path / 'report.json'
    code = main(['compare', *map(str, [*arguments, '--frames', 2, '--json', report])])
    return code, json.loads(report.read_text()) if report.is_file() else None


def folders(tmp_path, *parts):
    """Return the arguments for images, labels and calibration images."""
    options = {'images': ('--images', tmp_path / 'images'),
               'labels': ('--labels', tmp_path / 'labels'),
               'calibration': ('--calibration-images', tmp_path / 'images')}
    return [argument for part in parts for argument in options[part]]


def test_the_demo_network_needs_no_arguments(tmp_path, capsys):
    code, report = compare(tmp_path, '--backend', 'onnxruntime', '--limit', 2)
    rows = report['precisions']
    assert code == 0
    assert list(rows) == ['fp32', 'fp16', 'int8']
    assert report['images'] == 2
    assert rows['fp16']['megabytes'] < 0.6 * rows['fp32']['megabytes']
    assert all(row['miou'] > 0.9 and row['wall_ms']['p50'] > 0 for row in rows.values())
    assert 1 == rows['fp32']['agreement'] > rows['int8']['agreement'] > 0.99
    table = [line for line in capsys.readouterr().out.splitlines()
             if line.startswith((' ' * 9, 'fp32', 'fp16', 'int8'))]
    assert table[0].split()[:6] == ['mIoU', 'accuracy', 'agreement', 'wall', 'ms', 'speed']
    start = table[0].index('what runs')
    assert [line[start:] for line in table[1:4]] == [row['runs'] for row in rows.values()]
    assert rows['fp16']['runs'] == 'fp16 graph (weights rounded, computed in fp32)'


def test_the_numbers_are_those_of_evaluate(tmp_path, model):
    given = [model, *folders(tmp_path, 'images', 'labels', 'calibration')]
    rows = compare(tmp_path, *given)[1]['precisions']
    assert rows['fp32']['miou'] == rows['fp32']['pixel_accuracy'] == 1
    for precision in ('fp16', 'int8'):
        main(['evaluate', *map(str, given), '--against', precision, '--json',
              str(tmp_path / 'evaluated.json')])
        evaluated = json.loads((tmp_path / 'evaluated.json').read_text())
        assert rows[precision]['agreement'] == evaluated['against']['agreement']


def test_an_ignored_class_is_in_no_mean(tmp_path, model):
    path = tmp_path / 'labels' / '0.png'
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[:5][labels[:5] == 2] = 0  # the network finds 2
    cv2.imwrite(str(path), labels)
    given = [model, *folders(tmp_path, 'images', 'labels'), '--ignore', 2, 255]
    rows = compare(tmp_path, *given, '--precisions', 'fp32')[1]['precisions']
    truth = np.stack([cv2.imread(str(each), cv2.IMREAD_UNCHANGED)
                      for each in sorted((tmp_path / 'labels').iterdir())])
    found = cv2.imread(str(tmp_path / 'images' / '0.png')).argmax(axis=2)
    missed, total = np.sum((found == 2) & (labels == 0)), np.sum(truth == 0)
    assert missed > 0
    assert rows['fp32']['miou'] == pytest.approx((1 - missed / total + 1) / 2)


def test_the_others_are_compared_with_the_first(tmp_path, fragile):
    given = [fragile, *folders(tmp_path, 'images', 'calibration')]
    rows = compare(tmp_path, *given, '--precisions', 'int8,fp32')[1]['precisions']
    assert list(rows) == ['int8', 'fp32']
    assert rows['int8']['agreement'] == rows['int8']['times_as_fast'] == 1
    assert rows['fp32']['agreement'] < 0.9
    assert 'miou' not in rows['fp32']


def test_where_a_precision_falls_short_its_worst_layers_are_listed(tmp_path, fragile, capsys):
    given = [fragile, *folders(tmp_path, 'images', 'calibration')]
    code, report = compare(tmp_path, *given, '--layers', 1)
    rows = report['precisions']
    shown = capsys.readouterr().out
    assert code == 0
    assert [row['node'] for row in rows['int8']['layers']] == ['drowned', 'loud']
    assert rows['int8']['layers'][0]['own_db'] < 10
    assert 'layers' not in rows['fp16']
    assert 'int8 agrees with fp32 on ' in shown
    assert shown.splitlines()[-1].endswith('Conv drowned')


def test_the_required_agreement_is_an_option(tmp_path, fragile, capsys):
    given = [fragile, *folders(tmp_path, 'images', 'calibration'), '--precisions', 'fp32,int8']
    assert 'layers' not in compare(tmp_path, *given, '--at-least', 0.1)[1]['precisions']['int8']
    assert 'drowned' not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(['compare', '--at-least', '95'])
    assert "'95' is not a fraction of the pixels" in capsys.readouterr().err


def test_on_tensorrt_engines_are_built_once_and_their_files_measured(tmp_path, model, tensorrt):
    given = [model, *folders(tmp_path, 'images', 'labels', 'calibration'), '--min-size', '32x32']
    rows = compare(tmp_path, *given)[1]['precisions']
    files = {path.name.split('-')[1]: path.stat().st_size
             for path in (tmp_path / 'engines').glob('*.engine')}
    assert {name: row['megabytes'] * 1e6 for name, row in rows.items()} == pytest.approx(files)
    assert all(row['gpu_ms_p50']['run'] > 0 for row in rows.values())
    assert 'fp16 in ' in rows['fp16']['runs']
    compare(tmp_path, *given)
    assert len(tensorrt.builds) == 3


def test_a_precision_that_cannot_be_built_is_reported_with_the_others(tmp_path, model, capsys):
    (tmp_path / 'empty').mkdir()
    code, report = compare(tmp_path, model, *folders(tmp_path, 'images'),
                           '--calibration-images', tmp_path / 'empty',
                           '--precisions', 'fp32,int8')
    assert code == 1
    assert list(report['precisions']) == ['fp32']
    assert 'empty: there is no image' in report['failed']['int8']
    assert f"int8 cannot be built: {report['failed']['int8']}" in capsys.readouterr().out


def test_a_video_is_compared_without_truth(tmp_path, model):
    video = cv2.VideoWriter(str(tmp_path / 'drive.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10,
                            (48, 32))
    for path in sorted((tmp_path / 'images').iterdir()):
        video.write(cv2.imread(str(path)))
    video.release()
    given = [model, '--images', tmp_path / 'drive.avi', '--precisions', 'fp32,fp16']
    assert compare(tmp_path, *given)[1]['images'] == 3
    assert compare(tmp_path, *given, '--limit', 2)[1]['images'] == 2


def test_a_rosbag_folder_is_no_image_folder(tmp_path, model, capsys):
    (tmp_path / 'images' / 'metadata.yaml').write_text('rosbag2_bagfile_information: {}')
    (tmp_path / 'images' / 'drive.mcap').touch()
    assert compare(tmp_path, model, *folders(tmp_path, 'images', 'calibration')) == (1, None)
    assert 'this rosbag cannot be read' in capsys.readouterr().err


def test_a_damaged_image_is_reported_skipped_and_counted(tmp_path, model, capsys):
    damaged = tmp_path / 'images' / '1.png'
    damaged.write_bytes(damaged.read_bytes()[:200])
    code, report = compare(tmp_path, model, *folders(tmp_path, 'images'), '--precisions', 'fp32')
    assert code == 1
    assert report['images'] == 2
    assert [text.partition(':')[0] for text in report['skipped']] == [str(damaged)]
    assert '2 images of ' in (shown := capsys.readouterr().out)
    assert ', 1 more could not be read' in shown


@pytest.mark.parametrize(('arguments', 'message'), [
    (['net.engine'], 'is an engine with a fixed precision'),
    (['--topic', '/image'], '--topic /image: only a rosbag has topics'),
    (['--calibration-topic', '/image'], '--calibration-topic /image: only a rosbag has topics'),
    (['--split', 'train'], '--split train: '),
    (['--images', __file__, '--split', 'train'], 'is no dataset; leave out --split'),
    (['net.onnx'], '--images is missing'),
    (['--images', 'gone'], 'gone: there is no such file or folder'),
    (['--images', __file__, '--labels', '.'], 'labels need a folder of images')])
def test_what_cannot_be_compared_is_refused_before_anything_is_built(
        arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(Segmenter, 'open', None)
    assert main(['compare', *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'message'), [
    ([], 'net.onnx: int8 needs value ranges; give a few hundred of your own images as '
         '--calibration-images, a saved table as --calibration-table, or a network'),
    (['--calibration-table', 'gone.json'], '--calibration-table (gone.json does not exist)'),
    (['--calibration-images', 'gone'], 'gone: there is no such file or folder')])
@pytest.mark.parametrize('precisions', [None, 'int8', 'fp32,int8'])
def test_int8_without_ranges_is_refused_before_anything_is_built(
        tmp_path, model, arguments, message, precisions, monkeypatch, capsys):
    monkeypatch.setattr(Segmenter, 'open', None)
    given = [model, *folders(tmp_path, 'images'), *arguments]
    chosen = ['--precisions', precisions] if precisions else []
    assert compare(tmp_path, *given, *chosen) == (1, None)
    assert message in capsys.readouterr().err


def test_labels_that_do_not_fit_are_refused_before_anything_is_built(tmp_path, model, monkeypatch,
                                                                     capsys):
    monkeypatch.setattr(Segmenter, 'open', None)
    cv2.imwrite(str(tmp_path / 'labels' / '0.png'), np.full((32, 48), 7, np.uint8))
    given = [model, *folders(tmp_path, 'images', 'labels', 'calibration')]
    assert compare(tmp_path, *given) == (1, None)
    assert '0.png: the labels have id 7, but the network has 3 classes' in capsys.readouterr().err


@pytest.mark.parametrize('names', ['fp32,fp8', 'fp16,fp16', ','])
def test_precisions_are_some_of_those_there_are(names, capsys):
    with pytest.raises(SystemExit):
        main(['compare', '--precisions', names])
    assert 'list of fp32, fp16, int8, each at most once' in capsys.readouterr().err


def test_calibration_refuses_a_jpeg_that_was_cut_short_by_name(tmp_path, model, image_bytes):
    jpeg = image_bytes.encoded('JPEG', np.zeros((32, 48, 3), np.uint8))
    (tmp_path / 'typical').mkdir()
    (tmp_path / 'typical' / 'cut.jpg').write_bytes(jpeg[:-20])
    code, report = compare(tmp_path, model, *folders(tmp_path, 'images'), '--precisions',
                           'fp32,int8', '--calibration-images', tmp_path / 'typical')
    assert code == 1
    assert list(report['precisions']) == ['fp32']
    assert 'cut.jpg: cannot be decoded: this JPEG is cut short' in report['failed']['int8']


@pytest.mark.parametrize(('times', 'advised'), [
    ((0.945, 0.836), True), ((0.5, 0.5), True), ((0.361, 0.418), False), ((0.9, None), False)])
def test_fp16_is_recommended_where_int8_is_not_faster(times, advised):
    entry = {'backend': 'tensorrt 8.6.0 on GPU', 'runs': 'layers', 'agreement': 1.0,
             'wall_ms': {'p50': 1.0}, 'times_as_fast': 1.0, 'megabytes': 1.0}
    entries = {'fp32': entry} | {
        precision: entry | ({'gpu_ms_p50': {'run': ms}} if ms is not None else {})
        for precision, ms in zip(('int8', 'fp16'), times, strict=True)}
    text = comparison_text({'model': 'net.onnx', 'images': 1, 'images_from': 'here', 'skipped': [],
                            'timed_size': [1080, 1920], 'frames': 1, 'failed': {},
                            'precisions': entries})
    advice = 'int8 is not faster than fp16 on this GPU ({} and {} ms): use fp16'
    assert (advice.format(*(f'{ms or 0:.3f}' for ms in times)) in text) == advised
