# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of networks: when they run, on which image, and when the cache has them."""

import json
import logging
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.analysis import measurement, measurement_store
from trt_segmentation.graph.analysis.measurement import Preprocessing, fed_image, sample_image
from trt_segmentation.images.atomic_files import write_image
from trt_segmentation.images.sources import SAMPLES, read_image
from trt_segmentation.options import BuildOptions, CalibrationOptions, RunOptions
from trt_segmentation.segmenter import Segmenter, demo_model

SIZE = 16, 24
ON_CPU = RunOptions('onnxruntime', num_threads=1)


@pytest.fixture
def model(networks, tmp_path):
    """The path of a network that ends in a sigmoid of several operators, which the graph hides."""
    path = tmp_path / 'net.onnx'
    onnx.save(networks.sigmoid_in_parts([[1.0, 1.0, 1.0]], SIZE), path)
    return path


@pytest.fixture
def opened(networks, tmp_path):
    """Opens a model; returns the kind of its output and the origin of the kind."""
    def open_model(path, options=ON_CPU, scale=1 / 127.5, **sections):
        config = networks.config_of(input={'scale': scale, 'mean': [1.0] * 3, 'std': [1.0] * 3},
                                    **sections)
        options = replace(options, engine_cache=options.engine_cache or str(tmp_path / 'kept'))
        with Segmenter.open(path, config=config, options=options) as segmenter:
            return next((entry.value, entry.origin) for entry in segmenter.spec.provenance
                        if entry.key == 'output.kind')

    return open_model


@pytest.fixture
def runs(monkeypatch):
    """A list that gets an entry for every measurement of a network."""
    found, real = [], measurement.open_session

    def open_session(*given):
        found.append(given)
        return real(*given)

    monkeypatch.setattr(measurement, 'open_session', open_session)
    return found


def kept_files(tmp_path):
    return sorted((tmp_path / 'kept').glob('*.measured.json'))


def test_a_network_is_measured_once(model, opened, runs, tmp_path):
    first = opened(model)
    assert first[0] == 'sigmoid'
    assert first[1].startswith('measured (')
    assert opened(model) == first
    assert len(runs) == len(kept_files(tmp_path)) == 1


def test_a_cached_measurement_needs_no_runtime(model, opened, monkeypatch):
    first = opened(model)
    monkeypatch.setattr(measurement, 'open_session', None)
    assert opened(model) == first


def test_a_change_of_the_values_causes_a_new_measurement(networks, model, opened, runs):
    opened(model)
    opened(model, scale=1 / 255)
    assert len(runs) == 2
    onnx.save(networks.sigmoid_in_parts([[0.5, 0.5, 0.5]], SIZE), model)
    opened(model)
    assert len(runs) == 3


def test_a_contradiction_is_found_again(model, opened, runs):
    opened(model)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r'is ids, but .* was measured: 0\.\d+ to 0\.\d+'):
            opened(model, output={'kind': 'ids'})
    assert len(runs) == 1


def cut(text):
    return text[:len(text) // 2]


def changed(text):
    kept = json.loads(text)
    for found in kept['found'].values():
        found['highest'] = 'high'
    return json.dumps(kept)


def of_another_version(text):
    kept = json.loads(text)
    kept['found'] = {question: {'least': 0} for question in kept['found']}
    return json.dumps({**kept, 'sha256': measurement_store._digest(kept['found'])})


@pytest.mark.parametrize('damage', [
    cut, changed, of_another_version, lambda text: '', lambda text: '[]', lambda text: 'null',
    lambda text: json.dumps({**json.loads(text), 'key': 'other'})])
def test_a_damaged_file_causes_a_new_measurement(model, opened, runs, tmp_path, damage):
    first = opened(model)
    (path,) = kept_files(tmp_path)
    path.write_text(damage(path.read_text()))
    assert opened(model) == first
    assert opened(model) == first
    assert len(runs) == 2


def test_a_folder_that_cannot_be_written_is_reported_once(model, opened, runs, tmp_path, caplog):
    (tmp_path / 'file').touch()
    options = replace(ON_CPU, engine_cache=str(tmp_path / 'file'))
    assert opened(model, options) == opened(model, options)
    assert len(runs) == 2
    assert caplog.text.count('cannot be stored') == 1


def test_it_can_be_turned_off(model, opened, runs, tmp_path, caplog):
    assert opened(model, replace(ON_CPU, measure=False)) == ('logits', 'assumed')
    assert not runs
    assert not kept_files(tmp_path)
    assert 'output.kind is assumed to be logits' in caplog.text


def test_it_is_logged_once(model, opened, caplog):
    caplog.set_level(logging.INFO)
    opened(model)
    (record,) = (each for each in caplog.records if 'output.kind' in each.message)
    assert record.levelno == logging.INFO
    assert 'output.kind is sigmoid, measured (0.' in record.message


@pytest.mark.parametrize('activation', ['', 'Sigmoid', 'Softmax'])
def test_a_network_whose_graph_decides_is_not_run(networks, opened, runs, tmp_path, activation):
    weights = [[1.0, 0.0, 0.0]] if activation == 'Sigmoid' else np.eye(3)
    onnx.save(networks.pointwise(weights, SIZE, activation=activation), tmp_path / 'net.onnx')
    assert opened(tmp_path / 'net.onnx')[1] == 'graph'
    assert not runs
    assert not kept_files(tmp_path)


def test_the_demo_network_is_not_run(runs):
    Segmenter.open(demo_model(), options=ON_CPU).close()
    assert not runs


def test_real_networks_are_not_run(known_answer, runs):
    Segmenter.open(known_answer.model, config=known_answer.config, options=ON_CPU).close()
    assert not runs


# The image -----------------------------------------------------------------------------------


def test_it_is_measured_on_a_calibration_image(model, opened, runs, tmp_path):
    photo = np.full((20, 30, 3), 128, np.uint8)
    photo[5:9] = 0
    write_image(tmp_path / 'photo.png', photo)
    calibration = CalibrationOptions(images=str(tmp_path / 'photo.png'))
    options = replace(ON_CPU, build=BuildOptions(calibration=calibration))
    low, high = (1 / (1 + np.exp(-3 * (value / 127.5 - 1))) for value in (0, 128))
    for _ in range(2):
        assert opened(model, options) == ('sigmoid', f'measured ({low:.4g} to {high:.4g})')
    assert len(runs) == 1
    photo[5:9] = 64
    write_image(tmp_path / 'photo.png', photo)
    opened(model, options)
    assert len(runs) == 2


def test_a_calibration_image_that_cannot_be_read_is_replaced(model, opened, tmp_path, caplog):
    (tmp_path / 'photo.png').write_bytes(b'no image')
    calibration = CalibrationOptions(images=str(tmp_path / 'photo.png'))
    found = opened(model, replace(ON_CPU, build=BuildOptions(calibration=calibration)))
    assert 'is measured on a rendered image:' in caplog.text
    assert found == opened(model)


@pytest.mark.parametrize('color', ['rgb', 'bgr'])
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
def test_a_photo_is_fed_as_the_network_is(networks, color, layout):
    photo = networks.random_image(*SIZE)
    preprocessing = Preprocessing(layout, SIZE, 0.5, (1.0, 2.0, 3.0), (1.0, 2.0, 4.0), color)
    wanted = photo if color == 'bgr' else photo[..., ::-1]
    wanted = (wanted * np.float32(0.5) - np.float32([1, 2, 3])) / np.float32([1, 2, 4])
    found = fed_image(preprocessing, TensorProto.FLOAT, photo)[0]
    np.testing.assert_array_equal(found if layout == 'nhwc' else found.transpose(1, 2, 0), wanted)


def test_the_image_is_the_first_sample_image():
    np.testing.assert_array_equal(sample_image(360, 640), read_image(SAMPLES / '1.jpg'))
