# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The command in a colcon workspace: after setup.bash is sourced, its name alone is enough."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLCON = Path(sys.executable).with_name('colcon')

pytestmark = pytest.mark.skipif(
    not COLCON.exists() or not importlib.util.find_spec('colcon_ros'),
    reason='colcon is not installed (extra dev)')


@pytest.mark.parametrize('options', [(), ('--symlink-install',), ('--merge-install',)])
def test_the_command_works_after_sourcing(tmp_path, options):
    workspace = tmp_path / 'a workspace'  # with a space
    (workspace / 'src').mkdir(parents=True)
    (workspace / 'src' / 'trt_segmentation').symlink_to(ROOT)
    colcon(workspace, 'build', '--packages-select', 'trt_segmentation', *options)
    done = subprocess.run(
        ['bash', '-c', '. install/setup.bash && command -v trt-segmentation segmentation_node && '
                       'trt-segmentation --version'],
        cwd=workspace, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    command, node, version = done.stdout.splitlines()
    assert Path(command).parent.match('lib/trt_segmentation')
    assert Path(command).is_relative_to(workspace)
    assert Path(node).parent == Path(command).parent  # where ros2 run looks
    assert version.split()[0] == 'trt-segmentation'


def colcon(folder, *arguments):
    done = subprocess.run([COLCON, *arguments], capture_output=True, text=True, timeout=120,
                          cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
