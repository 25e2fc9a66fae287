# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX in, ONNX out: what a network is, and the pre- and post-processing put around it."""
