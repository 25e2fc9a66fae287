# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The logger for the progress of long operations, which console and node show in their own way."""

import logging

PROGRESS_LOGGER = 'trt_segmentation.progress'
"""Name of the logger; it gets about one record a second."""


def log_progress(text: str) -> None:
    """Log the progress of an operation."""
    logging.getLogger(PROGRESS_LOGGER).info('%s', text)
