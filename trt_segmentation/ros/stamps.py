# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages, and times in their unit."""

from typing import Any


def nanoseconds(stamp: Any) -> int:
    """Convert a builtin_interfaces/Time to nanoseconds."""
    return stamp.sec * 10**9 + stamp.nanosec


def to_nanoseconds(seconds: float) -> int:
    """Convert seconds, such as those of a parameter, to nanoseconds."""
    return round(seconds * 1e9)
