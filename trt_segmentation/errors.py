# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Every error this package raises on purpose: what was wrong, the value, what would be right."""


class SegmentationError(Exception):
    """Base of all errors whose message is meant for the person at the keyboard."""


class ConfigError(SegmentationError):
    """A model config that cannot be read, or that contradicts itself or the network."""


class ModelError(SegmentationError):
    """A model file that cannot be read, or a network that is no segmentation network."""


class BackendError(SegmentationError):
    """A backend that is missing or cannot do what was asked of it."""


class MissingBackendError(BackendError):
    """A backend that is not installed, or has no device here."""


class ImageError(SegmentationError):
    """An image that cannot be segmented: wrong type, shape, encoding or length."""


class OutputError(SegmentationError):
    """A file or folder that cannot be written."""
