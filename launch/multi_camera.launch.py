# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One node per camera: ros2 launch trt_segmentation multi_camera.launch.py cameras:=front,left

The nodes share one engine: the first node builds it, the others wait for it and load it.

With batch:=true, one node per GPU segments its cameras in one batch. The cameras must be
synchronised and have the same image size. The node is /device_<index>/segmentation; the masks have
the same topics as with one node per camera. Its ~/label_info is valid for all of its cameras.

Nodes and topics are in the namespace of this launch file: namespace:=robot1, or the namespace that
a parent launch file has pushed with PushRosNamespace.
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
"""Arguments of seg.launch.py that this file sets for each node, from the arguments below."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments of this file and one inclusion of seg.launch.py for each node."""
    own = [
        DeclareLaunchArgument('cameras', description='Comma-separated names, such as front,left; '
                                                     'the namespaces of the nodes'),
        DeclareLaunchArgument('devices', default_value='0',
                              description='Comma-separated GPU indices, assigned to the cameras '
                                          'in turn'),
        DeclareLaunchArgument('image_topics', default_value='{camera}/image_raw',
                              description='Image topic of each camera; {camera} is replaced by '
                                          'its name. A relative topic is in namespace'),
        DeclareLaunchArgument('camera_info_topics', default_value='',
                              description='Topic of its sensor_msgs/CameraInfo, used for masks of '
                                          'another size. Default: camera_info in the namespace '
                                          'of its image topic'),
        DeclareLaunchArgument('namespace', default_value='',
                              description='Namespace of all nodes and topics, such as robot1'),
        DeclareLaunchArgument('batch', default_value='false',
                              description='true: one node per GPU segments its cameras in one '
                                          'batch'),
    ]
    # Push and pop keep these values from files that the parent includes later.
    return LaunchDescription([PushLaunchConfigurations(), *own, *_common_arguments(),
                              OpaqueFunction(function=_nodes), PopLaunchConfigurations()])


def _common_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of seg.launch.py that are the same for all cameras."""
    source = PythonLaunchDescriptionSource(str(SEG_LAUNCH))
    arguments = source.get_launch_description(LaunchContext(argv=[])).get_launch_arguments()
    return [argument for argument in arguments if argument.name not in OWN]


def _nodes(context: LaunchContext) -> list[GroupAction]:
    given = context.launch_configurations
    cameras, devices = _cameras(given), _names(given['devices'])
    device_of = {camera: devices[number % len(devices)] for number, camera in enumerate(cameras)}
    base = full_namespace(given.get('ros_namespace'), given['namespace'])
    common = {argument.name: given[argument.name] for argument in _common_arguments()}
    image_topics = absolute_topic(base, given['image_topics'])
    info_topics = given['camera_info_topics'] and absolute_topic(base, given['camera_info_topics'])
    if flag('batch', given['batch']):
        return [_node(common, namespace=f'{base}/device_{device}', device=device,
                      cameras=f'[{", ".join(group)}]', image_topic=image_topics,
                      camera_info_topic=info_topics,
                      output_topics=f'{base}/{{camera}}/segmentation')
                for device, group in _groups(device_of)]
    return [_node(common, namespace=f'{base}/{camera}', device=device, cameras='',
                  image_topic=for_camera('image_topics', image_topics, camera),
                  camera_info_topic=for_camera('camera_info_topics', info_topics, camera),
                  output_topics='')
            for camera, device in device_of.items()]


def _cameras(given: dict[str, str]) -> list[str]:
    """Return the names of the cameras, after a check of the arguments for each camera."""
    cameras, devices = _names(given['cameras']), _names(given['devices'])
    if len(set(cameras)) < len(cameras) or not cameras or not devices:
        raise RuntimeError(f"cameras is '{given['cameras']}' and devices is '{given['devices']}'; "
                           'cameras needs at least one name, each unique, and devices at least '
                           'one index')
    if fault := rules()['cameras'].fault('cameras', cameras):
        raise argument_error('cameras', fault)
    for name in ('image_topics', 'camera_info_topics'):
        check_differs(name, given[name], cameras)
    return cameras


def _groups(device_of: dict[str, str]) -> Iterable[tuple[str, list[str]]]:
    """Yield each GPU with its cameras."""
    for device in dict.fromkeys(device_of.values()):
        yield device, [camera for camera, its in device_of.items() if its == device]


def _node(common: dict[str, str], **own: str) -> GroupAction:
    return GroupAction([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SEG_LAUNCH)),
        launch_arguments={**common, **own}.items())])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(',') if name.strip()]
