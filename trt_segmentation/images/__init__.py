# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading, decoding, drawing and writing of images, without ROS."""
