# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading of images from rosbags by package rosbags: rosbag2 (mcap, sqlite3) and ROS 1."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import ImageDecoder

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')

_BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


_ZSTD = b'\x28\xb5\x2f\xfd'
"""Start of a message that rosbag2 has compressed (RFC 8878, 3.1.1); CDR starts with a 0. A storage
file does not state this, only metadata.yaml, where rosbags reads it."""

_URI = re.compile(r'[#?]|%[0-9A-Fa-f]{2}')


class DamagedBagError(ImageError):
    """A rosbag that cannot be opened or read to its end."""


@dataclass(frozen=True)
class Recorded:
    """An image message as stored in the bag.

    Attributes:
        received: time of recording, nanoseconds.
        data: the message, serialized.
        msgtype: one of ``IMAGE_TYPES``.
    """

    received: int
    data: bytes
    msgtype: str


def is_bag(path: Path) -> bool:
    """Return whether a path is a rosbag: a folder with metadata.yaml and a storage file beside it
    (other folders have a file of this common name, too), or a bag file."""
    # os.path.isfile is False for a path in a folder without permission; Path.is_file raises.
    if os.path.isfile(path / 'metadata.yaml'):
        return any(next(path.glob(name), None) for name in ('*.mcap*', '*.db3*'))
    return path.suffix in _BAG_SUFFIXES and os.path.isfile(path)


def sqlite3_fault(file: Path) -> str:
    """Return '' if rosbags opens this .db3 file, else the error.

    It passes the path to SQLite as a URI without quoting, so that some characters name another
    file, which SQLite creates: sqlite.org/uri.html.
    """
    found = _URI.search(str(file)) if file.suffix == '.db3' else None
    return f"{file}: '{found[0]}' in the path of a .db3 file is not supported; rename it" \
        if found else ''


class ImageTopic:
    """One image topic of a rosbag, open until ``close``.

    Args:
        path: a folder with metadata.yaml, or a .mcap, .db3 or .bag file.
        topic: its name; '' takes the only image topic of the bag.

    Attributes:
        name: of the topic.
        count: number of its messages.
        start, stop: nanoseconds; messages of the bag were received in [start, stop).

    Raises:
        DamagedBagError: the bag cannot be opened.
        ImageError: rosbags is not installed, it cannot open a file with this name, or the topic
            is not in the bag.
    """

    def __init__(self, path: Path, topic: str = '') -> None:
        any_reader, self._typestore = _bag_tools()
        self._path = path
        for file in sorted(path.glob('*.db3')) if path.is_dir() else [path]:
            if fault := sqlite3_fault(file):
                raise ImageError(fault)
        try:
            # db3 bags from before Iron have no message definitions.
            self._reader = any_reader([path], default_typestore=self._typestore)
            self._reader.open()
        except Exception as error:  # each storage raises its own types
            raise DamagedBagError(f'{path}: this rosbag cannot be read ({error})') from error
        try:
            found = [c for c in self._reader.connections if c.msgtype in IMAGE_TYPES]
            self.name = choose_topic(path, {connection.topic for connection in found}, topic)
        except ImageError:
            self._reader.close()
            raise
        self._connections = [c for c in found if c.topic == self.name]
        self.count = sum(connection.msgcount for connection in self._connections)
        self.start, self.stop = self._reader.start_time, self._reader.end_time

    def messages(self, start: int | None = None, stop: int | None = None) -> Iterator[Recorded]:
        """Yield the messages received in [start, stop), nanoseconds, sorted by time.

        Raises:
            DamagedBagError: the bag cannot be read to its end.
        """
        messages = self._reader.messages(self._connections, start, stop)
        while True:
            try:
                connection, received, data = next(messages)
            except StopIteration:
                return
            except Exception as error:  # each storage raises its own types
                raise DamagedBagError(f'{self._path}: cannot be read further '
                                      f'({error})') from error
            yield Recorded(received, data, connection.msgtype)

    def decode(self, recorded: Recorded, decoder: ImageDecoder, gray_bits: int = 0,
               ) -> tuple[Any, np.ndarray, str]:
        """Return a message's header and pixels.

        Args:
            recorded: the message.
            decoder: decodes it; the pixels may be in its buffer, valid until its next image.
            gray_bits: of the ``ModelSpec`` that gets the pixels.

        Returns:
            The header (``stamp.sec``, ``stamp.nanosec``, ``frame_id``); the pixels and their
            channel order, see ``ImageDecoder.read``.

        Raises:
            ImageError: it cannot be decoded.
        """
        message = self.message(recorded)
        return message.header, *decoder.read(message, gray_bits)

    def message(self, recorded: Recorded) -> Any:
        """Return a message with the fields of its ROS type.

        Raises:
            ImageError: it is damaged.
        """
        try:
            data = recorded.data
            if data[:len(_ZSTD)] == _ZSTD:
                from zstandard import ZstdDecompressor
                data = ZstdDecompressor().decompress(data)
            # Not the definitions in the bag, which may be missing or damaged.
            return self._typestore.deserialize_cdr(data, recorded.msgtype) \
                if self._reader.is2 else self._reader.deserialize(data, recorded.msgtype)
        except Exception as error:  # errors of the deserializer, struct or NumPy
            raise ImageError(f'the message is damaged ({error})') from error

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    def __enter__(self) -> 'ImageTopic':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def choose_topic(path: Path, found: set[str], topic: str) -> str:
    """Return the requested image topic, or without a request the only one.

    Raises:
        ImageError: there is no such topic, or there are several to choose from.
    """
    listed = ', '.join(sorted(found)) or 'none'
    if topic:
        if topic not in found:
            raise ImageError(f"{path}: '{topic}' is no image topic of this rosbag; it has "
                             f'{listed}')
        return topic
    if len(found) != 1:
        raise ImageError(f'{path}: name the image topic to read; this rosbag has {listed}')
    return next(iter(found))


def _bag_tools() -> tuple[Any, Any]:
    """The reader of bags, and the message definitions of ROS 2."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ImageError('reading a rosbag needs a package that is not installed; '
                         'pip install rosbags') from error
    return AnyReader, get_typestore(Stores.LATEST)
