# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""~/enable, ~/load_model while the node runs, and the status that it reports."""

import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from trt_segmentation.ros.node import SegmentationNode
from trt_segmentation.ros.parameters import Parameters

NODE = '-m', 'trt_segmentation.ros.node'
SEG_YAML = str(Path(__file__).parents[2] / 'config' / 'seg.yaml')
SIZE = 64, 96
TOPICS = ('mask', 'confidence', 'overlay', 'mask/compressed', 'overlay/compressed', 'camera_info')
BRIGHTEST = 'input: {color: bgr, scale: 1}\nclasses: {labels: [blue, green, red]}'
DARKEST = 'input: {color: bgr, scale: 1}\nclasses: {labels: [no blue, no green, no red]}'

# Opening FILE lasts as long as FILE.wait is there.
WAITING = '-c', """
import os, time
from trt_segmentation.ros import node
from trt_segmentation.segmenter import Segmenter

at_once = Segmenter.open

def when_allowed(model, **options):
    while os.path.exists(f'{model}.wait'):
        open(f'{model}.waits', 'w').close()
        time.sleep(0.01)
    return at_once(model, **options)

Segmenter.open = when_allowed
raise SystemExit(node.main())
"""


@pytest.fixture(scope='module')
def models(networks, tmp_path_factory):
    """Paths of two networks whose masks differ in every pixel, and of some incompatible ones."""
    folder = tmp_path_factory.mktemp('models')
    made = {'brightest': networks.pointwise(np.eye(3), SIZE, metadata=BRIGHTEST),
            'darkest': networks.pointwise(-np.eye(3), SIZE, metadata=DARKEST),
            'ids': networks.fixed(np.ones((1, *SIZE), np.int64), metadata=BRIGHTEST)}
    for name, model in made.items():
        onnx.save(model, folder / f'{name}.onnx')
    (folder / 'broken.onnx').write_bytes(b'no network')
    names = 'brightest', 'darkest', 'ids', 'broken', 'missing'
    return SimpleNamespace(**{name: str(folder / f'{name}.onnx') for name in names})


@pytest.fixture
def camera(networks, image_message):
    """Return the message of a picture of noise, and its two masks."""
    def picture(seed):
        pixels = networks.random_image(*SIZE, seed)
        return SimpleNamespace(message=image_message(pixels), brightest=pixels.argmax(axis=2),
                               darkest=pixels.argmin(axis=2))
    return picture


def load(bench, path):
    assert bench.set_parameter('engine_path', path).successful
    return bench.call(Trigger, 'load_model', Trigger.Request())


def enable(bench, wanted):
    return bench.call(SetBool, 'enable', SetBool.Request(data=wanted))


def values_of(status):
    return {value.key: value.value for value in status.values}


# ~/enable


def test_enable_switches_it_off_and_on(make_bench, camera, models):
    bench = make_bench(engine_path=models.brightest)
    bench.listen('mask')
    assert enable(bench, False).success
    for seed in range(3):
        bench.send_in_vain(camera(seed).message, 'disabled')
    assert bench.counts()['frames dropped, disabled'] == 3
    assert bench.status().message == 'disabled by ~/enable'
    assert not bench.received['mask']
    assert enable(bench, True).success
    for seed in range(4, 6):
        np.testing.assert_array_equal(bench.segment(camera(seed).message), camera(seed).brightest)
    assert bench.status().message == 'segmenting'


# ~/load_model


def test_load_model_changes_over_between_two_frames(make_bench, camera, models, stamp_of,
                                                    pixels_of, tmp_path):
    wait = tmp_path / 'darkest.onnx.wait'
    (tmp_path / 'darkest.onnx').symlink_to(models.darkest)
    bench = make_bench(program=WAITING, engine_path=models.brightest)
    bench.listen('mask')
    wait.touch()
    bench.set_parameter('engine_path', str(tmp_path / 'darkest.onnx'))
    loaded = bench.request(Trigger, 'load_model', Trigger.Request())
    sent = {}
    for number in range(15):
        picture = camera(number)
        sent[bench.send(picture.message)] = picture
        bench.spin_for(0.1)
        if number == 4:
            bench.answer('mask', max(sent))
            assert not loaded.done()
            wait.unlink()
    bench.answer('mask', max(sent))
    assert loaded.result().success
    counts, masks = bench.counts(), bench.received['mask']
    assert len(masks) == counts['frames segmented'] == 15 - counts['frames dropped, keep_latest']
    used = [network_of(sent[stamp_of(mask)], pixels_of(mask)) for mask in masks]
    assert used == sorted(used)
    assert {used[0], used[-1]} == {'brightest', 'darkest'}


def network_of(picture, mask):
    """Return the network that a mask comes from."""
    return next(name for name in ('brightest', 'darkest')
                if np.array_equal(mask, getattr(picture, name)))


def test_a_loaded_network_publishes_its_labels_and_its_name(make_bench, models):
    vision_msgs = pytest.importorskip('vision_msgs.msg')
    bench = make_bench(engine_path=models.brightest)
    infos = bench.collect(vision_msgs.LabelInfo, 'segmentation/label_info', QoSProfile(
        depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    bench.spin_until(lambda: infos, 'label info')
    assert values_of(bench.status())['model'] == models.brightest
    assert load(bench, models.darkest).success
    bench.spin_until(lambda: len(infos) > 1, 'the new label info')
    assert [entry.class_name for entry in infos[-1].class_map] == ['no blue', 'no green', 'no red']
    assert values_of(bench.status())['model'] == models.darkest


@pytest.fixture(scope='module')
def shared_bench(make_module_bench, models):
    """A node for tests in which every change of the network is refused."""
    bench = make_module_bench(engine_path=models.brightest)
    bench.listen('mask')
    return bench


@pytest.mark.parametrize(('name', 'reason'), [
    ('broken', 'broken.onnx'), ('missing', 'missing.onnx'),
    ('ids', 'has mask, overlay, but the running one has mask, confidence, overlay')])
def test_an_incompatible_network_is_refused(shared_bench, camera, models, name,
                                            reason):
    answer = load(shared_bench, getattr(models, name))
    assert not answer.success
    assert reason in answer.message
    assert shared_bench.parameter('engine_path') == models.brightest
    assert values_of(shared_bench.status())['model'] == models.brightest
    np.testing.assert_array_equal(shared_bench.segment(camera(1).message), camera(1).brightest)


def test_masks_of_another_size_are_refused(shared_bench, camera, models):
    shared_bench.set_parameter('mask_height', 6)
    shared_bench.set_parameter('mask_width', 8)
    answer = load(shared_bench, models.darkest)
    assert not answer.success
    assert 'masks of 8x6' in answer.message
    assert 'deactivate' in answer.message
    assert (shared_bench.parameter('mask_height'), shared_bench.parameter('mask_width')) == (0, 0)
    np.testing.assert_array_equal(shared_bench.segment(camera(2).message), camera(2).brightest)


def test_load_model_needs_a_configured_node(make_bench):
    bench = make_bench(autostart=False)
    answer = bench.call(Trigger, 'load_model', Trigger.Request())
    assert not answer.success
    assert 'the node is not configured' in answer.message


@pytest.fixture
def loading_bench(make_bench, models, tmp_path):
    """A node that is loading ``darkest``; ``bench.go()`` completes it and returns the response."""
    path = tmp_path / 'net.onnx'
    path.symlink_to(models.darkest)
    bench = make_bench(program=WAITING, engine_path=models.brightest)
    bench.listen('mask', 'overlay')
    (tmp_path / 'net.onnx.wait').touch()
    bench.set_parameter('engine_path', str(path))
    bench.loaded = bench.request(Trigger, 'load_model', Trigger.Request())
    bench.spin_until((tmp_path / 'net.onnx.waits').exists, 'the loading to begin')

    def go():
        (tmp_path / 'net.onnx.wait').unlink()
        bench.spin_until(bench.loaded.done, 'an answer from load_model')
        return bench.loaded.result()

    bench.go = go
    return bench


def test_one_network_is_loaded_at_a_time(loading_bench):
    answer = loading_bench.call(Trigger, 'load_model', Trigger.Request())
    assert (answer.success, answer.message) == (False, 'another network is being loaded')
    assert loading_bench.go().success
    assert loading_bench.call(Trigger, 'load_model', Trigger.Request()).success


def test_a_cleanup_during_loading_is_executed(loading_bench, camera):
    assert loading_bench.transition(Transition.TRANSITION_DEACTIVATE)
    assert loading_bench.transition(Transition.TRANSITION_CLEANUP)
    answer = loading_bench.go()
    assert (answer.success, answer.message) == (False, 'the node was cleaned up during loading')
    assert loading_bench.state() == 'unconfigured'
    assert loading_bench.transition(Transition.TRANSITION_CONFIGURE)
    assert loading_bench.transition(Transition.TRANSITION_ACTIVATE)
    loading_bench.listen('mask')
    np.testing.assert_array_equal(loading_bench.segment(camera(1).message), camera(1).darkest)


def test_an_opacity_set_during_loading_is_kept(loading_bench, camera, pixels_of, networks):
    loading_bench.set_parameter('overlay_alpha', 0.0)
    assert loading_bench.go().success
    np.testing.assert_array_equal(loading_bench.segment(camera(3).message, 'overlay'),
                                  networks.random_image(*SIZE, 3))


def test_load_model_answers_though_nothing_else_happens(make_bench, models):
    bench = make_bench(engine_path=models.brightest, diagnostics_period=60.0)
    bench.wait_until_active()
    assert load(bench, models.darkest).success


# Lifecycle


def test_topics_go_with_the_network_and_come_back(make_bench, models):
    bench = make_bench(engine_path=models.brightest, autostart=False, mask_height=6, mask_width=8)
    topics = [f'{bench.namespace}/segmentation/{name}' for name in TOPICS]

    def offered():
        return [bench.node.count_publishers(topic) for topic in topics]

    for _ in range(2):
        assert bench.transition(Transition.TRANSITION_CONFIGURE)
        bench.spin_until(lambda: offered() == [1] * len(TOPICS), 'its topics')
        assert bench.transition(Transition.TRANSITION_ACTIVATE)
        assert bench.transition(Transition.TRANSITION_DEACTIVATE)
        assert bench.transition(Transition.TRANSITION_CLEANUP)
        bench.spin_until(lambda: not any(offered()), 'its topics to go')


# Status


def test_latency_is_published_in_seconds(make_bench, camera, models):
    bench = make_bench(engine_path=models.brightest)
    ages = bench.collect(Float64, 'segmentation/latency')
    bench.listen('mask')
    first = bench.send_until(camera(1).message, lambda: ages, 'a latency')[0]
    passed = bench.node.get_clock().now().nanoseconds - first
    assert 0 < ages[0].data < passed / 1e9


def test_missing_images_are_a_warning_until_the_next_image(make_bench, camera, models):
    bench = make_bench(engine_path=models.brightest, input_timeout=0.5)
    bench.listen('mask')
    bench.segment(camera(1).message)
    status = bench.wait_for_status('no image on ', timeout=1.5)
    assert status.level == status.WARN
    assert f'{bench.namespace}/image' in status.message
    bench.segment(camera(2).message)
    assert bench.wait_for_status('segmenting', timeout=1.0).level == status.OK


def test_thresholds_change_live(make_bench, camera, models):
    bench = make_bench(engine_path=models.brightest)
    bench.listen('mask')
    bench.segment(camera(1).message)
    assert bench.status().level == b'\0'
    assert bench.set_parameter('max_latency', 1e-6).successful
    assert bench.status().message.startswith('latency p95 is ')
    assert bench.set_parameter('max_latency', 0.0).successful
    assert bench.status().level == b'\0'


# build_only and the log


def build(*parameters):
    arguments = [part for parameter in parameters for part in ('-p', parameter)]
    return subprocess.run([sys.executable, '-m', 'trt_segmentation.ros.node', '--ros-args',
                           '-p', 'build_only:=true', *arguments], capture_output=True, text=True,
                          timeout=60)


def test_build_only_opens_the_network_and_ends(models):
    done = build(f'engine_path:={models.brightest}')
    assert done.returncode == 0, done.stderr
    assert f'{models.brightest}: 3 classes at 96x64' in done.stderr


@pytest.mark.parametrize('name', ['broken', 'missing'])
def test_build_only_fails_with_the_network(models, name):
    done = build(f'engine_path:={getattr(models, name)}')
    assert done.returncode == 1
    assert f'configure failed: {getattr(models, name)}' in done.stderr


def test_the_packages_log_is_the_nodes(make_bench, camera, models):
    bench = make_bench(engine_path=models.brightest, program=(*NODE, '--verbose'))
    bench.listen('mask')
    bench.segment(camera(1).message)
    _, log = bench.stop()
    assert log.count("argument '--verbose' is ignored: a parameter is set with --ros-args") == 1
    assert log.count('running on ONNX Runtime, since ') == 1
    assert 'segmentation]: running on ONNX Runtime' in log


# On a stand-in for the GPU, which needs the node in the same process


@pytest.fixture
def node_on_stand_in(tensorrt, gpu, models, tmp_path):
    """A node on the stand-in, ``peer`` with a camera and masks, and ``spin_until``."""
    context = rclpy.Context()
    context.init()
    told = {'engine_path': models.brightest, 'backend': 'tensorrt', 'tune_allocator': False,
            'pipeline_depth': 1}  # with 2, the number of buffers in use depends on the time
    node = SegmentationNode(
        context=context, namespace=f'/{tmp_path.name}',
        parameter_overrides=[Parameter(name, value=value) for name, value in told.items()])
    peer = rclpy.create_node('peer', namespace=node.get_namespace(), context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.add_node(peer)
    masks = []
    camera = peer.create_publisher(Image, 'image', qos_profile_sensor_data)
    peer.create_subscription(Image, 'segmentation/mask', masks.append, 5)

    def spin_until(condition):
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            executor.spin_once(timeout_sec=0.02)

    def segment(message):
        message.header.stamp.sec = 1 + (masks[-1].header.stamp.sec if masks else 0)
        spin_until(lambda: camera.publish(message) or executor.spin_once(0.1) or (
            masks and masks[-1].header == message.header))
        return masks[-1]

    yield SimpleNamespace(node=node, peer=peer, spin_until=spin_until, segment=segment)
    executor.shutdown()
    peer.destroy_node()
    node.destroy_node()
    context.try_shutdown()
    gpu.assert_all_is_freed()


def bytes_held(node_on_stand_in, gpu, message):
    """Return the bytes of the GPU's memory and of page-locked memory, once frames flow."""
    for _ in range(3):  # arrays are page-locked when they come again
        node_on_stand_in.segment(message)
    return sum(len(block) for block in gpu.memory.values()), sum(gpu.locked.values())


def test_each_cycle_gives_the_gpu_back(node_on_stand_in, gpu, camera, pixels_of):
    held = []
    for _ in range(3):
        node_on_stand_in.node.start()
        mask = node_on_stand_in.segment(camera(1).message)
        np.testing.assert_array_equal(pixels_of(mask), camera(1).brightest)
        held.append(bytes_held(node_on_stand_in, gpu, camera(1).message))
        node_on_stand_in.node.trigger_deactivate()
        node_on_stand_in.node.trigger_cleanup()
        gpu.assert_all_is_freed()
    assert held == [held[0]] * 3


def test_a_loaded_network_replaces_the_old_one(node_on_stand_in, gpu, camera, models, pixels_of):
    node_on_stand_in.node.start()
    held = bytes_held(node_on_stand_in, gpu, camera(1).message)
    client = node_on_stand_in.peer.create_client(Trigger, 'segmentation/load_model')
    node_on_stand_in.spin_until(client.service_is_ready)
    for path in (models.darkest, models.ids, models.brightest, models.darkest):
        node_on_stand_in.node.set_parameters([Parameter('engine_path', value=path)])
        loaded = client.call_async(Trigger.Request())
        node_on_stand_in.spin_until(loaded.done)
        assert loaded.result().success == (path != models.ids)
    mask = node_on_stand_in.segment(camera(2).message)
    np.testing.assert_array_equal(pixels_of(mask), camera(2).darkest)
    assert bytes_held(node_on_stand_in, gpu, camera(3).message) == held


# Tools: ros2 param dump, rqt, Foxglove


@pytest.mark.parametrize('program', [NODE, (*NODE, '--ros-args', '--params-file', SEG_YAML)])
def test_every_parameter_has_a_value_of_its_kind(make_bench, models, program):
    bench = make_bench(program=program, engine_path=models.brightest)
    wanted = asdict(Parameters(engine_path=models.brightest, diagnostics_period=0.1))
    names = bench.call(ListParameters, 'list_parameters', ListParameters.Request()).result.names
    request = GetParameters.Request(names=names)
    values = bench.call(GetParameters, 'get_parameters', request).values
    found = dict(zip(names, values, strict=True))  # rclpy's own are among them
    assert {name: parameter_value_to_python(found[name]) for name in wanted} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items()}
    assert found['cameras'].type == Parameter.Type.STRING_ARRAY.value
    kinds = {each.name: each.type for each in bench.describe(*names)}
    assert kinds == {name: value.type for name, value in found.items()}
