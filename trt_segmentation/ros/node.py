# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation node: subscribes to images, publishes mask, confidence, overlay, label info."""

import sys
import threading
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import uninstall_signal_handlers
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from trt_segmentation.errors import BackendError, ConfigError, SegmentationError
from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.options import cpu_model
from trt_segmentation.ros.bond import Bond
from trt_segmentation.ros.camera import Camera
from trt_segmentation.ros.diagnostics import (
    CameraStatus,
    status_array,
    status_of,
    status_of_all,
    with_points,
)
from trt_segmentation.ros.frame_processor import FrameProcessor
from trt_segmentation.ros.frame_worker import frames_in_flight
from trt_segmentation.ros.gpu_encodings import fetch_converters
from trt_segmentation.ros.health import LoadedModel, NodeState, Thresholds, precision_fault
from trt_segmentation.ros.label_info import check_unlabelled
from trt_segmentation.ros.lifecycle import GuardedLifecycleNode
from trt_segmentation.ros.log_bridge import WARNING_PERIOD, logging_errors
from trt_segmentation.ros.outputs import Labels
from trt_segmentation.ros.parameters import (
    RELOAD,
    Parameters,
    change_fault,
    declare_parameters,
    first_fault,
    read_parameters,
    rules,
    unknown_parameters,
)
from trt_segmentation.ros.paths import with_expanded_paths
from trt_segmentation.ros.spinning import Interrupt, end_process, init_ros, until_signal
from trt_segmentation.ros.statistics import UNSYNCHRONISED, CpuMeter
from trt_segmentation.segmenter import Segmenter


class SegmentationNode(GuardedLifecycleNode):
    """Segments the topic ``image``, or the images of several cameras in one batch.

    Configure loads the network, activate subscribes to the images. Only outputs with subscribers
    are computed. A frame that cannot be segmented is dropped, counted and logged.

    Any executor can spin it, and any thread can trigger its transitions: a lock serializes frames
    and changes. With two frames in flight, a change also waits for the frames of the worker.

    Args:
        node_name: name of the node.
        kwargs: of ``rclpy.lifecycle.LifecycleNode``.

    Raises:
        rclpy.exceptions.ParameterException: a parameter has the wrong type or range.
    """

    def __init__(self, node_name: str = 'segmentation', **kwargs: Any) -> None:
        self._segmenter: Segmenter | None = None
        self._processor: FrameProcessor | None = None
        self._labels: Labels | None = None
        self._bond: Bond | None = None
        self._cameras: tuple[Camera, ...] = ()
        self._enabled = True
        self._cpu = CpuMeter()
        self._loading = False
        # Held while a frame is processed, or read for the worker, and while the segmenter or the
        # cameras change. The worker does not take it: a change waits with FrameProcessor.finish.
        self._frames = threading.RLock()
        super().__init__(node_name, **kwargs)
        try:
            self._declare()
        except BaseException:  # the caller gets no node that it could destroy
            self.destroy_node()
            raise

    def _declare(self) -> None:
        """Declare the parameters, and create the topics and services that exist in every state."""
        declare_parameters(self)
        for sentence in unknown_parameters(self):
            self.get_logger().warning(sentence)
        self._settings: Parameters = read_parameters(self)
        if self._settings.tune_allocator and not keep_large_blocks():
            self.get_logger().info('tune_allocator has no effect: the C library is not glibc')
        self._set_cameras(self._settings)
        self._bond = Bond(self, wanted=not self._settings.autostart)
        self._latency_publisher = self.create_publisher(Float64, '~/latency', 10)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Steady time, since simulated time may be paused.
        self._diagnostics_timer = self.create_timer(
            self._settings.diagnostics_period, self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(SetBool, '~/enable', self._on_enable)
        # Reentrant: other callbacks run while a network is loaded.
        self.create_service(Trigger, '~/load_model', self._on_load_model,
                            callback_group=ReentrantCallbackGroup())
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def build_only(self) -> bool:
        """Whether parameter ``build_only`` asks for ``build`` instead of ``start``."""
        return self._settings.build_only

    def build(self) -> bool:
        """Configure the node, which builds the engine; return whether it succeeded."""
        return self.trigger_configure() == TransitionCallbackReturn.SUCCESS

    def start(self) -> None:
        """Configure and activate, if parameter ``autostart`` is true."""
        if self._settings.autostart and self.build():
            self.trigger_activate()

    # Lifecycle

    def configure(self) -> None:
        """Load the network and create the output topics."""
        settings = read_parameters(self)
        with self._frames:
            self._settings = settings
            self._set_cameras(settings)
        segmenter = _open_segmenter(settings)
        with self._frames:
            try:
                self._segmenter = segmenter
                in_flight = frames_in_flight(settings.pipeline_depth, segmenter.info.backend)
                for camera in self._cameras:
                    camera.advertise(segmenter, settings, in_flight)
                    camera.use_gpu_jpeg(segmenter, settings.region)
                self._processor = FrameProcessor(self, self._cameras, segmenter, settings,
                                                 in_flight, self._latency_publisher)
                self._labels = Labels(self, segmenter.spec)
                self._log_start(segmenter)
            except SegmentationError:
                self.release()
                raise

    def activate(self) -> None:
        """Subscribe to the cameras."""
        with self._frames:
            assert self._segmenter is not None and self._labels is not None  # configured
            for camera in self._cameras:
                camera.subscribe(self._settings, self._on_image, self._on_qos_event)
            self._labels.publish(self._segmenter.spec, self._settings.label_unlabelled)
            if self._bond is not None:
                self._bond.start()

    def deactivate(self) -> None:
        """Unsubscribe; the network stays loaded."""
        with self._frames:
            if self._bond is not None:
                self._bond.stop()
            if self._processor is not None:
                self._processor.finish()
                self._processor.drop_waiting(UNSYNCHRONISED)
            for camera in self._cameras:
                camera.unsubscribe()

    def release(self) -> None:
        """Release the network and the topics. If a part fails, the others are still released."""
        with self._frames, ExitStack() as parts:
            # In reverse: the worker ends first, and the segmenter is closed last.
            for part in (self._segmenter, self._labels, *self._cameras):
                if part is not None:
                    parts.callback(part.close)
            if self._bond is not None:
                parts.callback(self._bond.stop)
            if self._processor is not None:
                parts.callback(self._processor.close)
            self._segmenter = self._labels = self._processor = None

    def _log_start(self, segmenter: Segmenter) -> None:
        spec, info = segmenter.spec, segmenter.info
        size = '{1}x{0}'.format(*spec.size) if spec.size else "the camera's size"
        classes = ', '.join(f'{task.name}{": " if task.name else ""}{len(task.labels)} classes'
                            for task in spec.tasks)
        self.get_logger().info(f'{spec.network.source}: {classes} at {size}, {info}')
        if fault := precision_fault(self._loaded(segmenter)):
            self.get_logger().warning(fault)
        if sentence := spec.assumption_warning(labels=True):
            self.get_logger().warning(sentence)

    def _set_cameras(self, settings: Parameters) -> None:
        names = settings.cameras or ('',)
        self._cameras = tuple(Camera(self, *each) for each in enumerate(names))

    # Frames

    def _on_image(self, camera: Camera, msg: Any, info: dict) -> None:
        with self._frames, self.log_bridge.capturing():
            if camera.input is not None and self._processor is not None:  # not deactivated since
                self._processor.handle(camera, msg, info, self._enabled)

    def _on_qos_event(self, camera: Camera, sentence: str) -> None:
        camera.monitor.note_qos_event(sentence)
        self.get_logger().warning(sentence, throttle_duration_sec=WARNING_PERIOD)

    # Control

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response,
                   ) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = 'segmenting' if self._enabled else 'images are dropped'
        return response

    async def _on_load_model(self, request: Trigger.Request, response: Trigger.Response,
                             ) -> Trigger.Response:
        """Load the network of the current parameters, and switch to it between two frames."""
        with self._frames:
            running, is_loading = self._segmenter, self._loading
            self._loading = is_loading or running is not None
        if running is None or is_loading:
            response.message = 'another network is being loaded' if is_loading else \
                'the node is not configured; use the lifecycle transition configure'
            return response
        try:
            settings = read_parameters(self)
            segmenter = await self._open_in_thread(settings)
            self._switch_segmenter(running, segmenter, settings)
            response.success, response.message = True, str(segmenter.info)
        except SegmentationError as error:
            response.message = self._reject_model(str(error))
        except Exception:  # a bug in this package must not stop the running network
            response.message = self._reject_model(traceback.format_exc())
        finally:
            self._loading = False
        return response

    async def _open_in_thread(self, settings: Parameters) -> Segmenter:
        """Open a segmenter in a separate thread; a build can take minutes."""
        executor = self.executor
        future: Future = Future(executor=executor)
        future.add_done_callback(lambda done: executor.wake())  # it may be waiting for a frame

        def open_it() -> None:
            try:
                with self.log_bridge.capturing():
                    future.set_result(_open_segmenter(settings))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=open_it, daemon=True, name='load_model').start()
        return await future

    def _switch_segmenter(self, running: Segmenter, segmenter: Segmenter, settings: Parameters,
                          ) -> None:
        with self._frames:
            if self._segmenter is not running:
                fault = 'the node was cleaned up during loading'
            else:
                fault = self._cameras[0].outputs.fault(segmenter)
            if fault:
                segmenter.close()
                raise ConfigError(fault)
            assert self._processor is not None and self._labels is not None  # configured
            self._processor.finish()
            segmenter.overlay_alpha = running.overlay_alpha  # may have changed during loading
            if segmenter.spec.smoothing:
                segmenter.smoothing = self.get_parameter('temporal_smoothing').value
            self._processor.switch_segmenter(segmenter, settings)
            self._segmenter, self._settings = segmenter, settings
            for camera in self._cameras:
                camera.switch_segmenter(segmenter)
                camera.use_gpu_jpeg(segmenter, settings.region)
            running.close()
            self._labels.publish(segmenter.spec, settings.label_unlabelled)
            self._log_start(segmenter)

    def _reject_model(self, why: str) -> str:
        """Log why the network was not changed, and restore the parameters of the running one."""
        self.get_logger().error(f'the network was not changed: {why}')
        if self._segmenter is not None:
            self._restore_parameters()
        return why

    def _restore_parameters(self) -> None:
        self.set_parameters([
            Parameter(name, value=list(value) if isinstance(value, tuple) else value)
            for name, rule in rules().items()
            if rule.changes == RELOAD and (value := getattr(self._settings, name)) is not None])

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            fault = change_fault(parameter.name, parameter.value, self._segmenter is not None)
            if fault:
                return SetParametersResult(successful=False, reason=fault)
        with self._frames:
            for parameter in parameters:
                try:
                    self._apply_parameter(parameter)
                except BackendError as error:
                    return SetParametersResult(successful=False,
                                               reason=f'{parameter.name}: {error}')
        return SetParametersResult(successful=True)

    def _apply_parameter(self, parameter: Parameter) -> None:
        """Apply a parameter that takes effect immediately; ``configure`` reads the others."""
        segmenter, processor, value = self._segmenter, self._processor, parameter.value
        if segmenter is None or processor is None:
            return
        if parameter.name == 'overlay_alpha':
            segmenter.overlay_alpha = value
        if parameter.name == 'overlay_jpeg_quality':
            for camera in self._cameras:
                camera.outputs.jpeg_quality = value
        if parameter.name == 'temporal_smoothing':
            self._set_smoothing(segmenter, value)
        if parameter.name == 'smoothing_max_gap':
            processor.set_max_gap(value)
        if parameter.name == 'sync_tolerance':
            processor.set_tolerance(value)
        if parameter.name == 'max_rate':
            processor.set_max_rate(value)
        if parameter.name == 'classes_region':
            for camera in self._cameras:
                camera.outputs.class_shares.region = value

    def _set_smoothing(self, segmenter: Segmenter, weight: float) -> None:
        if segmenter.spec.smoothing:
            segmenter.smoothing = weight
        elif weight:
            self.get_logger().info('temporal_smoothing was 0 when the network was opened; call '
                                   '~/load_model to switch it on')

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        with logging_errors(self, '/diagnostics'):
            thresholds = read_parameters(self).thresholds
            self._diagnostics_publisher.publish(status_array(
                self.get_clock().now().to_msg(), self.get_fully_qualified_name(),
                self._statuses(thresholds), self._hardware()))

    def _hardware(self) -> str:
        """Return the name of the GPU or CPU that the network runs on; '' without a network."""
        segmenter = self._segmenter
        if segmenter is None:
            return ''
        return segmenter.info.device if segmenter.info.backend == 'tensorrt' else cpu_model()

    def _statuses(self, thresholds: Thresholds) -> dict[str, CameraStatus]:
        """Return the status of the node; with several cameras, also the status of each."""
        now, state, cameras = time.monotonic(), self._state(), self._cameras
        if len(cameras) == 1 and not cameras[0].name:
            (camera,) = cameras
            state = self._with_publishers(camera, state)
            return {'': with_points(status_of(camera.monitor, now, state, thresholds),
                                    camera.points)}
        # The shared values are reported once, by the node.
        alone = replace(state, loaded=None, gpu_memory=None, cpu_share=None)
        processor = self._processor
        each = {camera.name: with_points(
                    status_of(camera.monitor, now, self._with_publishers(camera, alone),
                              thresholds,
                              processor is not None and processor.is_waiting(camera.index)),
                    camera.points)
                for camera in cameras}
        return {'': status_of_all(state, each),
                **{f'/{name}': status for name, status in each.items()}}

    def _loaded(self, segmenter: Segmenter) -> LoadedModel:
        spec = segmenter.spec
        return LoadedModel(spec.network.source, segmenter.info, self._settings.requested_precision,
                       {task.name: task.palette.hexadecimal for task in spec.tasks},
                       self.get_parameter('temporal_smoothing').value if spec.smoothing
                       else None)

    def _state(self) -> NodeState:
        loaded = memory = None
        fault, segmenter = self.fault, self._segmenter
        if segmenter is not None:
            loaded = self._loaded(segmenter)
            try:
                memory = segmenter.gpu_memory()
            except BackendError as error:
                if segmenter is self._segmenter:  # not closed since
                    fault = fault or f'{error}; the CUDA context has failed, restart the node'
        return NodeState(self._cameras[0].input is not None, fault, loaded=loaded,
                         gpu_memory=memory, enabled=self._enabled,
                         cpu_share=self._cpu.share())

    def _with_publishers(self, camera: Camera, state: NodeState) -> NodeState:
        """Return the state, with the publishers of the camera's images."""
        listening = camera.input
        if listening is None:
            return state
        found = listening.publishers()
        if found.mismatch and found.mismatch != camera.mismatch:
            self.get_logger().warning(f'{listening.topic}: {found.mismatch}')
        camera.mismatch = found.mismatch
        return replace(state, topic=listening.topic, publishers=found.count,
                       mismatch=found.mismatch)


def _open_segmenter(settings: Parameters) -> Segmenter:
    if fault := first_fault(settings):
        raise ConfigError(fault)
    settings = with_expanded_paths(settings)
    segmenter = Segmenter.open(settings.engine_path, config=settings.model_config or None,
                               options=settings.run_options)
    try:
        if settings.build_only:
            fetch_converters(segmenter, settings.input_encodings)
        segmenter.overlay_alpha = settings.overlay_alpha
        if segmenter.spec.smoothing:
            segmenter.smoothing = settings.temporal_smoothing
        for task in segmenter.spec.tasks:
            check_unlabelled(settings.label_unlabelled, task.labels)
    except BaseException:
        segmenter.close()
        raise
    return segmenter


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    Interrupt().install()
    logger = rclpy.logging.get_logger('segmentation')
    status = 0
    with until_signal():
        init_ros(args)
        for argument in remove_ros_args(sys.argv[1:] if args is None else args):
            logger.warning(f"argument '{argument}' is ignored: a parameter is set with "
                           '--ros-args -p NAME:=VALUE')
        try:
            status = _run()
        except ParameterException as error:
            logger.fatal(str(error))
            status = 1
    return end_process(status)


def _build(node: SegmentationNode) -> int:
    try:
        return 0 if node.build() else 1
    except KeyboardInterrupt:  # no engine was built
        return 1


def _run() -> int:
    node = SegmentationNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.build_only:
            return _build(node)
        node.start()
        executor.spin()
        return 0
    finally:
        # Stops rclpy's signal thread. It may still use the executor's guard conditions, and
        # destroying them at that time would cause a SIGSEGV.
        uninstall_signal_handlers()
        executor.shutdown()
        node.destroy_node()


if __name__ == '__main__':
    raise SystemExit(main())
