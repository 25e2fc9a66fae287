# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The errors of this package. A message has what was wrong, the value, what would be right."""

import re
from collections.abc import Callable, Iterable, Iterator

_SURROGATE = re.compile('[\udc80-\udcff]')


def printable(text: object) -> str:
    r"""Return a text that any terminal, log and JSON file can hold: bytes of a file name that are
    not UTF-8, which Python keeps as lone surrogates (PEP 383), are written as ``\xe9``.

    Args:
        text: a string, or an object to convert to one, such as a path.
    """
    return _SURROGATE.sub(lambda found: f'\\x{ord(found[0]) - 0xdc00:02x}', str(text))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' with the known name that is most similar, or ''."""
    import difflib  # only for errors
    return ''.join(f'; did you mean {near}?' for near in difflib.get_close_matches(
        name, known, 1, cutoff=0.7))


class SegmentationError(Exception):
    """Base of all errors whose message is written for the user.

    Args:
        message: what was wrong, the value, what would be right.
        settings: fields of ``RunOptions`` and ``BuildOptions`` that the message names, such as
            'max_size' or 'calibration.images'.
    """

    def __init__(self, message: str = '', settings: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.settings = tuple(settings)

    def worded(self, name_of: Callable[[str], str]) -> str:
        """Return the message with the names of settings replaced.

        Args:
            name_of: returns the name of a setting in the user interface, such as '--max-size'
                on the command line.
        """
        text = str(self)
        for setting in sorted({name for error in self._chain() for name in error.settings}):
            # Not inside a path or another name.
            name = name_of(setting).replace('\\', r'\\')
            text = re.sub(rf'(?<![\w./-]){re.escape(setting)}(?![\w/-]|\.\w)', name, text)
        return text

    def _chain(self) -> Iterator['SegmentationError']:
        """This error and its causes."""
        error: BaseException | None = self
        while error is not None:
            if isinstance(error, SegmentationError):
                yield error
            error = error.__cause__ or error.__context__

    def __str__(self) -> str:
        """Return the message in printable characters."""
        return printable(super().__str__())


class ConfigError(SegmentationError):
    """A model config that cannot be read, or that contradicts itself or the network."""


class ModelError(SegmentationError):
    """A model file that cannot be read, or a network that is no segmentation network."""


class BackendError(SegmentationError):
    """A backend that is missing, or that failed or cannot do what was requested."""


class MissingBackendError(BackendError):
    """A backend that is not installed or has no device on this machine."""


class UnbuildableError(BackendError):
    """A network that TensorRT can parse but cannot build with the requested options."""


class ImageError(SegmentationError):
    """An image that cannot be segmented: wrong type, shape, encoding or length."""


class OutputError(SegmentationError):
    """A file or folder that cannot be written."""
