# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded images through a network: files, folders and videos, by one process or by many."""
