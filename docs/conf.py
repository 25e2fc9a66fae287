# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the documentation: ``make docs`` writes build/docs/index.html."""

import contextlib
import sys
from importlib.util import find_spec
from pathlib import Path

# For the page of the Python API. rosdoc2 executes this file in a copy of this folder, where the
# package is found if its workspace is sourced; it then also knows the version.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with contextlib.suppress(ImportError):
    from trt_segmentation import __version__ as version
    release = version

project = 'trt_segmentation'
author = 'The trt_segmentation authors'
copyright = '2026, The trt_segmentation authors'

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
myst_heading_anchors = 4
# rosdoc2 adds an index.rst, a page of each module, and copies of the files in the root.
exclude_patterns = ['index.rst', 'modules.rst', 'trt_segmentation*.rst', '__*', 'README.md',
                    'CONTRIBUTING.md', 'CHANGELOG.rst']
rosdoc2_settings = {'enable_autodoc': False}  # it would replace the following list

# The docstrings are read without these libraries; docs/requirements.txt has the others.
autodoc_mock_imports = ['cv2', 'onnx', 'onnxruntime', 'filelock', 'platformdirs', 'tqdm', 'google']
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'

# rosdoc2 brings sphinx_rtd_theme instead of furo.
html_theme = 'furo' if find_spec('furo') else 'sphinx_rtd_theme'
html_show_sphinx = False
