# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a model segments: alone, in the real node, against a hand-written baseline."""

import argparse
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trt_segmentation.benchmark.baseline import BaselinePipeline, open_network_only
from trt_segmentation.benchmark.breakdown import split_ms
from trt_segmentation.benchmark.dds import (
    CAMERA_ENCODINGS,
    JPEG,
    DdsBench,
    measure_peak,
    measure_rates,
)
from trt_segmentation.benchmark.host import describe_host
from trt_segmentation.benchmark.plot import write_plot
from trt_segmentation.benchmark.processes import interrupted_by_sigterm
from trt_segmentation.benchmark.report import as_text
from trt_segmentation.benchmark.timing import measure, percentiles
from trt_segmentation.cli.arguments import (
    add_backend_options,
    add_overlay_scale,
    check_png,
    new_file,
    open_segmenter,
    positive,
    run_options,
    size,
    whole,
)
from trt_segmentation.cli.node_arguments import node_parameters
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.output_names import OUTPUTS, kind_of
from trt_segmentation.graph.pipeline.prepare import named_outputs
from trt_segmentation.images.atomic_files import write_file
from trt_segmentation.requirements import require
from trt_segmentation.segmenter import Segmenter

PROFILED = 30
"""Frames that run under the runtime's profiler."""

_ROS_DEFAULTS: dict[str, Any] = {
    'rates': (10.0, 30.0, 60.0), 'runs': 5, 'seconds': 3.0, 'no_peak': False, 'encoding': 'bgr8',
    'cameras': 1, 'pipeline_depth': None, 'one_node_each': False}
"""Arguments that only ``--ros`` uses."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation bench``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='an .onnx file; default: the embedded demo network')
    parser.add_argument('--against', type=_implementation, choices=('baseline',),
                        help='also measure the hand-written baseline in turn (OpenCV resize, '
                             'float, transpose, the same runtime, NumPy argmax, nearest resize, '
                             'colours), and print the ratio')
    parser.add_argument('--size', type=size, default=(1080, 1920), metavar='HEIGHTxWIDTH',
                        help='of the source image (default 1080x1920)')
    parser.add_argument('--outputs', type=_outputs, default=('mask', 'overlay'), metavar='NAMES',
                        help='of mask,confidence,overlay (default mask,overlay)')
    add_overlay_scale(parser)
    parser.add_argument('--frames', type=whole(1), default=100, metavar='N',
                        help='calls of each that are measured (default 100)')
    parser.add_argument('--points', action='store_true',
                        help='also measure the labelled points of the mask (~/points of the node) '
                             'from a serialized depth image and from a serialized cloud, on one '
                             'core (needs ROS 2)')
    parser.add_argument('--json', type=new_file, metavar='FILE',
                        help='also write the report to this file')
    parser.add_argument('--plot', type=new_file, metavar='PNG',
                        help='also plot the report (needs matplotlib)')
    _add_ros_arguments(parser.add_argument_group('the real node over DDS'))
    add_backend_options(parser)


def _add_ros_arguments(group: 'argparse._ArgumentGroup') -> None:
    group.add_argument('--ros', action='store_true',
                       help='also run camera, node and subscriber as separate processes')
    group.add_argument('--rates', type=_rates, default=_ROS_DEFAULTS['rates'], metavar='HZ,...',
                       help='of the camera (default 10,30,60)')
    group.add_argument('--runs', type=whole(1), default=_ROS_DEFAULTS['runs'], metavar='N',
                       help='of each rate; of 3 or more, best and worst are dropped (default 5)')
    group.add_argument('--seconds', type=positive, default=_ROS_DEFAULTS['seconds'], metavar='S',
                       help='of one run (default 3)')
    group.add_argument('--no-peak', action='store_true',
                       help='do not search the highest rate with at most 5 %% loss')
    group.add_argument('--encoding', choices=CAMERA_ENCODINGS, default=_ROS_DEFAULTS['encoding'],
                       help='of the camera\'s images; jpeg is sent on image/compressed '
                            '(default bgr8)')
    group.add_argument('--cameras', type=whole(1), default=_ROS_DEFAULTS['cameras'], metavar='N',
                       help='cameras that publish at the same time; their images are segmented '
                            'in one batch (default 1)')
    group.add_argument('--pipeline-depth', type=int, choices=(1, 2),
                       help="frames in flight in the node (default: the node's own)")
    group.add_argument('--one-node-each', action='store_true',
                       help='with --cameras: one node for each camera instead of a batch')


def execute(args: argparse.Namespace) -> int:
    """Measure, print and write the report."""
    require(*['rclpy'] * (args.ros or args.points), *['matplotlib'] * bool(args.plot))
    if args.plot:
        check_png('--plot', args.plot)
    _check_ros(args)
    segmenter = open_segmenter(args)
    if args.ros or args.against:
        segmenter.spec.check_single()
    report = _measure_alone(segmenter, args)
    segmenter.close()
    if args.ros:
        report['ros'] = _measure_over_dds(args)
    print(as_text(report))
    if args.json:
        write_file(args.json, (json.dumps(report, indent=2) + '\n').encode())
    if args.plot:
        write_plot(report, args.plot)
    return 0


def _check_ros(args: argparse.Namespace) -> None:
    for name, default in _ROS_DEFAULTS.items():
        if not args.ros and getattr(args, name) != default:
            raise ConfigError(f'--{name.replace("_", "-")} is for the real node; add --ros')
    height, width = args.size
    if args.encoding not in ('bgr8', JPEG) and (height % 2 or width % 2):
        raise ConfigError(f'--size is {height}x{width}; with --encoding {args.encoding}, height '
                          'and width must be even')
    if args.cameras > 1 and args.against:
        raise ConfigError(f'--cameras is {args.cameras}; the baseline takes one camera: leave out '
                          '--against')


def _measure_alone(segmenter: Segmenter, args: argparse.Namespace) -> dict[str, Any]:
    image = read_frame(0, *args.size).image
    outputs = named_outputs(segmenter.spec, args.outputs)
    own = _own_step(segmenter, image, outputs)
    steps: dict[str, Callable[[], Any]] = {'segmenter': own}
    if args.against:
        network = open_network_only(segmenter.spec, segmenter.info.backend, run_options(args))
        baseline = BaselinePipeline(segmenter.spec, network, 'overlay' in args.outputs)
        steps[args.against] = lambda: baseline.run(image)
    if args.points:
        from trt_segmentation.benchmark.ros.points import points_steps  # imports ROS
        steps.update(points_steps(own()))
    measured = measure(steps, args.frames)
    gpu_ms = segmenter.gpu_times(image, outputs, args.frames)
    report: dict[str, Any] = {
        'model': segmenter.spec.network.source, 'runs_on': str(segmenter.info),
        'host': describe_host(), 'source_size': list(args.size), 'outputs': list(outputs),
        'frames': args.frames, 'memory_growth_mb': round(measured.growth_mb, 2),
        'wall_ms': {name: percentiles(series) for name, series in measured.seconds.items()},
        'split_ms': split_ms(segmenter, image, outputs, min(PROFILED, args.frames)),
    }
    wall = {name: at['p50'] for name, at in report['wall_ms'].items()}
    if gpu_ms:
        report['gpu_ms_p50'] = {name: round(value, 4) for name, value in gpu_ms.items()}
        report['wall_over_gpu'] = round(wall['segmenter'] / sum(gpu_ms.values()), 3)
    if args.against:
        report['ratio_p50'] = round(wall[args.against] / wall['segmenter'], 3)
        report['mask_agreement'] = round(float(np.mean(own() == steps[args.against]())), 5)
    return report


def _own_step(segmenter: Segmenter, image: np.ndarray, outputs: tuple[str, ...],
              ) -> Callable[[], np.ndarray]:
    size = image.shape[:2]
    out = {name: np.empty(segmenter.output_shape(name, size), segmenter.output_dtype(name))
           for name in outputs}
    mask = next(name for name in outputs if kind_of(name) == 'mask')
    return lambda: segmenter.infer(image, outputs=outputs, out=out).arrays[mask]


def _measure_over_dds(args: argparse.Namespace) -> dict[str, Any]:
    implementations = ['node', args.against] if args.against else ['node']
    parameters = node_parameters(args, confidence='confidence' in args.outputs,
                                 pipeline_depth=args.pipeline_depth or '',
                                 overlay_scale=args.overlay_scale)
    with interrupted_by_sigterm(), \
            DdsBench(implementations, parameters, args.size, args.outputs, encoding=args.encoding,
                     cameras=args.cameras, one_node_each=args.one_node_each) as bench:
        rates = measure_rates(bench, args.rates, args.runs, args.seconds)
        peak = {} if args.no_peak else {
            name: measure_peak(bench, name, args.runs, args.seconds, rates[name])
            for name in implementations}
    return {'runs': args.runs, 'seconds': args.seconds, 'middleware': bench.middleware,
            'encoding': args.encoding, 'cameras': args.cameras,
            'one_node_each': args.one_node_each,
            'rates': rates, 'peak': peak, 'ratios': _ratios(rates, peak, args.against)}


def _ratios(rates: Mapping[str, Any], peak: Mapping[str, Any], other: str | None,
            ) -> dict[str, float]:
    """Speed and rate of the node relative to the other implementation; more than 1 is better."""
    if not other:
        return {}
    ratios = {}
    for node, baseline in zip(rates['node'], rates[other], strict=True):
        if node['latency_ms'] and baseline['latency_ms']:
            for figure in ('latency', 'callback'):
                ratios[f"{figure} p50 at {node['rate']:g} Hz"] = \
                    baseline[f'{figure}_ms']['p50'] / node[f'{figure}_ms']['p50']
    if peak and peak[other]['rate']:
        ratios['peak rate'] = peak['node']['rate'] / peak[other]['rate']
    return {name: round(value, 3) for name, value in ratios.items()}


def _implementation(text: str) -> str:
    return {'usual': 'baseline'}.get(text, text)  # its former name


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    if 'mask' not in names or not set(names) <= set(OUTPUTS):
        raise argparse.ArgumentTypeError(f"'{text}' is not a comma-separated list of mask and "
                                         f"any of {', '.join(OUTPUTS[1:])}")
    return names


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(rate) for rate in text.split(','))
    except ValueError:
        rates = ()
    if not rates or not all(1 <= rate < math.inf for rate in rates):
        raise argparse.ArgumentTypeError(f"'{text}' is not a comma-separated list of rates of "
                                         'at least 1 Hz, for example 10,30')
    return rates
