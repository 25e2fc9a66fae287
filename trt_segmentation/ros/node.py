# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node: camera image in; class mask, confidence, overlay and label info out."""

import logging
import traceback

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from trt_segmentation.errors import ConfigError, ImageError, SegmentationError
from trt_segmentation.ros import label_info
from trt_segmentation.ros.allocator import keep_large_blocks
from trt_segmentation.ros.diagnostics import (
    BACKEND_FAILED,
    BAD_FRAME,
    DEFECT,
    NO_SUBSCRIBER,
    FrameCounts,
    diagnostic_array,
)
from trt_segmentation.ros.image_msgs import ImageReader, OutgoingImage, swap_red_and_blue
from trt_segmentation.ros.log_bridge import LogBridge
from trt_segmentation.ros.parameters import (
    Parameters,
    change_fault,
    declare_parameters,
    first_fault,
    read_parameters,
)
from trt_segmentation.segmenter import Segmenter

ENCODINGS = {'mask': 'mono8', 'confidence': 'mono8', 'overlay': 'bgr8'}
_PACKAGE_LOGGER = logging.getLogger('trt_segmentation')
_PACKAGE_LOGGER.setLevel(logging.INFO)

WARNING_PERIOD = 5.0
"""Seconds between two warnings of one kind."""

# Sensor data, but newest frame wins: a queue would only add latency.
IMAGE_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1,
                       reliability=ReliabilityPolicy.BEST_EFFORT)
# Reliable offers match reliable and best-effort requests; a few frames bridge retransmissions.
OUTPUT_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5,
                        reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1,
                         reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)


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
        self._publishers_by_output = {}
        self._outgoing: dict[str, OutgoingImage] = {}
        self._reader = ImageReader()
        self._counts = FrameCounts()
        self._fault = ''
        self._subscription = None
        self._label_publisher = None
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._diagnostics_timer = self.create_timer(self._settings.diagnostics_period,
                                                    self._publish_diagnostics)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def destroy_node(self) -> None:
        """Free everything, from any state."""
        _PACKAGE_LOGGER.removeHandler(self._log_bridge)
        self._close()
        super().destroy_node()

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

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the network and offer the topics."""
        self._settings = read_parameters(self)
        try:
            if fault := first_fault(self._settings):
                raise ConfigError(fault)
            self._open()
        except SegmentationError as error:
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
        self._counts = FrameCounts()
        if hasattr(Subscription, 'CallbackType'):
            callback = self._on_image
        else:  # Humble gives a callback no message info, so no sequence number either
            def callback(msg: Image) -> None:
                self._on_image(msg, {})
        self._subscription = self.create_subscription(Image, 'image', callback, IMAGE_QOS)
        result = super().on_activate(state)
        self._publish_label_info()
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

    def _open(self) -> None:
        wanted = self._settings
        segmenter = Segmenter.open(wanted.engine_path, config=wanted.model_config or None,
                                   options=wanted.run_options)
        segmenter.overlay_alpha = wanted.overlay_alpha
        self._segmenter = segmenter
        for output in segmenter.available_outputs:
            if output != 'confidence' or wanted.confidence:
                self._publishers_by_output[output] = self.create_lifecycle_publisher(
                    Image, f'~/{output}', OUTPUT_QOS)
        if label_info.LabelInfo is None:
            self.get_logger().warning(label_info.MISSING)
        else:
            self._label_publisher = self.create_lifecycle_publisher(
                label_info.LabelInfo, '~/label_info', LATCHED_QOS)
        self._log_start(segmenter)

    def _log_start(self, segmenter: Segmenter) -> None:
        spec, info = segmenter.spec, segmenter.info
        size = '{1}x{0}'.format(*spec.size) if spec.size else "the camera's size"
        self.get_logger().info(
            f'{spec.network.source}: {len(spec.labels)} classes at {size}, {info}')
        if self._settings.precision != info.precision:
            self.get_logger().warning(
                f'precision {self._settings.precision} was asked for; {info.backend} runs this '
                f'network in {info.layers or info.precision}')
        if spec.assumed:
            keys = ', '.join(fact.key for fact in spec.assumed)
            self.get_logger().warning(
                f'assumed, since neither model_config nor the network tells: {keys}; see '
                f'trt-segmentation inspect {spec.network.source}')

    def _stop_listening(self) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None

    def _close(self) -> None:
        self._stop_listening()
        publishers = list(self._publishers_by_output.values())
        if self._label_publisher is not None:
            publishers.append(self._label_publisher)
        # Humble has no destroy_lifecycle_publisher.
        destroy = getattr(self, 'destroy_lifecycle_publisher', self.destroy_publisher)
        for publisher in publishers:
            destroy(publisher)
        self._publishers_by_output.clear()
        self._label_publisher = None
        self._outgoing.clear()
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None

    # Frames

    def _on_image(self, msg: Image, info: dict) -> None:
        self._counts.note_arrival(info.get('publication_sequence_number'))
        outputs = tuple(name for name, publisher in self._publishers_by_output.items()
                        if publisher.get_subscription_count() > 0)
        if not outputs:
            self._counts.dropped[NO_SUBSCRIBER] += 1
            return
        try:
            self._segment(msg, outputs)
        except ImageError as error:
            self._counts.dropped[BAD_FRAME] += 1
            self.get_logger().warning(f'frame dropped: {error}',
                                      throttle_duration_sec=WARNING_PERIOD)
            return
        except SegmentationError as error:
            self._counts.dropped[BACKEND_FAILED] += 1
            self.get_logger().error(f'frame dropped: {error}',
                                    throttle_duration_sec=WARNING_PERIOD)
            return
        except Exception:  # a defect of ours must not stop the robot's other frames
            self._counts.dropped[DEFECT] += 1
            self.get_logger().error(f'frame dropped: {traceback.format_exc()}',
                                    throttle_duration_sec=WARNING_PERIOD)
            return
        for name in outputs:
            outgoing = self._outgoing[name].msg
            outgoing.header = msg.header
            self._publishers_by_output[name].publish(outgoing)
        self._counts.segmented += 1

    def _segment(self, msg: Image, outputs: tuple[str, ...]) -> None:
        image, color = self._reader.read(msg)
        size = image.shape[:2]
        for name in outputs:
            if name not in self._outgoing or self._outgoing[name].pixels.shape[:2] != size:
                self._outgoing[name] = OutgoingImage(ENCODINGS[name], *size)
        out = {name: self._outgoing[name].pixels for name in outputs}
        self._segmenter.infer(image, color=color, outputs=outputs, out=out)
        if color == 'rgb' and 'overlay' in outputs:
            swap_red_and_blue(out['overlay'])

    # Everything else

    def _publish_label_info(self) -> None:
        if self._label_publisher is not None:
            spec = self._segmenter.spec
            self._label_publisher.publish(label_info.label_info_message(
                self.get_clock().now().to_msg(), spec.labels, spec.threshold))

    def _publish_diagnostics(self) -> None:
        facts = {}
        if self._segmenter is not None:
            info = self._segmenter.info
            facts = {'model': self._segmenter.spec.network.source, 'backend': info.backend,
                     'backend version': info.version, 'device': info.device,
                     'precision': info.precision}
        state = 'segmenting' if self._subscription is not None else 'not active'
        self._diagnostics_publisher.publish(diagnostic_array(
            self.get_clock().now().to_msg(), self.get_fully_qualified_name(), state, self._fault,
            facts, self._counts))

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            fault = change_fault(parameter.name, parameter.value, self._segmenter is not None)
            if fault:
                return SetParametersResult(successful=False, reason=fault)
        for parameter in parameters:
            if parameter.name == 'overlay_alpha' and self._segmenter is not None:
                self._segmenter.overlay_alpha = parameter.value
        return SetParametersResult(successful=True)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM."""
    rclpy.init(args=args)
    try:
        node = SegmentationNode()
    except ParameterException as error:
        rclpy.logging.get_logger('segmentation').fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.build_only:
            return 0 if node.build() else 1
        node.start()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
