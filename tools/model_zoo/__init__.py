# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks exported by their common tools, with reference masks; see __main__.py."""
