# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node: messages in, messages out; the only place that imports rclpy."""
