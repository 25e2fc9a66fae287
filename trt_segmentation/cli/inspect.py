# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Show inputs, outputs and missing settings of a network, or describe an engine."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.backends.tensorrt.unsupported import VERSIONS, find_unsupported
from trt_segmentation.cli.arguments import add_measure_option, check_png, whole
from trt_segmentation.cli.likely_configs import (
    LikelyConfig,
    default_picture,
    describe,
    likely_configs,
    picture_of,
    try_out,
)
from trt_segmentation.cli.next_steps import Inspected, next_steps
from trt_segmentation.errors import BackendError, ConfigError, ImageError, MissingBackendError
from trt_segmentation.graph.analysis.measurement import MeasurementSetup, measurement_setup
from trt_segmentation.graph.onnx_tools.network import Network, read_network
from trt_segmentation.graph.pipeline.prepare import available_outputs
from trt_segmentation.graph.reading.image_input import UnknownSizeError
from trt_segmentation.graph.reading.input_sizes import (
    LIKELY_SIZES,
    by_running,
    size_hint,
    wrong_size,
)
from trt_segmentation.graph.reading.resolve import (
    ModelSpec,
    complete_config,
    format_provenance,
    resolve,
    with_mask,
)
from trt_segmentation.images.atomic_files import check_new, write_new_file, write_new_image
from trt_segmentation.model_config import InputConfig, ModelConfig
from trt_segmentation.options import ENGINE_SUFFIXES, MASK_ENCODINGS, BuildOptions, RunOptions
from trt_segmentation.segmenter import demo_model

_ODD_SIZE = 259, 333
"""A height and a width that are not multiples of the usual strides."""

_LIKELY_CHOICES = {
    'input.size': '[height, width] of the training (this one was tried and runs), or resize: none',
    'output.kind': 'logits, probabilities, sigmoid (one probability per class), ids',
    'input.color': 'rgb (most PyTorch and TensorFlow training), bgr (Caffe, OpenVINO)',
    'input.scale': '1/255 with ImageNet mean and std (torchvision); 1/127.5 with mean and std 1 '
                   '(TensorFlow, MobileNet); 1 without (OpenVINO)',
    'input.mean': 'see input.scale',
    'input.std': 'see input.scale',
    'output.layout': 'nchw (the classes before height and width) or nhwc (behind them)',
    'output.name': 'the first of several similar outputs; for all of them write outputs',
    'output.grow_masks': 'true (Mask2Former), false (MaskFormer)',
    'classes.labels': 'names by id, or preset: ade20k, cityscapes, coco_stuff, pascal_voc',
}

_LIKELY_GRAY_CHOICES = {
    **_LIKELY_CHOICES,
    'input.scale': '1/255 (0 to 1); 1/127.5 with mean and std 1 (-1 to 1); with input.depth: 16, '
                   '1/65535 and 1/32767.5',
}


_INSTANCES_FROM = {
    'instances': "boxes ('{classes}') and prototypes of their masks ('{masks}')",
    'queries': "queries with a mask ('{masks}') and class scores ('{classes}') each"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation inspect``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='an .onnx, .engine or .plan file; default: the embedded demo network')
    parser.add_argument('--config', default='', metavar='YAML',
                        help='model config of the network')
    add_measure_option(parser)
    parser.add_argument('--mask-encoding', choices=MASK_ENCODINGS, default='mono8',
                        help='mono8: up to 255 classes; mono16: up to 65535')
    parser.add_argument('--write-config', type=Path, metavar='YAML',
                        help='write a complete model config to this new file; assumed values are '
                             'marked')
    parser.add_argument('--on', type=Path, metavar='PHOTO',
                        help='segment this photo with each likely config on ONNX Runtime, and '
                             'draw the results side by side; the configs differ in values that '
                             'neither graph nor config define. Measurements use the photo, too')
    parser.add_argument('--picture', type=Path, metavar='PNG',
                        help='new file for the drawing of --on (default MODEL_on_PHOTO.png in the '
                             'current folder)')
    parser.add_argument('--choose', type=whole(1), default=0, metavar='N',
                        help='number of the likely config to write (default 1)')
    parser.add_argument('--device', type=whole(0), default=0, metavar='N',
                        help='GPU on which to load an engine without a description (default 0)')


def execute(args: argparse.Namespace) -> int:
    """Print a description.

    Raises:
        SegmentationError: something is broken, missing or contradictory; the graph is printed
            first.
    """
    _check_arguments(args)
    if args.model.endswith(ENGINE_SUFFIXES):
        print(args.model)
        print(describe_engine(_engine_facts(Path(args.model), args.device)))
        return 0
    network = read_network(args.model or demo_model())
    config = ModelConfig.from_file(args.config) if args.config else ModelConfig()
    print(_describe_graph(network))
    options = RunOptions('onnxruntime', mask_encoding=args.mask_encoding, measure=args.measure)
    measuring = measurement_setup(options, partial(_photo, args.on) if args.on else None)
    spec, config = _resolved(network, config, measuring)
    spec = with_mask(spec, options)
    sizes = _describe_sizes(network, spec)
    print(_describe_spec(spec))
    if sizes:
        print(sizes)
    print(_describe_preflight(spec))
    configs = likely_configs(spec)
    _check_choice(args.choose, len(configs))
    picture = _draw(args, spec, network, config, configs, options) if args.on else ''
    if args.write_config:
        chosen = configs[args.choose - 1] if args.choose else None
        if chosen:
            told = with_mask(resolve(network, chosen.over(config), measuring=measuring),
                             options)
            proposed = {fact.key for fact in spec.assumed} & {'input.size'}
            spec = replace(told, provenance=tuple(
                replace(fact, origin='assumed') if fact.key in proposed else fact
                for fact in told.provenance))
        _write_config(args.write_config, spec, chosen)
        print(f'\nwritten to {args.write_config}')
    print('\n' + next_steps(Inspected(
        args.model, str(args.write_config or args.config),
        (*(('--mask-encoding', args.mask_encoding) if args.mask_encoding != 'mono8' else ()),
         *(() if args.measure else ('--no-measure',))),
        bool(spec.assumed) and not args.write_config,
        len(configs) if len(spec.tasks) == 1 else 1,  # --on does not draw several masks
        str(args.on or ''), picture, spec.tasks[0].name)))
    return 0


def _photo(path: Path) -> np.ndarray:
    from trt_segmentation.images.sources import read_image  # imports OpenCV
    return read_image(path)


def _resolved(network: Network, config: ModelConfig, measuring: MeasurementSetup | None,
              ) -> tuple[ModelSpec, ModelConfig]:
    """Resolve; if the input has a dynamic size and none is set, with a likely size that runs."""
    try:
        return resolve(network, config, measuring=measuring), config
    except UnknownSizeError as error:
        if config.input.resize == 'none':
            raise
        unsized = error
    for size in LIKELY_SIZES:
        proposed = ModelConfig(InputConfig(size=size)).over(config)
        try:
            spec = resolve(network, proposed, measuring=measuring)
        except ConfigError as error:
            if 'input.size' in str(error):  # try the next size
                continue
            raise
        if _takes(network, spec):
            provenance = tuple(
                replace(entry, origin='assumed') if entry.key == 'input.size' else entry
                for entry in spec.provenance)
            return replace(spec, provenance=provenance), proposed
    raise unsized


def _takes(network: Network, spec: ModelSpec) -> bool:
    """Whether the network runs at its size; True if that cannot be tried."""
    try:
        fault = by_running(network, spec.input_layout, spec.channel_count)
    except Exception:  # no ONNX Runtime, or operators that it does not have
        return True
    return spec.size is None or not fault(spec.size)


def _describe_sizes(network: Network, spec: ModelSpec) -> str:
    """Try a network at its size; return a note if it does not run at every size, else ''.

    Raises:
        ConfigError: it does not run at ``spec.size``.
    """
    size = spec.size or _ODD_SIZE
    if not (right := size_hint(network, spec.input_layout, spec.channel_count, size)):
        return ''
    if spec.size is not None:
        raise ConfigError(f'{network.source}: {wrong_size(size, right)}')
    return ('\ninput.resize is none, but the network does not take every image: '
            f'{right}; for other images set input.resize to stretch or letterbox, and input.size')


def _check_arguments(args: argparse.Namespace) -> None:
    """Raise ConfigError for arguments that exclude or need each other."""
    if args.model.endswith(ENGINE_SUFFIXES):
        for name in ('write_config', 'on', 'choose'):
            if getattr(args, name):
                raise ConfigError(f'{args.model}: --{name.replace("_", "-")} is for networks; '
                                  'inspect the .onnx file that the engine was built from')
    if args.choose and not args.write_config:
        raise ConfigError(f'--choose {args.choose} selects the config to write; name the file '
                          'with --write-config FILE')
    if args.picture and not args.on:
        raise ConfigError(f'--picture {args.picture} is the file for the drawing of --on; name '
                          'the photo with --on PHOTO')
    if args.picture:
        check_png('--picture', args.picture)
    for path in filter(None, (args.picture, args.write_config)):
        check_new(path)


def _check_choice(number: int, count: int) -> None:
    if not 0 <= number <= count:
        allowed = f'the likely configs 1 to {count}' if count > 1 else \
            'only config 1, since its input is known'
        raise ConfigError(f'--choose is {number}; this network has {allowed}')


def _draw(args: argparse.Namespace, spec: ModelSpec, network: Network, config: ModelConfig,
          configs: list[LikelyConfig], options: RunOptions) -> str:
    """Draw the likely configs on a photo, print them, and return the path of the picture."""
    spec.check_single()
    path = args.picture or default_picture(Path(args.model or demo_model()), args.on)
    check_new(path)
    from trt_segmentation.images.sources import is_image, read_bytes, read_image  # imports OpenCV
    if not is_image(args.on):
        read_bytes(args.on)  # raises if it cannot be read
        raise ImageError(f'{args.on}: OpenCV cannot read it as an image; --on takes a photo')
    image = read_image(args.on, spec.gray_bits)
    trials = try_out(network, config, configs, image, options)
    write_new_image(path, picture_of(image, args.on.name, trials))
    place = 'a model config' if config.input == InputConfig() else \
        f'the section input of {args.config}'
    print('\nthe input is known, so there is only one config to draw:' if len(configs) == 1 else
          f'\nlikely configs, with the line to write into {place} (fractions and confidence are '
          'hints; compare the pictures):')
    print(describe(configs, trials))
    print(f'drawn side by side in {path}')
    return str(path)


def _write_config(path: Path, spec: ModelSpec, chosen: LikelyConfig | None) -> None:
    """Write a complete config.

    Raises:
        ImageError: the file exists or cannot be written.
    """
    name = ' '.join(Path(spec.network.source).name.split())
    lines = [f'# Input and output of {name}.']
    lines += [f'# Input chosen from the likely ones: {chosen.name}.'] if chosen else []
    lines += [f'# Assumed, defined by neither graph nor config: {fact.key}; '
              f'{_choices(spec, fact.key)}'.rstrip('; ') for fact in spec.assumed]
    config = complete_config(spec)
    text = '\n'.join(lines) + '\n' + config.to_text()
    if ModelConfig.from_text(text, str(path)) != config:
        raise ConfigError(f'{path}: not written, since reading it would give another config; '
                          'please report this with the network')
    write_new_file(path, text.encode())


def _engine_facts(path: Path, device: int) -> Mapping[str, Any]:
    from trt_segmentation.backends.tensorrt.cache import read_engine
    if facts := read_engine(path).facts:
        return facts
    from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
    return EngineLoader(device).describe(path).facts


def describe_engine(facts: Mapping[str, Any]) -> str:
    """Return the description of an engine as text: machine, options, tensors, layers."""
    from trt_segmentation.backends.tensorrt.layers import from_json, summary
    machine, layers = facts['machine'], from_json(facts['layers'])
    lines = [f"  built for  {machine['tensorrt']}, {machine['gpu']}, compute capability "
             f"{machine['compute_capability']}"]
    if 'network' in facts:
        lines += [f"  network    {facts['network']['source']}",
                  f"  options    {_options_text(facts['options'])}"]
    if reason := facts.get('fp16_instead'):
        lines.append(f'  fp16       instead of int8: {reason}')
    if (agreement := facts.get('agreement_with_fp32')) is not None:
        lines.append(f'  masks      {agreement:.2%} of the pixels as in fp32 on ONNX Runtime')
    lines += [f'  {side[:-1]:9}  {name} {shape}' for name, side, shape in facts['tensors']]
    lines += [f'  profile    {name} {list(smallest)} to {list(largest)}, tuned for {list(tuned)}'
              for name, (smallest, tuned, largest) in facts['profile'].items()]
    lines.append(f'  runs       {summary(layers) or "unknown: built without layer information"}')
    lines += [f'    {layer.precision or "?":6} {layer.kind:24} {layer.name[:80]}'
              for layer in layers]
    return '\n'.join(lines)


def _options_text(options: Mapping[str, Any]) -> str:
    """The precision, and the options that differ from the defaults."""
    defaults = json.loads(json.dumps(asdict(BuildOptions())))  # tuples as lists, as in sidecars
    changed = [f'{key} {value}' for key, value in json.loads(json.dumps(options)).items()
               if key != 'calibration' and value != defaults[key] and key != 'precision']
    return ', '.join([options['precision'], *changed])


def _choices(spec: ModelSpec, key: str) -> str:
    """The usual values of a config key, which may belong to a task."""
    name = key.rpartition('.')[2]
    keys = [f'output.{name}', f'classes.{name}'] if key.startswith('outputs.') else [key]
    choices = _LIKELY_GRAY_CHOICES if spec.gray_bits else _LIKELY_CHOICES
    return next((choices[each] for each in keys if each in choices), '')


def _describe_graph(network: Network) -> str:
    lines = [network.source, f'  opset {network.opset}, {len(network.model.graph.node)} nodes']
    lines += [f'  input   {info}' for info in network.inputs]
    lines += [f'  output  {info}' + (f', produced by {info.made_by}' if info.made_by else '')
              for info in network.outputs]
    return '\n'.join(lines)


def _describe_spec(spec: ModelSpec) -> str:
    lines = ['', 'settings and their sources', *_indented(format_provenance(spec)), '',
             f'available outputs: {", ".join(available_outputs(spec))}',
             *_describe_instances(spec)]
    if spec.assumed:
        lines += ['', 'assumed: neither graph nor config define these values; if one is wrong, '
                      'the mask is wrong. Set them in a model config:']
        width = max(18, 2 + max(len(fact.key) for fact in spec.assumed))
        lines += [f'  {fact.key:{width}}{_choices(spec, fact.key)}' for fact in spec.assumed]
    return '\n'.join(lines)


def _describe_instances(spec: ModelSpec) -> list[str]:
    """Whether each task can give instances, and from which outputs of the network."""
    pairs = [(task.name, task.pair) for task in spec.tasks if task.pair]
    if not pairs:
        return ['instances: none; networks of kind instances and queries give them']
    return ['instances' + (f' of {name}' if name else '') + ': from ' + _INSTANCES_FROM[
        pair.kind].format(masks=pair.masks.name, classes=pair.classes.name) +
        '; see run --outputs instances detections, and the node parameter instances'
        for name, pair in pairs]


def _describe_preflight(spec: ModelSpec) -> str:
    """Whether TensorRT can run the network: from its parser, else from the operator tables."""
    found = find_unsupported(spec.network.model)
    refused: list[str] = []
    try:
        from trt_segmentation.backends.tensorrt.parser_check import parse_only
        source = f'parser of {parse_only(spec)}'
        found = [finding for finding in found if not finding.certain]
    except MissingBackendError:
        source = f'operator tables of TensorRT {VERSIONS}; no parser is installed'
    except BackendError as error:
        source, refused = 'installed parser', [str(error)]
        found = [finding for finding in found if f"'{finding.node}'" not in str(error)]
    certain = refused + [str(finding) for finding in found if finding.certain]
    possible = [str(finding) for finding in found if not finding.certain]
    verdict = 'not supported' if certain else 'may be supported' if possible else 'supported'
    return '\n'.join(['', f'TensorRT: {verdict} (source: {source})',
                      *(f'  {text}' for text in certain),
                      *(f'  may fail: {text}' for text in possible)])


def _indented(text: str) -> list[str]:
    return [f'  {line}' for line in text.splitlines()]
