# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Class names and colours, merging of classes, and the encoding of class ids in a mask."""
