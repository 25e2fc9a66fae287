# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the documentation: ``make docs`` writes build/docs/index.html."""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the pages of the Python API read the docstrings

import trt_segmentation  # noqa: E402

project = 'trt_segmentation'
author = 'The trt_segmentation authors'
copyright = '2026, The trt_segmentation authors'
version = release = trt_segmentation.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
myst_heading_anchors = 4
nitpicky = False

# The docstrings are read without these libraries; docs/requirements.txt has the others.
autodoc_mock_imports = ['cv2', 'onnx', 'onnxruntime', 'filelock', 'platformdirs', 'tqdm', 'google']
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'

# rosdoc2 brings sphinx_rtd_theme instead of furo.
html_theme = 'furo' if find_spec('furo') else 'sphinx_rtd_theme'
html_title = f'trt_segmentation {version}'
html_show_sphinx = False
