# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Classes: their names and colours, merging, and how a mask writes their ids."""
