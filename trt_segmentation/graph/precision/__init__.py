# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network in fp16 or int8, and what that costs in accuracy."""
