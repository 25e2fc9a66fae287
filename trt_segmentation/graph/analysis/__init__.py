# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What values in a network mean: by its operators, and measured in one run."""
