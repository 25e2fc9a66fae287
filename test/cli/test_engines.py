# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation build`` and ``inspect ENGINE``, and what ``run`` makes of the result."""

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter


@pytest.fixture
def model(networks, tmp_path):
    return networks.save_colours(tmp_path / 'net.onnx')


@pytest.fixture
def engine(model, tensorrt, tmp_path, capsys):
    path = tmp_path / 'net.engine'
    assert main(['build', str(model), '--output', str(path)]) == 0
    capsys.readouterr()
    return path


def test_build_says_what_was_built_and_where_it_is(model, tensorrt, tmp_path, capsys):
    path = tmp_path / 'net.engine'
    assert main(['build', str(model), '--precision', 'fp16', '--max-size', '1080x1920',
                 '--opt-size', '100x200', '--output', str(path)]) == 0
    shown = capsys.readouterr()
    assert 'built for  tensorrt 10.3.0, Stand-in GPU, compute capability 9.0' in shown.out
    assert 'options    fp16, opt_size [100, 200], max_size [1080, 1920]' in shown.out
    assert ('image [1, 64, 64, 3] to [1, 1080, 1920, 3], tuned for [1, 100, 200, 3]'
            in shown.out)
    assert f'written to {path} and net.engine.json' in shown.out
    assert 'of the pixels as in fp32' in shown.out
    assert f'built {model} in 0 s: ' in shown.err


def test_an_engine_file_gives_the_masks_and_labels_of_its_network(networks, engine, model):
    model.unlink()
    image = networks.random_image(32, 48).repeat(2, axis=0).repeat(2, axis=1)
    segmenter = Segmenter.open(engine)
    assert segmenter.spec.labels == ('blue', 'green', 'red')
    np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(axis=2))


def test_build_without_output_fills_the_cache_for_others(model, tensorrt, capsys):
    assert main(['build', str(model)]) == 0
    Segmenter.open(model)
    assert len(tensorrt.builds) == 1
    assert 'written' not in capsys.readouterr().out


def test_build_fills_the_cache_with_conversions_of_cameras(model, tensorrt, capsys):
    assert main(['build', str(model), '--precision', 'fp16', '--batch', '2',
                 '--input-encodings', 'nv12, yuv422']) == 0
    assert 'the conversion of yuv422 on the GPU is in the engine cache' in capsys.readouterr().out
    count = len(tensorrt.builds)
    options = RunOptions(batch=2, build=BuildOptions('fp16'))
    with Segmenter.open(model, options=options) as segmenter:
        images = [np.zeros((96, 64), np.uint8)] * 2
        segmenter.infer_batch(images, encoding='nv12')
        segmenter.fetch_converter('uyvy')
        assert len(tensorrt.builds) == count
        segmenter.fetch_converter('mono8')
    assert len(tensorrt.builds) == count + 1


def test_build_refuses_other_encodings(model, tensorrt, capsys):
    with pytest.raises(SystemExit):
        main(['build', str(model), '--input-encodings', 'nv12,bgr8'])
    assert 'bgr8 is not converted on the GPU; those that are: yuyv, ' in capsys.readouterr().err
    assert tensorrt.builds == []


def test_build_to_where_nothing_can_be_written_is_one_line(model, tensorrt, tmp_path, capsys):
    with pytest.raises(SystemExit):  # before it is built
        main(['build', str(model), '--output', str(tmp_path / 'gone' / 'net.engine')])
    assert "net.engine' cannot be written: there is no folder '" in capsys.readouterr().err


def test_inspect_shows_an_engine_without_any_gpu(engine, model, monkeypatch, capsys):
    monkeypatch.setattr('trt_segmentation.backends.tensorrt.engine_loader.EngineLoader', None)
    assert main(['inspect', str(engine)]) == 0
    shown = capsys.readouterr().out
    assert f'network    {model}' in shown
    assert 'input      image uint8 [1, ?, ?, 3]' in shown
    assert 'output     mask uint8 [1, ?, ?]' in shown
    assert 'runs       fp32 in ' in shown
    assert 'network/' in shown


def test_inspect_shows_an_external_engine(networks, tensorrt, tmp_path, capsys):
    path = tmp_path / 'other.plan'
    path.write_bytes(tensorrt.plan(networks.pointwise(networks.COLOUR_WEIGHTS, (32, 48))))
    assert main(['inspect', str(path)]) == 0
    shown = capsys.readouterr().out
    assert 'input      pixels FLOAT [1, 3, 32, 48]' in shown
    assert 'output     scores FLOAT [1, 3, 32, 48]' in shown


def test_inspect_of_what_is_not_there_is_one_line(tensorrt, tmp_path, capsys):
    assert main(['inspect', str(tmp_path / 'gone.engine')]) == 1
    assert 'gone.engine cannot be read: No such file' in capsys.readouterr().err


def test_run_takes_an_engine(networks, engine, tmp_path, capsys):
    image = networks.random_image(32, 48).repeat(2, axis=0).repeat(2, axis=1)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert main(['run', str(tmp_path / 'a.png'), '--model', str(engine), '--output',
                 str(tmp_path / 'out')]) == 0
    mask = cv2.imread(str(tmp_path / 'out' / 'a_mask.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, image.argmax(axis=2))
    assert 'tensorrt 10.3.0 on Stand-in GPU' in capsys.readouterr().out


def test_masks_of_another_size_are_compiled_in(networks, tensorrt, tmp_path, capsys):
    model, path = tmp_path / 'net.onnx', tmp_path / 'net.engine'
    onnx.save(networks.fixed(networks.random_scores(3, 6, 8)), model)
    assert main(['build', str(model), '--mask-size', '20x30', '--output', str(path)]) == 0
    capsys.readouterr()
    segmenter = Segmenter.open(path)
    assert segmenter.infer(networks.random_image(64, 80)).mask.shape == (20, 30)
    segmenter.close()


def test_an_engine_with_a_larger_batch_is_reported_and_run_refuses_it(networks, model, tensorrt,
                                                                tmp_path, capsys):
    path = tmp_path / 'net.engine'
    assert main(['build', str(model), '--batch', '3', '--output', str(path)]) == 0
    assert 'image [3, 64, 64, 3] to [3, 2160, 3840, 3]' in capsys.readouterr().out
    cv2.imwrite(str(tmp_path / 'a.png'), networks.random_image(70, 90))
    assert main(['run', str(tmp_path / 'a.png'), '--model', str(path), '--output',
                 str(tmp_path / 'out')]) == 1
    assert 'net.engine: takes 3 images at once, but batch is 1' in capsys.readouterr().err
