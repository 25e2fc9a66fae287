# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file offers every parameter, where launch_ros is installed."""

import importlib.util
from pathlib import Path

import pytest

from trt_segmentation.ros.parameters import rules

pytest.importorskip('launch_ros')


def test_every_parameter_is_a_described_argument(monkeypatch):
    path = Path(__file__).parents[2] / 'launch' / 'seg.launch.py'
    import ament_index_python.packages
    monkeypatch.setattr(ament_index_python.packages, 'get_package_share_directory',
                        lambda name: str(path.parents[1]))
    spec = importlib.util.spec_from_file_location('seg_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {entry.name: entry.description
                 for entry in module.generate_launch_description().entities
                 if hasattr(entry, 'description')}
    assert {*rules(), 'image_topic', 'namespace', 'params_file', 'rviz'} <= set(arguments)
    assert all(arguments.values())
