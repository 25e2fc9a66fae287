# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a network to fp16 or int8, and its loss of accuracy."""
