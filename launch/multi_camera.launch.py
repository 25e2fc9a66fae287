# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One node a camera: ros2 launch trt_segmentation multi_camera.launch.py cameras:=front,left

Every argument of seg.launch.py holds for all cameras. The nodes share one engine: the first
builds it, the others wait for it and load it.

With batch:=true, one node a GPU segments its cameras together, for cameras that take their images
at the same time and are alike. It is /device_<index>/segmentation; masks have the same topics as
with a node a camera. Its ~/label_info holds for all of its cameras.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchContext, LaunchDescription

SEG_LAUNCH = Path(get_package_share_directory('trt_segmentation')) / 'launch' / 'seg.launch.py'


def generate_launch_description() -> LaunchDescription:
    """Return the arguments of this file and one inclusion of seg.launch.py for each node."""
    return LaunchDescription([
        DeclareLaunchArgument('cameras', description='Names with commas, such as front,left: the '
                                                     'namespaces of their nodes'),
        DeclareLaunchArgument('devices', default_value='0',
                              description='Indices of GPUs with commas, dealt out in turn'),
        DeclareLaunchArgument('image_topics', default_value='/{camera}/image_raw',
                              description='Topic of each camera, {camera} being its name'),
        DeclareLaunchArgument('batch', default_value='false', choices=['true', 'false'],
                              description='Segment the cameras of a GPU together, in one node'),
        OpaqueFunction(function=_cameras)])


def _cameras(context: LaunchContext) -> list[GroupAction]:
    given = context.launch_configurations
    cameras, devices = _names(given['cameras']), _names(given['devices'])
    if len(set(cameras)) < len(cameras) or not cameras or not devices:
        raise RuntimeError(f"cameras is '{given['cameras']}' and devices '{given['devices']}'; "
                           'cameras needs one name or more, each once, devices one index or more')
    dealt = {camera: devices[number % len(devices)] for number, camera in enumerate(cameras)}
    if given['batch'] == 'true':
        return [_together(device, [camera for camera in cameras if dealt[camera] == device],
                          given['image_topics']) for device in dict.fromkeys(dealt.values())]
    return [_node(namespace=camera, device=device, cameras='',
                  image_topic=given['image_topics'].format(camera=camera))
            for camera, device in dealt.items()]


def _together(device: str, cameras: list[str], image_topics: str) -> GroupAction:
    return _node(namespace=f'device_{device}', device=device, cameras=f'[{", ".join(cameras)}]',
                 image_topic=image_topics, output_topics='/{camera}/segmentation')


def _node(**arguments: str) -> GroupAction:
    return GroupAction([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SEG_LAUNCH)), launch_arguments=arguments.items())])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(',') if name.strip()]
