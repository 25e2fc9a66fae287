# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Head and tail of a network, and head, network and tail as one graph."""
