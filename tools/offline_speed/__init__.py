# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How fast ``trt-segmentation run`` is beside a plain script."""
