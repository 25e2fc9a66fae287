# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Writer of a rosbag2 with the topics and messages that the node publishes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from trt_segmentation.graph.pipeline.output_names import joined, split

STORAGES = {'.mcap': 'MCAP', '.db3': 'SQLITE3'}
"""Name of each storage in rosbags, by the suffix of its file."""

_IMAGE, _LABEL_INFO = 'sensor_msgs/msg/Image', 'vision_msgs/msg/LabelInfo'

# vision_msgs 4, the same in Humble to Rolling.
_DEFINITIONS = {
    'vision_msgs/msg/VisionClass': 'uint16 class_id\nstring class_name\n',
    _LABEL_INFO: ('std_msgs/Header header\nvision_msgs/VisionClass[] class_map\n'
                  'float32 threshold\n'),
}

_ENCODINGS = {('uint8', 2): 'mono8', ('uint16', 2): 'mono16', ('uint8', 3): 'bgr8'}

# Humble's player cannot read the QoS profiles of version 9.
_METADATA_VERSION: Final = 8


@dataclass(frozen=True)
class Header:
    """Stamp in seconds and nanoseconds, and frame_id of a std_msgs/Header."""

    sec: int
    nanosec: int
    frame_id: str


@dataclass(frozen=True)
class Classes:
    """The classes of the ids in a mask.

    Attributes:
        task: of the network; '' if it has one task.
        labels: by id.
        threshold: minimum probability of a class.
    """

    task: str
    labels: tuple[str, ...]
    threshold: float


def topic_of(name: str) -> str:
    """Return the topic of an output of a node with the default name."""
    return f'/segmentation/{name}'


def tasks_of(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tasks of the outputs, each once."""
    return tuple(dict.fromkeys(split(name)[0] for name in outputs))


def _label_topic(task: str) -> str:
    return topic_of(joined(task, 'label_info'))


class OutputBag:
    """Writer of a rosbag2.

    Its bytes depend only on the messages and on the version of rosbags.

    Args:
        folder: of the rosbag2; must not exist.
        suffix: one of ``STORAGES``.
        outputs: of ``Segmenter.available_outputs``.

    Attributes:
        file: the storage file in the folder; can be used alone after ``close``.
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
            output: one of the outputs of the bag.
            received: time of recording to store, nanoseconds.
            header: of the camera image.
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
        """Write the classes of the ids in a mask as a vision_msgs/LabelInfo."""
        vision_class = self._types['vision_msgs/msg/VisionClass']
        message = self._types[_LABEL_INFO](
            header=self._header(header), threshold=classes.threshold,
            class_map=[vision_class(class_id=index, class_name=label)
                       for index, label in enumerate(classes.labels)])
        self.write_serialized(_label_topic(classes.task), received,
                              self._store.serialize_cdr(message, _LABEL_INFO))

    def close(self) -> None:
        """Write the index and complete the bag."""
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
    """The QoS of the node, see ros/outputs.py: reliable, and transient local if latched."""
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
