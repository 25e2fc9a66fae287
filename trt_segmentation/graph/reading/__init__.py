# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a network is: its image input, its class output, how values are laid out."""
