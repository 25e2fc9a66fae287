# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Every error this package raises on purpose: what was wrong, the value, what would be right."""

import re

_SURROGATE = re.compile('[\udc80-\udcff]')


def printable(text: object) -> str:
    """Return a text as any terminal, log and JSON file takes it: bytes of a file's name that are
    not UTF-8, which Python keeps as lone surrogates (PEP 383), are written as ``\\xe9``.

    Args:
        text: a string, or what becomes one, such as a path.
    """
    return _SURROGATE.sub(lambda found: f'\\x{ord(found[0]) - 0xdc00:02x}', str(text))


class SegmentationError(Exception):
    """Base of all errors whose message is meant for the person at the keyboard."""

    def __str__(self) -> str:
        """Return the message, printable whatever file it names."""
        return printable(super().__str__())


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
