# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages."""

from typing import Any


def nanoseconds(stamp: Any) -> int:
    """Return a builtin_interfaces/Time as one number."""
    return stamp.sec * 10**9 + stamp.nanosec
