# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node: camera image in; class mask, confidence, overlay and label info out."""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import uninstall_signal_handlers
from rclpy.task import Future
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from trt_segmentation.errors import BackendError, ConfigError, ImageError, SegmentationError
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.images.decoding import swap_red_and_blue
from trt_segmentation.ros.bond import Bond
from trt_segmentation.ros.camera import Camera, Frame
from trt_segmentation.ros.diagnostics import CameraStatus, status_array, status_of, status_of_all
from trt_segmentation.ros.health import NodeState, Running, Thresholds, precision_fault
from trt_segmentation.ros.lifecycle import GuardedLifecycleNode
from trt_segmentation.ros.log_bridge import WARNING_PERIOD
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
from trt_segmentation.ros.region import Region
from trt_segmentation.ros.statistics import (
    BACKEND_FAILED,
    BAD_FRAME,
    DEFECT,
    DISABLED,
    NO_SUBSCRIBER,
    NOT_PUBLISHED,
    UNSYNCHRONISED,
    stamp_age,
)
from trt_segmentation.ros.synchroniser import Synchroniser
from trt_segmentation.segmenter import Segmenter

T = TypeVar('T')


class SegmentationNode(GuardedLifecycleNode):
    """Segments the topic ``image``, or those of several cameras together.

    Configured, it has its network open; active, it also subscribes. Only what somebody
    subscribes to is computed. A frame that cannot be segmented is dropped, counted and logged.

    Any executor may spin it, and any thread may trigger its transitions: it works on one frame, or
    on one change, at a time.

    Args:
        node_name: name of the node.
        kwargs: of ``rclpy.lifecycle.LifecycleNode``.

    Raises:
        rclpy.exceptions.ParameterException: a parameter has the wrong type or range.
    """

    def __init__(self, node_name: str = 'segmentation', **kwargs: Any) -> None:
        self._segmenter: Segmenter | None = None
        self._region: Region | None = None
        self._labels: Labels | None = None
        self._bond: Bond | None = None
        self._cameras: tuple[Camera, ...] = ()
        self._synchroniser: Synchroniser[Frame] = Synchroniser(0)
        self._enabled = True
        self._loading = False
        # Held for a frame, and while what works on frames changes.
        self._frames = threading.RLock()
        super().__init__(node_name, **kwargs)
        try:
            self._declare()
        except BaseException:  # nobody else has this node, and so could destroy it
            self.destroy_node()
            raise

    def _declare(self) -> None:
        """Declare parameters, and offer what the node has in every state."""
        declare_parameters(self)
        for sentence in unknown_parameters(self):
            self.get_logger().warning(sentence)
        self._settings: Parameters = read_parameters(self)
        if self._settings.tune_allocator and not keep_large_blocks():
            self.get_logger().info('tune_allocator has no effect: this is not glibc')
        self._set_cameras(self._settings)
        self._bond = Bond(self, wanted=not self._settings.autostart)
        self._latency_publisher = self.create_publisher(Float64, '~/latency', 10)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Simulated time may stand still; diagnostics must go on all the same.
        self._diagnostics_timer = self.create_timer(
            self._settings.diagnostics_period, self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_service(SetBool, '~/enable', self._on_enable)
        # Loading takes its time: other callbacks go on meanwhile.
        self.create_service(Trigger, '~/load_model', self._on_load_model,
                            callback_group=ReentrantCallbackGroup())
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def build_only(self) -> bool:
        """Whether parameter ``build_only`` asks for ``build`` instead of ``start``."""
        return self._settings.build_only

    def build(self) -> bool:
        """Open the network, which builds its engine; return whether that worked."""
        return self.trigger_configure() == TransitionCallbackReturn.SUCCESS

    def start(self) -> None:
        """Configure and activate, where parameter ``autostart`` wants it."""
        if self._settings.autostart and self.build():
            self.trigger_activate()

    # Lifecycle

    def configure(self) -> None:
        """Open the network and offer the topics."""
        settings = read_parameters(self)
        with self._frames:
            self._settings = settings
            self._set_cameras(settings)
        segmenter = _open_segmenter(settings)
        with self._frames:
            try:
                self._segmenter, self._region = segmenter, settings.region
                for camera in self._cameras:
                    camera.offer(segmenter, settings.confidence)
                self._labels = Labels(self, segmenter.spec)
                self._log_start(segmenter)
            except SegmentationError:
                self.release()
                raise

    def activate(self) -> None:
        """Listen to the cameras."""
        with self._frames:
            assert self._segmenter is not None and self._labels is not None  # configured
            for camera in self._cameras:
                camera.listen(self._settings, self._on_image, self._on_qos_event)
            self._labels.publish(self._segmenter.spec)
            if self._bond is not None:
                self._bond.start()

    def deactivate(self) -> None:
        """Stop listening; the network stays open."""
        with self._frames:
            if self._bond is not None:
                self._bond.stop()
            self._stop_listening()

    def release(self) -> None:
        """Free the network and everything that belongs to it; each part, whatever fails."""
        with self._frames, ExitStack() as parts:
            if self._segmenter is not None:
                parts.callback(self._segmenter.close)
            if self._labels is not None:
                parts.callback(self._labels.close)
            for camera in self._cameras:
                parts.callback(camera.close)
            if self._bond is not None:
                parts.callback(self._bond.stop)
            self._segmenter = self._labels = None
            self._stop_listening()

    def _log_start(self, segmenter: Segmenter) -> None:
        spec, info = segmenter.spec, segmenter.info
        size = '{1}x{0}'.format(*spec.size) if spec.size else "the camera's size"
        classes = ', '.join(f'{task.name}{": " if task.name else ""}{len(task.labels)} classes'
                            for task in spec.tasks)
        self.get_logger().info(f'{spec.network.source}: {classes} at {size}, {info}')
        if fault := precision_fault(self._running(segmenter)):
            self.get_logger().warning(fault)
        if spec.assumed:
            keys = ', '.join(fact.key for fact in spec.assumed)
            self.get_logger().warning(
                f'assumed, since neither model_config nor the network tells: {keys}; see '
                f'trt-segmentation inspect {spec.network.source}')

    def _set_cameras(self, settings: Parameters) -> None:
        names = settings.cameras or ('',)
        self._tolerance = _as_nanoseconds(settings.sync_tolerance)
        self._cameras = tuple(Camera(self, *each) for each in enumerate(names))
        self._synchroniser = Synchroniser(len(names))

    def _stop_listening(self) -> None:
        for camera in self._cameras:
            camera.stop_listening()
        self._drop_waiting(UNSYNCHRONISED)

    # Frames

    def _on_image(self, camera: Camera, msg: Any, info: dict) -> None:
        with self._frames, self.log_bridge.at_work():
            segmenter = self._segmenter
            if camera.input is not None and segmenter is not None:  # not deactivated meanwhile
                self._handle_image(camera, segmenter, msg, info)

    def _handle_image(self, camera: Camera, segmenter: Segmenter, msg: Any, info: dict) -> None:
        arrived = time.monotonic()
        camera.monitor.note_arrival(arrived, info.get('publication_sequence_number'),
                                    info.get('publisher_gid', b''))
        wanted = [each.outputs.wanted() for each in self._cameras]
        if not self._enabled or not any(wanted):
            reason = NO_SUBSCRIBER if self._enabled else DISABLED
            camera.drop(reason)
            self._drop_waiting(reason)
            return
        if self._synchroniser.overtake(camera.index):
            camera.drop(UNSYNCHRONISED)  # before its memory is read into
        gray_bits = segmenter.spec.gray_bits
        frame = self._attempt((camera,), lambda: camera.read(msg, gray_bits))
        if frame is None:
            return
        given_up, frames = self._synchroniser.add(camera.index, frame.stamp, frame,
                                                  self._tolerance)
        for index in given_up:
            self._cameras[index].drop(UNSYNCHRONISED)
        if not frames:
            return
        outputs = _all_of(wanted)
        if self._attempt(self._cameras, lambda: self._segment(segmenter, frames, outputs)):
            self._publish(frames, wanted, arrived)

    def _attempt(self, cameras: Sequence[Camera], work: Callable[[], T]) -> T | None:
        """Return what the work returns; None where it fails, which costs each camera a frame."""
        try:
            return work()
        except ImageError as error:
            said = _dropped(cameras, BAD_FRAME, str(error))
            self.get_logger().warning(said, throttle_duration_sec=WARNING_PERIOD)
        except SegmentationError as error:
            said = _dropped(cameras, BACKEND_FAILED, str(error))
            self.get_logger().error(said, throttle_duration_sec=WARNING_PERIOD)
        except Exception as error:  # a defect of ours must not stop the robot's other frames
            said = _dropped(cameras, DEFECT, repr(error), traceback.format_exc())
            self.get_logger().error(said, throttle_duration_sec=WARNING_PERIOD)
        return None

    def _segment(self, segmenter: Segmenter, frames: list[Frame], outputs: tuple[str, ...],
                 ) -> bool:
        images, color = [frame.image for frame in frames], frames[0].color
        if len({(image.shape, image.dtype, frame.color)
                for image, frame in zip(images, frames, strict=True)}) > 1:
            found = ', '.join(f'{camera.name} {frame}' for camera, frame
                              in zip(self._cameras, frames, strict=True))
            raise ImageError(f'cameras that are segmented together have one size and one channel '
                             f'order, but there are {found}')
        outs = [camera.outputs.arrays(images[0].shape[:2], outputs) for camera in self._cameras]
        if self._region is None:
            segmenter.infer_batch(images, color=color, outputs=outputs, outs=outs)
        else:
            self._region.infer_batch(segmenter, images, color=color, outputs=outputs, outs=outs)
        if color == 'rgb':
            for name in outputs:
                if kind_of(name) == 'overlay':
                    for out in outs:
                        swap_red_and_blue(out[name])
        return True

    def _publish(self, frames: list[Frame], wanted: list[tuple[str, ...]], arrived: float,
                 ) -> None:
        ages = []
        for camera, frame, names in zip(self._cameras, frames, wanted, strict=True):
            try:
                camera.outputs.publish(frame.header, names)
            except Exception as error:  # the middleware raises RuntimeError and its own types
                self._note_unpublished(camera, error)
                continue
            published = time.monotonic()
            ages.append(stamp_age(self.get_clock().now().nanoseconds, frame.header.stamp))
            camera.monitor.note_published(published, ages[-1], published - arrived)
        with self._surviving('~/latency'):
            if ages and self._latency_publisher.get_subscription_count() > 0:
                self._latency_publisher.publish(Float64(data=max(ages)))

    def _note_unpublished(self, camera: Camera, error: Exception) -> None:
        if not self.context.ok():  # a signal came meanwhile, after which nothing is published
            return
        self.get_logger().error(_dropped((camera,), NOT_PUBLISHED, repr(error)),
                                throttle_duration_sec=WARNING_PERIOD)

    def _drop_waiting(self, reason: str) -> None:
        for index in self._synchroniser.clear():
            self._cameras[index].drop(reason)

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
        """Open the network that the parameters say, and change over to it between two frames."""
        with self._frames:
            running, is_loading = self._segmenter, self._loading
            self._loading = is_loading or running is not None
        if running is None or is_loading:
            response.message = 'another network is being loaded' if is_loading else \
                'nothing is configured; use the lifecycle transition configure'
            return response
        settings = read_parameters(self)
        try:
            segmenter = await self._opened_meanwhile(settings)
            self._change_over(running, segmenter, settings)
            response.success, response.message = True, str(segmenter.info)
        except SegmentationError as error:
            response.message = self._stay(str(error))
        except Exception:  # a defect of ours must not stop the network that runs
            response.message = self._stay(traceback.format_exc())
        finally:
            self._loading = False
        return response

    async def _opened_meanwhile(self, settings: Parameters) -> Segmenter:
        """Open a segmenter in a thread of its own; a build can take minutes."""
        executor = self.executor
        future: Future = Future(executor=executor)
        future.add_done_callback(lambda done: executor.wake())  # else it sleeps until a frame

        def open_it() -> None:
            try:
                with self.log_bridge.at_work():
                    future.set_result(_open_segmenter(settings))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=open_it, daemon=True, name='load_model').start()
        return await future

    def _change_over(self, running: Segmenter, segmenter: Segmenter, settings: Parameters,
                     ) -> None:
        with self._frames:
            fault = 'the node was cleaned up meanwhile' if self._segmenter is not running else \
                self._cameras[0].outputs.fault(segmenter)
            if fault:
                segmenter.close()
                raise ConfigError(fault)
            segmenter.overlay_alpha = running.overlay_alpha  # may have changed meanwhile
            self._segmenter, self._settings = segmenter, settings
            for camera in self._cameras:
                camera.serve(segmenter)
            running.close()
            assert self._labels is not None  # configured, as long as there is a segmenter
            self._labels.publish(segmenter.spec)
            self._log_start(segmenter)

    def _stay(self, why: str) -> str:
        """Say why the network was not changed; let the parameters say again what runs."""
        self.get_logger().error(f'the network stays as it is: {why}')
        if self._segmenter is not None:
            self._take_back_parameters()
        return why

    def _take_back_parameters(self) -> None:
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
                    self._take_parameter(parameter)
                except BackendError as error:
                    return SetParametersResult(successful=False,
                                               reason=f'{parameter.name}: {error}')
        return SetParametersResult(successful=True)

    def _take_parameter(self, parameter: Parameter) -> None:
        """Let a change take effect, where that is not left to the next ``configure``."""
        if parameter.name == 'overlay_alpha' and self._segmenter is not None:
            self._segmenter.overlay_alpha = parameter.value
        if parameter.name == 'sync_tolerance':
            self._tolerance = _as_nanoseconds(parameter.value)

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        with self._surviving('/diagnostics'):
            thresholds = read_parameters(self).thresholds
            self._diagnostics_publisher.publish(status_array(
                self.get_clock().now().to_msg(), self.get_fully_qualified_name(),
                self._statuses(thresholds)))

    @contextmanager
    def _surviving(self, topic: str) -> Iterator[None]:
        """Log what fails in the body of a with statement: masks matter more than the topic."""
        try:
            yield
        except Exception:
            if self.context.ok():  # else a signal came meanwhile
                self.get_logger().error(f'{topic} is not published: {traceback.format_exc()}',
                                        throttle_duration_sec=WARNING_PERIOD)

    def _statuses(self, thresholds: Thresholds) -> dict[str, CameraStatus]:
        """Return how the node is; with several cameras, also how each of them is."""
        now, state, cameras = time.monotonic(), self._state(), self._cameras
        if len(cameras) == 1 and not cameras[0].name:
            (camera,) = cameras
            return {'': status_of(camera.monitor, now, self._listening(camera, state), thresholds)}
        # What they share is reported once.
        alone = replace(state, running=None, gpu_memory=None)
        each = {camera.name: status_of(camera.monitor, now, self._listening(camera, alone),
                                       thresholds, self._synchroniser.is_waiting(camera.index))
                for camera in cameras}
        return {'': status_of_all(state, each),
                **{f'/{name}': status for name, status in each.items()}}

    def _running(self, segmenter: Segmenter) -> Running:
        spec = segmenter.spec
        return Running(spec.network.source, segmenter.info, self._settings.wanted_precision,
                       {task.name: task.palette.hexadecimal for task in spec.tasks})

    def _state(self) -> NodeState:
        running = memory = None
        fault, segmenter = self.fault, self._segmenter
        if segmenter is not None:
            running = self._running(segmenter)
            try:
                memory = segmenter.gpu_memory()
            except BackendError as error:
                fault = fault or f'{error}; restart the node, whose CUDA context has failed'
        return NodeState(self._cameras[0].input is not None, fault, running=running,
                         gpu_memory=memory, enabled=self._enabled)

    def _listening(self, camera: Camera, state: NodeState) -> NodeState:
        """Return the state, with what can be known of who publishes the camera's images."""
        listening = camera.input
        if listening is None:
            return state
        sources = listening.sources()
        if sources.mismatch and sources.mismatch != camera.mismatch:
            self.get_logger().warning(f'{listening.topic}: {sources.mismatch}')
        camera.mismatch = sources.mismatch
        return replace(state, topic=listening.topic, publishers=sources.count,
                       mismatch=sources.mismatch)


def _as_nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _all_of(wanted: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the outputs that are wanted of any camera."""
    return tuple(dict.fromkeys(name for names in wanted for name in names))


def _dropped(cameras: Sequence[Camera], reason: str, why: str, trace: str = '') -> str:
    """Count a frame of each camera as dropped; return the sentence that says so."""
    for camera in cameras:
        camera.drop(reason, why)
    if len(cameras) > 1:
        return f'a frame of each camera dropped: {trace or why}'
    return cameras[0].said(f'frame dropped: {trace or why}')


def _open_segmenter(settings: Parameters) -> Segmenter:
    if fault := first_fault(settings):
        raise ConfigError(fault)
    settings = with_expanded_paths(settings)
    segmenter = Segmenter.open(settings.engine_path, config=settings.model_config or None,
                               options=settings.run_options)
    segmenter.overlay_alpha = settings.overlay_alpha
    return segmenter


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    # rclpy calls this handler after its own, which alone does not end a build.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rclpy.init(args=args)
    try:
        return _run()
    except ParameterException as error:
        rclpy.logging.get_logger('segmentation').fatal(str(error))
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except Exception:
        if rclpy.ok():
            raise
        return 0  # a signal came while something was published, which then fails
    finally:
        rclpy.try_shutdown()


def _build(node: SegmentationNode) -> int:
    try:
        return 0 if node.build() else 1
    except KeyboardInterrupt:  # who asked for an engine must not think that there is one
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
        # Ends rclpy's signal thread, which may still be at the executor's guard conditions:
        # destroyed under its hands, they end the process with SIGSEGV.
        uninstall_signal_handlers()
        executor.shutdown()
        node.destroy_node()


if __name__ == '__main__':
    raise SystemExit(main())
