# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node and its messages, parameters, lifecycle and diagnostics."""
