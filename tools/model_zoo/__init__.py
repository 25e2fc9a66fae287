# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks as people export them, with PyTorch's own answer; see __main__.py."""
