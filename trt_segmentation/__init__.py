# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation for ROS 2: camera image in, class mask and colour overlay out."""

__version__ = '0.1.0'

PROGRESS_LOGGER = 'trt_segmentation.progress'
"""Name of the logger that is told about every second how far something long is."""
