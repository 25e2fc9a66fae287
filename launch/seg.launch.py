# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segment one camera: ros2 launch trt_segmentation seg.launch.py image_topic:=/camera/image_raw

With cameras:='[front, left]' and image_topic:='/{camera}/image_raw', one node segments several
cameras in one batch; see also multi_camera.launch.py.

Like every included launch file, it inherits arguments of the same names from the parent. It sets
no arguments of the parent.
"""

import os
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
)
from launch.events.process import ProcessExited
from launch.logging import get_logger
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from trt_segmentation.ros.launch_arguments import (
    LOG_LEVELS,
    NODE_NAME,
    NOT_GIVEN,
    check_differs,
    flag,
    for_camera,
    full_namespace,
    log_level,
    parameter_overrides,
    params_file,
)
from trt_segmentation.ros.parameters import rules
from trt_segmentation.ros.transport import large_image_environment

SHARE = Path(get_package_share_directory('trt_segmentation'))
PARAMS_FILE = SHARE / 'config' / 'seg.yaml'
PER_CAMERA = ('mask', 'mask/compressed', 'confidence', 'overlay', 'overlay/compressed', 'classes',
              'instances', 'detections', 'points', 'camera_info')
"""The topics that a node with several cameras publishes for each of them; of a network with
several tasks, the names also have the tasks, which are not known here."""


def generate_launch_description() -> LaunchDescription:
    """Return one launch argument for each parameter of the node, and the nodes."""
    wiring = [
        DeclareLaunchArgument('image_topic', default_value='image',
                              description='Image topic of the camera, sensor_msgs/Image. With '
                                          'cameras, {camera} is replaced by the name of each'),
        DeclareLaunchArgument('camera_info_topic', default_value=NOT_GIVEN,
                              description='Topic of its sensor_msgs/CameraInfo, used for masks of '
                                          'another size. Default: camera_info in the namespace '
                                          'of image_topic'),
        DeclareLaunchArgument('output_topics', default_value=NOT_GIVEN,
                              description='With cameras: prefix of the topics mask, overlay and '
                                          'so on, such as /{camera}/segmentation. Default: '
                                          '~/{camera}'),
        DeclareLaunchArgument('namespace', default_value=NOT_GIVEN,
                              description='Namespace of the node and its topics'),
        DeclareLaunchArgument('params_file', default_value=str(PARAMS_FILE),
                              description='YAML file of parameters; ~ and package:// are '
                                          'expanded. Launch arguments override its values'),
        DeclareLaunchArgument('use_sim_time', default_value=NOT_GIVEN,
                              description='true: use the time from /clock, for example with '
                                          'Gazebo or a rosbag. Default: the value in params_file'),
        DeclareLaunchArgument('rviz', default_value='false',
                              description='true: show overlay and mask in RViz, if it is '
                                          'installed'),
        DeclareLaunchArgument('log_level', default_value='info',
                              description='Minimum severity of logged messages: '
                                          f'{", ".join(LOG_LEVELS)}; upper or lower case'),
    ]
    parameters = [DeclareLaunchArgument(name, default_value=NOT_GIVEN,
                                        description=_description(name))
                  for name in rules()]
    # Push and pop keep these values from files that the parent includes later.
    return LaunchDescription([PushLaunchConfigurations(), *wiring, *parameters,
                              OpaqueFunction(function=_nodes), PopLaunchConfigurations()])


def _description(name: str) -> str:
    rule = rules()[name]
    choices = f'. One of {rule.listed_choices}' if rule.choices else ''
    return f'{rule.description}{choices}. Default: the value in params_file'


def _inputs(given: dict[str, str], camera: str = '') -> list[tuple[str, str]]:
    """Return the remappings of the topics that one camera publishes."""
    prefix = f'{camera}/' if camera else ''
    topic = given['image_topic'] or 'image'
    image = for_camera('image_topic', topic, camera)
    if prefix and image == topic:  # the same for all cameras
        image = f'{prefix}{image}'
    beside = image.rpartition('/')[0]
    info = for_camera('camera_info_topic', given['camera_info_topic'], camera) or (
        f'{beside}/camera_info' if beside else 'camera_info')
    return [(f'{prefix}image', image), (f'{prefix}camera_info', info)]


def _outputs(given: dict[str, str], camera: str) -> list[tuple[str, str]]:
    """Return the remappings of the node's outputs for one of several cameras."""
    target = for_camera('output_topics', given['output_topics'], camera)
    return [(f'~/{camera}/{name}', f'{target}/{name}') for name in PER_CAMERA] if target else []


def _remappings(given: dict[str, str], cameras: list[str]) -> list[tuple[str, str]]:
    if not cameras:
        return _inputs(given)
    for name in ('camera_info_topic', 'output_topics'):
        check_differs(name, given[name], cameras)
    return [remapping for camera in cameras
            for remapping in (*_inputs(given, camera), *_outputs(given, camera))]


def _nodes(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    overrides = parameter_overrides(given)
    # PushRosNamespace sets ros_namespace.
    namespace = full_namespace(given.get('ros_namespace'), given['namespace'])
    file, warnings = params_file(given['params_file'], PARAMS_FILE, f'{namespace}/{NODE_NAME}')
    for sentence in warnings:
        get_logger('trt_segmentation').warning(sentence)
    node = Node(
        package='trt_segmentation', executable='segmentation_node', name=NODE_NAME,
        namespace=namespace, output='screen', emulate_tty=True,
        parameters=[file, overrides],
        remappings=_remappings(given, overrides.get('cameras', [])),
        arguments=['--ros-args', '--log-level', log_level(given['log_level'])],
        additional_env=large_image_environment(os.environ),
        on_exit=_report_failed_build if overrides.get('build_only') else None)
    if not flag('rviz', given['rviz']) or not _is_rviz_installed():
        return [node]
    return [node, _rviz(namespace, overrides)]


def _is_rviz_installed() -> bool:
    try:
        get_package_prefix('rviz2')
    except PackageNotFoundError:
        distribution = os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
        get_logger('trt_segmentation').warning(
            'rviz:=true, but rviz2 is not installed, so RViz is not started. Install it with '
            f'sudo apt install ros-{distribution}-rviz2, or view the overlay in a browser: '
            'trt-segmentation view')
        return False
    return True


def _rviz(namespace: str, overrides: dict) -> Node:
    return Node(
        package='rviz2', executable='rviz2', name='rviz_segmentation',
        arguments=['-d', str(SHARE / 'config' / 'seg.rviz')],
        parameters=[{name: value for name, value in overrides.items() if name == 'use_sim_time'}],
        remappings=[(f'/{NODE_NAME}/{topic}', f'{namespace}/{NODE_NAME}/{topic}')
                    for topic in ('overlay', 'mask')])


def _report_failed_build(event: ProcessExited, context: LaunchContext) -> None:
    """Make ros2 launch fail, too; it ignores exit codes by default."""
    if event.returncode != 0:
        raise RuntimeError(f'build_only: no engine was built, exit code {event.returncode}')
