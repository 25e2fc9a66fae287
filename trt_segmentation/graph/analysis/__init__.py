# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The meaning of output values (logits, probabilities, ids): from the graph, or from one run."""
