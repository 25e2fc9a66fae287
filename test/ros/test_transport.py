# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The Fast DDS variables that are set, by the library that reads them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trt_segmentation.ros import transport
from trt_segmentation.ros.transport import find_profile_variables, large_image_environment

OLD, NEW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
JAZZY = b'\0libfastrtps.so.2.14\0libfastcdr.so.2\0'
KILTED = b'\0libfastdds.so.3.2\0' + OLD.encode() + b' is deprecated; use ' + NEW.encode()
WITHOUT_THE_OLD_NAME = b'\0libfastdds.so.3.6\0'
LIBRARIES = {'jazzy': (JAZZY, {OLD}, {OLD}), 'kilted': (KILTED, {NEW}, {OLD, NEW}),
             'later': (WITHOUT_THE_OLD_NAME, {NEW}, {NEW}),
             'unknown': (b'\0libdds.so\0', {OLD, NEW}, {OLD, NEW})}


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """A machine with two cores, without ROS 2 in its Python."""
    monkeypatch.setattr(transport, 'cpu_count', lambda: 2)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'python'))


def prefix_with(folder, content):
    """Return a ROS 2 prefix whose middleware has that content."""
    (folder / 'lib').mkdir(parents=True)
    (folder / 'lib' / 'librmw_fastrtps_shared_cpp.so').write_bytes(content)
    return folder


@pytest.mark.parametrize(('content', 'to_set', 'read'), LIBRARIES.values(), ids=LIBRARIES)
def test_the_library_decides(content, to_set, read, tmp_path):
    environment = {'AMENT_PREFIX_PATH': str(prefix_with(tmp_path / 'ros', content))}
    variables = find_profile_variables(environment)
    assert (set(variables.to_set), set(variables.read)) == (to_set, read)
    added = large_image_environment(environment)
    assert set(added) == to_set
    assert all('<segment_size>67108864<' in Path(value).read_text() for value in added.values())


@pytest.mark.parametrize(('content', 'to_set', 'read'), LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize('variable', ['FASTDDS_BUILTIN_TRANSPORTS', OLD, NEW])
def test_operators_transport_is_left_alone_where_it_is_read(variable, content, to_set, read,
                                                            tmp_path):
    environment = {'AMENT_PREFIX_PATH': str(prefix_with(tmp_path / 'ros', content)),
                   variable: 'mine'}
    added = large_image_environment(environment)
    assert variable not in added
    assert set(added) == (set() if variable in {'FASTDDS_BUILTIN_TRANSPORTS', *read} else to_set)


def test_the_distributions_name_does_not_decide(tmp_path):
    prefix = prefix_with(tmp_path / 'ros', JAZZY)
    assert set(large_image_environment({'AMENT_PREFIX_PATH': str(prefix),
                                        'ROS_DISTRO': 'kilted'})) == {OLD}


def test_the_loaders_path_comes_first(tmp_path):
    jazzy, kilted = (prefix_with(tmp_path / name, content)
                     for name, content in (('jazzy', JAZZY), ('kilted', KILTED)))
    environment = {'AMENT_PREFIX_PATH': f'/nowhere{os.pathsep}{jazzy}'}
    assert set(large_image_environment(environment)) == {OLD}
    environment['LD_LIBRARY_PATH'] = f'{os.pathsep}/nowhere{os.pathsep}{kilted / "lib"}'
    assert set(large_image_environment(environment)) == {NEW}


def test_wheels_are_found_without_variables(tmp_path, monkeypatch):
    prefix = prefix_with(tmp_path / 'venv', JAZZY)
    rclpy = prefix / 'lib' / 'python3.10' / 'site-packages' / 'rclpy'
    spec = importlib.util.spec_from_file_location('rclpy', rclpy / '__init__.py')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec)
    assert set(large_image_environment({})) == {OLD}


def test_without_the_middlewares_library_both_are_set():
    assert set(large_image_environment({})) == {OLD, NEW}


def test_with_cores_to_spare_the_middleware_publishes_in_a_thread(monkeypatch):
    mode = 'RMW_FASTRTPS_PUBLICATION_MODE'
    monkeypatch.setattr(transport, 'cpu_count', lambda: 3)
    assert mode not in large_image_environment({})
    monkeypatch.setattr(transport, 'cpu_count', lambda: 4)
    assert large_image_environment({})[mode] == 'ASYNCHRONOUS'
    assert mode not in large_image_environment({mode: 'SYNCHRONOUS'})


SEGMENTS = """
import os, rclpy
rclpy.init()
node = rclpy.create_node('segments')
files = {line.split()[-1] for line in open('/proc/self/maps') if '/dev/shm/fast' in line}
print('largest:', max(map(os.path.getsize, files)))
"""


@pytest.mark.ros
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_the_installed_middleware_takes_the_profile_without_a_warning(monkeypatch):
    monkeypatch.undo()
    rclpy = pytest.importorskip('rclpy.utilities', reason='rclpy is not installed')
    if 'fastrtps' not in rclpy.get_rmw_implementation_identifier():
        pytest.skip('another middleware is chosen')
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(('FASTDDS_', 'FASTRTPS_'))}
    environment['ROS_DOMAIN_ID'] = str(1 + (os.getpid() + 30) % 100)
    environment |= large_image_environment(environment)
    done = subprocess.run([sys.executable, '-c', SEGMENTS], env=environment, text=True,
                          capture_output=True, timeout=60, check=True)
    assert int(done.stdout.split('largest:')[1]) > 64 << 20
    assert 'deprecated' not in done.stderr + done.stdout
