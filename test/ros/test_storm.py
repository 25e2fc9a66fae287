# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Random requests to a node, from several threads at once, over DDS."""

import random
import threading
import time

import numpy as np
import onnx
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

SIZE = 48, 64
REQUESTS = 200
THREADS = 4
CONFIG = 'input: {color: bgr, scale: 1}\nclasses: {labels: [blue, green, red]}'


class Person(threading.Thread):
    """A client that sends random requests to the node and waits for each response.

    Attributes:
        asked: number of answered requests.
        wrong: number of masks that are neither of the two correct ones.
        error: what ended the thread.
    """

    def __init__(self, namespace, models, pictures, image_message, seed):
        super().__init__()
        self.asked, self.masks, self.wrong, self.error = 0, 0, [], None
        self._choices, self._models, self._pictures = random.Random(seed), models, pictures
        self._message = image_message
        self._context = rclpy.Context()
        self._context.init()
        self._node = rclpy.create_node(f'person_{seed}', namespace=namespace,
                                       context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._camera = self._node.create_publisher(Image, 'image', qos_profile_sensor_data)
        self._clients = {name: self._node.create_client(kind, f'segmentation/{name}')
                         for name, kind in (('change_state', ChangeState), ('enable', SetBool),
                                            ('load_model', Trigger),
                                            ('get_parameters', GetParameters),
                                            ('set_parameters', SetParameters))}
        self._subscriptions = {}

    def run(self):
        try:
            while self.asked < REQUESTS // THREADS:
                for _ in range(self._choices.randrange(4)):
                    self._send()
                self._choices.choice([self._transition, self._transition, self._set, self._load,
                                      self._enable, self._listen, self._send_rubbish,
                                      self._get])()
                self.asked += 1
        except BaseException as error:
            self.error = error
        finally:
            self._executor.shutdown()
            self._node.destroy_node()
            self._context.try_shutdown()

    def _call(self, name, request):
        client = self._clients[name]
        assert client.wait_for_service(30), name
        for _ in range(5):  # a server that does not know its client yet drops the answer
            future = client.call_async(request)
            self._executor.spin_until_future_complete(future, 10)
            if future.done():
                return future.result()
        raise AssertionError(f'no answer from {name}')

    def _transition(self):
        request = ChangeState.Request()
        request.transition.id = self._choices.choice([
            Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE,
            Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE,
            Transition.TRANSITION_CLEANUP, 77])
        self._call('change_state', request)

    def _set(self):
        name, value = self._choices.choice([
            ('overlay_alpha', 0.3), ('overlay_alpha', 3.0), ('max_failures', 7), ('device', 'x'),
            ('mask_interpolation', 'bilinear'), ('mask_interpolation', 'cubic'),
            ('engine_path', self._choices.choice(self._models)), ('qos_depth', 2)])
        self._call('set_parameters', SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]))

    def _get(self):
        request = GetParameters.Request(names=['cameras', 'engine_path', 'overlay_alpha'])
        assert len(self._call('get_parameters', request).values) == 3

    def _load(self):
        self._call('load_model', Trigger.Request())

    def _enable(self):
        self._call('enable', SetBool.Request(data=self._choices.random() < 0.8))

    def _listen(self):
        output = self._choices.choice(['mask', 'mask', 'overlay', 'confidence'])
        if output in self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop(output))
            return
        on_image = self._on_mask if output == 'mask' else lambda msg: None
        self._subscriptions[output] = self._node.create_subscription(
            Image, f'segmentation/{output}', on_image, QoSProfile(depth=5))
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            self._send()
            self._executor.spin_once(timeout_sec=0.03)

    def _send(self):
        """Send an image whose stamp identifies it."""
        number = self._choices.randrange(len(self._pictures))
        msg = self._message(self._pictures[number])
        msg.header.stamp.sec = number
        self._camera.publish(msg)
        self._executor.spin_once(timeout_sec=0.01)

    def _send_rubbish(self):
        whole = self._message(self._pictures[0])
        cut = self._message(self._pictures[0])
        cut.data = cut.data[:100]
        whole.encoding = '32FC1'
        self._camera.publish(self._choices.choice([whole, cut, b'\0\1\0\0no image']))

    def _on_mask(self, msg):
        self.masks += 1
        picture = self._pictures[msg.header.stamp.sec]
        mask = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width)
        if not any(np.array_equal(mask, right)
                   for right in (picture.argmax(axis=2), picture.argmin(axis=2))):
            self.wrong.append(msg)


@pytest.fixture
def models(networks, tmp_path):
    """Two networks whose masks differ in every pixel, and one invalid file."""
    for name, weights in (('brightest', np.eye(3)), ('darkest', -np.eye(3))):
        onnx.save(networks.pointwise(weights, SIZE, metadata=CONFIG), tmp_path / f'{name}.onnx')
    (tmp_path / 'broken.onnx').write_bytes(b'no network')
    return [str(tmp_path / f'{name}.onnx') for name in ('brightest', 'darkest', 'broken')]


def test_the_node_lives_and_every_mask_is_right(make_bench, models, networks, image_message):
    pictures = [networks.random_image(*SIZE, seed) for seed in range(8)]
    bench = make_bench(engine_path=models[0], backend='onnxruntime')
    bench.wait_until_active()
    people = [Person(bench.namespace, models, pictures, image_message, seed)
              for seed in range(THREADS)]
    for person in people:
        person.start()
    bench.spin_until(lambda: not any(person.is_alive() for person in people), 'the storm', 300)
    for person in people:
        assert person.error is None, (person.error, bench.log())
        assert person.wrong == []
    assert sum(person.asked for person in people) == REQUESTS
    assert any(person.masks for person in people)

    # Whatever state that was: a known one, and all that comes from now on is counted.
    bench.transition(Transition.TRANSITION_DEACTIVATE)
    bench.transition(Transition.TRANSITION_CLEANUP)
    assert bench.set_parameter('engine_path', models[1]).successful
    assert bench.set_parameter('mask_interpolation', 'nearest').successful
    bench.call(SetBool, 'enable', SetBool.Request(data=True))
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    bench.listen('mask')
    for picture in pictures:
        mask = bench.segment(image_message(picture))
        np.testing.assert_array_equal(mask, picture.argmin(axis=2))
    counts = bench.counts()
    assert counts['frames received'] == counts['frames segmented'] + sum(
        number for key, number in counts.items()
        if 'dropped' in key and 'keep_latest' not in key)
    assert counts['frames segmented'] >= len(pictures)
    assert 'Traceback' not in bench.log()
