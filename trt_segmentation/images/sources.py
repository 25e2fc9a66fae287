# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading of images from files, folders, videos and rosbags."""

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.errors import ImageError, printable
from trt_segmentation.images.decoding import (
    DecodeJpeg,
    ImageDecoder,
    decode_image,
    swap_red_and_blue,
)
from trt_segmentation.images.header import (
    HEAD_LENGTH,
    IMAGE_SUFFIXES,
    REFUSED_SUFFIXES,
    begins_as_image,
    check_one_jpeg,
)
from trt_segmentation.images.rosbag import ImageTopic, is_bag

SAMPLES = Path(str(resources.files('trt_segmentation') / 'images' / 'samples'))
"""Folder of the images that are used if the user gives none: four rendered streets, JPEG,
640x360."""

_MAX_LOST = 250
"""Successive frames of a video that cannot be decoded, after which it ends: the number of frames
in its header may be wrong."""


def open_images(path: str | Path, topic: str = '', count: int = 0,
                on_error: Callable[[ImageError], object] | None = None, gray_bits: int = 0,
                ) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and image (uint8 BGR [H, W, 3]) of all images, one at a time.

    Args:
        path: an image, a folder of images (other files are skipped), a video, or a rosbag (a
            folder with metadata.yaml, or a .mcap, .db3 or .bag file).
        topic: image topic in a rosbag; '' takes the only one.
        count: maximum number of images, evenly distributed over all; 0 takes all.
        on_error: called with the error of an image in a folder or rosbag that cannot be decoded;
            this image is skipped. None raises the error.
        gray_bits: of the ``ModelSpec`` that gets the images. If it is not 0, mono8 and mono16 of
            a rosbag are uint8 and uint16 [H, W]; if it is 16, gray files of 16 bits are uint16
            [H, W].

    Raises:
        ImageError: there is no image, it cannot be decoded, or the topic is not in the bag.
    """
    refuse_address(path)
    path = Path(path)
    if is_bag(path):
        yield from _bag_images(path, topic, count, on_error, gray_bits)
    elif path.is_dir():
        files = [file for file in folder_files(path) if is_read_as_image(file)]
        if not files:
            raise ImageError(f'{path}: there is no image in this folder')
        for index in spread(len(files), count):
            try:
                image = read_image(files[index], gray_bits)
            except ImageError as error:
                _report(error, on_error)
                continue
            yield printable(files[index].name), image
    elif is_read_as_image(path):
        yield printable(path.name), read_image(path, gray_bits)
    else:
        yield from _video_frames(path, count)


def _report(error: ImageError, on_error: Callable[[ImageError], object] | None) -> None:
    if on_error is None:
        raise error
    on_error(error)


def refuse_address(path: str | Path) -> None:
    """Refuse a URL, such as that of a stream.

    Args:
        path: as the user wrote it, or as shortened by ``pathlib``: 'rtsp:/camera'.

    Raises:
        ImageError: it is a URL.
    """
    if match := re.match(r'([A-Za-z][A-Za-z0-9+.-]+):/+', str(path)):
        address = f'{match[1]}://{str(path)[match.end():]}'
        raise ImageError(f'{address}: is a URL; give an image file, a folder of images, a video '
                         'or a rosbag on this machine. For a live stream, run the node and a '
                         'camera driver that publishes the stream as a topic (gscam publishes '
                         'rtsp)')


def source_files(path: str | Path) -> list[Path]:
    """Return every file that ``open_images`` may read, in its order; no links to files that do
    not exist.

    Raises:
        ImageError: there is no such file or folder.
    """
    refuse_address(path)
    path = Path(path)
    if not path.exists():
        raise ImageError(f'{path}: there is no such file or folder')
    return [file for file in folder_files(path) if file.is_file()] if path.is_dir() else [path]


def folder_files(folder: Path) -> list[Path]:
    """Return the files in a folder that are not hidden, sorted by name; also links that are named
    like images and whose file does not exist, so that these are reported."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith('.')
                  and (path.is_file() or (has_image_suffix(path) and is_broken_link(path))))


def is_broken_link(path: Path) -> bool:
    """Return whether a path is a link to a file that does not exist."""
    return path.is_symlink() and not path.exists()


def has_image_suffix(path: Path) -> bool:
    """Return whether the name of a file ends like that of an image, supported or not."""
    return path.suffix.lower() in IMAGE_SUFFIXES + REFUSED_SUFFIXES


def is_image(path: Path) -> bool:
    """Return whether a file begins with the signature of a known image format; False if it cannot
    be opened.

    Raises:
        ImageError: it is a folder, or there is no such file.
    """
    if path.is_dir():
        raise ImageError(f'{path}: is a folder; name a file in it')
    if not path.is_file():
        raise ImageError(f'{path}: there is no such file')
    try:
        with path.open('rb') as file:
            return begins_as_image(file.read(HEAD_LENGTH))
    except OSError:
        return False


def is_read_as_image(path: Path) -> bool:
    """Return whether a file is read as an image: it begins as one, or its name ends like that of
    one. A damaged file, and a link to a file that does not exist, is recognised by its name, so
    that it is reported and not skipped; and most files are not opened for this.

    Raises:
        ImageError: as of ``is_image``.
    """
    is_there = path.is_file() or is_broken_link(path)
    return (has_image_suffix(path) and is_there) or is_image(path)


def read_image(path: Path, gray_bits: int = 0, decode_jpeg: DecodeJpeg | None = None,
               ) -> np.ndarray:
    """Read an image file as uint8 BGR [H, W, 3], or a gray one of 16 bits as uint16 [H, W] if
    ``gray_bits`` is 16; see ``decode_image``.

    Raises:
        ImageError: it cannot be read, or it is refused.
    """
    # OpenCV does not get the file name, since some versions crash if it is not UTF-8.
    data = read_bytes(path)
    try:
        check_one_jpeg(data)
    except ImageError as error:
        raise ImageError(f'{printable(path)}: {error}') from error
    return decode_image(data, printable(path), gray_bits=gray_bits, warned_as='all files',
                        decode_jpeg=decode_jpeg)


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror})') from error


@contextmanager
def open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video, and close it at exit. OpenCV applies the rotation stored in the video.

    Raises:
        ImageError: OpenCV cannot read it.
    """
    try:
        path.open('rb').close()
    except OSError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror})') from error
    if printable(path) != str(path):  # OpenCV may crash
        raise ImageError(f'{path}: is no image, and OpenCV cannot open a video whose name is not '
                         'UTF-8; rename it')
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise ImageError(f'{path}: is no image and no video that OpenCV can read')
        yield video
    finally:
        video.release()


def spread(total: int, count: int) -> list[int]:
    """Return the indices of ``count`` items out of ``total``, from the middles of equal parts; all
    indices if ``count`` is 0 or greater than ``total``."""
    if count <= 0 or count >= total:
        return list(range(total))
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]


def video_frames(video: cv2.VideoCapture, is_wanted: Callable[[int], bool] = lambda index: True,
                 ) -> Generator[tuple[int, np.ndarray | None], None, None]:
    """Yield index and pixels (uint8 BGR [H, W, 3]) of the frames that can be decoded.

    A damaged frame costs only itself: the frames after it are read, up to the number of frames
    that the header states.

    Args:
        video: open, at its start.
        is_wanted: whether the frame with an index is decoded; if not, it has None for pixels.
    """
    stated = video.get(cv2.CAP_PROP_FRAME_COUNT)
    index = lost = 0
    while lost <= _MAX_LOST:
        if video.grab():
            lost = 0
            okay, frame = video.retrieve() if is_wanted(index) else (True, None)
            if okay:
                yield index, frame
        elif index < stated:
            lost += 1
        else:
            return
        index += 1


def _video_frames(path: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    wanted = None
    if count:
        with open_video(path) as video:  # the number of frames in the header may be wrong
            found = [index for index, _ in video_frames(video, lambda index: False)]
        wanted = {found[at] for at in spread(len(found), count)}
    is_empty = True
    with open_video(path) as video:
        for index, frame in video_frames(video, lambda at: wanted is None or at in wanted):
            if frame is not None:
                is_empty = False
                yield f'{path.stem}_{index:06d}', frame
    if is_empty:
        raise ImageError(f'{path}: no frame can be decoded')


def _bag_images(path: Path, name: str, count: int,
                on_error: Callable[[ImageError], object] | None, gray_bits: int,
                ) -> Iterator[tuple[str, np.ndarray]]:
    with ImageTopic(path, name) as topic:
        decoder, wanted = ImageDecoder(), set(spread(topic.count, count))
        for index, recorded in enumerate(topic.messages()):
            if index not in wanted:
                continue
            try:
                _, pixels, color = topic.decode(recorded, decoder, gray_bits)
            except ImageError as error:
                _report(ImageError(f'{path}, topic {topic.name}, message {index}: {error}'),
                        on_error)
                continue
            image = pixels.copy()
            if color == 'rgb':
                swap_red_and_blue(image)
            yield str(recorded.received), image
