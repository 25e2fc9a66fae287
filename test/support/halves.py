# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that tell black from white, in the many forms in which families of networks do.

Each ends a 1x1 convolution of its own way. Of an image whose left half is black and right half
white, the mask is 0 on the left and 1 on the right.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.graph.analysis.measurement import MeasurementSetup
from trt_segmentation.graph.onnx_tools.network import describe_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import resolve

FLOAT = TensorProto.FLOAT
SIZE = 8, 12
SIGNED = {'scale': 1 / 127.5, 'mean': [1.0] * 3, 'std': [1.0] * 3}
"""The pixel as -1..1, so that a sum of channels is a logit."""


class Writer:
    """Collects nodes; arrays among the inputs become weights.

    Calling it adds a node and returns the name of its output, or of its outputs if ``outs`` says
    how many.
    """

    def __init__(self):
        self.nodes, self.weights, self.functions = [], [], []
        self.dtype = np.float32

    def __call__(self, kind, *inputs, outs=0, domain='', **attributes):
        name = f'{kind}_{len(self.nodes)}'
        names = [f'{name}/{index}' for index in range(outs)] if outs else [name]
        self.nodes.append(helper.make_node(
            kind, [each if isinstance(each, str) else self.constant(each) for each in inputs],
            names, name, domain=domain, **attributes))
        return names if outs else name

    def constant(self, value):
        name = f'weight_{len(self.weights)}'
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, classes=1, x='x'):
        """Logits of ``classes``: of one, that of white; else of black, white and none."""
        weights = np.zeros((classes, 3, 1, 1))
        weights[0], weights[1:2] = -1, 1
        if classes == 1:
            weights[0] = 1
        bias = np.full(classes, -9.0)
        bias[:2] = 0
        return self('Conv', x, weights.astype(self.dtype), bias.astype(self.dtype),
                    kernel_shape=[1, 1])

    def pooled(self, cells, x):
        """Means of squares of so many cells a side."""
        return self('AveragePool', x, kernel_shape=[cells] * 2, strides=[cells] * 2)


def image(size=SIZE):
    """Return the image that is half black and half white."""
    found = np.zeros((*size, 3), np.uint8)
    found[:, size[1] // 2:] = 255
    return found


def network(build, *outputs, size=SIZE, fed=None, opset=17, domains=(), dtype=np.float32):
    """Return a model.

    Args:
        build: given a ``Writer``, it returns the name of the value that is the output, or of
            each output; the input is called x.
        outputs: shape and type of each, and its name, 'y' if left out.
        size: height and width of the input.
        fed: shape and type of the input.
        opset, domains: of the model.
        dtype: of weights.
    """
    op = Writer()
    op.dtype = dtype
    values = build(op)
    shape, fed_type = fed or ([1, 3, *size], FLOAT)
    declared = []
    values = [values] if isinstance(values, str) else values
    for value, (form, kind, *name) in zip(values, outputs, strict=True):
        op.nodes.append(helper.make_node('Identity', [value], name or ['y']))
        declared.append(helper.make_tensor_value_info((name or ['y'])[0], kind, form))
    graph = helper.make_graph(op.nodes, 'halves', [helper.make_tensor_value_info(
        'x', fed_type, shape)], declared, op.weights)
    opsets = [helper.make_opsetid('', opset), *(helper.make_opsetid(each, 1) for each in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 18 else 8,
                             functions=op.functions)


def segment(networks, model, *, measure=True, size=SIZE, **sections):
    """Return spec and mask of the image that is half black and half white.

    Args:
        networks: the fixture.
        model: one of these networks.
        measure: whether it may be measured.
        size: of the image.
        sections: of the model config; where ``input`` is left out, the pixel is fed as -1..1.
    """
    sections.setdefault('input', SIGNED)
    onnx.checker.check_model(model)
    spec = resolve(describe_network(model, 'net.onnx'), networks.config_of(**sections),
                   measuring=MeasurementSetup() if measure else None)
    return spec, networks.Runner(prepare(spec, ('mask',)))(image(size))['mask']


def check(mask):
    """Assert that a mask is 0 on the left and 1 on the right."""
    wanted = np.zeros(mask.shape, np.uint8)
    wanted[:, mask.shape[1] // 2:] = 1
    np.testing.assert_array_equal(mask, wanted)


def origin_of(spec, key):
    """Return where a entry of a spec comes from."""
    return next(entry.origin for entry in spec.provenance if entry.key == key)
