# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Errors: messages that call a setting as whoever reads them does."""

import pickle
from argparse import Namespace

import pytest

from trt_segmentation.cli.console import message_of
from trt_segmentation.errors import BackendError, ConfigError, ModelError


def upper(name):
    return f'<{name.upper()}>'


@pytest.mark.parametrize(('message', 'worded'), [
    ('build it with other min_size and max_size', 'build it with other <MIN_SIZE> and <MAX_SIZE>'),
    ('max_size is 3; lower max_size', '<MAX_SIZE> is 3; lower <MAX_SIZE>'),
    ('give calibration.images, or', 'give <CALIBRATION.IMAGES>, or'),
    ("set 'max_size' (or min_size).", "set '<MAX_SIZE>' (or <MIN_SIZE>)."),
    ('/data/max_size/net.onnx: bad', '/data/max_size/net.onnx: bad'),
    ('max_size.onnx: bad', 'max_size.onnx: bad'),
    ('my-max_size, max_size_2, calibration.images.old: bad',
     'my-max_size, max_size_2, calibration.images.old: bad')])
def test_settings_get_the_names_of_the_reader_and_nothing_else_does(message, worded):
    error = ConfigError(message, ('max_size', 'min_size', 'calibration.images'))
    assert error.worded(upper) == worded
    assert str(error) == message


def test_what_is_no_setting_of_the_error_stays():
    assert ConfigError('device is 3, max_size too', ['device']).worded(upper) \
        == '<DEVICE> is 3, max_size too'
    assert ConfigError('device is 3').worded(upper) == 'device is 3'
    assert str(ConfigError()) == ''


@pytest.mark.parametrize('cause', [True, False])
def test_an_error_made_of_another_knows_its_settings(cause):
    with pytest.raises(ModelError) as caught:
        try:
            raise BackendError('batch is 2', ['batch'])
        except BackendError as error:
            raise ModelError(f'net.onnx: {error}') from (error if cause else None)
    assert caught.value.worded(upper) == 'net.onnx: <BATCH> is 2'


def test_errors_cross_processes():
    error = pickle.loads(pickle.dumps(BackendError('batch is 2', ['batch'])))
    assert isinstance(error, BackendError)
    assert error.worded(upper) == '<BATCH> is 2'


@pytest.mark.parametrize(('setting', 'name'), [
    ('max_size', '--max-size'), ('calibration.images', '--calibration-images'),
    ('num_threads', '--threads'), ('overlay_alpha', '--alpha'), ('batch', 'batch')])
def test_the_command_line_calls_settings_by_its_options(setting, name):
    args = Namespace(max_size=1, calibration_images='', threads=0, alpha=0.5)
    assert message_of(ConfigError(f'{setting} is 7', [setting]), args) == f'{name} is 7'
