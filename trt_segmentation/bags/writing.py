# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes, written into a rosbag2 by rosbags' writer."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from trt_segmentation.graph.pipeline.output_names import joined, split

STORAGES = {'.mcap': 'MCAP', '.db3': 'SQLITE3'}
"""rosbags' name of the storage, by the suffix of its file."""

_IMAGE, _LABEL_INFO = 'sensor_msgs/msg/Image', 'vision_msgs/msg/LabelInfo'

# vision_msgs 4, the same in Humble to Rolling.
_DEFINITIONS = {
    'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name\n',
    _LABEL_INFO: ('std_msgs/Header header\nvision_msgs/VisionClass[] class_map\n'
                  'float32 threshold\n'),
}

_ENCODINGS = {('uint8', 2): 'mono8', ('uint16', 2): 'mono16', ('uint8', 3): 'bgr8'}

# Version 9 words QoS profiles in a way that Humble's player does not read.
_METADATA_VERSION: Final = 8


@dataclass(frozen=True)
class Header:
    """Of a std_msgs/Header: stamp in seconds and nanoseconds, and frame_id."""

    sec: int
    nanosec: int
    frame_id: str


@dataclass(frozen=True)
class Classes:
    """Which id in a mask is which class.

    Attributes:
        task: of the network; '' where it has one.
        labels: by id.
        threshold: probability from which on a class counts.
    """

    task: str
    labels: tuple[str, ...]
    threshold: float


def topic_of(name: str) -> str:
    """Return where a node of the default name publishes an output."""
    return f'/segmentation/{name}'


def tasks_of(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tasks that outputs are of, each once."""
    return tuple(dict.fromkeys(split(name)[0] for name in outputs))


def _label_topic(task: str) -> str:
    return topic_of(joined(task, 'label_info'))


class OutputBag:
    """A rosbag2 that is being written.

    Every byte of it follows from what is written and from the version of rosbags.

    Args:
        folder: where it is made; must not be there yet.
        suffix: one of ``STORAGES``.
        outputs: of ``Segmenter.available_outputs``.

    Attributes:
        file: the storage's file in the folder; complete by itself after ``close``.
    """

    def __init__(self, folder: Path, suffix: str, outputs: tuple[str, ...]) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer
        self.file = folder / f'{folder.name}{suffix}'
        self._store = _typestore()
        self._types = self._store.types
        self._writer = Writer(folder, version=_METADATA_VERSION,
                              storage_plugin=StoragePlugin[STORAGES[suffix]])
        self._writer.open()
        images, latched = _qos(depth=5), _qos(depth=1, latched=True)
        self._connections = {topic: self._add(topic, _LABEL_INFO, latched)
                             for topic in map(_label_topic, tasks_of(outputs))}
        self._connections |= {topic: self._add(topic, _IMAGE, images)
                              for topic in map(topic_of, outputs)}

    def write_images(self, received: int, header: Header, arrays: Mapping[str, np.ndarray],
                     *_: object) -> None:
        """Write outputs by name; see ``write_image``."""
        for name, pixels in arrays.items():
            self.write_image(name, received, header, pixels)

    def write_image(self, output: str, received: int, header: Header, pixels: np.ndarray) -> None:
        """Write an output as a sensor_msgs/Image.

        Args:
            output: one of those that the bag was made for.
            received: when the bag shall say that it was recorded, nanoseconds.
            header: the camera image's.
            pixels: uint8 or uint16 [H, W], or uint8 BGR [H, W, 3].
        """
        height, width = pixels.shape[:2]
        message = self._types[_IMAGE](
            header=self._header(header), height=height, width=width,
            encoding=_ENCODINGS[pixels.dtype.name, pixels.ndim],
            is_bigendian=int(sys.byteorder == 'big'), step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8))
        data = self._store.serialize_cdr(message, _IMAGE)
        self.write_serialized(topic_of(output), received, data)

    def write_serialized(self, topic: str, received: int, data: bytes | memoryview) -> None:
        """Write a message that another ``OutputBag`` has serialized."""
        self._writer.write(self._connections[topic], received, data)

    def write_labels(self, received: int, header: Header, classes: Classes) -> None:
        """Write which id in a mask is which class, as a vision_msgs/LabelInfo."""
        vision_class = self._types['vision_msgs/msg/VisionClass']
        message = self._types[_LABEL_INFO](
            header=self._header(header), threshold=classes.threshold,
            class_map=[vision_class(class_id=index, class_name=label)
                       for index, label in enumerate(classes.labels)])
        self.write_serialized(_label_topic(classes.task), received,
                              self._store.serialize_cdr(message, _LABEL_INFO))

    def close(self) -> None:
        """Write the index; the bag is complete."""
        self._writer.close()

    def __enter__(self) -> 'OutputBag':
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.abort()

    def _add(self, topic: str, msgtype: str, qos: Any) -> Any:
        return self._writer.add_connection(topic, msgtype, typestore=self._store,
                                           offered_qos_profiles=[qos])

    def _header(self, header: Header) -> Any:
        stamp = self._types['builtin_interfaces/msg/Time'](sec=header.sec, nanosec=header.nanosec)
        return self._types['std_msgs/msg/Header'](stamp=stamp, frame_id=header.frame_id)


@cache
def _typestore() -> Any:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    store = get_typestore(Stores.LATEST)
    store.register({name: fields for msgtype, text in _DEFINITIONS.items()
                    for name, fields in get_types_from_msg(text, msgtype).items()})
    return store


def _qos(depth: int, latched: bool = False) -> Any:
    """The node's, see ros/outputs.py: reliable, and for late subscribers where it is latched."""
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    never = QosTime(0, 0)
    return Qos(QosHistory.KEEP_LAST, depth, QosReliability.RELIABLE, durability, never, never,
               QosLiveliness.AUTOMATIC, never, False)
