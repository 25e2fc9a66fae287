# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation evaluate``, against scikit-learn and hand-made truth."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

from trt_segmentation.cli.main import main
from trt_segmentation.demo.clip import LABELS, read_frame
from trt_segmentation.images.render import confusion_picture
from trt_segmentation.segmenter import Segmenter


@pytest.fixture
def scenes(tmp_path):
    """Images and labels of three rendered scenes; some pixels of the last do not count."""
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    rendered = [read_frame(number, 90, 160) for number in range(3)]
    rendered[2].labels[:20] = 255
    for index, scene in enumerate(rendered):
        cv2.imwrite(str(tmp_path / 'images' / f'{index}.png'), scene.image)
        cv2.imwrite(str(tmp_path / 'labels' / f'{index}.png'), scene.labels)
    return rendered


@pytest.fixture
def colours(networks, tmp_path):
    """A network that finds the strongest channel, and noise to try it on with its truth."""
    networks.write_noise(tmp_path, 4)
    return networks.save_colours(tmp_path / 'net.onnx')


def evaluate(tmp_path, *arguments, labels=True):
    """Run it on the folders images and labels; return its exit code and its report."""
    report = tmp_path / 'report.json'
    folders = ['--images', tmp_path / 'images', *(['--labels', tmp_path / 'labels'] * labels)]
    code = main(['evaluate', *map(str, [*arguments, *folders, '--json', report])])
    return code, json.loads(report.read_text()) if report.is_file() else None


def test_scores_against_ground_truth_are_those_of_scikit_learn(tmp_path, scenes, capsys):
    code, report = evaluate(tmp_path)
    segmenter = Segmenter.open()
    truth = np.concatenate([scene.labels.ravel() for scene in scenes])
    mask = np.concatenate([segmenter.infer(scene.image).mask.flatten() for scene in scenes])
    truth, mask = truth[truth != 255], mask[truth != 255]
    found = report['ground_truth']
    ids = np.arange(7)
    expected = sklearn_metrics.jaccard_score(truth, mask, labels=ids, average=None)
    assert code == 0
    assert [row['label'] for row in found['classes']] == list(LABELS)
    np.testing.assert_allclose([row['iou'] for row in found['classes']], expected, atol=1e-6)
    assert found['miou'] == pytest.approx(expected.mean(), abs=1e-6)
    assert found['pixel_accuracy'] == pytest.approx(np.mean(truth == mask), abs=1e-6)
    np.testing.assert_array_equal(np.array(found['confusion'])[:, :7],
                                  sklearn_metrics.confusion_matrix(truth, mask, labels=ids))
    shown = capsys.readouterr().out
    assert f'mIoU {expected.mean():.2%}' in shown
    assert f'{expected[4]:.2%}' in next(line for line in shown.splitlines()
                                          if line.split()[:1] == ['lane'])


def test_the_demo_network_needs_no_arguments(tmp_path):
    report = tmp_path / 'report.json'
    assert main(['evaluate', '--backend', 'onnxruntime', '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    assert found['images'] == 16
    assert 0.94 < found['ground_truth']['miou'] < 0.96


@pytest.mark.parametrize(('arguments', 'message'), [
    (['net.onnx'], '--images is missing; give the images to run net.onnx on'),
    (['--labels', 'labels'], '--labels labels: --images is missing'),
    (['--topic', '/image'], '--topic /image: only a rosbag has topics'),
    (['--split', 'train'], 'leave out --split')])
def test_only_the_demo_network_has_images(arguments, message, capsys):
    assert main(['evaluate', *arguments]) == 1
    assert message in capsys.readouterr().err


def test_the_table_is_aligned(tmp_path, scenes, capsys):
    evaluate(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index('against ground truth') + 1
    assert len({len(line) for line in lines[start:start + 8]}) == 1


def test_a_perfect_model_has_a_miou_of_one(tmp_path, colours):
    assert evaluate(tmp_path, colours)[1]['ground_truth']['miou'] == 1.0


def test_a_pascal_voc_dataset_needs_no_other_arguments(tmp_path, colours, capsys):
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (tmp_path / folder).mkdir(parents=True)
    labels = np.arange(2, -1, -1, dtype=np.uint8).repeat(16)[None].repeat(32, axis=0)
    image = np.eye(3, dtype=np.uint8)[labels] * 200
    cv2.imwrite(str(tmp_path / 'JPEGImages' / '2007_000033.jpg'), image)
    bordered = labels.copy()
    bordered[:, [14, 15, 16, 17, 30, 31, 32, 33]] = 255
    truth = Image.fromarray(bordered)
    truth.putpalette([0, 0, 0, 128, 0, 0] * 128)
    truth.save(tmp_path / 'SegmentationClass' / '2007_000033.png')
    (tmp_path / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('2007_000033\n')
    assert main(['evaluate', str(colours), '--images', str(tmp_path)]) == 0
    assert 'mIoU 100.00%, pixel accuracy 100.00%' in capsys.readouterr().out


def test_no_class_where_there_is_one_is_an_error_of_that_class(tmp_path, networks, colours):
    config = networks.COLOUR_CONFIG.replace('classes: {', 'classes: {unlabelled: 2, ')
    model = networks.save_colours(tmp_path / 'some.onnx', config=config)
    found = evaluate(tmp_path, model)[1]['ground_truth']
    truth = [np.sum(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == 2)
             for path in (tmp_path / 'labels').iterdir()]
    assert found['confusion'][2] == [0, 0, 0, sum(truth)]
    assert [row['iou'] for row in found['classes']] == [1.0, 1.0, 0.0]


def test_ignored_ids_do_not_count(tmp_path, colours):
    found = evaluate(tmp_path, colours, '--ignore', '1', '255')[1]['ground_truth']
    assert found['classes'][1] == {'label': 'green', 'iou': None, 'pixels': 0}
    assert found['miou'] == 1.0


def test_an_ignored_class_is_in_no_mean_though_the_network_finds_it(tmp_path, colours, capsys):
    path = tmp_path / 'labels' / '0.png'
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[:5] = 0  # the network finds green there, too
    cv2.imwrite(str(path), labels)
    found = evaluate(tmp_path, colours, '--ignore', '1', '255')[1]['ground_truth']
    assert found['classes'][1] == {'label': 'green', 'iou': None, 'pixels': 0}
    confusion = np.array(found['confusion'])
    assert confusion[0, 1] > 0
    hits, counted = np.diag(confusion), confusion.sum(axis=1)
    iou = hits / (counted + confusion.sum(axis=0)[:3] - hits)
    assert found['miou'] == pytest.approx((iou[0] + iou[2]) / 2)
    assert found['classes'][0]['iou'] == pytest.approx(iou[0])
    assert 'green' not in capsys.readouterr().out


def test_labels_with_only_ignored_ids_are_an_error(tmp_path, colours, capsys):
    assert evaluate(tmp_path, colours, '--ignore', '0', '1', '2') == (1, None)
    assert 'all pixels of the labels have an ignored id' in capsys.readouterr().err


def test_a_damaged_image_is_reported_skipped_and_counted(tmp_path, colours, capsys):
    for path in (tmp_path / 'images' / '1.png', tmp_path / 'labels' / '2.png'):
        path.write_bytes(path.read_bytes()[:200])
    code, report = evaluate(tmp_path, colours)
    assert code == 1
    assert report['images'] == 2
    assert [text.partition(':')[0] for text in report['skipped']] == [
        str(tmp_path / 'images' / '1.png'), str(tmp_path / 'labels' / '2.png')]
    assert report['ground_truth']['miou'] == 1.0
    shown = capsys.readouterr()
    assert '2 images, 2 more could not be read' in shown.out
    assert 'images/1.png: cannot be decoded' in shown.err


def test_a_jpeg_that_was_cut_short_is_left_out(tmp_path, colours, image_bytes, capsys):
    cut = image_bytes.encoded('JPEG', np.zeros((32, 48, 3), np.uint8))[:-20]
    (tmp_path / 'images' / 'cut.jpg').write_bytes(cut)
    code, report = evaluate(tmp_path, colours, '--against', 'fp16', labels=False)
    assert (code, report['images'], len(report['skipped'])) == (1, 4, 1)
    assert 'cut.jpg: cannot be decoded: this JPEG is cut short' in capsys.readouterr().err


@pytest.mark.parametrize(('labels', 'message'), [
    (np.zeros((32, 40), np.uint8), 'the labels are 40x32, but their image is 48x32'),
    (np.full((32, 48), 7, np.uint8), 'have id 7, but the network has 3 classes')])
def test_labels_that_do_not_fit_end_it(tmp_path, colours, labels, message, capsys):
    cv2.imwrite(str(tmp_path / 'labels' / '2.png'), labels)
    assert evaluate(tmp_path, colours) == (1, None)
    shown = capsys.readouterr().err
    assert f"error: {tmp_path / 'labels' / '2.png'}" in shown
    assert message in shown


def test_neither_labels_nor_another_model_is_an_error(tmp_path, colours, capsys):
    assert evaluate(tmp_path, colours, labels=False) == (1, None)
    assert 'none of the 4 images has labels' in capsys.readouterr().err


def test_a_limit_is_kept(tmp_path, colours):
    assert evaluate(tmp_path, colours, '--limit', '2')[1]['images'] == 2


def test_two_models_are_compared_without_ground_truth(tmp_path, networks, colours):
    other = networks.save_colours(tmp_path / 'other.onnx',
                                  networks.COLOUR_WEIGHTS * [[1], [0.8], [1]])
    found = evaluate(tmp_path, colours, '--against', other, labels=False)[1]
    images = [networks.random_image(32, 48, seed) for seed in range(4)]
    ours, theirs = (np.concatenate([Segmenter.open(model).infer(image).mask.ravel()
                                    for image in images]) for model in (colours, other))
    assert 'ground_truth' not in found
    assert found['against']['agreement'] == pytest.approx(np.mean(ours == theirs), abs=1e-6)
    np.testing.assert_array_equal(np.array(found['against']['confusion'])[:3, :3],
                                  sklearn_metrics.confusion_matrix(theirs, ours))
    expected = sklearn_metrics.jaccard_score(theirs, ours, average=None)
    iou = [row['iou'] for row in found['against']['classes']]
    np.testing.assert_allclose(iou[:3], expected, atol=1e-6)
    assert iou[3] is None


def test_ground_truth_and_another_model_go_together(tmp_path, networks, colours):
    other = networks.save_colours(tmp_path / 'other.onnx', networks.COLOUR_WEIGHTS[[0, 2, 1]])
    found = evaluate(tmp_path, colours, '--against', other)[1]
    assert found['ground_truth']['miou'] == 1.0
    assert 0.2 < found['against']['agreement'] < 0.5


def test_the_images_that_differ_most_are_drawn_worst_first(tmp_path, networks, colours):
    images = sorted((tmp_path / 'images').iterdir())
    for rows, path in zip((3, 30, 12, 1), images, strict=True):
        image = np.zeros((32, 48, 3), np.uint8)
        image[..., 0] = 200
        image[:rows] = 90, 100, 0  # blue only where green counts for less
        cv2.imwrite(str(path), image)
    other = networks.save_colours(tmp_path / 'other.onnx',
                                  networks.COLOUR_WEIGHTS * [[1], [0.8], [1]])
    out = tmp_path / 'out'
    found = evaluate(tmp_path, colours, '--against', other, '--worst', '2', '--output', out,
                     labels=False)[1]
    assert found['against']['worst'] == [
        {'image': str(images[1]), 'agreement': pytest.approx(2 / 32)},
        {'image': str(images[2]), 'agreement': pytest.approx(20 / 32)}]
    assert {path.name for path in out.iterdir()} == {'confusion.png', 'worst_1_1.png',
                                                    'worst_2_2.png'}
    picture = cv2.imread(str(out / 'worst_2_2.png'))
    different = picture[28:-4, 3 * picture.shape[1] // 4 + 10:-10]
    red = (different == (0, 0, 255)).all(axis=2).mean()
    assert red == pytest.approx(12 / 32, abs=0.02)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_a_precision_is_compared_without_a_gpu(tmp_path, precision):
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / 'a.png'), read_frame(4, 360, 640).image)
    code, report = evaluate(tmp_path, '--backend', 'onnxruntime', '--against', precision,
                            '--calibration-images', tmp_path / 'images', labels=False)
    assert code == 0
    assert report['runs_on'].endswith('fp32')
    assert f'{precision} graph' in report['against']['runs_on']
    assert 0.95 < report['against']['agreement'] < 1.0


def test_two_precisions_are_compared_on_tensorrt(tmp_path, colours, tensorrt):
    report = evaluate(tmp_path, colours, '--min-size', '32x32', '--against', 'fp16')[1]
    assert len(tensorrt.builds) == 2
    assert report['runs_on'].startswith('tensorrt')
    assert report['against']['runs_on'].startswith('tensorrt')
    assert report['against']['agreement'] > 0.99


def test_what_cannot_be_compared_is_refused(tmp_path, networks, colours, capsys):
    two = networks.COLOUR_CONFIG.replace(', red', '')
    other = networks.save_colours(tmp_path / 'other.onnx', networks.COLOUR_WEIGHTS[:2], two)
    for against, message in ((other, 'has 2 classes, but '), ('fp32', 'runs in fp32 already')):
        assert evaluate(tmp_path, colours, '--against', against) == (1, None)
        assert message in capsys.readouterr().err


def test_an_engine_cannot_change_its_precision(tmp_path, colours, tensorrt, capsys):
    engine = tmp_path / 'net.engine'
    assert main(['build', str(colours), '--min-size', '32x32', '--output', str(engine)]) == 0
    assert evaluate(tmp_path, engine)[1]['ground_truth']['miou'] == 1.0
    (tmp_path / 'report.json').unlink()
    assert evaluate(tmp_path, engine, '--against', 'fp16') == (1, None)
    assert "give its network's .onnx file" in capsys.readouterr().err
    assert evaluate(tmp_path, colours, '--against', 'fp16', '--against-config', 'other.yaml') == (
        1, None)
    assert 'other.yaml: is the config of another model' in capsys.readouterr().err


def test_the_other_model_may_have_a_config_of_its_own(tmp_path, networks, colours):
    other = networks.save_colours(tmp_path / 'other.onnx',
                                  networks.COLOUR_WEIGHTS[::-1].copy(), None)
    config = tmp_path / 'other.yaml'
    config.write_text(networks.COLOUR_CONFIG.replace('bgr', 'rgb'))
    found = evaluate(tmp_path, colours, '--against', other, '--against-config', config)[1]
    assert found['against']['agreement'] == 1.0


def test_the_confusion_matrix_is_drawn_with_the_classes_that_occur(tmp_path, colours):
    evaluate(tmp_path, colours, '--output', tmp_path / 'out')
    drawn = cv2.imread(str(tmp_path / 'out' / 'confusion.png'))
    names = ['blue', 'green', 'red', 'unlabelled']
    confusion = np.array([[8, 2, 0, 0], [0, 5, 0, 5], [0, 0, 0, 0]])
    picture = confusion_picture(confusion, names, 'truth')
    assert drawn.shape == picture.shape
    cell = (picture.shape[0] - 190) // 3
    corners = picture[190 + 2::cell, 190 + 2::cell].astype(int).sum(axis=2)
    assert corners[0, 0] < corners[1, 1] == corners[1, 2] < corners[0, 1] < corners[0, 2] == 765
    assert corners[2, 2] == 765


def test_what_cannot_be_written_is_one_line(tmp_path, colours, capsys):
    (tmp_path / 'file').write_text('')
    for path, message in ((tmp_path / 'file', 'is a file; name a folder'),
                          (tmp_path / 'file' / 'in', 'cannot be created (Not a directory)')):
        assert evaluate(tmp_path, colours, '--output', path)[0] == 1
        assert f'{path}: {message}' in capsys.readouterr().err
