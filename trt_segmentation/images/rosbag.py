# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The images of a rosbag, by rosbags' reader: rosbag2 in both storages, and ROS 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import ImageDecoder

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')

_BAG_SUFFIXES = ('.mcap', '.db3', '.bag')


class DamagedBagError(ImageError):
    """A rosbag that cannot be opened or read on."""


@dataclass(frozen=True)
class Recorded:
    """An image message as the bag holds it.

    Attributes:
        received: when it was recorded, nanoseconds.
        data: the message, serialized.
        msgtype: one of ``IMAGE_TYPES``.
    """

    received: int
    data: bytes
    msgtype: str


def is_bag(path: Path) -> bool:
    """Return whether a path is a rosbag: a folder with metadata.yaml or a file of a storage."""
    return (path / 'metadata.yaml').is_file() or (path.suffix in _BAG_SUFFIXES and path.is_file())


class ImageTopic:
    """One image topic of a rosbag, open until ``close``.

    Args:
        path: a folder with metadata.yaml, or a .mcap, .db3 or .bag file.
        topic: its name; '' takes the only image topic there is.

    Attributes:
        name: of the topic.
        count: how many messages it has.
        start, stop: nanoseconds; every message was received from start on and before stop.

    Raises:
        DamagedBagError: the bag cannot be opened.
        ImageError: rosbags is not installed, or the topic is not in the bag.
    """

    def __init__(self, path: Path, topic: str = '') -> None:
        any_reader, typestore = _bag_tools()
        self._path = path
        try:
            # db3 bags of before Iron carry no definitions.
            self._reader = any_reader([path], default_typestore=typestore)
            self._reader.open()
        except Exception as error:  # each storage raises its own
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
        """Yield the messages received from ``start`` on and before ``stop``, nanoseconds, in the
        order of their reception.

        Raises:
            DamagedBagError: the bag cannot be read on.
        """
        messages = self._reader.messages(self._connections, start, stop)
        while True:
            try:
                connection, received, data = next(messages)
            except StopIteration:
                return
            except Exception as error:  # each storage raises its own
                raise DamagedBagError(f'{self._path}: cannot be read on ({error})') from error
            yield Recorded(received, data, connection.msgtype)

    def decode(self, recorded: Recorded, decoder: ImageDecoder, gray_bits: int = 0,
               ) -> tuple[Any, np.ndarray, str]:
        """Return a message's header and pixels.

        Args:
            recorded: the message.
            decoder: decodes it; the pixels may be its memory, good until its next image.
            gray_bits: of the ``ModelSpec`` that the pixels are for.

        Returns:
            The header (``stamp.sec``, ``stamp.nanosec``, ``frame_id``); the pixels and their
            channel order, see ``ImageDecoder.read``.

        Raises:
            ImageError: it cannot be decoded.
        """
        try:
            message = self._reader.deserialize(recorded.data, recorded.msgtype)
        except Exception as error:  # the deserializer's own, struct's, NumPy's
            raise ImageError(f'the message is damaged ({error})') from error
        return message.header, *decoder.read(message, gray_bits)

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    def __enter__(self) -> 'ImageTopic':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def choose_topic(path: Path, found: set[str], topic: str) -> str:
    """Return the image topic that is meant: the one asked for, or else the only one.

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
        raise ImageError(f'{path}: say which image topic to read; this rosbag has {listed}')
    return next(iter(found))


def _bag_tools() -> tuple[Any, Any]:
    """What opens a bag, and the messages that ROS 2 itself defines."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ImageError('reading a rosbag needs a package that is not installed; '
                         'pip install rosbags') from error
    return AnyReader, get_typestore(Stores.LATEST)
