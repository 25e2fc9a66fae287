# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter table, and the files that must agree with it."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from trt_segmentation.errors import ConfigError
from trt_segmentation.ros.parameters import Parameters, change_fault, first_fault, value_from_text
from trt_segmentation.ros.statistics import KEEP_LATEST, FrameCounts

ROOT = Path(__file__).parents[2]


def test_seg_yaml_holds_every_parameter_with_its_default():
    tree = yaml.safe_load((ROOT / 'config' / 'seg.yaml').read_text())
    defaults = {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(Parameters()).items()}
    assert tree['/**']['ros__parameters'] == defaults


@pytest.mark.parametrize('measure', [True, False])
def test_measuring_reaches_the_network(measure):
    assert Parameters(measure=measure).run_options.measure is measure
    assert change_fault('measure', measure, configured=True) == ''  # for the next ~/load_model


@pytest.mark.parametrize('gpu_jpeg', [True, False])
def test_decoding_on_the_gpu_reaches_the_network(gpu_jpeg):
    assert Parameters(gpu_jpeg=gpu_jpeg).run_options.gpu_jpeg is gpu_jpeg
    assert change_fault('gpu_jpeg', gpu_jpeg, configured=True) == ''


def test_defaults_are_good():
    assert first_fault(Parameters()) == ''


@pytest.mark.parametrize(('name', 'value', 'said'), [
    ('overlay_alpha', -0.1, 'overlay_alpha is -0.1; it must be 0 to 1'),
    ('overlay_scale', 0.7, 'overlay_scale is 0.7; it must be 0.5 to 1 in steps of 0.5'),
    ('precision', 'fp8', 'fp32, fp16, int8'),
    ('model_config', 'net\0.yaml', "model_config is 'net\\x00.yaml'"),
    ('mask_interpolation', 'cubic', 'nearest, bilinear'),
    ('num_threads', -1, 'num_threads is -1'),
    ('min_size', (64,), 'min_size is [64]; it must have 2 values'),
    ('max_size', (0, 1920), 'max_size is [0, 1920]; it must be 1 to 16384'),
    ('roi', (1, 2, 3), 'roi is [1, 2, 3]; it must have 4 values'),
    ('input_transport', 'theora', 'raw, compressed'),
    ('input_encodings', ('nv12', 'NV21', 'bgr8'),
     'input_encodings has NV21, bgr8; it may have yuyv, uyvy, nv12, nv21, bayer_rggb8, '),
    ('points', 'stereo', "points is 'stereo'; it must be one of '' (empty), depth, cloud"),
    ('sync_tolerance', -1.0, 'sync_tolerance is -1.0; it must be 0 to 60'),
    *((('cameras', names, f'cameras is {list(names)}; names must be unique'))
      for names in (('front', 'front'), ('',), ('a b',), ('a/b',), ('1st',), ('a__b',), ('a_',))),
])
def test_faults_name_value_and_bound(name, value, said):
    assert said in first_fault(Parameters(**{name: value}))
    assert said in change_fault(name, value, configured=False)


@pytest.mark.parametrize(('values', 'said'), [
    ({'mask_height': 90}, 'mask_height is 90 and mask_width is 0; set both'),
    ({'points_range': (3.0, 3.0)}, 'points_range is [3, 3]; the minimum must be below'),
    ({'roi': (4, 4, 0, 8)}, 'roi is [4, 4, 0, 8]; its width and height'),
    ({'roi': (0, 0, 8, 8), 'mask_height': 9, 'mask_width': 9}, 'only one of the two'),
])
def test_values_that_do_not_go_together_are_named(values, said):
    assert said in first_fault(Parameters(**values))


def test_as_many_images_as_cameras_are_segmented_at_once():
    assert Parameters().run_options.batch == 1
    assert first_fault(Parameters(cameras=('front', 'rear_left', 'Cam2'))) == ''
    assert Parameters(cameras=('front', 'rear_left', 'Cam2')).run_options.batch == 3


def test_only_live_parameters_change_while_configured():
    assert change_fault('overlay_alpha', 0.2, configured=True) == ''
    assert 'clean up the node' in change_fault('confidence', False, configured=True)
    assert change_fault('confidence', False, configured=False) == ''
    assert change_fault('engine_path', 'x.onnx', configured=True) == ''  # for ~/load_model
    assert change_fault('use_sim_time', True, configured=True) == ''


@pytest.mark.parametrize(('name', 'text', 'value'), [
    ('overlay_alpha', '1', 1.0), ('num_threads', '2', 2), ('confidence', 'false', False),
    ('engine_path', '42', '42'), ('opt_size', '[480, 640]', [480, 640])])
def test_launch_arguments_get_their_type(name, text, value):
    result = value_from_text(name, text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(('name', 'text'), [('num_threads', 'many'), ('confidence', '1'),
                                            ('overlay_alpha', 'half'), ('min_size', '64')])
def test_launch_arguments_of_a_wrong_type_are_named(name, text):
    with pytest.raises(ConfigError, match=f"{name} is '{text}'"):
        value_from_text(name, text)


def test_gaps_in_the_sequence_are_counted_and_restarts_are_not():
    counts = FrameCounts()
    for sequence in (5, 6, 9, 1, 2, None, 4):
        counts.note_arrival(sequence)
    assert counts.received == 7
    assert counts.dropped[KEEP_LATEST] == 2 + 1
