# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table declares, describes and validates them all."""

import difflib
import re
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.prepare import MASK_INTERPOLATIONS
from trt_segmentation.options import (
    BACKENDS,
    CALIBRATION_METHODS,
    ENGINE_SUFFIXES,
    MASK_ENCODINGS,
    PRECISIONS,
    BuildOptions,
    CalibrationOptions,
    RunOptions,
    tactic_names,
)
from trt_segmentation.ros.health import Thresholds
from trt_segmentation.ros.inputs import DURABILITIES, RELIABILITIES, TRANSPORTS
from trt_segmentation.ros.region import Region

LIVE = 'live'
"""Takes effect on the next frame."""

RELOAD = 'reload'
"""Read when a network is opened: when the node is configured, and by ``~/load_model``."""

CONFIGURE = 'configure'
"""Read when the node is configured; can be set while it is unconfigured."""

STARTUP = 'startup'
"""Read once when the process starts."""

MAX_EXTENT = 16384
"""Pixels; TensorRT's tensors end at 2^31 elements."""


@dataclass(frozen=True)
class ParameterRule:
    """What a parameter is for, and which values it takes.

    Attributes:
        description: one sentence for ``ros2 param describe`` and the launch file's --show-args.
        changes: ``LIVE``, ``RELOAD``, ``CONFIGURE`` or ``STARTUP``.
        choices: the values of a string parameter; empty allows all.
        minimum, maximum: bounds of a number, or of each in an array, inclusive.
        length: of an array; 0 for single values and for arrays of any length.
        pattern: regular expression of the names in an array, each of which occurs once.
    """

    description: str
    changes: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    length: int = 0
    pattern: str = ''

    def fault(self, name: str, value: Any) -> str:
        """Return '' for a good value, else a sentence with name, value and bound."""
        if isinstance(value, str) and '\0' in value:
            return f'{name} is {value!r}; text ends before a null character'
        if self.length and len(value) != self.length:
            return f'{name} is {list(value)}; it has {self.length} values'
        if self.pattern and (len(set(value)) < len(value)
                             or not all(re.fullmatch(self.pattern, each) for each in value)):
            return (f'{name} is {list(value)}; it has names of letters, digits and single '
                    'underscores, each once')
        if self.choices and value not in self.choices:
            return f"{name} is '{value}'; it is one of {', '.join(self.choices)}"
        values = value if self.length else (value,)
        if self.minimum is not None and self.maximum is not None \
                and not all(self.minimum <= each <= self.maximum for each in values):
            shown = list(value) if self.length else value
            return f'{name} is {shown}; it is {self.minimum:g} to {self.maximum:g}'
        return ''


def _parameter(default: Any, description: str, changes: str = RELOAD, **rule: Any) -> Any:
    return field(default=default, metadata={'rule': ParameterRule(description, changes, **rule)})


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters at one moment; defaults as the node declares them."""

    engine_path: str = _parameter(
        '', 'Network to run: path of an .onnx file, or of a TensorRT .engine or .plan; empty runs '
            'the embedded demo network')
    model_config: str = _parameter(
        '', 'YAML file that says how the network is fed and what its classes are; empty takes '
            'what the network file itself tells')
    measure: bool = _parameter(
        True, 'Run a network once where its graph does not say what its output means, and look at '
              'the values; false assumes it')
    precision: str = _parameter(
        'fp32', 'Precision the network shall compute in; the log and /diagnostics say what '
                'really runs', choices=PRECISIONS)
    backend: str = _parameter(
        'auto', 'Runtime of the network; auto takes tensorrt where it and a GPU are there, else '
                'onnxruntime',
        choices=BACKENDS)
    device: int = _parameter(
        0, 'Index of the GPU; ONNX Runtime runs on the CPU and ignores it',
        minimum=0, maximum=63)
    engine_cache: str = _parameter(
        '', 'Folder in which built engines are kept; empty takes the cache folder of the user')
    min_size: tuple[int, ...] = _parameter(
        (64, 64), 'Height and width of the smallest image that an engine is built for',
        length=2, minimum=1, maximum=MAX_EXTENT)
    opt_size: tuple[int, ...] = _parameter(
        (1080, 1920), 'Height and width of the image that an engine is tuned for',
        length=2, minimum=1, maximum=MAX_EXTENT)
    max_size: tuple[int, ...] = _parameter(
        (2160, 3840), 'Height and width of the largest image that an engine is built for',
        length=2, minimum=1, maximum=MAX_EXTENT)
    tf32: bool = _parameter(
        False, 'Let fp32 engines round the factors of products to 10 bits: faster on Ampere and '
               'later')
    workspace: int = _parameter(
        0, 'MiB of GPU memory that TensorRT may take for scratch space; 0 sets no limit',
        minimum=0, maximum=1048576)
    optimization_level: int = _parameter(
        -1, "0 builds fastest, 5 makes the fastest engine; -1 is TensorRT's default",
        minimum=-1, maximum=5)
    tactic_sources: str = _parameter(
        '', 'Libraries whose kernels TensorRT may choose, by their names in trt.TacticSource and '
            "with commas; empty is TensorRT's default")
    version_compatible: bool = _parameter(
        False, 'Build engines that newer TensorRT versions run, too')
    hardware_compatible: bool = _parameter(
        False, 'Build engines that other GPUs (Ampere and later) run, too')
    dla_core: int = _parameter(
        -1, 'DLA core to run on, with the GPU for what it cannot; -1 uses none',
        minimum=-1, maximum=15)
    fp16_fallback: bool = _parameter(
        True, 'Where precision is int8: build fp16, too, and take that where int8 is slower on '
              'this GPU, cannot be built, or gives too few pixels the class of fp32')
    calibration_images: str = _parameter(
        '', 'What int8 ranges are measured on: image, folder, video or rosbag2 of typical scenes')
    calibration_topic: str = _parameter(
        '', 'Image topic in a rosbag2 of calibration images; empty takes the only one')
    calibration_method: str = _parameter(
        'percentile', 'How int8 ranges are chosen from what was measured',
        choices=CALIBRATION_METHODS)
    calibration_count: int = _parameter(
        200, 'Number of calibration images used at most, spread evenly over all there are',
        minimum=1, maximum=100000)
    calibration_table: str = _parameter(
        '', 'File of saved int8 ranges: read where it exists, else written after calibration')
    num_threads: int = _parameter(
        0, 'CPU threads that share one operation of the network; 0 takes one for each core',
        minimum=0, maximum=1024)
    mask_interpolation: str = _parameter(
        'nearest', 'How the mask gets the size of the image: nearest decides classes at the '
                   "network's size, bilinear at the image's: smoother edges, slower",
        choices=MASK_INTERPOLATIONS)
    mask_height: int = _parameter(
        0, 'Height of mask and confidence, for consumers with smaller point clouds; 0 takes that '
           'of the image', minimum=0, maximum=MAX_EXTENT)
    mask_width: int = _parameter(
        0, 'Width of mask and confidence; 0 takes that of the image',
        minimum=0, maximum=MAX_EXTENT)
    mask_encoding: str = _parameter(
        'mono8', 'Type of ~/mask: mono8 holds 255 classes (255 is none), mono16 65535 (65535 is '
                 'none)', choices=MASK_ENCODINGS)
    roi: tuple[int, ...] = _parameter(
        (0, 0, 0, 0), 'Region of interest: x, y, width and height of the part of the image that '
                      'is segmented; the rest has no class. All 0 takes the whole image',
        CONFIGURE, length=4, minimum=0, maximum=MAX_EXTENT)
    confidence: bool = _parameter(
        True, 'Offer ~/confidence, where the network tells it; costs nothing unless subscribed',
        CONFIGURE)
    cameras: tuple[str, ...] = _parameter(
        (), 'Names of cameras that are segmented together, such as [front, left]: before image, '
            'camera_info and the names of what is published; empty for one camera without a name',
        CONFIGURE, pattern=r'[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*')
    sync_tolerance: float = _parameter(
        0.02, 'Seconds that lie at most between the stamps of images that are segmented together; '
              'only with cameras', LIVE, minimum=0.0, maximum=60.0)
    input_transport: str = _parameter(
        'raw', 'raw listens to image (sensor_msgs/Image), compressed to image/compressed '
               '(sensor_msgs/CompressedImage)', CONFIGURE, choices=tuple(TRANSPORTS))
    qos_reliability: str = _parameter(
        'best_effort', 'What the image subscription asks of its publisher; reliable matches only '
                       'reliable publishers', CONFIGURE, choices=tuple(RELIABILITIES))
    qos_durability: str = _parameter(
        'volatile', 'transient_local also asks for the frame before the subscription; matches '
                    'only publishers that offer it', CONFIGURE, choices=tuple(DURABILITIES))
    qos_depth: int = _parameter(
        1, 'Frames that wait for their turn; with 1, the newest always wins', CONFIGURE,
        minimum=1, maximum=100)
    overlay_alpha: float = _parameter(
        0.5, 'Opacity of the colours in ~/overlay: 0 shows only the image, 1 only the classes',
        LIVE, minimum=0.0, maximum=1.0)
    input_timeout: float = _parameter(
        5.0, 'Seconds without an image after which /diagnostics warns; 0 never warns', LIVE,
        minimum=0.0, maximum=3600.0)
    min_rate: float = _parameter(
        0.0, 'Hz that images must come at, or /diagnostics warns', LIVE,
        minimum=0.0, maximum=1000.0)
    max_drop_share: float = _parameter(
        0.1, 'Fraction of the frames that may be dropped before /diagnostics warns; 1 never warns',
        LIVE, minimum=0.0, maximum=1.0)
    max_latency: float = _parameter(
        0.0, 'Seconds from stamp to publish that 95 of 100 frames must keep, or /diagnostics '
             'warns; 0 sets no limit', LIVE, minimum=0.0, maximum=60.0)
    max_failures: int = _parameter(
        5, 'Frames that fail in a row when /diagnostics says that the backend is broken', LIVE,
        minimum=1, maximum=10000)
    diagnostics_period: float = _parameter(
        1.0, 'Seconds between two messages on /diagnostics', STARTUP,
        minimum=0.1, maximum=60.0)
    autostart: bool = _parameter(
        True, 'Configure and activate at start; false waits for a lifecycle manager', STARTUP)
    build_only: bool = _parameter(
        False, 'Build the engine into engine_cache and exit, for example while an image of the '
               'robot is made', STARTUP)
    tune_allocator: bool = _parameter(
        True, 'Let the process keep the memory of large messages instead of mapping it anew for '
              'each; receives images about three times as fast', STARTUP)

    @property
    def run_options(self) -> RunOptions:
        """How the network is opened."""
        calibration = CalibrationOptions(
            self.calibration_images, self.calibration_topic, self.calibration_method,
            self.calibration_count, self.calibration_table)
        build = BuildOptions(
            self.precision, self.tf32, _size(self.min_size), _size(self.opt_size),
            _size(self.max_size), self.workspace, self.optimization_level,
            tactic_names(self.tactic_sources), self.version_compatible, self.hardware_compatible,
            self.dla_core, self.fp16_fallback, calibration)
        mask_size = (self.mask_height, self.mask_width) if self.mask_height else None
        return RunOptions(self.backend, self.device, self.num_threads, self.mask_interpolation,
                          mask_size, self.mask_encoding, len(self.cameras) or 1,
                          self.engine_cache, build, self.measure)

    @property
    def wanted_precision(self) -> str:
        """The precision asked for; '' where a prebuilt engine has decided it."""
        return '' if self.engine_path.endswith(ENGINE_SUFFIXES) else self.precision

    @property
    def thresholds(self) -> Thresholds:
        """From where on something is wrong."""
        return Thresholds(self.input_timeout, self.min_rate, self.max_drop_share,
                          self.max_latency, self.max_failures)

    @property
    def region(self) -> Region | None:
        """The region of interest; None for the whole image."""
        return Region(*self.roi) if any(self.roi) else None


def _size(values: tuple[int, ...]) -> tuple[int, int]:
    height, width = values
    return height, width


def rules() -> dict[str, ParameterRule]:
    """Return the rule of every parameter, by name, in the table's order."""
    return {entry.name: entry.metadata['rule'] for entry in fields(Parameters)}


def value_from_text(name: str, text: str) -> Any:
    """Return a launch argument as the type that its parameter has.

    Raises:
        ConfigError: the text is no such value.
    """
    kind = type(getattr(Parameters, name))
    if kind is str:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if kind is tuple and isinstance(value, list):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        needed = {tuple: 'a list such as [480, 640]', int: 'an int', float: 'a float',
                  bool: 'a bool'}[kind]
        raise ConfigError(f"{name} is '{text}'; {needed} is needed")
    return value


def declare_parameters(node: Any) -> None:
    """Declare every parameter on a node, with description, range and read-only flag.

    Raises:
        rclpy.exceptions.ParameterException: an override has the wrong type or range.
    """
    from rclpy.parameter import Parameter
    empty = []
    for entry in fields(Parameters):
        default = list(entry.default) if isinstance(entry.default, tuple) else entry.default
        if default == []:  # of which rclpy cannot tell the type
            default = Parameter.Type.STRING_ARRAY
        declared = node.declare_parameter(
            entry.name, default, _descriptor(entry.metadata['rule'], type(entry.default)))
        if declared.value is None:
            empty.append(Parameter(entry.name, Parameter.Type.STRING_ARRAY, []))
    # One parameter without a value takes them from all that are asked for in one request.
    node.set_parameters(empty)


def unknown_parameters(node: Any) -> list[str]:
    """Return a sentence about each parameter that was given to a node and that it does not have.

    ROS 2 ignores them silently, and a misspelt name would leave the default in place.
    """
    given = getattr(node, '_parameter_overrides', {})  # rclpy has no public name for it
    unknown = [name for name in given
               if not node.has_parameter(name) and not name.startswith('qos_overrides.')]
    near = {name: difflib.get_close_matches(name, rules(), 1) for name in unknown}
    return [f"parameter '{name}' is ignored: the node has none of that name"
            + (f'; {near[name][0]} is near' if near[name] else '') for name in unknown]


def read_parameters(node: Any) -> Parameters:
    """Return a node's parameters as they are now."""
    def value(entry: Any) -> Any:
        told = node.get_parameter(entry.name).value
        return tuple(told) if isinstance(entry.default, tuple) else told

    return Parameters(**{entry.name: value(entry) for entry in fields(Parameters)})


def first_fault(parameters: Parameters) -> str:
    """Return '' if all values are good, else what is wrong with the first that is not."""
    for name, rule in rules().items():
        if fault := rule.fault(name, getattr(parameters, name)):
            return fault
    return _combined_fault(parameters)


def _combined_fault(parameters: Parameters) -> str:
    height, width, roi = parameters.mask_height, parameters.mask_width, parameters.roi
    if bool(height) != bool(width):
        return (f'mask_height is {height} and mask_width {width}; give both, or 0 for both to '
                "take the image's size")
    if any(roi) and 0 in roi[2:]:
        return f'roi is {list(roi)}; its width and height (the last two) are at least 1'
    if any(roi) and height:
        return (f'roi is {list(roi)} and mask_height {height}; a mask of its own size always '
                'shows the whole image, so only one of the two can be set')
    return ''


def change_fault(name: str, value: Any, configured: bool) -> str:
    """Return '' if a parameter may be set now, else the reason why not.

    Args:
        name: of any parameter, others of rclpy's own included.
        value: the value wanted.
        configured: whether the node has a network open.
    """
    rule = rules().get(name)
    if rule is None:
        return ''
    if rule.changes == STARTUP:
        return f'{name} is read once at start; restart the node with -p {name}:={value}'
    if rule.changes == CONFIGURE and configured:
        return (f'{name} is read when the node is configured; deactivate and clean it up, set '
                f'{name}, then configure and activate')
    return rule.fault(name, value)


def _descriptor(rule: ParameterRule, kind: type) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    descriptor = ParameterDescriptor(description=rule.description,
                                     read_only=rule.changes == STARTUP)
    if rule.choices:
        descriptor.additional_constraints = f'one of {", ".join(rule.choices)}'
    if kind is int:
        descriptor.integer_range = [IntegerRange(from_value=rule.minimum, to_value=rule.maximum)]
    if kind is float:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=rule.minimum, to_value=rule.maximum)]
    return descriptor
