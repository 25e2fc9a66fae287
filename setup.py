# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What colcon and older setuptools read; extras and tool settings are in pyproject.toml."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'trt_segmentation'
SHARE = f'share/{PACKAGE}'
VERSION = re.search(r"^__version__ = '(.+)'$", Path(PACKAGE, '__init__.py').read_text('utf-8'),
                    re.MULTILINE)[1]

setup(
    name=PACKAGE,
    version=VERSION,
    description='ROS 2 semantic segmentation: camera image in, class mask and overlay out',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed', 'classes/presets/*.yaml', 'demo/*.onnx', 'demo/*.yaml',
                            'demo/drive/images/*.jpg', 'demo/drive/labels/*.png',
                            'images/samples/*.jpg', 'ros/*.xml', 'web/*.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/hook', ['resource/command_path.dsv']),
        (f'{SHARE}/launch', sorted(glob('launch/*.py'))),
        (f'{SHARE}/config', sorted(glob('config/*.*'))),
        (f'{SHARE}/config/models',
         sorted(glob('config/models/*.yaml') + glob(f'{PACKAGE}/demo/*.yaml'))),
        (f'{SHARE}/models', sorted(glob(f'{PACKAGE}/demo/*.onnx'))),
    ],
    install_requires=[
        'filelock', 'numpy', 'onnx>=1.13', 'opencv-python-headless', 'platformdirs', 'PyYAML',
        'tqdm',
    ],
    include_package_data=False,
    zip_safe=False,
    entry_points={
        'console_scripts': [
            f'segmentation_node = {PACKAGE}.ros.node:main',
            f'trt-segmentation = {PACKAGE}.cli.main:main',
        ],
    },
)
