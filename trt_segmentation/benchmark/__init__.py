# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measurement of speed: in one process and over DDS, beside a hand-written baseline."""
