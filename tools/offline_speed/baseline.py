# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Hand-written baseline of ``trt-segmentation run``: a loop of OpenCV, ONNX Runtime and rosbags.

    python tools/offline_speed/baseline.py INPUT OUTPUT mask overlay

INPUT is an image, a folder of images or a rosbag2; OUTPUT is a new folder. The
network is that of the demo.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trt_segmentation.graph.onnx_tools.onnxruntime_api import (
    import_onnxruntime,  # without telemetry
)

NETWORK = Path(__file__).parents[2] / 'trt_segmentation' / 'demo' / 'road_scenes.onnx'
SIZE = 512, 288
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
COLORS = np.array([(180, 130, 70), (35, 142, 107), (70, 70, 70), (128, 64, 128), (51, 221, 255),
                   (142, 0, 0), (60, 20, 220)], np.uint8)
session = import_onnxruntime().InferenceSession(str(NETWORK), providers=['CPUExecutionProvider'])


def segment(image: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the outputs of a uint8 BGR image by name."""
    x = cv2.cvtColor(cv2.resize(image, SIZE), cv2.COLOR_BGR2RGB)
    x = (x.astype(np.float32) / 255 - MEAN) / STD
    logits, = session.run(None, {'image': x.transpose(2, 0, 1)[None]})
    ids = logits[0].argmax(0).astype(np.uint8)
    mask = cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    results = {'mask': mask}
    if 'overlay' in outputs:
        results['overlay'] = cv2.addWeighted(image, 0.5, COLORS[mask], 0.5, 0)
    return results


def run_images(paths: Iterable[Path], output: Path, outputs: Sequence[str]) -> None:
    """Write PNGs."""
    output.mkdir()
    for path in paths:
        for name, pixels in segment(cv2.imread(str(path)), outputs).items():
            cv2.imwrite(str(output / f'{path.stem}_{name}.png'), pixels)


def run_bag(path: Path, output: Path, outputs: Sequence[str]) -> None:
    """Write a rosbag2."""
    from rosbags.highlevel import AnyReader
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore
    store = get_typestore(Stores.LATEST)
    image_type = store.types['sensor_msgs/msg/Image']
    with AnyReader([path]) as reader, \
            Writer(output, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {name: writer.add_connection(f'/segmentation/{name}', image_type.__msgtype__,
                                              typestore=store) for name in outputs}
        for connection, received, data in reader.messages():
            message: Any = reader.deserialize(data, connection.msgtype)
            if 'Compressed' in connection.msgtype:
                image = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
            else:
                image = message.data.reshape(message.height, message.width, 3)
            for name, pixels in segment(image, outputs).items():
                height, width = pixels.shape[:2]
                result = image_type(message.header, height, width,
                                    'mono8' if pixels.ndim == 2 else 'bgr8', 0,
                                    pixels.strides[0], pixels.reshape(-1))
                writer.write(topics[name], received,
                             store.serialize_cdr(result, image_type.__msgtype__))


if __name__ == '__main__':
    given, output, outputs = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    if (given / 'metadata.yaml').is_file():
        run_bag(given, output, outputs)
    else:
        run_images(sorted(given.iterdir()) if given.is_dir() else [given], output, outputs)
