# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of ``trt-segmentation bench --ros``."""
