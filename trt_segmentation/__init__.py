# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation for ROS 2: camera image in, class mask and colour overlay out."""

__version__ = '0.1.0'
