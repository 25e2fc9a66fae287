# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.py, pyproject.toml and requirements/ say the same."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
FROM_PYPI = {'onnx', 'onnxruntime'}
"""What the package needs and rosdep cannot give without pip; in requirements/."""

ROSDEP_KEYS = {
    'PyYAML': 'python3-yaml', 'aiohttp': 'python3-aiohttp', 'filelock': 'python3-filelock',
    'hypothesis': 'python3-hypothesis', 'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy', 'opencv-python-headless': 'python3-opencv',
    'pillow': 'python3-pil', 'platformdirs': 'python3-platformdirs', 'psutil': 'python3-psutil',
    'pytest': 'python3-pytest', 'pytest-xdist': 'python3-pytest-xdist',
    'scikit-learn': 'python3-sklearn', 'tqdm': 'python3-tqdm'}
"""By distribution on PyPI, as in rosdistro's rosdep/python.yaml."""

WITHOUT_KEY = {'distributed', 'mcap', 'playwright', 'rosbags', 'tensorrt-rtx-cu13'}
"""Of the tests, without a rosdep key or with one for pip only; what needs them is skipped."""

ROS_PACKAGES = re.compile(r'\w+_(msgs|srvs|interfaces)|rclpy|cv_bridge|launch(_ros)?|'
                          r'ament_index_python')


def distribution(requirement):
    """Return the name in a requirement: 'onnx' of 'onnx>=1.13'."""
    return re.match(r'[\w-]+', requirement).group()


def rosdep_keys(*tags):
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    return {element.text for tag in tags for element in root.findall(tag)}


def install_requires():
    """Return what setup.py asks for, without running it."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    value = next(node.value for node in ast.walk(tree)
                 if isinstance(node, ast.keyword) and node.arg == 'install_requires')
    return {distribution(text) for text in ast.literal_eval(value)}


def extra(name):
    """Return what an extra of pyproject.toml asks for."""
    tomllib = pytest.importorskip('tomllib', reason='Python 3.11 is the first with tomllib')
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    return {distribution(text) for text in project['optional-dependencies'][name]}


def package_data():
    """Return the patterns of setup.py for files that are no modules."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    value = next(node.value for node in ast.walk(tree)
                 if isinstance(node, ast.keyword) and node.arg == 'package_data')
    return ast.literal_eval(value.values[0])


def imported_ros_packages(*folders):
    names = set()
    for folder in folders:
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                if isinstance(node, ast.Import):
                    names.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module)
    return {root for root in (name.partition('.')[0] for name in names)
            if ROS_PACKAGES.fullmatch(root)}


def test_every_file_of_the_package_is_installed():
    folder = ROOT / 'trt_segmentation'
    installed = {path for pattern in package_data() for path in folder.glob(pattern)}
    assert {path for path in folder.rglob('*') if path.is_file()
            and path.suffix not in ('.py', '.pyc')} == installed


def test_what_setup_py_asks_for_has_its_rosdep_key():
    assert {ROSDEP_KEYS[name] for name in install_requires() - FROM_PYPI} \
        <= rosdep_keys('exec_depend')


def test_what_the_tests_ask_for_has_its_rosdep_key():
    wanted = extra('test')
    assert wanted >= WITHOUT_KEY
    assert {ROSDEP_KEYS[name] for name in wanted - WITHOUT_KEY} <= rosdep_keys('test_depend')


def test_imported_ros_packages_are_dependencies():
    needed = imported_ros_packages('trt_segmentation', 'launch')
    assert {'rclpy', 'cv_bridge', 'sensor_msgs', 'launch'} <= needed
    assert needed <= rosdep_keys('exec_depend')
    assert imported_ros_packages('test') <= rosdep_keys('exec_depend', 'test_depend')


def test_rosdep_runs_no_pip():
    """It would replace apt's numpy on Ubuntu 22.04, and is refused on 24.04."""
    assert [key for key in rosdep_keys('exec_depend', 'test_depend') if key.endswith('-pip')] == []


def test_package_xml_says_where_the_project_is():
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert {url.get('type') for url in root.findall('url')} == {'website', 'repository',
                                                                'bugtracker'}
    assert re.fullmatch(r'[\w.-]+@[\w-]+(\.[\w-]+)+', root.find('maintainer').get('email'))


@pytest.mark.parametrize('system', ['22.04', '24.04'])
def test_requirements_replace_nothing_that_apts_opencv_was_built_with(system):
    lines = [line.partition('#')[0].strip() for line in
             (ROOT / 'requirements' / f'ubuntu-{system}.txt').read_text().splitlines()]
    pins = dict(line.split('==') for line in lines if '==' in line)
    assert set(pins) >= FROM_PYPI
    named = {distribution(line) for line in lines if line}
    assert not named & {'numpy', 'scipy', 'opencv-python', 'opencv-python-headless'}
    line = f'--no-deps -r src/trt_segmentation/requirements/ubuntu-{system}.txt'
    assert line in (ROOT / 'README.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('path', sorted((ROOT / 'requirements').glob('ros-*.txt')),
                         ids=lambda path: path.stem)
def test_a_distributions_packages_are_all_pinned(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith('#')]
    assert all(re.fullmatch(r'ros-[a-z0-9-]+==[\d.]+', line) for line in lines)
    assert 'ros-rclpy' in {distribution(line) for line in lines}
    assert lines == sorted(lines)
