# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks of kinds that the tables do not cover, on TensorRT and on ONNX Runtime::

    python tools/gpu_check/kinds.py OUT.json [NAME ...]

With names, only those. Each is built at optimization level 0. All outputs are compared on images
of several sizes.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.benchmark.host import query_gpus
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

sys.path.insert(0, str(Path(__file__).parents[2] / 'test' / 'support'))
import networks  # type: ignore[import-not-found]  # the tests' networks

SIZE = (96, 128)
TACTICS = ('EDGE_MASK_CONVOLUTIONS', 'JIT_CONVOLUTIONS')
COLOR_SIZES = ((480, 640), (1080, 1920), (2160, 3840))
CLEAR_SPREAD = 5.0
"""Of the weights of queries in fp16: with those of the tests, rounding would decide their classes.
Far larger ones tie, too, because their probabilities are all 0 or 1."""

RANDOM = np.random.default_rng(0)


def smooth(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Return a smooth random image; [H, W] for one channel."""
    spots = RANDOM.integers(0, int(np.iinfo(dtype).max) + 1,
                            (height // 20 + 2, width // 20 + 2, channels))
    image = cv2.resize(spots.astype(np.float32), (width, height)).astype(dtype)
    return np.ascontiguousarray(image)


def weights(classes: int) -> list[list[float]]:
    """Return weights of a pointwise network in which every class occurs."""
    found = RANDOM.normal(size=(classes, 3))
    return (found - found.mean(1, keepdims=True)).tolist()


def open_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """Leave height and width of a model's output open."""
    for extent in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        extent.Clear()
    return model


def moved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a model's output pass an operator that moves its values."""
    output = model.graph.output[0]
    model.graph.node.append(onnx.helper.make_node('Unsqueeze', [output.name, 'axis'], ['moved']))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), 'axis'))
    batch, *size = (extent.dim_value for extent in output.type.tensor_type.shape.dim)
    output.CopyFrom(networks.tensor('moved', [batch, 1, *size],
                                    output.type.tensor_type.elem_type))
    return model


def kinds() -> dict[str, tuple[onnx.ModelProto, dict[str, Any], str, str]]:
    """Return by name: model, model config, precision and mask interpolation."""
    gray, one_channel = [[1.0], [-1.0]], {'scale': 1 / 127.5, 'mean': [1.0], 'std': [1.0]}
    found = {'labels': ['car', 'bus', 'person']}
    deep = one_channel | {'scale': 1 / 32767.5, 'resize': 'letterbox', 'depth': 16}
    tasks = {'outputs': [{'name': 'road'}, {'name': 'lanes'}]}
    heads = networks.heads({'road': weights(2), 'lanes': weights(3)}, SIZE)
    around = networks.PASSED_THROUGH | {'mean': [127.5] * 3}
    return {
        'gray': (networks.pointwise(gray, SIZE, stride=4), {'input': one_channel}, 'fp32',
                 'nearest'),
        'gray, 16 bits, letterbox': (networks.pointwise(gray, SIZE, layout='nhwc'),
                                     {'input': deep}, 'fp16', 'bilinear'),
        'gray, open size': (networks.pointwise(gray, (None, None)),
                            {'input': one_channel | {'resize': 'none'}}, 'fp32', 'nearest'),
        'two tasks': (heads, tasks, 'fp32', 'nearest'),
        'two tasks, bilinear': (heads, tasks, 'fp16', 'bilinear'),
        'letterbox, output of open size': (
            open_output(networks.pointwise(weights(3), (1024, 1024), stride=8)),
            {'input': {'resize': 'letterbox'}}, 'fp32', 'nearest'),
        'instances of boxes': (
            networks.spotted(SIZE), {'output': {'kind': 'instances', 'grow_masks': True},
                                     'classes': found}, 'fp32', 'nearest'),
        'instances of queries': (
            networks.asked(SIZE), {'output': {'kind': 'queries', 'threshold': 0.1},
                                   'classes': found}, 'fp32', 'nearest'),
        'instances of queries, grown masks': (
            networks.asked(SIZE, spread=CLEAR_SPREAD),
            {'output': {'kind': 'queries', 'threshold': 0.1, 'grow_masks': True},
             'input': {'resize': 'letterbox'}, 'classes': found}, 'fp16', 'nearest'),
        'engine built elsewhere, measured': (
            networks.sigmoid_in_parts([[0.01, 0.01, 0.01]], SIZE), {'input': around}, 'fp32',
            'nearest'),
        'image of uint8, cast by the network': (
            networks.pointwise(weights(3), SIZE, layout='nhwc', dtype=onnx.TensorProto.UINT8),
            {'input': {'scale': None}}, 'fp32', 'nearest'),
        'ids of uint8': (networks.strongest(SIZE, onnx.TensorProto.UINT8), {}, 'fp16', 'nearest'),
        'ids of uint8, moved': (moved(networks.strongest(SIZE, onnx.TensorProto.UINT8)), {},
                                'fp32', 'nearest')}


def compare(name: str, model: onnx.ModelProto, values: dict[str, Any], precision: str,
            interpolation: str) -> dict[str, Any]:
    """Return for each image the share of equal pixels of masks and ids of instances, and the
    largest difference of other outputs."""
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder) / 'net.onnx', networks.config_of(**values)
        onnx.save(model, path)
        build = BuildOptions(precision, optimization_level=0, tactic_sources=TACTICS)
        opened = build_network_only(path, config, build, folder) if 'elsewhere' in name else path
        gpu, cpu = (Segmenter.open(file, config=config, options=RunOptions(
            backend, mask_interpolation=interpolation, engine_cache=folder, build=build,
            instances='instances' in name, measure='instances' not in name))
            for file, backend in ((opened, 'tensorrt'), (path, 'onnxruntime')))
        rows = [compare_image(gpu, cpu, image) for image in images_of(cpu)]
        kept = {fact.key: fact.origin for fact in gpu.spec.provenance if fact.key.endswith('kind')}
        return {'precision': precision, 'interpolation': interpolation, 'kinds': kept,
                'runs': str(gpu.info), 'images': rows}


def build_network_only(path: Path, config: ModelConfig, build: BuildOptions, folder: str) -> Path:
    """Build the network without head and tail; write its plan without a sidecar."""
    spec = resolve(read_network(path), config)
    plan = EngineLoader(0, folder).fetch_network_only(spec, build).plan
    engine = path.with_suffix('.engine')
    engine.write_bytes(plan)
    return engine


def images_of(segmenter: Segmenter) -> list[np.ndarray]:
    """Return images that a network takes."""
    if not segmenter.spec.gray_bits:
        return [smooth(*size) for size in COLOR_SIZES]
    return [smooth(480, 640), smooth(480, 640, 1), smooth(720, 1280, 1, np.uint16),
            smooth(1080, 1920)]


def compare_image(gpu: Segmenter, cpu: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """Compare all outputs of one image."""
    outputs = cpu.available_outputs
    found, wanted = (each.infer(image, outputs=outputs).copy().arrays for each in (gpu, cpu))
    row: dict[str, Any] = {'image': f'{image.dtype} {list(image.shape)}'}
    for output in outputs:
        if output.endswith(('mask', 'instances')):
            row[output] = round(float((found[output] == wanted[output]).mean()), 6)
        elif output.endswith('detections'):
            row[output] = round(float(np.abs(found[output] - wanted[output]).max()), 6)
        else:
            difference = found[output].astype(int) - wanted[output]
            row[output] = int(np.abs(difference).max())
    return row


def main(path: Path, *names: str) -> None:
    """Compare all kinds, or those with these names; write each result at once."""
    results: dict[str, Any] = {'gpu': query_gpus(), 'kinds': {}}
    for name, kind in kinds().items():
        if names and name not in names:
            continue
        results['kinds'][name] = compare(name, *kind)
        print(name, json.dumps(results['kinds'][name]), flush=True)
        path.write_text(json.dumps(results, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]), *sys.argv[2:])
