# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.py, pyproject.toml, requirements/ and test/lanes/ say the same."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import trt_segmentation
from trt_segmentation import requirements

ROOT = Path(__file__).parents[1]
FROM_PYPI = {'onnx', 'onnxruntime'}
"""What the package needs and rosdep cannot give without pip; in requirements/."""

OTHER_KEYS = {'PyYAML': 'python3-yaml', 'opencv-python-headless': 'python3-opencv',
              'pillow': 'python3-pil', 'scikit-learn': 'python3-sklearn'}
"""By distribution on PyPI, where the key in rosdistro's rosdep/python.yaml is not python3-NAME."""

WITHOUT_KEY = {'distributed', 'mcap', 'playwright', 'rosbags', 'tensorrt-rtx-cu13'}
"""Of the tests, without a rosdep key or with one for pip only; what needs them is skipped."""

BROUGHT_BY_ONNX = {'python3-protobuf'}
"""Run dependencies for rosdep, which pip gets with onnx."""

ONLY_FROM_APT = {'scipy', 'setuptools', 'wheel'}
"""In the lanes of Ubuntu, and not asked for by name: scikit-learn brings scipy."""

ROS_PACKAGES = re.compile(r'\w+_(msgs|srvs|interfaces)|rclpy|cv_bridge|launch(_ros)?|'
                          r'ament_index_python')


def distribution(requirement):
    """Return the name in a requirement: 'onnx' of 'onnx>=1.13'."""
    return re.match(r'[\w-]+', requirement).group()


def rosdep_key(name):
    return OTHER_KEYS.get(name, f'python3-{name}')


def lines_of(path):
    """Return the requirements in a file of pip's."""
    lines = (line.partition('#')[0].strip() for line in (ROOT / path).read_text().splitlines())
    return [line for line in lines if line]


def rosdep_keys(*tags):
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    return {element.text for tag in tags for element in root.findall(tag)}


def install_requires():
    """Return what setup.py asks for, without running it."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    value = next(node.value for node in ast.walk(tree)
                 if isinstance(node, ast.keyword) and node.arg == 'install_requires')
    return {distribution(text) for text in ast.literal_eval(value)}


def extras():
    """Return what each extra of pyproject.toml asks for, as it is written there."""
    tomllib = pytest.importorskip('tomllib', reason='Python 3.11 is the first with tomllib')
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    return project['optional-dependencies']


def extra(name):
    """Return the names that an extra asks for, with those of the extras that it is made of."""
    names = set()
    for text in extras()[name]:
        parts = re.fullmatch(r'trt_segmentation\[([\w,]+)\]', text)
        names.update(*map(extra, parts[1].split(','))) if parts else names.add(distribution(text))
    return names


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


def python_keys(tag):
    return {key for key in rosdep_keys(tag) if key.startswith('python3-')}


def test_pip_and_rosdep_install_the_same():
    assert python_keys('exec_depend') == BROUGHT_BY_ONNX | {
        rosdep_key(name) for name in install_requires() - FROM_PYPI}


def test_pip_and_rosdep_install_the_same_for_the_tests():
    wanted = extra('test')
    assert wanted >= WITHOUT_KEY
    assert python_keys('test_depend') == {rosdep_key(name) for name in wanted - WITHOUT_KEY}


def test_ros_packages_from_pypi_are_dependencies():
    names = {name.removeprefix('ros-').replace('-', '_') for name in extra('ros')}
    assert 'rclpy' in names
    assert names <= rosdep_keys('exec_depend')


@pytest.mark.parametrize('system', ['22.04', '24.04'])
def test_a_lane_has_what_the_package_and_its_tests_ask_for(system):
    """Of what apt has; that of 22.04 is installed as it is, without what setup.py asks for."""
    lane = {distribution(line) for line in lines_of(f'test/lanes/ubuntu-{system}.txt')}
    asked = install_requires() - FROM_PYPI | extra('test') - {'playwright', 'tensorrt-rtx-cu13'}
    if system != '22.04':
        asked -= WITHOUT_KEY
    assert lane - ONLY_FROM_APT == asked


def test_a_version_that_is_asked_for_at_run_time_is_that_of_its_extra():
    asked = {text for texts in extras().values() for text in texts}
    for name, version in requirements.AT_LEAST.items():
        assert f'{name}>={".".join(map(str, version))}' in asked
        assert f'{name}>={".".join(map(str, version))}' in requirements.HOW[name]


def test_hints_name_packages_that_can_be_installed():
    """No hint is about trt_segmentation itself, which is not on PyPI."""
    hints = [path for path in (ROOT / 'trt_segmentation').rglob('*.py')
             if re.search(r'pip install [^\n]*trt_segmentation', path.read_text(encoding='utf-8'))]
    assert hints == []


@pytest.mark.parametrize('path', ['.ci/run', 'Makefile'])
def test_what_runs_the_tests_has_no_list_of_its_own(path):
    """It installs extras and files of requirements; pip itself is the one distribution named."""
    text = re.sub(r'\\\n', ' ', (ROOT / path).read_text(encoding='utf-8'))
    installs = re.findall(r'(?:pip install|\$install)\b(.*)', text)
    assert installs
    for arguments in installs:
        words = re.sub(r'(--constraint|-r|--editable) \S+', '', arguments).split()
        assert {word for word in words if re.match(r'[\w\']', word)} <= {'pip'}, arguments


def test_imported_ros_packages_are_dependencies():
    needed = imported_ros_packages('trt_segmentation', 'launch')
    assert {'rclpy', 'cv_bridge', 'sensor_msgs', 'launch'} <= needed
    assert needed <= rosdep_keys('exec_depend')
    assert imported_ros_packages('test') <= rosdep_keys('exec_depend', 'test_depend')


def test_rosdep_runs_no_pip():
    """It would replace apt's numpy on Ubuntu 22.04, and is refused on 24.04."""
    assert [key for key in rosdep_keys('exec_depend', 'test_depend') if key.endswith('-pip')] == []


def test_package_xml_names_a_maintainer():
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert re.fullmatch(r'[\w.-]+@[\w-]+(\.[\w-]+)+', root.find('maintainer').get('email'))


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    found = {ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version'),
             citation['version'],
             *subprocess.check_output([sys.executable, 'setup.py', '--version'], cwd=ROOT,
                                      stderr=subprocess.DEVNULL, text=True).split()[-1:]}
    assert found == {trt_segmentation.__version__}
    changes = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')
    assert re.search(r'^(\d+\.\d+\.\d+) \(', changes, re.MULTILINE)[1] in found
    supported = f'The newest release, {trt_segmentation.__version__.rpartition(".")[0]}.x.'
    assert supported in (ROOT / 'SECURITY.md').read_text(encoding='utf-8')


def test_package_and_citation_name_the_license_of_every_python_file():
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert root.findtext('license') == citation['license'] == 'Apache-2.0'
    head = '# Copyright 2026 The trt_segmentation authors\n# SPDX-License-Identifier: Apache-2.0\n'
    folders = 'trt_segmentation', 'launch', 'test', 'tools', 'docs'
    found = (path for folder in folders for path in (ROOT / folder).rglob('*.py'))
    assert [path for path in (ROOT / 'setup.py', *found)
            if path.stat().st_size and head not in path.read_text(encoding='utf-8')] == []
    text = (ROOT / 'LICENSE').read_text(encoding='utf-8')
    assert text.split()[:4] == ['Apache', 'License', 'Version', '2.0,']


def test_the_workflow_is_valid():
    actionlint = shutil.which('actionlint', path=Path(sys.executable).parent) \
        or shutil.which('actionlint') or pytest.skip('actionlint is not installed')
    workflows = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
    assert workflows
    done = subprocess.run([actionlint, *workflows], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_every_distribution_and_installs_what_is_there():
    text = (ROOT / '.github' / 'workflows' / 'ci.yml').read_text(encoding='utf-8')
    rows = yaml.safe_load(text)['jobs']['ros']['strategy']['matrix']['include']
    assert {row['distribution'] for row in rows} == {'humble', 'jazzy', 'kilted', 'lyrical',
                                                     'rolling'}
    lists = {Path(word) for row in rows for word in row['pip'].split() if word.endswith('.txt')}
    assert {Path('src/trt_segmentation/requirements') / f'ubuntu-{system}.txt'
            for system in ('22.04', '24.04')} == lists


@pytest.mark.parametrize(('form', 'asked'), [
    ('wrong_mask', 'trt-segmentation inspect'), ('node', 'ros2 topic echo /diagnostics')])
def test_issue_forms_require_what_a_diagnosis_needs(form, asked):
    text = (ROOT / '.github' / 'ISSUE_TEMPLATE' / f'{form}.yml').read_text(encoding='utf-8')
    fields = yaml.safe_load(text)['body']
    assert len({field['id'] for field in fields}) == len(fields)
    assert any(asked in field['attributes'].get('description', '')
               and field['validations']['required'] for field in fields)


@pytest.mark.parametrize('system', ['22.04', '24.04'])
def test_requirements_replace_nothing_that_apts_opencv_was_built_with(system):
    lines = lines_of(f'requirements/ubuntu-{system}.txt')
    pins = dict(line.split('==') for line in lines if '==' in line)
    assert set(pins) >= FROM_PYPI
    named = {distribution(line) for line in lines}
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
