# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Show what a network takes and gives and what is missing, or what an engine was built for."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trt_segmentation.errors import BackendError, ConfigError, MissingBackendError
from trt_segmentation.graph.network import Network, read_network
from trt_segmentation.graph.preflight import VERSIONS, preflight
from trt_segmentation.graph.prepare import available_outputs
from trt_segmentation.graph.resolve import (
    ModelSpec,
    complete_config,
    format_facts,
    resolve,
    with_mask,
)
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import ENGINE_SUFFIXES, MASK_ENCODINGS, BuildOptions, RunOptions
from trt_segmentation.segmenter import demo_model

_LIKELY_CHOICES = {
    'input.color': 'rgb (most PyTorch and TensorFlow training), bgr (Caffe, OpenVINO)',
    'input.scale': '1/255 with ImageNet mean and std (torchvision); 1/127.5 with mean and std 1 '
                   '(TensorFlow, MobileNet); 1 without (OpenVINO)',
    'input.mean': 'see input.scale',
    'input.std': 'see input.scale',
    'classes.labels': 'names by id, or preset: ade20k, cityscapes, coco_stuff, pascal_voc',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation inspect``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='an .onnx, .engine or .plan file; default: the embedded demo network')
    parser.add_argument('--config', default='', metavar='YAML',
                        help='model config to check a network by')
    parser.add_argument('--mask-encoding', choices=MASK_ENCODINGS, default='mono8',
                        help='mono8 holds 255 classes, mono16 65535')
    parser.add_argument('--write-config', type=Path, metavar='YAML',
                        help='write a complete model config there, with what was assumed marked')
    parser.add_argument('--device', type=int, default=0, metavar='N',
                        help='GPU to load an engine on that does not say itself what it is')


def execute(args: argparse.Namespace) -> int:
    """Print a description.

    Raises:
        SegmentationError: something is broken, missing or contradictory; the graph is printed
            before that is known.
    """
    if args.model.endswith(ENGINE_SUFFIXES):
        print(args.model)
        print(describe_engine(_engine_facts(Path(args.model), args.device)))
        return 0
    network = read_network(args.model or demo_model())
    config = ModelConfig.from_file(args.config) if args.config else ModelConfig()
    print(_describe_graph(network))
    options = RunOptions(mask_encoding=args.mask_encoding)
    spec = with_mask(resolve(network, config), options)
    print(_describe_spec(spec))
    print(_describe_preflight(spec))
    if args.write_config:
        _write_config(args.write_config, spec)
        print(f'\nwritten to {args.write_config}')
    return 0


def _write_config(path: Path, spec: ModelSpec) -> None:
    lines = [f'# How {Path(spec.network.source).name} is fed, and what its output means.']
    lines += [f'# Assumed, nothing tells it: {fact.key}; {_LIKELY_CHOICES[fact.key]}'
              for fact in spec.assumed]
    try:
        with path.open('x', encoding='utf-8') as file:
            file.write('\n'.join(lines) + '\n' + complete_config(spec).to_text())
    except FileExistsError as error:
        raise ConfigError(f'{path}: is there already; remove it, or name another file') from error
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written ({error.strerror})') from error


def _engine_facts(path: Path, device: int) -> Mapping[str, Any]:
    from trt_segmentation.backends.tensorrt.cache import read_engine
    if facts := read_engine(path).facts:
        return facts
    from trt_segmentation.backends.tensorrt.opening import EngineLoader
    return EngineLoader(device).describe(path).facts


def describe_engine(facts: Mapping[str, Any]) -> str:
    """Return what is known of an engine as text: what it was built for, tensors, layers."""
    from trt_segmentation.backends.tensorrt.layers import from_json, summary
    machine, layers = facts['machine'], from_json(facts['layers'])
    lines = [f"  built for  {machine['tensorrt']}, {machine['gpu']}, compute capability "
             f"{machine['compute_capability']}"]
    if 'network' in facts:
        lines += [f"  network    {facts['network']['source']}",
                  f"  options    {_options_text(facts['options'])}"]
    if (agreement := facts.get('agreement_with_fp32')) is not None:
        lines.append(f'  masks      {agreement:.2%} of the pixels as in fp32 on ONNX Runtime')
    lines += [f'  {side[:-1]:9}  {name} {shape}' for name, side, shape in facts['tensors']]
    lines += [f'  profile    {name} {list(smallest)} to {list(largest)}, tuned for {list(tuned)}'
              for name, (smallest, tuned, largest) in facts['profile'].items()]
    lines.append(f'  runs       {summary(layers) or "unknown: built without detail"}')
    lines += [f'    {layer.precision or "?":6} {layer.kind:24} {layer.name[:80]}'
              for layer in layers]
    return '\n'.join(lines)


def _options_text(options: Mapping[str, Any]) -> str:
    """The precision, and what else is not as it is by default."""
    usual = json.loads(json.dumps(asdict(BuildOptions())))  # as a sidecar holds them: no tuples
    told = [f'{key} {value}' for key, value in json.loads(json.dumps(options)).items()
            if key != 'calibration' and value != usual[key] and key != 'precision']
    return ', '.join([options['precision'], *told])


def _describe_graph(network: Network) -> str:
    lines = [network.source, f'  opset {network.opset}, {len(network.model.graph.node)} nodes']
    lines += [f'  input   {info}' for info in network.inputs]
    lines += [f'  output  {info}' + (f', made by {info.made_by}' if info.made_by else '')
              for info in network.outputs]
    return '\n'.join(lines)


def _describe_spec(spec: ModelSpec) -> str:
    lines = ['', 'what is known, and from where', *_indented(format_facts(spec)), '',
             f'can give: {", ".join(available_outputs(spec))}']
    if spec.assumed:
        lines += ['', 'assumed: no graph tells these; if one is wrong, the mask is. '
                      'Say them in a model config:']
        lines += [f'  {fact.key:16}{_LIKELY_CHOICES[fact.key]}' for fact in spec.assumed]
    return '\n'.join(lines)


def _describe_preflight(spec: ModelSpec) -> str:
    """What TensorRT makes of the network, from its parser, else from the table of operators."""
    found = preflight(spec.network.model)
    refused: list[str] = []
    try:
        from trt_segmentation.backends.tensorrt.preflight import parse_only
        judge = f'the parser of {parse_only(spec)}'
        found = [finding for finding in found if not finding.certain]
    except MissingBackendError:
        judge = f'the operator tables of TensorRT {VERSIONS}; no parser is here'
    except BackendError as error:
        judge, refused = 'the parser that is installed', [str(error)]
        found = [finding for finding in found if f"'{finding.node}'" not in str(error)]
    certain = refused + [str(finding) for finding in found if finding.certain]
    perhaps = [str(finding) for finding in found if not finding.certain]
    verdict = 'does not take it' if certain else 'takes it, perhaps' if perhaps else 'takes it'
    return '\n'.join(['', f'TensorRT: {verdict} (says {judge})',
                      *(f'  {text}' for text in certain),
                      *(f'  may fail: {text}' for text in perhaps)])


def _indented(text: str) -> list[str]:
    return [f'  {line}' for line in text.splitlines()]
