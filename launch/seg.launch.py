# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segment one camera: ros2 launch trt_segmentation seg.launch.py image_topic:=/camera/image_raw

With cameras:='[front, left]' and image_topic:='/{camera}/image_raw', one node segments several
together; see also multi_camera.launch.py.
"""

import os
from dataclasses import fields
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.events.process import ProcessExited
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from trt_segmentation.ros.parameters import Parameters, rules, value_from_text
from trt_segmentation.ros.transport import large_image_environment

SHARE = Path(get_package_share_directory('trt_segmentation'))
NOT_GIVEN = ''
PER_CAMERA = 'mask', 'mask/compressed', 'confidence', 'overlay', 'camera_info'
"""What a node of several cameras publishes of each."""


def generate_launch_description() -> LaunchDescription:
    """Return one launch argument for each parameter of the node, and the nodes."""
    wiring = [
        DeclareLaunchArgument('image_topic', default_value='image',
                              description='Camera topic to segment, sensor_msgs/Image; with '
                                          'cameras, {camera} stands for the name of each'),
        DeclareLaunchArgument('camera_info_topic', default_value=NOT_GIVEN,
                              description='Its sensor_msgs/CameraInfo, for masks of another size; '
                                          'not given: camera_info beside image_topic'),
        DeclareLaunchArgument('output_topics', default_value=NOT_GIVEN,
                              description='With cameras: what stands before mask, overlay and so '
                                          'on, such as /{camera}/segmentation; not given: '
                                          '~/{camera}'),
        DeclareLaunchArgument('namespace', default_value=NOT_GIVEN,
                              description='Namespace of the node and its topics'),
        DeclareLaunchArgument('params_file', default_value=str(SHARE / 'config' / 'seg.yaml'),
                              description='YAML file of parameters; arguments go before it'),
        DeclareLaunchArgument('rviz', default_value='false', choices=['true', 'false'],
                              description='Show overlay and mask in RViz'),
        DeclareLaunchArgument('log_level', default_value='info',
                              choices=['debug', 'info', 'warn', 'error', 'fatal'],
                              description='Least severe messages to print'),
    ]
    parameters = [DeclareLaunchArgument(name, default_value=NOT_GIVEN,
                                        description=_description(name))
                  for name in rules()]
    return LaunchDescription([*wiring, *parameters, OpaqueFunction(function=_nodes)])


def _description(name: str) -> str:
    rule = rules()[name]
    choices = f'; one of {", ".join(rule.choices)}' if rule.choices else ''
    return f'{rule.description}{choices}. Not given: as in params_file'


def _inputs(given: dict[str, str], camera: str = '') -> list[tuple[str, str]]:
    """Return the remappings of what one camera sends."""
    prefix = f'{camera}/' if camera else ''
    image = given['image_topic'].format(camera=camera)
    if prefix and image == given['image_topic']:  # it is not told for each
        image = f'{prefix}{image}'
    beside = image.rpartition('/')[0]
    info = given['camera_info_topic'].format(camera=camera) or (
        f'{beside}/camera_info' if beside else 'camera_info')
    return [(f'{prefix}image', image), (f'{prefix}camera_info', info)]


def _outputs(given: dict[str, str], camera: str) -> list[tuple[str, str]]:
    """Return the remappings of what is published of one of several cameras."""
    target = given['output_topics'].format(camera=camera)
    return [(f'~/{camera}/{name}', f'{target}/{name}') for name in PER_CAMERA] if target else []


def _remappings(given: dict[str, str], cameras: list[str]) -> list[tuple[str, str]]:
    if not cameras:
        return _inputs(given)
    return [remapping for camera in cameras
            for remapping in (*_inputs(given, camera), *_outputs(given, camera))]


def _nodes(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    overrides = {entry.name: value_from_text(entry.name, given[entry.name])
                 for entry in fields(Parameters) if given[entry.name] != NOT_GIVEN}
    namespace = given['namespace'].strip('/')
    nodes = [Node(
        package='trt_segmentation', executable='segmentation_node', name='segmentation',
        namespace=namespace, output='screen', emulate_tty=True,
        parameters=[given['params_file'], overrides],
        remappings=_remappings(given, overrides.get('cameras', [])),
        arguments=['--ros-args', '--log-level', given['log_level']],
        additional_env=large_image_environment(os.environ),
        on_exit=_report_failed_build if overrides.get('build_only') else None)]
    if given['rviz'] == 'true':
        prefix = f'/{namespace}' if namespace else ''
        nodes.append(Node(
            package='rviz2', executable='rviz2', name='rviz_segmentation',
            arguments=['-d', str(SHARE / 'config' / 'seg.rviz')],
            remappings=[(f'/segmentation/{topic}', f'{prefix}/segmentation/{topic}')
                        for topic in ('overlay', 'mask')]))
    return nodes


def _report_failed_build(event: ProcessExited, context: LaunchContext) -> None:
    """Let ros2 launch fail, too; by itself it does not mind how a process ends."""
    if event.returncode != 0:
        raise RuntimeError(f'build_only: no engine was built, exit code {event.returncode}')
