# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node in a separate process, fed over DDS at its highest rate; its memory and exit status.

    python node_run.py '{"frames": N, "device": N, "namespace": NAME, "encoding": NAME,
                         "parameters": {...}}'

prints the result of ``check_node`` as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from trt_segmentation.benchmark.dds import transport_of
from trt_segmentation.benchmark.ros.camera_images import camera_message
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.options import RunOptions
from trt_segmentation.ros.inputs import TRANSPORTS
from trt_segmentation.ros.transport import large_image_environment
from trt_segmentation.segmenter import Segmenter

FRAMES = 10_000
FRAMES_EACH = 2_000
"""Frames of each node, if there is one per GPU."""

SIZE = (720, 1280)
SETTLED = 1_000
"""Frames after which memory must stay constant."""

SCENES = 8
REPLY_TIMEOUT = 2.0
FIRST_TIMEOUT = 0.1
START_TIMEOUT = 60.0


def node_parameters(options: RunOptions) -> dict[str, Any]:
    """Return the node parameters that correspond to ``options``, for the demo network."""
    return {'backend': 'tensorrt', 'engine_cache': options.engine_cache,
            'precision': options.build.precision,
            'optimization_level': options.build.optimization_level,
            'tactic_sources': ','.join(options.build.tactic_sources or ())}


def check_node(parameters: Mapping[str, Any], *, frames: int = FRAMES, device: int = 0,
               namespace: str = '/', encoding: str = 'bgr8') -> dict[str, Any]:
    """Run the node for a number of frames and stop it with SIGINT.

    Args:
        parameters: of ``node_parameters``.
        frames: number of frames.
        device: index of the GPU.
        namespace: of the node and its topics.
        encoding: of the camera, one of ``benchmark.dds.CAMERA_ENCODINGS``.
    """
    parameters = {**parameters, 'device': device,
                  'input_transport': transport_of(encoding)}
    environment = {**os.environ, **large_image_environment(os.environ)}
    arguments = [part for name, value in parameters.items() if value != ''
                 for part in ('-p', f'{name}:={value}')]
    os.environ.update(environment)
    rclpy.init()
    feeder = _Feeder(namespace, device, encoding)
    start = time.time()
    node = subprocess.Popen([sys.executable, '-m', 'trt_segmentation.ros.node', '--ros-args',
                             '-r', f'__ns:={namespace}', *arguments],
                            env=environment, stderr=subprocess.PIPE, text=True)
    try:
        result = feeder.run(node.pid, start, frames)
    finally:
        node.send_signal(signal.SIGINT)
        _, messages = node.communicate(timeout=30)
        rclpy.try_shutdown()
    return {**result, 'encoding': encoding, 'exit_status': node.returncode,
            'last_messages': messages[-2000:]}


def check_devices(parameters: Mapping[str, Any], devices: Sequence[int]) -> dict[str, Any]:
    """Run a node per GPU: the first alone, then all at the same time, each with its own feeder.

    Args:
        parameters: of ``node_parameters``.
        devices: indices of GPUs.
    """
    def start(device: int) -> subprocess.Popen:
        return _start(parameters, frames=FRAMES_EACH, device=device,
                      namespace=f'/camera{device}')

    alone = _finish(start(devices[0]))
    return {'alone': alone, 'together': list(map(_finish, list(map(start, devices))))}


def check_streams(parameters: Mapping[str, Any], encodings: Sequence[str]) -> list[dict[str, Any]]:
    """Run a node for each encoding of cameras, all at the same time on one GPU.

    Args:
        parameters: of ``node_parameters``.
        encodings: of ``benchmark.dds.CAMERA_ENCODINGS``.

    Returns:
        A result of ``check_node`` for each.
    """
    running = [_start(parameters, frames=FRAMES, encoding=encoding, namespace=f'/{encoding}')
               for encoding in encodings]
    return list(map(_finish, running))


def _start(parameters: Mapping[str, Any], **orders: Any) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__,
                             json.dumps({'parameters': dict(parameters), **orders})],
                            stdout=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen) -> dict[str, Any]:
    return json.loads(process.communicate(timeout=600)[0].splitlines()[-1])


class _Feeder:
    """Publishes the next frame when the mask of the previous one has arrived."""

    def __init__(self, namespace: str, device: int, encoding: str) -> None:
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._device = device
        self._node = rclpy.create_node('feeder', namespace=namespace)
        transport = TRANSPORTS[transport_of(encoding)]
        self._publisher = self._node.create_publisher(transport.message,
                                                      f'image{transport.suffix}', reliable)
        self._node.create_subscription(Image, 'segmentation/mask', self._on_mask, reliable)
        self._masks: dict[int, np.ndarray] = {}
        scenes = [read_frame(number, *SIZE).image for number in range(SCENES)]
        reference = Segmenter.open(options=RunOptions('onnxruntime'))
        self._expected = [reference.infer(scene).mask.copy() for scene in scenes]
        self._messages = [camera_message(scene, encoding) for scene in scenes]

    def run(self, pid: int, start: float, frames: int) -> dict[str, Any]:
        """Feed the node; return counts, rates and memory."""
        process, lost, agreement = psutil.Process(pid), 0, []
        deadline = time.time() + START_TIMEOUT
        while self._reply(0, FIRST_TIMEOUT) is None and time.time() < deadline:
            pass
        first = time.time() - start
        memory = []
        begin = time.perf_counter()
        for number in range(1, frames + 1):
            mask = self._reply(number)
            lost += mask is None
            if mask is not None and number % 100 == 0:
                agreement.append(float((mask == self._expected[number % SCENES]).mean()))
            if number % SETTLED == 0 or number == frames:
                memory.append({'frame': number, 'resident_mb': process.memory_info().rss / 1e6,
                               'device_mb': device_memory(self._device)})
        seconds = time.perf_counter() - begin
        return {'device': self._device, 'frames': frames, 'lost': lost, 'first_mask_s': first,
                'frames_per_second': frames / seconds, 'agreement': float(np.mean(agreement)),
                'memory': memory}

    def _reply(self, number: int, timeout: float = REPLY_TIMEOUT) -> np.ndarray | None:
        message = self._messages[number % SCENES]
        message.set_stamp(number + 1, 0)
        message.publish(self._publisher)
        deadline = time.perf_counter() + timeout
        while number + 1 not in self._masks and time.perf_counter() < deadline:
            rclpy.spin_once(self._node, timeout_sec=0.1)
        return self._masks.pop(number + 1, None)

    def _on_mask(self, msg: Image) -> None:
        self._masks = {msg.header.stamp.sec:
                       np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)}


def device_memory(device: int) -> float:
    """MB used on a GPU by all processes."""
    done = subprocess.run(['nvidia-smi', '-i', str(device), '--query-gpu=memory.used',
                           '--format=csv,noheader,nounits'], capture_output=True, text=True,
                          check=True)
    return float(done.stdout) * 1.048576


if __name__ == '__main__':
    print(json.dumps(check_node(**json.loads(sys.argv[1]))))
