# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Recovery of the readable messages of a damaged or truncated rosbag2."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from trt_segmentation.errors import ImageError
from trt_segmentation.images.rosbag import IMAGE_TYPES, choose_topic

_Read = Iterator[tuple[str, str, int, bytes]]
"""Topic, message type, time of reception in nanoseconds, and the serialized message."""


class DamageError(Exception):
    """A file cannot be read further."""


@dataclass(frozen=True)
class Salvaged:
    """The result of ``salvage``.

    Attributes:
        topic: the image topic that was copied.
        count: number of its messages.
        damage: why reading ended; '' if every file could be read to its end.
    """

    topic: str
    count: int
    damage: str


def salvage(path: Path, topic: str, folder: Path) -> Salvaged:
    """Copy an image topic of a damaged rosbag2, up to the damage, into a new rosbag2.

    Args:
        path: a folder with metadata.yaml, or a .mcap or .db3 file.
        topic: its name; '' for the only image topic.
        folder: of the new rosbag2; must not exist.

    Raises:
        ImageError: no message can be read, or there is no such topic.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore
    found, count, damage = set(), 0, ''
    connections: dict[tuple[str, str], Any] = {}
    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for file in _storage_files(path):
            try:
                for name, msgtype, received, data in _READERS[file.suffix](file):
                    if msgtype not in IMAGE_TYPES:
                        continue
                    found.add(name)
                    if name != (topic or min(found)):
                        continue
                    if (name, msgtype) not in connections:
                        connections[name, msgtype] = writer.add_connection(
                            name, msgtype, typestore=get_typestore(Stores.LATEST))
                    writer.write(connections[name, msgtype], received, data)
                    count += 1
            except DamageError as error:
                damage = f'{file.name}: {error}'
    if not found:
        raise ImageError(f'{path}: no image can be read from this rosbag ({damage})')
    return Salvaged(choose_topic(path, found, topic), count, damage)


def _storage_files(path: Path) -> list[Path]:
    files = [path]
    if path.is_dir():
        try:
            metadata = yaml.safe_load((path / 'metadata.yaml').read_text(encoding='utf-8'))
            names = metadata['rosbag2_bagfile_information']['relative_file_paths']
            files = [path / Path(name).name for name in names]
        except (ValueError, LookupError, TypeError, yaml.YAMLError) as error:
            raise ImageError(f'{path}: metadata.yaml is damaged ({type(error).__name__}); give '
                             'the .mcap or .db3 files in this folder one by one') from error
    for file in files:
        if file.suffix not in _READERS:
            raise ImageError(f'{file}: this rosbag is damaged, and only .mcap and .db3 files can '
                             'be read up to the damage')
    return files


def read_mcap(file: Path) -> _Read:
    """Yield the messages of a .mcap file, in the order in which they were written.

    Raises:
        DamageError: the file cannot be read to the end of the recording.
    """
    from mcap.records import Channel, Message, Schema
    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    for record in _records(file):
        if isinstance(record, Schema):
            schemas[record.id] = record.name
        elif isinstance(record, Channel):
            channels[record.id] = record.topic, schemas.get(record.schema_id, '')
        elif isinstance(record, Message) and record.channel_id in channels:
            yield *channels[record.channel_id], record.log_time, record.data


def _records(file: Path) -> Iterator[Any]:
    """The records of a .mcap file, including those in chunks."""
    try:
        from mcap.exceptions import EndOfFile
        from mcap.stream_reader import StreamReader
    except ImportError as error:
        raise ImageError(f'{file}: is damaged, and reading up to the damage needs a package that '
                         'is not installed; pip install mcap') from error
    try:
        stream = file.open('rb')
    except OSError as error:
        raise DamageError(f'cannot be read ({error.strerror})') from error
    with stream:
        records = StreamReader(stream, validate_crcs=True).records
        try:
            while True:
                end = stream.tell()
                yield next(records)
        except StopIteration:
            return
        except EndOfFile:
            stream.seek(end)
            yield from _records_of_truncated_chunk(stream.read())
            raise DamageError(f'a record is truncated, at byte {end}') from None
        except Exception as error:  # from mcap, struct, zstd or lz4
            raise DamageError(f'at byte {end}: {error}') from error


def _records_of_truncated_chunk(rest: bytes) -> Iterator[Any]:
    """The complete records of a truncated chunk: mcap.dev/spec, "Chunk (op=0x06)"."""
    from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
    from mcap.stream_reader import StreamReader
    from zstandard import ZstdDecompressor
    decompressors: dict[bytes, Callable[[], Any]] = {
        b'lz4': LZ4FrameDecompressor, b'zstd': ZstdDecompressor().decompressobj}
    name_at = 9 + 32  # after op and length; times, size, crc and the length of the name
    try:
        if rest[0] != 0x06:
            return
        data_at = name_at + int.from_bytes(rest[name_at - 4:name_at], 'little') + 8
        compression, data = rest[name_at:data_at - 8], rest[data_at:]
        data = decompressors[compression]().decompress(data) if compression else data
        yield from StreamReader(BytesIO(data), skip_magic=True).records
    except Exception:  # as above; the chunk is known to be truncated
        return


def _read_sqlite3(file: Path) -> _Read:
    try:
        with closing(sqlite3.connect(f'file:{file}?mode=ro', uri=True)) as database:
            # SQLite needs this to read a file that is shorter than its header states: lockBtree in
            # its btree.c.
            database.execute('PRAGMA writable_schema = ON')
            topics = {number: (name, msgtype) for number, name, msgtype in
                      database.execute('SELECT id, name, type FROM topics')}
            # Ordered by id, because the index by time may be behind the damage.
            for number, received, data in database.execute(
                    'SELECT topic_id, timestamp, data FROM messages ORDER BY id'):
                yield *topics[number], received, data
    except sqlite3.Error as error:
        raise DamageError(str(error)) from error


_READERS: dict[str, Callable[[Path], _Read]] = {'.mcap': read_mcap, '.db3': _read_sqlite3}
