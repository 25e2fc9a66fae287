# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of image files, folders and videos, in one process or in several."""
