# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What is put around a network: head, tail, and all of it as one graph."""
