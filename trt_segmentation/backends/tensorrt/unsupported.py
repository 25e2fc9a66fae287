# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Finds operators that TensorRT does not support, without TensorRT and without a GPU.

The source is docs/operators.md of onnx-tensorrt, TensorRT's parser, in its branches 8.6-GA and
10.1-GA. Cubic Resize is not in the tables, but both versions support it. Where TensorRT is
installed, ``backends.tensorrt.parser_check`` uses its parser instead.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, helper

from trt_segmentation.graph.onnx_tools.opset import opset_of

VERSIONS = '8.6 and 10.1'
NEWEST_OPSET = 20
"""Of TensorRT 10.1; 8.6 documents 17, and newer graphs are lowered to that for it."""

_SLIM = 'simplify it with onnxslim (pip install onnxslim; onnxslim net.onnx slim.onnx)'
_REPLACE = f'export it with another opset (17 is the safest), {_SLIM}, or replace the operator'
_UNROLL = f'export it with a fixed size and opset 17, then {_SLIM}, which folds it away'
_DECOMPOSE = 'export it with opset 17, which writes it as simpler operators'
_FLOAT = ('export the float network, or quantize it with QuantizeLinear and DequantizeLinear '
          'nodes (quant_format QDQ in ONNX Runtime)')
_MASKED = ('compute with a mask (Where, Mul) instead of indexing with a condition, and export it '
           'again')
_FOREIGN = ('export the network without it, from the framework and without optimizations for '
            'another runtime')
_FIXES = {
    _UNROLL: ('ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt '
              'SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength '
              'SequenceMap SplitToSequence'),
    _DECOMPOSE: ('AffineGrid Attention BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad '
                 'Col2Im RMSNormalization RotaryEmbedding Swish'),
    _FLOAT: 'ConvInteger DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul',
    'grow with Resize or ConvTranspose instead': 'MaxUnpool',
    _REPLACE: ('Bernoulli BitShift BlackmanWindow Compress DFT Det HammingWindow HannWindow '
               'ImageDecoder MaxRoiPool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss '
               'RegexFullMatch STFT SoftmaxCrossEntropyLoss StringConcat StringNormalizer '
               'StringSplit TensorScatter TfIdfVectorizer Unique'),
}
_REFUSED = {op: fix for fix, ops in _FIXES.items() for op in ops.split()}
_NEWER_THAN_8 = {'DeformConv', 'Hardmax'}
"""Not in 8.6, but in 10.1; CastLike, Gelu and Mish are converted to other operators for 8.6, see
``graph.onnx_tools.opset``."""

_RESIZE_COORDINATES = {'half_pixel', 'pytorch_half_pixel', 'tf_half_pixel_for_nn', 'asymmetric',
                       'align_corners'}


@dataclass(frozen=True)
class Finding:
    """Something in a network that TensorRT does not support, or not in all versions.

    Attributes:
        op, node: operator and name of the node; empty if it is not about a node.
        reason: what is wrong.
        fix: what to do.
        certain: whether no TensorRT supports it.
    """

    op: str
    node: str
    reason: str
    fix: str
    certain: bool = True

    def __str__(self) -> str:
        where = f"node '{self.node}' ({self.op}): " if self.op else ''
        return f'{where}{self.reason}; {self.fix}'


def find_unsupported(model: onnx.ModelProto) -> list[Finding]:
    """Return what TensorRT does not support in a network, or not in all versions.

    Args:
        model: the network as it was exported.
    """
    found = [finding for node in _nodes(model.graph.node)
             if (finding := _judge(node, {function.domain for function in model.functions}))]
    for function in model.functions:
        found += [finding for node in _nodes(function.node) if (finding := _judge(node, set()))]
    opset = opset_of(model)
    if opset > NEWEST_OPSET:
        found.append(Finding('', '', f'opset {opset} is newer than what TensorRT 10.1 documents, '
                             f'{NEWEST_OPSET}', 'export it with opset 17', certain=False))
    return found


def fix_of(op: str, model: onnx.ModelProto) -> str:
    """Return the fix for an operator that a parser does not support; '' if none is known.

    Args:
        op: the operator.
        model: the network that has it.
    """
    known = {'', 'ai.onnx', *(function.domain for function in model.functions)}
    if any(node.op_type == op and node.domain not in known for node in _nodes(model.graph.node)):
        return _FOREIGN
    return _REFUSED.get(op, _MASKED if _RULES.get(op) is _judge_counting else '')


def _nodes(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body.node)


def _judge(node: NodeProto, functions: set[str]) -> Finding | None:
    if node.domain not in ('', 'ai.onnx'):
        if node.domain in functions:
            return None
        return Finding(node.op_type, node.name, f"is of the domain '{node.domain}', not of ONNX, "
                       'so it needs a plugin', _FOREIGN)
    if node.op_type in _REFUSED:
        return Finding(node.op_type, node.name, 'TensorRT has no such operator',
                       _REFUSED[node.op_type])
    if node.op_type in _NEWER_THAN_8:
        return Finding(node.op_type, node.name, 'TensorRT 8.6 has no such operator',
                       'take TensorRT 10, or ' + _REPLACE, certain=False)
    judge = _RULES.get(node.op_type)
    if judge is None:
        return None
    attributes = {attribute.name: helper.get_attribute_value(attribute)
                  for attribute in node.attribute}
    if (judged := judge(node, attributes)) is None:
        return None
    return Finding(node.op_type, node.name, *judged)


_Judged = tuple[str, str] | tuple[str, str, bool] | None


def _judge_resize(node: NodeProto, attributes: dict) -> _Judged:
    fix = 'resize without that (antialias=False), and export it again'
    coordinates = attributes.get('coordinate_transformation_mode', b'half_pixel').decode()
    if coordinates not in _RESIZE_COORDINATES:
        known = ', '.join(sorted(_RESIZE_COORDINATES))
        return (f"has coordinate_transformation_mode '{coordinates}', TensorRT only {known}",
                'export it with opset 11 to 17')
    if attributes.get('antialias', 0):
        return 'has antialias, which TensorRT lacks', fix
    policy = attributes.get('keep_aspect_ratio_policy', b'stretch').decode()
    if policy != 'stretch':
        return f"has keep_aspect_ratio_policy '{policy}', TensorRT only stretch", fix
    return None


def _judge_max_pool(node: NodeProto, attributes: dict) -> _Judged:
    if len([name for name in node.output if name]) > 1:
        return ('gives Indices, which TensorRT lacks',
                'pool without indices (return_indices=False) and grow with Resize')
    if set(attributes.get('dilations', [1])) != {1}:
        return 'has dilations, which TensorRT lacks', 'pool without dilation'
    return None


def _judge_top_k(node: NodeProto, attributes: dict) -> _Judged:
    if attributes.get('sorted', 1) != 1:
        return 'has sorted=0, TensorRT only 1', 'export it with sorted=True'
    return None


def _judge_counting(node: NodeProto, attributes: dict) -> _Judged:
    return ('the size of its output depends on the image, which TensorRT for RTX does not support '
            'and others build with restrictions', _MASKED, False)


def _judge_loop(node: NodeProto, attributes: dict) -> _Judged:
    return ('TensorRT supports it only with state of constant shape and outputs of constant '
            'length',
            _UNROLL, False)


_RULES: dict[str, Callable[[NodeProto, dict], _Judged]] = {
    'Loop': _judge_loop,
    'MaxPool': _judge_max_pool,
    'NonMaxSuppression': _judge_counting,
    'NonZero': _judge_counting,
    'Resize': _judge_resize,
    'Scan': _judge_loop,
    'TopK': _judge_top_k,
}
