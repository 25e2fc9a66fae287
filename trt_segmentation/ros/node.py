# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node: camera image in; class mask, confidence, overlay and label info out."""

import logging
import signal
import threading
import time
import traceback
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import uninstall_signal_handlers
from rclpy.task import Future
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from trt_segmentation.errors import ConfigError, ImageError, SegmentationError
from trt_segmentation.image_decoding import swap_red_and_blue
from trt_segmentation.region import Region
from trt_segmentation.ros.allocator import keep_large_blocks
from trt_segmentation.ros.diagnostics import status_array, status_of
from trt_segmentation.ros.health import NodeState, Running, precision_fault
from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.inputs import ImageInput
from trt_segmentation.ros.log_bridge import LogBridge
from trt_segmentation.ros.meters import (
    BACKEND_FAILED,
    BAD_FRAME,
    DEFECT,
    DISABLED,
    NO_SUBSCRIBER,
    Monitor,
    stamp_age,
)
from trt_segmentation.ros.outputs import Outputs
from trt_segmentation.ros.parameters import (
    RELOAD,
    Parameters,
    change_fault,
    declare_parameters,
    first_fault,
    read_parameters,
    rules,
)
from trt_segmentation.segmenter import Segmenter

_PACKAGE_LOGGER = logging.getLogger('trt_segmentation')

WARNING_PERIOD = 5.0
"""Seconds between two warnings of one kind."""


class SegmentationNode(LifecycleNode):
    """Segments the topic ``image``.

    Configured, it has its network open; active, it also subscribes. Only what somebody
    subscribes to is computed. A frame that cannot be segmented is dropped, counted and said.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__('segmentation', **kwargs)
        self._log_bridge = LogBridge(self.get_logger())
        _PACKAGE_LOGGER.addHandler(self._log_bridge)
        declare_parameters(self)
        self._settings: Parameters = read_parameters(self)
        if self._settings.tune_allocator and not keep_large_blocks():
            self.get_logger().info('tune_allocator has no effect: this is not glibc')
        self._segmenter: Segmenter | None = None
        self._region: Region | None = None
        self._outputs: Outputs | None = None
        self._input: ImageInput | None = None
        self._reader = ImageReader()
        self._monitor = Monitor(time.monotonic())
        self._enabled = True
        self._loading = False
        self._fault = ''
        self._latency_publisher = self.create_publisher(Float64, '~/latency', 10)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Simulated time may stand still; how the node is must be told all the same.
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

    def destroy_node(self) -> None:
        """Free everything, from any state."""
        _PACKAGE_LOGGER.removeHandler(self._log_bridge)
        self._close()
        super().destroy_node()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the network and offer the topics."""
        self._settings = read_parameters(self)
        try:
            self._segmenter = _open_segmenter(self._settings)
            self._region = self._settings.region
            self._outputs = Outputs(self, self._segmenter, self._settings.confidence)
            self._log_start()
        except SegmentationError as error:
            self._close()
            self._fault = str(error)
            self.get_logger().error(f'cannot be configured: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception:  # a defect of ours; rclpy would swallow it without a word
            self._fault = traceback.format_exc()
            self.get_logger().fatal(self._fault)
            return TransitionCallbackReturn.ERROR
        self._fault = ''
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the camera."""
        self._monitor = Monitor(time.monotonic())
        wanted = self._settings
        self._input = ImageInput(
            self, self._on_image, transport=wanted.input_transport,
            reliability=wanted.qos_reliability, durability=wanted.qos_durability,
            depth=wanted.qos_depth, on_event=self._on_qos_event)
        result = super().on_activate(state)
        self._outputs.publish_labels()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the network stays open."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network and everything that belongs to it."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything; the node can be configured again."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def _log_start(self) -> None:
        spec, info = self._segmenter.spec, self._segmenter.info
        size = '{1}x{0}'.format(*spec.size) if spec.size else "the camera's size"
        self.get_logger().info(
            f'{spec.network.source}: {len(spec.labels)} classes at {size}, {info}')
        if fault := precision_fault(self._running()):
            self.get_logger().warning(fault)
        if spec.assumed:
            keys = ', '.join(fact.key for fact in spec.assumed)
            self.get_logger().warning(
                f'assumed, since neither model_config nor the network tells: {keys}; see '
                f'trt-segmentation inspect {spec.network.source}')

    def _stop_listening(self) -> None:
        if self._input is not None:
            self._input.destroy()
            self._input = None

    def _close(self) -> None:
        self._stop_listening()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None

    # Frames

    def _on_image(self, msg: Any, info: dict) -> None:
        arrived = time.monotonic()
        self._monitor.note_arrival(arrived, info.get('publication_sequence_number'))
        outputs = self._outputs.wanted()
        if not self._enabled or not outputs:
            self._monitor.note_dropped(arrived, NO_SUBSCRIBER if self._enabled else DISABLED)
            return
        try:
            self._segment(msg, outputs)
        except ImageError as error:
            self._drop(BAD_FRAME, str(error))
            self.get_logger().warning(f'frame dropped: {error}',
                                      throttle_duration_sec=WARNING_PERIOD)
            return
        except SegmentationError as error:
            self._drop(BACKEND_FAILED, str(error))
            self.get_logger().error(f'frame dropped: {error}',
                                    throttle_duration_sec=WARNING_PERIOD)
            return
        except Exception as error:  # a defect of ours must not stop the robot's other frames
            self._drop(DEFECT, repr(error))
            self.get_logger().error(f'frame dropped: {traceback.format_exc()}',
                                    throttle_duration_sec=WARNING_PERIOD)
            return
        self._outputs.publish(msg.header, outputs)
        published = time.monotonic()
        age = stamp_age(self.get_clock().now().nanoseconds, msg.header.stamp)
        self._monitor.note_published(published, age, published - arrived)
        if self._latency_publisher.get_subscription_count() > 0:
            self._latency_publisher.publish(Float64(data=age))

    def _segment(self, msg: Any, outputs: tuple[str, ...]) -> None:
        image, color = self._reader.read(msg)
        out = self._outputs.arrays(image.shape[:2], outputs)
        if self._region is None:
            self._segmenter.infer(image, color=color, outputs=outputs, out=out)
        else:
            self._region.infer(self._segmenter, image, color=color, outputs=outputs, out=out)
        if color == 'rgb' and 'overlay' in outputs:
            swap_red_and_blue(out['overlay'])

    def _drop(self, reason: str, why: str) -> None:
        self._monitor.note_dropped(time.monotonic(), reason, why)

    def _on_qos_event(self, sentence: str) -> None:
        self._monitor.note_qos_event(sentence)
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
        if self._segmenter is None or self._loading:
            response.message = 'another network is being loaded' if self._loading else \
                'nothing is configured; use the lifecycle transition configure'
            return response
        self._loading = True
        running, settings = self._segmenter, read_parameters(self)
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
                future.set_result(_open_segmenter(settings))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=open_it, daemon=True, name='load_model').start()
        return await future

    def _change_over(self, running: Segmenter, segmenter: Segmenter, settings: Parameters,
                     ) -> None:
        fault = 'the node was cleaned up meanwhile' if self._segmenter is not running else \
            self._outputs.fault(segmenter)
        if fault:
            segmenter.close()
            raise ConfigError(fault)
        segmenter.overlay_alpha = running.overlay_alpha  # may have changed meanwhile
        self._segmenter, self._settings = segmenter, settings
        running.close()
        self._outputs.serve(segmenter)
        self._log_start()

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
        for parameter in parameters:
            if parameter.name == 'overlay_alpha' and self._segmenter is not None:
                self._segmenter.overlay_alpha = parameter.value
        return SetParametersResult(successful=True)

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        status = status_of(self._monitor, time.monotonic(), self._state(),
                           read_parameters(self).thresholds)
        self._diagnostics_publisher.publish(status_array(
            self.get_clock().now().to_msg(), self.get_fully_qualified_name(), status))

    def _running(self) -> Running:
        spec = self._segmenter.spec
        return Running(spec.network.source, self._segmenter.info,
                       self._settings.wanted_precision, spec.palette.hexadecimal)

    def _state(self) -> NodeState:
        running = memory = None
        if self._segmenter is not None:
            running, memory = self._running(), self._segmenter.gpu_memory()
        if self._input is None:
            return NodeState(False, self._fault, running=running, gpu_memory=memory)
        return NodeState(True, self._fault, self._input.topic, self._input.publisher_count(),
                         running, memory, self._enabled)


def _open_segmenter(settings: Parameters) -> Segmenter:
    if fault := first_fault(settings):
        raise ConfigError(fault)
    segmenter = Segmenter.open(settings.engine_path, config=settings.model_config or None,
                               options=settings.run_options)
    segmenter.overlay_alpha = settings.overlay_alpha
    return segmenter


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    # rclpy calls this handler after its own, which alone does not end a build.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rclpy.init(args=args)
    _PACKAGE_LOGGER.setLevel(logging.INFO)
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
