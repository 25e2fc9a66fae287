# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX models, whatever they compute: opened, checked, written, run."""
