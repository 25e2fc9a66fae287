# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images: found, decoded, drawn and written, without ROS."""
