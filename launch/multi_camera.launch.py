# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One node a camera: ros2 launch trt_segmentation multi_camera.launch.py cameras:=front,left

The nodes share one engine: the first builds it, the others wait for it and load it.

With batch:=true, one node a GPU segments its cameras together, for cameras that take their images
at the same time and are alike. It is /device_<index>/segmentation; masks have the same topics as
with a node a camera. Its ~/label_info holds for all of its cameras.

Nodes and topics lie in the namespace of this launch file: namespace:=robot1, or what a parent
launch file has pushed with PushRosNamespace.
"""

from collections.abc import Iterable
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchContext, LaunchDescription
from trt_segmentation.ros.launch_arguments import (
    absolute_topic,
    argument_error,
    check_differs,
    flag,
    for_camera,
    full_namespace,
)
from trt_segmentation.ros.parameters import rules

SEG_LAUNCH = Path(get_package_share_directory('trt_segmentation')) / 'launch' / 'seg.launch.py'
OWN = ('cameras', 'device', 'namespace', 'image_topic', 'camera_info_topic', 'output_topics')
"""Arguments of seg.launch.py that are made here for each node, from the arguments below."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments of this file and one inclusion of seg.launch.py for each node."""
    own = [
        DeclareLaunchArgument('cameras', description='Names with commas, such as front,left: the '
                                                     'namespaces of their nodes'),
        DeclareLaunchArgument('devices', default_value='0',
                              description='Indices of GPUs with commas, dealt out in turn'),
        DeclareLaunchArgument('image_topics', default_value='{camera}/image_raw',
                              description='Topic of each camera, {camera} being its name; '
                                          'without a slash in front, it lies in namespace'),
        DeclareLaunchArgument('camera_info_topics', default_value='',
                              description='Its sensor_msgs/CameraInfo, for masks of another size; '
                                          'not given: camera_info beside its image'),
        DeclareLaunchArgument('namespace', default_value='',
                              description='Namespace of all nodes and topics, such as robot1'),
        DeclareLaunchArgument('batch', default_value='false',
                              description='true: segment the cameras of a GPU together, in one '
                                          'node'),
    ]
    # Between push and pop: else a parent's next files would inherit what is set here.
    return LaunchDescription([PushLaunchConfigurations(), *own, *_passed_on(),
                              OpaqueFunction(function=_nodes), PopLaunchConfigurations()])


def _passed_on() -> list[DeclareLaunchArgument]:
    """Return the arguments of seg.launch.py that hold for all cameras."""
    source = PythonLaunchDescriptionSource(str(SEG_LAUNCH))
    arguments = source.get_launch_description(LaunchContext(argv=[])).get_launch_arguments()
    return [argument for argument in arguments if argument.name not in OWN]


def _nodes(context: LaunchContext) -> list[GroupAction]:
    given = context.launch_configurations
    cameras, devices = _cameras(given), _names(given['devices'])
    dealt = {camera: devices[number % len(devices)] for number, camera in enumerate(cameras)}
    base = full_namespace(given.get('ros_namespace'), given['namespace'])
    common = {argument.name: given[argument.name] for argument in _passed_on()}
    image_topics = absolute_topic(base, given['image_topics'])
    info_topics = given['camera_info_topics'] and absolute_topic(base, given['camera_info_topics'])
    if flag('batch', given['batch']):
        return [_node(common, namespace=f'{base}/device_{device}', device=device,
                      cameras=f'[{", ".join(group)}]', image_topic=image_topics,
                      camera_info_topic=info_topics,
                      output_topics=f'{base}/{{camera}}/segmentation')
                for device, group in _groups(dealt)]
    return [_node(common, namespace=f'{base}/{camera}', device=device, cameras='',
                  image_topic=for_camera('image_topics', image_topics, camera),
                  camera_info_topic=for_camera('camera_info_topics', info_topics, camera),
                  output_topics='')
            for camera, device in dealt.items()]


def _cameras(given: dict[str, str]) -> list[str]:
    """Return the names of the cameras, after a look at everything that is told of each."""
    cameras, devices = _names(given['cameras']), _names(given['devices'])
    if len(set(cameras)) < len(cameras) or not cameras or not devices:
        raise RuntimeError(f"cameras is '{given['cameras']}' and devices '{given['devices']}'; "
                           'cameras needs one name or more, each once, devices one index or more')
    if fault := rules()['cameras'].fault('cameras', cameras):
        raise argument_error('cameras', fault)
    for name in ('image_topics', 'camera_info_topics'):
        check_differs(name, given[name], cameras)
    return cameras


def _groups(dealt: dict[str, str]) -> Iterable[tuple[str, list[str]]]:
    """Yield each GPU with its cameras."""
    for device in dict.fromkeys(dealt.values()):
        yield device, [camera for camera, its in dealt.items() if its == device]


def _node(common: dict[str, str], **own: str) -> GroupAction:
    return GroupAction([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SEG_LAUNCH)),
        launch_arguments={**common, **own}.items())])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(',') if name.strip()]
