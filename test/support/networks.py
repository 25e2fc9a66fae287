# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Small ONNX networks whose results can be computed by hand, what runs them, and references."""

from functools import cache, partial

import cv2
import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.graph.onnx_tools.network import describe_network
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.images.gray import as_bands
from trt_segmentation.model_config import METADATA_KEY, ModelConfig

PASSED_THROUGH = {'scale': 1.0, 'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0]}
"""Input section of a network that is fed the pixels as they are."""


def tensor(name, shape, dtype=TensorProto.FLOAT):
    """Return the declaration of a graph's input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


def image_shape(size, layout='nchw', channels=3):
    """Return the shape of a network input of ``size`` (height, width)."""
    return [1, channels, *size] if layout == 'nchw' else [1, *size, channels]


def onnx_model(nodes, inputs, outputs, weights=None, *, opset=17, ir_version=None,
               metadata=None, weights_as_inputs=False, domain=''):
    """Return a model; ``weights`` maps names to arrays."""
    tensors = [numpy_helper.from_array(np.asarray(array), name)
               for name, array in (weights or {}).items()]
    if weights_as_inputs:
        inputs = [*inputs, *(tensor(t.name, t.dims, t.data_type) for t in tensors)]
    graph = helper.make_graph(nodes, 'network', inputs, outputs, tensors)
    opsets = [helper.make_opsetid(domain, opset)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = ir_version or helper.find_min_ir_version_for(opsets)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    return model


@cache
def newest_opset():
    """Return the newest opset that both installed packages, onnx and onnxruntime, know."""
    import onnxruntime
    for opset in range(onnx.defs.onnx_opset_version(), 11, -1):
        nodes = [helper.make_node('Identity', ['a'], ['b'])]
        model = onnx_model(nodes, [tensor('a', [1])], [tensor('b', [1])], opset=opset)
        try:
            onnxruntime.InferenceSession(model.SerializeToString())
        except Exception:  # too new, in whichever way the runtime says so
            continue
        return opset
    raise AssertionError('no opset runs')


def pointwise(weights, size, *, layout='nchw', dtype=TensorProto.FLOAT, stride=1, activation='',
              names=('pixels', 'scores'), **options):
    """Return a network of one 1x1 convolution: scores = weights @ pixel, every stride-th pixel.

    Args:
        weights: float32 [classes, 3], or [classes, 1] of a network that takes gray images.
        size: height and width of its input; strings and None are left open.
        layout: of its input and its output.
        activation: op type that turns the scores into probabilities.
        options: of ``onnx_model``.
    """
    image, scores = names
    nodes = [helper.make_node('Cast', [image], ['as_float'], to=TensorProto.FLOAT)]
    x = 'as_float'
    if layout == 'nhwc':
        nodes.append(helper.make_node('Transpose', [x], ['channels_first'], perm=[0, 3, 1, 2]))
        x = 'channels_first'
    last = activation or layout == 'nhwc'
    nodes.append(helper.make_node('Conv', [x, 'weights'], ['conv' if last else scores],
                                  kernel_shape=[1, 1], strides=[stride, stride]))
    if activation:
        axis = {'axis': 1} if activation == 'Softmax' else {}
        active = 'active' if layout == 'nhwc' else scores
        nodes.append(helper.make_node(activation, ['conv'], [active], **axis))
    if layout == 'nhwc':
        x = 'active' if activation else 'conv'
        nodes.append(helper.make_node('Transpose', [x], [scores], perm=[0, 2, 3, 1]))
    kernel = np.asarray(weights, np.float32)[:, :, None, None]
    strided = [-(-extent // stride) if isinstance(extent, int) else None for extent in size]
    channels = len(kernel)
    shape = [1, channels, *strided] if layout == 'nchw' else [1, *strided, channels]
    fed = image_shape(size, layout, kernel.shape[1])
    return onnx_model(nodes, [tensor(image, fed, dtype)],
                      [tensor(scores, shape)], {'weights': kernel}, **options)


def heads(weights, size, **options):
    """Return a network with an output of 1x1 scores for each name.

    Args:
        weights: float32 [classes, 3] by the output's name.
        size: height and width of its input.
        options: of ``onnx_model``.
    """
    kernels = {f'{name}/weights': np.asarray(each, np.float32)[:, :, None, None]
               for name, each in weights.items()}
    return onnx_model(
        [helper.make_node('Conv', ['pixels', f'{name}/weights'], [name]) for name in weights],
        [tensor('pixels', image_shape(size))],
        [tensor(name, [1, len(each), *size]) for name, each in weights.items()], kernels,
        **options)


def joined(models):
    """Return one network that gives what several give, of one input, as 'name/scores'.

    Args:
        models: by name, with an input ``pixels`` of one size.
    """
    parts = []
    for name, model in models.items():
        part = onnx.compose.add_prefix(model, f'{name}/')
        for node in part.graph.node:
            node.input[:] = ['pixels' if each == f'{name}/pixels' else each
                             for each in node.input]
        parts.append(part.graph)
    first = next(iter(models.values()))
    graph = helper.make_graph(
        [node for part in parts for node in part.node], 'network', [first.graph.input[0]],
        [value for part in parts for value in part.output],
        [weight for part in parts for weight in part.initializer])
    return helper.make_model(graph, opset_imports=first.opset_import,
                             ir_version=first.ir_version)


def ending(size, nodes, weights=()):
    """Return a network of three classes that ends in these nodes, from ``sums`` to ``scores``."""
    model = pointwise(np.eye(3), size, names=('pixels', 'sums'))
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name)
                                   for name, value in dict(weights).items())
    del model.graph.output[:]
    model.graph.output.append(tensor('scores', [1, 3, *size]))
    return model


def sigmoid_in_parts(weights, size):
    """Return a network of one channel of probabilities, of which only the values tell that."""
    model = pointwise(weights, size, names=('pixels', 'sums'))
    model.graph.node.extend(helper.make_node(op, inputs, [output]) for op, inputs, output in (
        ('Neg', ['sums'], 'n'), ('Exp', ['n'], 'e'), ('Add', ['e', 'one'], 'd'),
        ('Div', ['one', 'd'], 'scores')))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), 'one'))
    model.graph.output[0].name = 'scores'
    return model


def against_the_brightest(size):
    """Return a network that compares each pixel with the brightest one of all its images."""
    return ending(size, [helper.make_node('ReduceMax', ['sums'], ['most'], axes=[0, 2, 3]),
                         helper.make_node('Sub', ['most', 'sums'], ['scores'])])


def fixed(values, *, size=None, layout='nchw', declared=True, **options):
    """Return a network that says ``values`` of every image.

    Args:
        values: float32, float16, int32, int64 or uint8, in the shape of its output.
        size: height and width of its input; None takes the likeliest of ``values``.
        layout: of its input.
        declared: whether its output's shape can be found; if not, only the rank can.
        options: of ``onnx_model``.
    """
    values = np.asarray(values)
    wide = np.dtype(np.float32 if values.dtype.kind == 'f' else np.int64)
    wide_type, own_type = (helper.np_dtype_to_tensor_dtype(d) for d in (wide, values.dtype))
    size = size or (values.shape[1:3] if values.ndim == 3 else values.shape[2:])
    nodes = [helper.make_node('ReduceMax', ['pixels'], ['brightest'], keepdims=0),
             helper.make_node('Mul', ['brightest', 'nil'], ['nothing']),
             helper.make_node('Cast', ['nothing'], ['zero'], to=wide_type),
             helper.make_node('Add', ['values', 'zero'], ['sum'])]
    weights = {'values': values.astype(wide), 'nil': np.float32(0)}
    if not declared:  # a shape computed from the picture
        nodes += [helper.make_node('Cast', ['nothing'], ['whole'], to=TensorProto.INT64),
                  helper.make_node('Add', ['extents', 'whole'], ['shape']),
                  helper.make_node('Reshape', ['sum', 'shape'], ['shaped'])]
        weights['extents'] = np.array(values.shape, np.int64)
    nodes.append(helper.make_node('Cast', ['sum' if declared else 'shaped'], ['scores'],
                                  to=own_type))
    spatial = slice(2, 4) if values.ndim == 4 else slice(1, 3)
    shape = list(values.shape)
    if not declared:
        shape[spatial] = [None, None]
    return onnx_model(nodes, [tensor('pixels', image_shape(size, layout))],
                      [tensor('scores', shape, own_type)], weights, **options)


def instances(found, prototypes, *, size, dtype=np.float32, metadata=None, **options):
    """Return a network that says these of every image, as Ultralytics' segmentation ones do.

    Args:
        found: anchors [1, 4 + classes + m, n] or final instances [1, n, 6 + m].
        prototypes: [1, m, h, w].
        size: height and width of its input.
        dtype: of both outputs.
        metadata: of the file, by key.
        options: of ``onnx_model``.
    """
    model = with_outputs({'output0': found.astype(dtype), 'output1': prototypes.astype(dtype)},
                         size=size, **options)
    helper.set_model_props(model, metadata or {})
    return model


def with_outputs(outputs, *, size, **options):
    """Return a network that gives these arrays for every image.

    Args:
        outputs: arrays of floats by the names of the outputs.
        size: height and width of its input.
        options: of ``onnx_model``.
    """
    nodes = [helper.make_node('ReduceMax', ['pixels'], ['brightest'], keepdims=0),
             helper.make_node('Mul', ['brightest', 'nil'], ['zero'])]
    weights, declared = {'nil': np.float32(0)}, []
    for name, values in outputs.items():
        elements = helper.np_dtype_to_tensor_dtype(values.dtype)
        weights[f'{name}/values'] = values.astype(np.float32)
        nodes += [helper.make_node('Add', [f'{name}/values', 'zero'], [f'{name}/sum']),
                  helper.make_node('Cast', [f'{name}/sum'], [name], to=elements)]
        declared.append(tensor(name, values.shape, elements))
    return onnx_model(nodes, [tensor('pixels', image_shape(size))], declared, weights, **options)


def config_of(**sections):
    """Return a config with these sections, as a YAML file would say them."""
    return ModelConfig.from_text(yaml.safe_dump(sections, sort_keys=False), 'test')


def save_with_config(model, path, **sections):
    """Write a model with a config with these sections in its metadata; return the path."""
    helper.set_model_props(model, {METADATA_KEY: config_of(**sections).to_text()})
    onnx.save(model, path)
    return path


def spec_of(model, batch=1, **sections):
    """Return a model's spec under a config with these sections."""
    return resolve(describe_network(model, 'net.onnx'), config_of(**sections), batch)


class Runner:
    """A prepared graph on ONNX Runtime, without the package's backend.

    Called with a BGR or gray image it returns the outputs by name, without their batch axis.
    """

    def __init__(self, prepared, extra_outputs=()):
        import onnxruntime
        model = onnx.ModelProto()
        model.CopyFrom(prepared.model)
        for name in extra_outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # Where the CPU has no VNNI, sums of int8 products saturate otherwise.
        options.add_session_config_entry('session.x64quantprecision', '1')
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ['CPUExecutionProvider'])
        self._spec = prepared.spec
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, image, *, alpha=0.5, channels=None, palette=None):
        told = {'image': as_bands(np.ascontiguousarray(image))[None],
                'channels': self._spec.channels('bgr'),
                **{f'{task.name}/palette'.lstrip('/'): self._spec.palette_table('bgr', task)
                   for task in self._spec.tasks},
                'alpha': np.array(alpha, np.float32)}
        if channels is not None:
            told['channels'] = channels
        if palette is not None:
            told['palette'] = palette
        told['channels'] = np.asarray(told['channels'], np.int32)
        results = self._session.run(None, {name: told[name] for name in self.inputs})
        return {name: result[0] for name, result in zip(self.outputs, results, strict=True)}


def random_image(height, width, seed=0):
    """Return noise: uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def random_scores(channels, height, width, seed=0):
    """Return float32 [1, channels, height, width], about -6..6."""
    noise = np.random.default_rng(seed).normal(0, 2, (1, channels, height, width))
    return noise.astype(np.float32)


def letterbox_window(source, size):
    """Return top, left, height, width of a source in a letterboxed input, in whole pixels."""
    def rounded(numerator, denominator):
        return (2 * numerator + denominator) // (2 * denominator)

    (source_height, source_width), (height, width) = source, size
    if source_height * width <= height * source_width:  # as wide as the input
        fit = max(1, rounded(source_height * width, source_width)), width
    else:
        fit = height, max(1, rounded(source_width * height, source_height))
    return (height - fit[0]) // 2, (width - fit[1]) // 2, *fit


def resized(array, size):
    """Return float32 [h, w, C] or [h, w] resized by OpenCV's INTER_LINEAR."""
    array = np.ascontiguousarray(array, np.float32)
    planes = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
              for plane in np.moveaxis(np.atleast_3d(array), 2, 0)]
    result = np.stack(planes, axis=2)
    return result if array.ndim == 3 else result[..., 0]


def nearest_cells(pixels, cells):
    """Return floor((i + 1/2) * cells / pixels) for each pixel i."""
    return (2 * np.arange(pixels) + 1) * cells // (2 * pixels)


def grown(class_map, size):
    """Return a map brought to ``size`` by the nearest cell."""
    rows = nearest_cells(size[0], class_map.shape[0])
    columns = nearest_cells(size[1], class_map.shape[1])
    return class_map[rows][:, columns]


def letterbox_grown(class_map, source, size, target=None):
    """Return a map of a letterboxed input of ``size`` brought to the target's size, else the
    source's."""
    target = target or source
    top, left, height, width = letterbox_window(source, size)

    def cells(pixels, start, extent, full, count):
        numerator = ((2 * np.arange(pixels) + 1) * extent + 2 * start * pixels) * count
        return numerator // (2 * pixels * full)

    rows = cells(target[0], top, height, size[0], class_map.shape[0])
    columns = cells(target[1], left, width, size[1], class_map.shape[1])
    return class_map[rows][:, columns]


def softmax(scores, axis=0):
    """Return float64 probabilities."""
    scores = np.asarray(scores, np.float64)
    exponentials = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def sigmoid(scores):
    """Return float64 probabilities."""
    return 1 / (1 + np.exp(-np.asarray(scores, np.float64)))


def as_byte(probability):
    """Return a probability as 0..255, rounded."""
    return np.floor(np.asarray(probability) * 255 + 0.5).astype(np.uint8)


COLOUR_WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
COLOUR_CONFIG = """
input: {color: bgr, scale: 1}
classes: {labels: [blue, green, red]}
"""


def save_colours(path, weights=COLOUR_WEIGHTS, config=COLOUR_CONFIG):
    """Write a network that finds the strongest channel of 32x48 pixels; return its path."""
    onnx.save(pointwise(weights, (32, 48), metadata=config), path)
    return path


def write_noise(folder, count):
    """Write images of noise into folder/images, and their strongest channels into labels."""
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for seed in range(count):
        image = random_image(32, 48, seed)
        cv2.imwrite(str(folder / 'images' / f'{seed}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{seed}.png'), image.argmax(axis=2).astype('u1'))


_WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
_SCORES = np.random.default_rng(0).normal(size=(1, 4, 8, 12)).astype(np.float32)
KINDS = {
    'pointwise': partial(pointwise, _WEIGHTS, (32, 48)),
    'strided': partial(pointwise, _WEIGHTS, (32, 48), stride=4),
    'nhwc': partial(pointwise, _WEIGHTS, (32, 48), layout='nhwc'),
    'half input': partial(pointwise, _WEIGHTS, (32, 48), dtype=TensorProto.FLOAT16),
    'softmax': partial(pointwise, _WEIGHTS, (32, 48), activation='Softmax'),
    'sigmoid': partial(pointwise, _WEIGHTS[:1], (32, 48), activation='Sigmoid'),
    'logits': partial(fixed, _SCORES), 'half logits': partial(fixed, np.float16(_SCORES)),
    'int32 ids': partial(fixed, _SCORES[:, 0].astype(np.int32)),
    'int64 ids': partial(fixed, _SCORES[:, 0].astype(np.int64))}
"""Of every kind that a backend may be given: a function that makes the model; it takes the
options of ``onnx_model``."""


def strongest(size, dtype=TensorProto.INT64):
    """Return a network that gives the ids [1, height, width] of ``pointwise``."""
    model = pointwise(_WEIGHTS, size)
    model.graph.node.extend([
        helper.make_node('ArgMax', ['scores'], ['highest'], axis=1, keepdims=0),
        helper.make_node('Cast', ['highest'], ['ids'], to=dtype)])
    model.graph.output[0].CopyFrom(tensor('ids', [1, *size], dtype))
    return model


def asked(size, queries=5, classes=3, spread=0.05):
    """Return a network of queries, which depend on the image: masks at half its size.

    Args:
        size: height and width of its input.
        queries, classes: how many.
        spread: standard deviation of its random weights. With small ones, its classes nearly tie.
    """
    noise = np.random.default_rng(0).normal(0, spread, (queries * (classes + 2), 3, 1, 1))
    masks, likely = np.split(noise.astype(np.float32), [queries])
    nodes = [
        helper.make_node('Conv', ['pixels', 'for_masks'], ['masks'], kernel_shape=[1, 1],
                         strides=[2, 2]),
        helper.make_node('Conv', ['pixels', 'for_classes'], ['each'], kernel_shape=[1, 1]),
        helper.make_node('GlobalAveragePool', ['each'], ['mean']),
        helper.make_node('Reshape', ['mean', 'pairs'], ['classes'])]
    height, width = size
    return onnx_model(
        nodes, [tensor('pixels', image_shape(size))],
        [tensor('masks', [1, queries, height // 2, width // 2]),
         tensor('classes', [1, queries, classes + 1])],
        {'for_masks': masks, 'for_classes': likely, 'pairs': np.array([0, queries, classes + 1])})


def spotted(size, final=False, classes=3, coefficients=4):
    """Return a network of instances, which depend on the image: one for each 4x4 pixels.

    Args:
        size: height and width of its input.
        final: whether it has done its own suppression; two of the classes are seen, then.
        classes, coefficients: how many.
    """
    counts = {'boxes': 4, 'scores': 1 if final else classes, 'kinds': 1 if final else 0,
              'masks': coefficients, 'prototypes': coefficients}
    rng, height, width = np.random.default_rng(0), *size
    boxes = [0, 0, width, height] if final else [width / 2, height / 2, width, height]
    weights, nodes = {}, []
    for name, count in counts.items():
        offset = boxes if name == 'boxes' else [0.2] * count
        weights[f'{name}/w'] = rng.normal(0, 0.5, (count, 3, 1, 1)).astype(np.float32)
        weights[f'{name}/b'] = np.array(offset, np.float32)
        nodes.append(helper.make_node('Conv', ['pixels', f'{name}/w', f'{name}/b'], [name],
                                      kernel_shape=[1, 1], strides=[4, 4]))
    parts = ['boxes', 'scores', 'masks']
    if final:
        nodes += [helper.make_node('Sigmoid', ['kinds'], ['likely']),
                  helper.make_node('Round', ['likely'], ['kind'])]
        parts.insert(2, 'kind')
    else:
        del nodes[2]
    per_row = sum(counts[name] for name in ('boxes', 'scores', 'kinds', 'masks'))
    weights['rows'] = np.array([0, per_row, -1])
    nodes += [helper.make_node('Concat', parts, ['cells'], axis=1),
              helper.make_node('Reshape', ['cells', 'rows'], ['columns' if final else 'found'])]
    if final:
        nodes.append(helper.make_node('Transpose', ['columns'], ['found'], perm=[0, 2, 1]))
    shape = [1, None, per_row] if final else [1, per_row, None]
    return onnx_model(nodes, [tensor('pixels', image_shape(size))],
                      [tensor('found', shape),
                       tensor('prototypes', [1, coefficients, height // 4, width // 4])], weights)


def anchored():
    """Return a network that decodes anchors as Ultralytics' YOLO does: input 32x640, stride 8,
    distances of at most 5 cells as distributions, 3 classes, 4 coefficients."""
    cells, bins = 4 * 80, 6
    rows, columns = np.divmod(np.arange(cells, dtype=np.float32), 80)
    random = np.random.default_rng(5)
    sizes = {'distances': 4 * bins, 'classes': 3, 'coefficients': 4}
    weights = {name: random.normal(0, 3, (size, 3, 1, 1)).astype(np.float32)
               for name, size in sizes.items()}
    weights |= {'mean': np.repeat(np.eye(3, dtype=np.float32), 64, 1).reshape(3, 3, 8, 8) / 64,
                'quarter': np.repeat(weights['coefficients'] / 16, 16).reshape(4, 3, 4, 4),
                'values': np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1),
                'anchors': np.stack([columns, rows])[None] + np.float32(0.5),
                'stride': np.float32(8), 'two': np.float32(2), 'axis': np.int64([1]),
                'start': np.int64([0]), 'half': np.int64([2]), 'end': np.int64([4]),
                'flat': np.int64([1, -1, cells]), 'four': np.int64([1, 4, bins, cells])}
    node = helper.make_node
    nodes = [node('Conv', ['pixels', 'mean'], ['seen'], 'body', strides=[8, 8]),
             node('Conv', ['pixels', 'quarter'], ['output1'], 'prototypes', strides=[4, 4]),
             *(each for name in sizes for each in (
                 node('Conv', ['seen', name], [f'{name} at cells'], name),
                 node('Reshape', [f'{name} at cells', 'flat'], [f'{name} of anchors']))),
             node('Reshape', ['distances of anchors', 'four'], ['by side']),
             node('Transpose', ['by side'], ['by value'], perm=[0, 2, 1, 3]),
             node('Softmax', ['by value'], ['shares'], axis=1),
             node('Conv', ['shares', 'values'], ['expected'], 'expect'),
             node('Reshape', ['expected', 'flat'], ['sides']),
             node('Slice', ['sides', 'start', 'half', 'axis'], ['before']),
             node('Slice', ['sides', 'half', 'end', 'axis'], ['after']),
             node('Sub', ['anchors', 'before'], ['first']),
             node('Add', ['anchors', 'after'], ['last']),
             node('Add', ['first', 'last'], ['sum'], 'add corners'),
             node('Div', ['sum', 'two'], ['centre']), node('Sub', ['last', 'first'], ['extent']),
             node('Concat', ['centre', 'extent'], ['in cells'], axis=1),
             node('Mul', ['in cells', 'stride'], ['boxes']),
             node('Sigmoid', ['classes of anchors'], ['scores']),
             node('Concat', ['boxes', 'scores', 'coefficients of anchors'], ['output0'], axis=1)]
    return onnx_model(
        nodes, [tensor('pixels', [1, 3, 32, 640])],
        [tensor('output0', [1, 11, cells]), tensor('output1', [1, 4, 8, 160])], weights)


SEEING = {
    **{name: make for name, make in KINDS.items() if 'logits' not in name and 'ids' not in name},
    'several sigmoids': lambda: pointwise(_WEIGHTS, (32, 48), activation='Sigmoid'),
    'int64 ids': lambda: strongest((32, 48)),
    'int32 ids': lambda: strongest((32, 48), TensorProto.INT32),
    'queries': lambda: asked((32, 48)), 'instances': lambda: spotted((32, 48))}
"""Of every kind, as ``KINDS``, but only such as look at the image: what they say depends on it."""
