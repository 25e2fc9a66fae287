# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images from wherever they are: files, folders, videos and rosbags."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trt_segmentation.errors import ImageError

_BAG_SUFFIXES = ('.mcap', '.db3', '.bag')
_IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


def open_images(path: str | Path, topic: str = '', count: int = 0,
                ) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and image (uint8 BGR [H, W, 3]) of all that is there, one at a time.

    Args:
        path: an image, a folder of images (other files are passed over), a video, or a rosbag
            (a folder with metadata.yaml, or a .mcap, .db3 or .bag file).
        topic: image topic in a rosbag; '' takes the only one there is.
        count: how many at most, spread evenly over all there are; 0 takes all.

    Raises:
        ImageError: there is nothing, it cannot be decoded, or the topic is not in the bag.
    """
    path = Path(path)
    if _is_bag(path):
        yield from _bag_images(path, topic, count)
    elif path.is_dir():
        files = [file for file in folder_files(path) if is_image(file)]
        if not files:
            raise ImageError(f'{path}: there is no image in this folder')
        for index in spread(len(files), count):
            yield files[index].name, read_image(files[index])
    elif is_image(path):
        yield path.name, read_image(path)
    else:
        yield from _video_frames(path, count)


def source_files(path: str | Path) -> list[Path]:
    """Return every file that ``open_images`` may read, in its order.

    Raises:
        ImageError: there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f'{path}: there is no such file or folder')
    return folder_files(path) if path.is_dir() else [path]


def folder_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are not hidden, sorted by name."""
    return sorted(path for path in folder.iterdir()
                  if path.is_file() and not path.name.startswith('.'))


def is_image(path: Path) -> bool:
    """Return whether a file begins as an image does that OpenCV reads.

    Raises:
        ImageError: there is no such file.
    """
    if not path.is_file():
        raise ImageError(f'{path}: there is no such file')
    return cv2.haveImageReader(str(path))


def read_image(path: Path) -> np.ndarray:
    """Read an image file as uint8 BGR [H, W, 3].

    Raises:
        ImageError: it cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f'{path}: cannot be decoded; the file is damaged or cut short')
    return image


@contextmanager
def open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video, and close it in the end.

    Raises:
        ImageError: it is none that OpenCV can read.
    """
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise ImageError(f'{path}: is no image and no video that OpenCV can read')
        yield video
    finally:
        video.release()


def spread(total: int, count: int) -> list[int]:
    """Return the indices of ``count`` items out of ``total``, from the middles of equal parts;
    of all where ``count`` is 0 or more than there are."""
    if count <= 0 or count >= total:
        return list(range(total))
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]


def _video_frames(path: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    total = 0
    if count:
        with open_video(path) as video:  # headers lie about the number of frames
            while video.grab():
                total += 1
    wanted = set(spread(total, count))
    found, index = False, 0
    with open_video(path) as video:
        while video.grab():
            if not count or index in wanted:
                okay, frame = video.retrieve()
                if okay:
                    found = True
                    yield f'{path.stem}_{index:06d}', frame
            index += 1
    if not found:
        raise ImageError(f'{path}: not one frame can be decoded')


def _is_bag(path: Path) -> bool:
    return (path / 'metadata.yaml').is_file() or (path.suffix in _BAG_SUFFIXES and path.is_file())


def _bag_images(path: Path, topic: str, count: int) -> Iterator[tuple[str, np.ndarray]]:
    new_reader, convert = _bag_tools()
    try:
        reader = new_reader([path])
        reader.open()
    except Exception as error:  # each storage raises its own
        raise ImageError(f'{path}: this rosbag cannot be read ({error})') from error
    try:
        topic, connections = _image_topic(path, reader.connections, topic)
        wanted = set(spread(sum(connection.msgcount for connection in connections), count))
        for index, (connection, stamp, data) in enumerate(reader.messages(connections)):
            if index in wanted:
                where = f'{path}, topic {topic}, message {index}'
                with _told_as_undecodable(where):
                    message = reader.deserialize(data, connection.msgtype)
                    image = _message_image(message, convert)
                yield str(stamp), image
    finally:
        reader.close()


def _bag_tools() -> tuple[Any, Any]:
    """What opens a bag, and what makes an array of an Image message."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.image import image_to_cvimage
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ImageError('reading a rosbag needs two packages that are not installed; '
                         'pip install rosbags rosbags-image') from error
    # db3 bags of before Iron carry no definitions.
    return partial(AnyReader, default_typestore=get_typestore(Stores.LATEST)), image_to_cvimage


def _image_topic(path: Path, connections: list, topic: str) -> tuple[str, list]:
    by_topic: dict[str, list] = {}
    for connection in connections:
        if connection.msgtype in _IMAGE_TYPES:
            by_topic.setdefault(connection.topic, []).append(connection)
    found = ', '.join(sorted(by_topic)) or 'none'
    if not topic and len(by_topic) == 1:
        topic = next(iter(by_topic))
    if not topic:
        raise ImageError(f'{path}: say which image topic to read; this rosbag has {found}')
    if topic not in by_topic:
        raise ImageError(f"{path}: '{topic}' is no image topic of this rosbag; it has {found}")
    return topic, by_topic[topic]


@contextmanager
def _told_as_undecodable(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the deserializer, the converter and OpenCV each raise their own
        raise ImageError(f'{where}: cannot be decoded ({error})') from error


def _message_image(message: Any, convert: Any) -> np.ndarray:
    if message.__msgtype__.endswith('CompressedImage'):
        image = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        if image is None:
            raise ImageError(f"its format says '{message.format}'")
        return image
    return np.ascontiguousarray(convert(_without_padding(message), 'bgr8'))


def _without_padding(message: Any) -> Any:
    """The message without what its rows have beyond their pixels, which rosbags-image ignores."""
    from rosbags.image.image import to_cvtype
    bits, _, _, channels = to_cvtype(message.encoding)
    row = message.width * channels * bits // 8
    if message.step <= row:
        return message
    rows = message.data[:message.height * message.step].reshape(message.height, message.step)
    return replace(message, data=np.ascontiguousarray(rows[:, :row]), step=row)
