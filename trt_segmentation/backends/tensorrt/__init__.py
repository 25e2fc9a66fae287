# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT, from a network to masks; ``engine_loader.EngineLoader`` is the door."""
