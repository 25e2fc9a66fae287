# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of glibc's malloc for a process that handles large messages."""

import ctypes

# Names and numbers from glibc's malloc.h; see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_large_blocks() -> bool:
    """Serve large blocks from the heap and reuse them, instead of mapping each one.

    Without it, a 6 MB image is mapped, faulted in page by page and unmapped several times between
    the middleware and Python.

    Returns:
        Whether the C library accepted the settings (glibc does; musl and macOS have none).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2_000_000_000), (_M_TOP_PAD, 64_000_000))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
