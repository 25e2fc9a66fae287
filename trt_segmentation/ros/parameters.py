# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The table of the node's parameters: defaults, descriptions and valid values."""

import re
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from trt_segmentation.errors import ConfigError, did_you_mean
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_ENCODINGS
from trt_segmentation.graph.pipeline.prepare import MASK_INTERPOLATIONS
from trt_segmentation.graph.pipeline.smoothing import MAX_WEIGHT
from trt_segmentation.images.gaps import MAX_GAP
from trt_segmentation.options import (
    BACKENDS,
    CALIBRATION_METHODS,
    ENGINE_SUFFIXES,
    MASK_ENCODINGS,
    MAX_THREADS,
    PRECISIONS,
    BuildOptions,
    CalibrationOptions,
    RunOptions,
    tactic_names,
)
from trt_segmentation.ros.class_shares import region_fault
from trt_segmentation.ros.health import Thresholds
from trt_segmentation.ros.inputs import DURABILITIES, RELIABILITIES, TRANSPORTS
from trt_segmentation.ros.point_sources import POINT_SOURCES
from trt_segmentation.ros.points import PointSettings
from trt_segmentation.ros.region import Region
from trt_segmentation.ros.stamps import to_nanoseconds

LIVE = 'live'
"""Takes effect with the next frame."""

RELOAD = 'reload'
"""Read when a network is opened: when the node is configured, and by ``~/load_model``."""

CONFIGURE = 'configure'
"""Read when the node is configured; can be set while it is unconfigured."""

STARTUP = 'startup'
"""Read once when the process starts."""

MAX_EXTENT = 16384
"""Pixels; TensorRT's tensors end at 2^31 elements."""


BY_BACKEND = 0
"""The pipeline_depth that ``frame_worker.frames_in_flight`` chooses."""


@dataclass(frozen=True)
class ParameterRule:
    """The description of a parameter and the values that it accepts.

    Attributes:
        description: for ``ros2 param describe`` and --show-args of the launch file.
        changes: ``LIVE``, ``RELOAD``, ``CONFIGURE`` or ``STARTUP``.
        choices: the values of a string parameter; empty allows all.
        minimum, maximum: bounds of a number, or of each in an array, inclusive.
        length: of an array; 0 for single values and for arrays of any length.
        step: between the values of a number, from ``minimum`` on; 0 allows all.
        pattern: regular expression of the names in an array, each of which occurs once.
        members: the values of a string array; empty allows all.
    """

    description: str
    changes: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    length: int = 0
    step: float = 0
    pattern: str = ''
    members: tuple[str, ...] = ()

    @property
    def listed_choices(self) -> str:
        """The choices for a message."""
        return ', '.join(choice or "'' (empty)" for choice in self.choices)

    def fault(self, name: str, value: Any) -> str:
        """Return '' for a valid value, else an error with name, value and bounds."""
        if isinstance(value, str) and '\0' in value:
            return f'{name} is {value!r}; it must not contain a null character'
        if self.length and len(value) != self.length:
            return f'{name} is {list(value)}; it must have {self.length} values'
        if self.pattern and (len(set(value)) < len(value)
                             or not all(re.fullmatch(self.pattern, each) for each in value)):
            return (f'{name} is {list(value)}; names must be unique and consist of letters, '
                    'digits and single underscores')
        if self.members and (unknown := [each for each in value if each not in self.members]):
            return (f'{name} has {", ".join(unknown)}; it may have '
                    f'{", ".join(self.members)}')
        if self.choices and value not in self.choices:
            return f"{name} is '{value}'; it must be one of {self.listed_choices}"
        values = value if self.length else (value,)
        if self.minimum is not None and self.maximum is not None \
                and not all(self.minimum <= each <= self.maximum for each in values):
            shown = list(value) if self.length else value
            return f'{name} is {shown}; it must be {self.minimum:g} to {self.maximum:g}'
        if self.step and self.minimum is not None and (value - self.minimum) % self.step:
            return (f'{name} is {value:g}; it must be {self.minimum:g} to {self.maximum:g} in '
                    f'steps of {self.step:g}')
        return ''


def _parameter(default: Any, description: str, changes: str = RELOAD, **rule: Any) -> Any:
    return field(default=default, metadata={'rule': ParameterRule(description, changes, **rule)})


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters at one time; the defaults are those of the node."""

    engine_path: str = _parameter(
        '', 'Path of the network: an .onnx file, or a TensorRT .engine or .plan file. Empty runs '
            'the embedded demo network')
    model_config: str = _parameter(
        '', 'YAML file with the input preprocessing, outputs and classes of the network. Empty '
            'derives them from the network file')
    measure: bool = _parameter(
        True, 'Run the network once to find the format of its output from the values, if the '
              'graph does not define it. false assumes a format and logs a '
              'warning')
    precision: str = _parameter(
        'fp32', 'Precision of the engine. The log and /diagnostics report the precision that '
                'runs', choices=PRECISIONS)
    backend: str = _parameter(
        'auto', 'Inference runtime. auto uses tensorrt if TensorRT and a GPU are available, '
                'otherwise onnxruntime', choices=BACKENDS)
    device: int = _parameter(
        0, 'Index of the GPU. ONNX Runtime runs on the CPU and ignores it',
        minimum=0, maximum=63)
    engine_cache: str = _parameter(
        '', 'Folder for built engines. Empty uses the cache folder of the user')
    min_size: tuple[int, ...] = _parameter(
        (64, 64), 'Height and width in pixels of the smallest image that the engine accepts',
        length=2, minimum=1, maximum=MAX_EXTENT)
    opt_size: tuple[int, ...] = _parameter(
        (1080, 1920), 'Height and width in pixels of the image that the engine is optimized for',
        length=2, minimum=1, maximum=MAX_EXTENT)
    max_size: tuple[int, ...] = _parameter(
        (2160, 3840), 'Height and width in pixels of the largest image that the engine accepts',
        length=2, minimum=1, maximum=MAX_EXTENT)
    tf32: bool = _parameter(
        False, 'Allow TF32 in fp32 engines: faster on Ampere and newer GPUs, but inputs of '
               'products are rounded to a 10-bit mantissa')
    workspace: int = _parameter(
        0, 'Limit of the TensorRT workspace in MiB of GPU memory; 0 sets no limit',
        minimum=0, maximum=1048576)
    optimization_level: int = _parameter(
        -1, 'TensorRT builder optimization level: 0 builds fastest, 5 gives the fastest engine, '
            '-1 is the default of TensorRT',
        minimum=-1, maximum=5)
    tactic_sources: str = _parameter(
        '', 'Tactic sources that TensorRT may use, as comma-separated names of '
            'trt.TacticSource. Empty uses the default of TensorRT')
    version_compatible: bool = _parameter(
        False, 'Build engines that newer versions of TensorRT can also load')
    hardware_compatible: bool = _parameter(
        False, 'Build engines that other GPUs (Ampere and newer) can also run')
    dla_core: int = _parameter(
        -1, 'DLA core to run on. Layers that the DLA does not support run on the GPU; -1 uses no '
            'DLA',
        minimum=-1, maximum=15)
    fp16_fallback: bool = _parameter(
        True, 'With precision int8, also build an fp16 engine. It is used if int8 is slower, '
              'fails to build, or differs from fp32 in too many pixels')
    calibration_images: str = _parameter(
        '', 'Images of typical scenes for int8 calibration: an image, a folder, a video or a '
            'rosbag2')
    calibration_topic: str = _parameter(
        '', 'Image topic of the calibration rosbag2. Empty uses the only image topic in it')
    calibration_method: str = _parameter(
        'percentile', 'Method that selects the int8 ranges during calibration',
        choices=CALIBRATION_METHODS)
    calibration_count: int = _parameter(
        200, 'Maximum number of calibration images, spread evenly over all available images',
        minimum=1, maximum=100000)
    calibration_table: str = _parameter(
        '', 'File for the int8 ranges. It is read if it exists, otherwise written after '
            'calibration')
    num_threads: int = _parameter(
        0, 'CPU threads that one operation of the network uses; 0 uses one for each core',
        minimum=0, maximum=MAX_THREADS)
    mask_interpolation: str = _parameter(
        'nearest', 'How the mask is resized to the image: nearest resizes the class ids, bilinear '
                   'resizes the scores, which gives smoother edges and is slower',
        choices=MASK_INTERPOLATIONS)
    mask_height: int = _parameter(
        0, 'Height of mask and confidence in pixels, for example that of a smaller point cloud. '
           '0 uses the height of the image', minimum=0, maximum=MAX_EXTENT)
    mask_width: int = _parameter(
        0, 'Width of mask and confidence in pixels. 0 uses the width of the image',
        minimum=0, maximum=MAX_EXTENT)
    mask_encoding: str = _parameter(
        'mono8', 'Encoding of ~/mask. mono8 holds 255 classes and 255 means no class; mono16 '
                 'holds 65535 classes and 65535 means no class', choices=MASK_ENCODINGS)
    instances: bool = _parameter(
        False, 'Whether a network of instances or queries also has the topics ~/instances and '
               '~/detections. On TensorRT they are part of the engine, which is rebuilt')
    roi: tuple[int, ...] = _parameter(
        (0, 0, 0, 0), 'Region of interest as x, y, width and height in pixels; pixels outside '
                      'have no class. All 0 segments the whole image',
        CONFIGURE, length=4, minimum=0, maximum=MAX_EXTENT)
    confidence: bool = _parameter(
        True, 'Advertise ~/confidence, if the network has confidence values. It is computed only '
              'while it has subscribers',
        CONFIGURE)
    cameras: tuple[str, ...] = _parameter(
        (), 'Names of cameras that are segmented in one batch, such as [front, left]. Each name '
            'is the prefix of the topics of its camera; empty means one camera without a prefix',
        CONFIGURE, pattern=r'[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*')
    sync_tolerance: float = _parameter(
        0.02, 'Maximum difference in seconds between the stamps of images in one batch. Used only '
              'with cameras', LIVE, minimum=0.0, maximum=60.0)
    input_encodings: tuple[str, ...] = _parameter(
        (), 'Encodings of the images, such as [nv12], whose conversion on the GPU is loaded or '
            'built when the node is configured, not at their first image; with build_only, too. '
            'Images are converted on the CPU until it is ready',
        members=CAMERA_ENCODINGS)
    points: str = _parameter(
        '', 'depth publishes ~/points (sensor_msgs/PointCloud2), the points of the pixels with '
            'their classes, from depth/image and depth/camera_info, whose image must be '
            'registered to image and rectified. cloud takes x, y and z from depth/points '
            '(sensor_msgs/PointCloud2), which must be organized and registered to image. Empty '
            'publishes no points', CONFIGURE, choices=('', *POINT_SOURCES))
    points_classes: tuple[str, ...] = _parameter(
        (), 'Names of the classes in ~/points; empty means all pixels', CONFIGURE)
    points_stride: int = _parameter(
        1, 'Every points_stride-th row and column of the mask is in ~/points. Nav2 needs 1',
        CONFIGURE, minimum=1, maximum=64)
    points_range: tuple[float, ...] = _parameter(
        (0.0, 100.0), 'Minimum and maximum depth of the points in metres', CONFIGURE, length=2,
        minimum=0.0, maximum=10000.0)
    points_organized: bool = _parameter(
        True, 'true keeps the rows and columns of the mask in ~/points, with NaN for points '
              'without depth, as Nav2 needs it. false leaves these points out', CONFIGURE)
    points_rgb: bool = _parameter(
        False, 'Add the colours of the classes to ~/points, as the field rgb of PCL', CONFIGURE)
    points_tolerance: float = _parameter(
        0.0, 'Maximum difference in seconds between the stamps of image and depth image or cloud; '
             '0 requires equal stamps', CONFIGURE, minimum=0.0, maximum=1.0)
    input_transport: str = _parameter(
        'raw', 'raw subscribes to image (sensor_msgs/Image), compressed subscribes to '
               'image/compressed (sensor_msgs/CompressedImage)', CONFIGURE,
        choices=tuple(TRANSPORTS))
    gpu_jpeg: bool = _parameter(
        True, 'With TensorRT and nvImageCodec (pip extra gpu-jpeg), decode JPEG of '
              'image/compressed and encode ~/overlay/compressed on the GPU. false does both on '
              'the CPU')
    qos_reliability: str = _parameter(
        'best_effort', 'QoS reliability of the image subscription. reliable matches only reliable '
                       'publishers', CONFIGURE, choices=tuple(RELIABILITIES))
    qos_durability: str = _parameter(
        'volatile', 'QoS durability of the image subscription. transient_local also receives '
                    'the last image before the subscription, and matches only transient_local '
                    'publishers', CONFIGURE, choices=tuple(DURABILITIES))
    qos_depth: int = _parameter(
        1, 'QoS history depth of the image subscription. With 1, the node always segments the '
           'newest image', CONFIGURE,
        minimum=1, maximum=100)
    pipeline_depth: int = _parameter(
        BY_BACKEND, 'Frames in flight. With 2, the next image is received and converted while the '
                    'network runs; if a newer one arrives before the network is free, it replaces '
                    'the image that waits. 0 is 2 on TensorRT and 1 on ONNX Runtime', CONFIGURE,
        minimum=0, maximum=2)
    max_rate: float = _parameter(
        0.0, 'Maximum rate in Hz at which images are segmented. Images above it are dropped '
             'before they are decoded. 0 sets no limit', LIVE, minimum=0.0, maximum=1000.0)
    temporal_smoothing: float = _parameter(
        0.0, 'Weight of the previous images in the class probabilities: 0 is off, higher values '
             'are steadier and follow moving objects later. A change from 0 takes effect with '
             '~/load_model or configure; on TensorRT, that builds another engine', LIVE,
        minimum=0.0, maximum=MAX_WEIGHT)
    smoothing_max_gap: float = _parameter(
        MAX_GAP, 'Temporal smoothing starts again if the stamps of two successive images differ '
                 'by more than this many seconds, or go back', LIVE, minimum=0.0, maximum=3600.0)
    classes_region: tuple[float, ...] = _parameter(
        (0.0, 0.0, 0.0, 0.0), 'Region for which ~/classes also reports the share of each class: '
                              'x, y, width and height as fractions of the image. All 0 is none',
        LIVE, length=4, minimum=0.0, maximum=1.0)
    label_unlabelled: str = _parameter(
        '', 'Name in ~/label_info of the id that means no class: 255, or 65535 with mono16. Empty '
            'does not list this id, so Nav2 skips its pixels')
    overlay_alpha: float = _parameter(
        0.5, 'Opacity of the class colours in ~/overlay: 0 shows only the image, 1 only the '
             'classes',
        LIVE, minimum=0.0, maximum=1.0)
    overlay_scale: float = _parameter(
        1.0, 'Height and width of ~/overlay as a fraction of those of the image: 1, or 0.5, which '
             'has a quarter of the bytes. On TensorRT it is part of the engine, which is rebuilt',
        minimum=0.5, maximum=1.0, step=0.5)
    overlay_jpeg_quality: int = _parameter(
        80, 'JPEG quality of ~/overlay/compressed', LIVE, minimum=1, maximum=100)
    input_timeout: float = _parameter(
        5.0, '/diagnostics warns after this many seconds without an image; 0 never warns', LIVE,
        minimum=0.0, maximum=3600.0)
    min_rate: float = _parameter(
        0.0, '/diagnostics warns if images arrive at less than this rate in Hz; 0 never warns',
        LIVE,
        minimum=0.0, maximum=1000.0)
    max_drop_share: float = _parameter(
        0.1, '/diagnostics warns if more than this fraction of the images is dropped; 1 never '
             'warns',
        LIVE, minimum=0.0, maximum=1.0)
    max_latency: float = _parameter(
        0.0, '/diagnostics warns if the 95th percentile of the latency from image stamp to '
             'publish exceeds this many seconds; 0 never warns', LIVE, minimum=0.0, maximum=60.0)
    max_failures: int = _parameter(
        5, '/diagnostics reports an error after this many consecutive failed frames', LIVE,
        minimum=1, maximum=10000)
    diagnostics_period: float = _parameter(
        1.0, 'Period of /diagnostics in seconds', STARTUP,
        minimum=0.1, maximum=60.0)
    autostart: bool = _parameter(
        True, 'Configure and activate the node at startup. false waits for a lifecycle manager',
        STARTUP)
    build_only: bool = _parameter(
        False, 'Build the engine into engine_cache and exit, for example while a container image '
               'is built', STARTUP)
    tune_allocator: bool = _parameter(
        True, 'Configure glibc malloc to reuse the memory of large messages, instead of mapping '
              'new memory for each of them', STARTUP)

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
                          self.engine_cache, build, self.measure, self.gpu_jpeg, self.instances,
                          self.temporal_smoothing > 0, self.overlay_scale)

    @property
    def requested_precision(self) -> str:
        """The requested precision; '' for a prebuilt engine, whose precision is fixed."""
        return '' if self.engine_path.endswith(ENGINE_SUFFIXES) else self.precision

    @property
    def thresholds(self) -> Thresholds:
        """The limits beyond which /diagnostics warns."""
        return Thresholds(self.input_timeout, self.min_rate, self.max_drop_share,
                          self.max_latency, self.max_failures)

    @property
    def point_settings(self) -> PointSettings | None:
        """The settings of ~/points; None for no points."""
        near, far = self.points_range
        return PointSettings(self.points, self.points_classes, self.points_stride, (near, far),
                             self.points_organized, self.points_rgb,
                             to_nanoseconds(self.points_tolerance)) if self.points else None

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
    """Convert a launch argument to the type of its parameter.

    Raises:
        ConfigError: the text is not a value of that type.
    """
    kind = type(getattr(Parameters, name))
    if kind is str:
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if kind is tuple and isinstance(value, list):
        is_number = all(type(each) in (int, float) for each in value)
        is_float = any(isinstance(each, float) for each in getattr(Parameters, name))
        return [float(each) for each in value] if is_float and is_number else value
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
        if default == []:  # rclpy cannot derive its type
            default = Parameter.Type.STRING_ARRAY
        declared = node.declare_parameter(
            entry.name, default, _descriptor(entry.metadata['rule'], type(entry.default)))
        if declared.value is None:
            empty.append(Parameter(entry.name, Parameter.Type.STRING_ARRAY, []))
    # A request for several parameters returns no values if one of them has no value.
    node.set_parameters(empty)


def unknown_parameters(node: Any) -> list[str]:
    """Return a warning for each parameter that was set for a node but that it does not have.

    ROS 2 ignores them silently, so a misspelt parameter keeps its default.
    """
    given = getattr(node, '_parameter_overrides', {})  # rclpy has no public accessor
    unknown = [name for name in given
               if not node.has_parameter(name) and not name.startswith('qos_overrides.')]
    return [f"parameter '{name}' is ignored: the node has no such parameter"
            + did_you_mean(name, rules()) for name in unknown]


def read_parameters(node: Any) -> Parameters:
    """Return the current parameters of a node."""
    def value(entry: Any) -> Any:
        found = node.get_parameter(entry.name).value
        return tuple(found) if isinstance(entry.default, tuple) else found

    return Parameters(**{entry.name: value(entry) for entry in fields(Parameters)})


def first_fault(parameters: Parameters) -> str:
    """Return '' if all values are valid, else the error of the first invalid one."""
    for name, rule in rules().items():
        if fault := rule.fault(name, getattr(parameters, name)):
            return fault
    return _combined_fault(parameters)


def _combined_fault(parameters: Parameters) -> str:
    if fault := region_fault(parameters.classes_region):
        return fault
    height, width, roi = parameters.mask_height, parameters.mask_width, parameters.roi
    if bool(height) != bool(width):
        return (f'mask_height is {height} and mask_width is {width}; set both, or set both to 0 '
                'to use the size of the image')
    near, far = parameters.points_range
    if near >= far:
        return f'points_range is [{near:g}, {far:g}]; the minimum must be below the maximum'
    if any(roi) and 0 in roi[2:]:
        return f'roi is {list(roi)}; its width and height (the last two values) must be at least 1'
    if any(roi) and height:
        return (f'roi is {list(roi)} and mask_height is {height}; set only one of the two: '
                'a resized mask always covers the whole image')
    return ''


def change_fault(name: str, value: Any, configured: bool) -> str:
    """Return '' if a parameter can be set now, else the reason why not.

    Args:
        name: of any parameter, including those of rclpy. Those that are read at startup are
            read-only, which rclpy checks before.
        value: the new value.
        configured: whether the node has a network open.
    """
    rule = rules().get(name)
    if rule is None:
        return ''
    if rule.changes == CONFIGURE and configured:
        return (f'{name} is read only on configure; deactivate and clean up the node, set '
                f'{name}, then configure and activate it')
    return rule.fault(name, value) or (
        region_fault(value) if name == 'classes_region' else '')


def _descriptor(rule: ParameterRule, kind: type) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    descriptor = ParameterDescriptor(description=rule.description,
                                     read_only=rule.changes == STARTUP)
    if rule.choices:
        descriptor.additional_constraints = f'one of {rule.listed_choices}'
    if kind is int:
        descriptor.integer_range = [IntegerRange(from_value=rule.minimum, to_value=rule.maximum)]
    if kind is float:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=rule.minimum, to_value=rule.maximum,
                               step=float(rule.step))]
    return descriptor
