# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The web page of ``trt-segmentation view`` and its server."""
