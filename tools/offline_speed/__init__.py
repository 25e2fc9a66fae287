# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of ``trt-segmentation run`` compared with a simple script."""
