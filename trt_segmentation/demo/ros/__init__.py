# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The image publisher and the recorder of ``trt-segmentation demo``."""
