# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT backend; ``engine_loader.EngineLoader`` is its entry point."""
