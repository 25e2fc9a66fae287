# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Tools for any ONNX model: reading, validation, editing, running."""
