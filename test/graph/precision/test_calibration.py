# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measured ranges are those of the values; saved tables are for one network."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from onnx import helper

from trt_segmentation.errors import ConfigError, ImageError, ModelError
from trt_segmentation.graph.precision.calibration import (
    CalibrationTable,
    calibration_digest,
    measure_ranges,
    network_digest,
)
from trt_segmentation.graph.precision.int8 import to_int8
from trt_segmentation.options import CALIBRATION_METHODS, CalibrationOptions

SIZE = (4, 6)


@pytest.fixture
def spec(networks):
    return networks.spec_of(networks.pointwise(np.eye(3), SIZE), input=networks.PASSED_THROUGH)


@pytest.fixture
def images(networks):
    return [networks.random_image(20, 30, seed) for seed in range(4)]


def scale_of(networks, values):
    """Return a network that doubles its input, and what to feed it: one array each."""
    shape = list(np.shape(values[0]))
    model = networks.onnx_model([helper.make_node('Add', ['x', 'x'], ['y'])],
                                [networks.tensor('x', shape)], [networks.tensor('y', shape)])
    return model, [{'x': np.asarray(value, np.float32)} for value in values]


def ranges_of(networks, values, method):
    model, feeds = scale_of(networks, values)
    ranges, count = measure_ranges(model, 'net.onnx', ['x', 'y'], feeds, method)
    assert count == len(values)
    return ranges


def test_minmax_covers_every_value(networks):
    assert ranges_of(networks, [[1, -2, 0], [0, 1, 3]], 'minmax') == {'x': (-2, 3), 'y': (-4, 6)}


@pytest.mark.parametrize('method', ['entropy', 'percentile'])
def test_an_outlier_does_not_widen_the_range(networks, method):
    usual = np.random.default_rng(0).normal(0, 1, 400_000)
    low, high = ranges_of(networks, [usual, np.append(usual[1:], 30)], method)['x']
    assert -10 < low < -2
    assert 2 < high < 10


@pytest.mark.parametrize('method', CALIBRATION_METHODS)
def test_a_first_image_in_the_dark_changes_nothing(networks, method):
    bright = np.random.default_rng(0).uniform(-5, 5, 20_000)
    for dark in (bright * 1e-9, bright * 0):
        low, high = ranges_of(networks, [dark, bright, bright], method)['x']
        assert -5.1 < low < -4
        assert 4 < high < 5.1


def test_values_that_are_not_finite_are_an_error_that_names_the_tensor(networks):
    for method in CALIBRATION_METHODS:
        with pytest.raises(ModelError, match=r"net\.onnx: tensor 'y' .* image 2"):
            ranges_of(networks, [[1.0], [3e38]], method)


def test_an_unknown_method_is_refused(spec, images):
    with pytest.raises(ConfigError, match="'guess'; it is one of percentile, entropy, minmax"):
        to_int8(spec, images, CalibrationOptions(method='guess'))


def test_int8_without_ranges_is_refused(spec, tmp_path):
    with pytest.raises(ConfigError, match=r'calibration\.images, .* calibration\.table'):
        to_int8(spec, [], CalibrationOptions())
    with pytest.raises(ConfigError, match=r'table\.json does not exist'):
        to_int8(spec, [], CalibrationOptions(table=str(tmp_path / 'table.json')))
    with pytest.raises(ConfigError, match='drive: has no image to calibrate net'):
        to_int8(spec, iter(()), CalibrationOptions(images='drive'))


def test_a_saved_table_alone_gives_the_same_network(spec, images, tmp_path):
    options = CalibrationOptions(method='minmax', table=str(tmp_path / 'table.json'))
    first = to_int8(spec, images, options)
    table = CalibrationTable.read(tmp_path / 'table.json')
    assert (table.network, table.method, table.count) == (network_digest(spec), 'minmax', 4)
    assert table.ranges['as_float'] == (pytest.approx(0, abs=9), pytest.approx(255, abs=9))
    again = to_int8(spec, (), options)
    assert network_digest(again) == network_digest(first)


def test_a_table_of_another_network_is_refused(networks, spec, images, tmp_path):
    options = CalibrationOptions(method='minmax', table=str(tmp_path / 'table.json'))
    to_int8(spec, images, options)
    other = networks.spec_of(networks.pointwise(2 * np.eye(3), SIZE),
                             input=networks.PASSED_THROUGH)
    with pytest.raises(ConfigError, match=r'table\.json: .* belongs to net\.onnx \(sha256 '
                       f'{network_digest(spec)[:12]}.*{network_digest(other)[:12]}'):
        to_int8(other, images, options)
    with pytest.raises(ConfigError, match=r'scale 1\.0, .* but the config has .*scale 0\.5'):
        to_int8(replace(spec, scale=0.5), images, options)


@pytest.mark.parametrize('text', ['', 'no json', '[]', '{"ranges": {}}'])
def test_a_file_that_is_no_table_is_named(spec, images, tmp_path, text):
    (tmp_path / 'table.json').write_text(text)
    with pytest.raises(ConfigError, match=r'table\.json: is no calibration table'):
        to_int8(spec, images, CalibrationOptions(table=str(tmp_path / 'table.json')))


def test_a_table_that_lacks_a_tensor_is_named(spec, images, tmp_path):
    path = tmp_path / 'table.json'
    options = CalibrationOptions(method='minmax', table=str(path))
    to_int8(spec, images, options)
    path.write_text(json.dumps({**json.loads(path.read_text()), 'ranges': {}}))
    with pytest.raises(ConfigError, match="lacks tensor 'as_float'"):
        to_int8(spec, images, options)


def test_a_table_that_cannot_be_written_is_named(spec, images, tmp_path):
    with pytest.raises(ConfigError, match='cannot be written'):
        to_int8(spec, images, CalibrationOptions(method='minmax',
                                                 table=str(tmp_path / 'no' / 'table.json')))


def test_the_digest_changes_with_the_data_and_with_nothing_else(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(folder / name), np.full((4, 4, 3), ord(name[0]), np.uint8))
    options = CalibrationOptions(images=str(folder), table=str(tmp_path / 'table.json'))
    first = calibration_digest(options)
    assert first == calibration_digest(replace(options, table=''))
    others = [replace(options, method='minmax'), replace(options, count=7),
              replace(options, topic='/camera')]
    digests = {first, *map(calibration_digest, others)}
    a, b = (folder / 'a.png'), (folder / 'b.png')
    a.rename(folder / 'c.png')  # another order
    digests.add(calibration_digest(options))
    b.write_bytes(b.read_bytes() + b'0')
    digests.add(calibration_digest(options))
    (tmp_path / 'table.json').write_text('{}')
    digests.add(calibration_digest(options))
    assert calibration_digest(replace(options, count=1)) in digests  # the table is what counts
    assert len(digests) == 7


def test_without_data_there_is_no_digest(tmp_path):
    assert calibration_digest(CalibrationOptions(table=str(tmp_path / 'later.json'))) == ''
    with pytest.raises(ImageError, match='gone'):
        calibration_digest(CalibrationOptions(images=str(tmp_path / 'gone')))
