# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of outputs, and which outputs are maps."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.measurement import MeasurementSetup
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

FLOAT, INT8, INT64 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64
SIZE = 8, 12
LAST = {'perm': [0, 2, 3, 1]}
f32 = np.float32


def p(op):
    return op('Sigmoid', op.conv())


def shaped(op, x, *shape):
    return op('Reshape', x, np.array(shape))


def without(op, x, *axes):
    return op('Squeeze', x, np.array(axes))


def last(op, classes=2, x='x'):
    return op('Transpose', op.conv(classes, x), **LAST)


def ids(op, x='x', **more):
    return op('ArgMax', op.conv(2, x), axis=1, **more)


# Dynamic input sizes: the output shape is measured ----------------------------------------------

OPEN = {
    'a map of probabilities': (lambda op: without(op, p(op), 1), [None] * 3, FLOAT),
    'a map of logits': (lambda op: without(op, op.conv(), 1), [None] * 3, FLOAT),
    'a map of float ids': (lambda op: op('Cast', ids(op, keepdims=0), to=FLOAT), [None] * 3,
                           FLOAT),
    'a map alone': (lambda op: without(op, p(op), 0, 1), [None] * 2, FLOAT),
    'classes first': (lambda op: without(op, op.conv(2), 0), [2, None, None], FLOAT),
    'classes last': (lambda op: without(op, last(op), 0), [None, None, 2], FLOAT),
    'rows of pixels': (lambda op: shaped(op, last(op), 1, -1, 2), [1, None, 2], FLOAT),
    'rows of classes': (lambda op: shaped(op, op.conv(2), 1, 2, -1), [1, 2, None], FLOAT),
    'rows of ids': (lambda op: shaped(op, ids(op), 1, -1), [1, None], INT64),
    'rows of cells': (lambda op: shaped(op, op('Transpose', op.pooled(2, op.conv(2)), **LAST), 1,
                                        -1, 2), [1, None, 2], FLOAT),
    'everything open': (last, [None] * 4, FLOAT),
    'declared at another size': (lambda op: op.conv(2), [1, 2, 512, 512], FLOAT),
    'ids as int8': (lambda op: op('Cast', ids(op, keepdims=0), to=INT8), [None] * 3, INT8),
}


@pytest.mark.parametrize('config', [{'resize': 'none'}, {'size': list(SIZE)}])
@pytest.mark.parametrize('name', OPEN)
def test_a_dynamic_shape_is_measured(networks, halves, name, config):
    build, shape, dtype = OPEN[name]
    model = halves.network(build, (shape, dtype), fed=([1, 3, None, None], FLOAT))
    spec, mask = halves.segment(networks, model, input=halves.SIGNED | config)
    assert spec.output_name == 'y'
    halves.check(mask)
    again = resolve(spec.network, complete_config(spec), measuring=MeasurementSetup())
    assert (again.kind, again.scores) == (spec.kind, spec.scores)


@pytest.mark.parametrize(('build', 'dtype'), [
    (ids, INT64), (p, FLOAT), (lambda op: op('Unsqueeze', op.conv(2), np.array([1])), FLOAT)])
def test_an_output_of_unknown_rank_is_measured(networks, halves, tmp_path, build, dtype):
    """PyTorch writes such an If for a squeeze of an axis whose extent it does not know."""
    def squeezed(op):
        found, axis = build(op), op.constant(np.array([1]))
        is_one = op('Equal', op('Gather', op('Shape', found), np.array(1)), np.array(1))
        kept = [helper.make_tensor_value_info('kept', dtype, None)]
        nodes = {'then_branch': helper.make_node('Squeeze', [found, axis], ['kept']),
                 'else_branch': helper.make_node('Identity', [found], ['kept'])}
        return op('If', is_one, **{branch: helper.make_graph([node], branch, [], kept)
                                   for branch, node in nodes.items()})

    path = tmp_path / 'net.onnx'
    onnx.save(halves.network(squeezed, (None, dtype)), path)
    options = RunOptions('onnxruntime', num_threads=1, engine_cache=str(tmp_path / 'cache'))
    with Segmenter.open(path, config=networks.config_of(input=halves.SIGNED),
                        options=options) as segmenter:
        halves.check(segmenter.infer(halves.image()).mask)


def test_open_rows_follow_the_size_of_each_image(networks, halves):
    build, shape, dtype = OPEN['rows of pixels']
    model = halves.network(build, (shape, dtype), fed=([1, 3, None, None], FLOAT))
    for size in ((8, 12), (10, 6)):
        halves.check(halves.segment(networks, model, size=size,
                                    input=halves.SIGNED | {'resize': 'none'})[1])


def test_without_a_measurement_open_rows_are_refused(networks, halves):
    build, shape, dtype = OPEN['rows of pixels']
    model = halves.network(build, (shape, dtype), fed=([1, 3, None, None], FLOAT))
    with pytest.raises(ModelError, match='is no segmentation'):
        halves.segment(networks, model, measure=False, input={'resize': 'none'})


# Both layouts fit ------------------------------------------------------------------------------


@pytest.mark.parametrize('build', [
    lambda op: last(op, 12), lambda op: op('Softmax', last(op, 12), axis=-1),
    lambda op: op('MatMul', op('Transpose', 'x', **LAST), f32(
        [[-1, 1, *[-9] * 10], [-1, 1, *[-9] * 10], [-1, 1, *[-9] * 10]]))])
def test_the_axis_of_the_classes_is_followed_through_the_graph(networks, halves, build):
    model = halves.network(build, ([1, 12, 12, 12], FLOAT), size=(12, 12))
    spec, mask = halves.segment(networks, model, size=(12, 12))
    assert (spec.scores.axis, halves.origin_of(spec, 'output.layout')) == (3, 'graph')
    if 'MatMul' not in {node.op_type for node in model.graph.node}:
        halves.check(mask)


def test_the_axis_that_an_argmax_keeps_is_that_of_ids(networks, halves):
    model = halves.network(lambda op: ids(op, x=op('Resize', op(
        'Transpose', 'x', perm=[0, 3, 1, 2]), '', '', np.array([1, 3, *SIZE]), mode='nearest')),
        ([1, 1, *SIZE], INT64), fed=([1, None, None, 3], FLOAT))
    spec, mask = halves.segment(networks, model, input=halves.SIGNED | {'resize': 'none'})
    assert (spec.scores.axis, halves.origin_of(spec, 'output.layout')) == (1, 'graph')
    halves.check(mask)


def hidden_axis(op):
    return shaped(op, shaped(op, last(op, 12), 1, 144, 12), 1, 12, 12, 12)


@pytest.mark.parametrize(('build', 'shape'), [
    (hidden_axis, [1, 12, 12, 12]), (lambda op: without(op, last(op, 12), 0), [12, 12, 12])])
def test_an_ambiguous_layout_is_assumed_or_configured(networks, halves, caplog, build, shape):
    model = halves.network(build, (shape, FLOAT), size=(12, 12))
    spec, _ = halves.segment(networks, model, size=(12, 12))
    assert halves.origin_of(spec, 'output.layout') == 'assumed'
    assert 'fits both layouts, nchw and nhwc' in caplog.text
    caplog.clear()
    spec, mask = halves.segment(networks, model, size=(12, 12), output={'layout': 'nhwc'})
    assert complete_config(spec).output.layout == 'nhwc'
    assert not caplog.text
    halves.check(mask)


def test_another_aspect_ratio_is_refused_unless_configured(networks, halves):
    model = halves.network(lambda op: shaped(op, op.conv(2), 1, 2, 48, 2),
                           ([1, 2, 48, 2], FLOAT))
    with pytest.raises(ModelError, match=r'aspect ratio of the input \(8x12\).*output\.layout'):
        halves.segment(networks, model)
    assert halves.segment(networks, model, output={'layout': 'nchw'})[0].scores.axis == 1


def test_a_map_may_be_larger_than_the_input(networks, halves):
    def build(op):
        return without(op, op('Resize', op.conv(), '', f32([1, 1, 2, 2]), mode='nearest'), 1)

    halves.check(halves.segment(networks, halves.network(build, ([1, 16, 24], FLOAT)))[1])


# Rows of cells ---------------------------------------------------------------------------------


def strided(op, stride):
    """The logits of black and white of every so many pixels."""
    return op('Conv', 'x', f32([[-1] * 3, [1] * 3]).reshape(2, 3, 1, 1), strides=[stride] * 2)


def masks_of_cells(networks, halves, stride, *, size, end=None, classes_last=False, open_=False,
                   **options):
    """Return the spec of rows of cells, their mask, and that of the same cells as a map."""
    cells = [-(-extent // stride) for extent in size]

    def flat(op):
        rows = shaped(op, strided(op, stride), 1, 2, -1)
        rows = op('Transpose', rows, perm=[0, 2, 1]) if classes_last else rows
        return end(op, rows) if end else rows

    count = None if open_ else cells[0] * cells[1]
    fed = {'fed': ([1, 3, None, None], FLOAT)} if open_ else {}
    rows = halves.network(flat, ([1, count, 2] if classes_last else [1, 2, count], FLOAT),
                          size=size, **fed)
    spec, mask = halves.segment(networks, rows, size=size, **options)
    as_map = halves.network(lambda op: strided(op, stride), ([1, 2, *cells], FLOAT), size=size)
    return spec, mask, halves.segment(networks, as_map, size=size)[1]


@pytest.mark.parametrize(('stride', 'size'), [
    (2, (32, 48)), (4, (32, 48)), (16, (64, 96)), (32, (64, 96)), (4, (33, 50)), (16, (60, 90))])
@pytest.mark.parametrize('classes_last', [False, True])
def test_rows_of_cells_are_maps(networks, halves, stride, size, classes_last):
    spec, mask, expected = masks_of_cells(networks, halves, stride, size=size,
                                          classes_last=classes_last)
    np.testing.assert_array_equal(mask, expected)
    assert 'output.layout' not in spec.assumption_warning(labels=False)


@pytest.mark.parametrize('size', [(8, 12), (9, 15)])
def test_open_rows_of_cells_follow_the_size_of_each_image(networks, halves, size):
    _, mask, expected = masks_of_cells(networks, halves, 2, size=size, open_=True,
                                       input=halves.SIGNED | {'resize': 'none'})
    np.testing.assert_array_equal(mask, expected)


def test_rows_of_a_matrix_may_be_objects_and_give_a_warning(networks, halves, caplog):
    def end(op, rows):
        return op('MatMul', rows, np.eye(2, dtype=f32))

    spec, mask, expected = masks_of_cells(networks, halves, 16, size=(64, 96), end=end,
                                          classes_last=True)
    np.testing.assert_array_equal(mask, expected)
    assert 'scores of 4x6 cells of the image, and not of the objects' in caplog.text
    assert 'output.layout' in spec.assumption_warning(labels=False)
    caplog.clear()
    again = resolve(spec.network, complete_config(spec))
    assert (again.assumed, caplog.text) == ((), '')


@pytest.mark.parametrize('config', [{'layout': 'nchw'}, {'kind': 'sigmoid'}])
def test_rows_whose_values_may_be_those_of_objects_need_a_config(networks, halves, config):
    def segment(**options):
        return masks_of_cells(networks, halves, 4, size=(32, 48), **options,
                              end=lambda op, rows: op('Sigmoid', rows))

    with pytest.raises(ModelError, match=r'scores of 8x12 cells .* set output\.layout: nchw'):
        segment()
    _, mask, expected = segment(output=config)
    np.testing.assert_array_equal(mask, expected)


# Several outputs -------------------------------------------------------------------------------


def rows(op, values, x=None):
    """[1, 24, values], as if of that many boxes."""
    return shaped(op, op.pooled(2, x or op.conv(values)), 1, 24, values)


def maps(op, count=24):
    """Masks of both signs."""
    return op('Conv', 'x', np.random.default_rng(0).normal(size=(count, 3, 1, 1)).astype(f32))


def bounded(op, values, most):
    return op('Clip', rows(op, values), f32(0), f32(most))


@pytest.mark.parametrize(('build', 'outputs', 'message'), [
    (lambda op: [bounded(op, 5, 12), maps(op)], [([1, 24, 5], 'cls'), ([1, 24, *SIZE], 'masks')],
     r"shapes of queries, but 'cls' was measured: 0 to 1\.\d+; logits have both signs"),
    (lambda op: [bounded(op, 4, 12), maps(op)],
     [([1, 24, 4], 'classes'), ([1, 24, *SIZE], 'masks')], "'classes' was measured"),
    (lambda op: [rows(op, 5), op('Abs', maps(op))], [([1, 24, 5], 'a'), ([1, 24, *SIZE], 'b')],
     "'b' was measured"),
    (lambda op: [rows(op, 9), op('Sigmoid', rows(op, 4))],
     [([1, 24, 9], 'logits'), ([1, 24, 4], 'pred_boxes')], 'boxes and the class of each'),
    (lambda op: op.conv(2), [([1, 2, *SIZE], 'image_embeddings')], 'it is an embedding'),
    (lambda op: op.conv(), [([1, 1, *SIZE], 'predicted_depth')], 'no segmentation by its name'),
    (lambda op: shaped(op, op.conv(), *SIZE), [([*SIZE], 'disparity')],
     'no segmentation by its name')])
def test_values_and_names_that_are_no_classes_are_refused(networks, halves, build, outputs,
                                                          message):
    model = halves.network(build, *((shape, FLOAT, name) for shape, name in outputs))
    with pytest.raises((ConfigError, ModelError), match=message):
        halves.segment(networks, model)


def test_masks_of_an_open_number_of_objects_are_refused(networks, halves):
    def build(op):
        seen = op('NonZero', op('Greater', op('ReduceMax', op.conv(4), axes=[0, 2, 3], keepdims=0),
                                f32(-99)))
        return op('Gather', without(op, op.conv(4), 0), without(op, seen, 0), axis=0)

    model = halves.network(build, ([None, *SIZE], FLOAT))
    with pytest.raises(ModelError, match='has 4 maps on a test image, and the graph leaves their'):
        halves.segment(networks, model)


def test_anchors_whose_scores_are_no_scores_are_refused(networks, halves):
    model = halves.network(
        lambda op: [shaped(op, op.pooled(2, op.conv(9)), 1, 9, 24), op.pooled(2, maps(op, 3))],
        ([1, 9, 24], FLOAT, 'a'), ([1, 3, 4, 6], FLOAT, 'b'))
    with pytest.raises(ConfigError, match=r"shapes of instances, but the scores in 'a' were mea"):
        halves.segment(networks, model)


def described(op, values):
    """[1, 2, values] of both signs, as if of two objects."""
    mean = op('GlobalAveragePool', maps(op, 2 * values))
    return shaped(op, mean, 1, 2, values)


def by_matrix(op):
    """The logits of black and white, of a matrix product with constant weights."""
    pixels = shaped(op, op('Transpose', 'x', **LAST), 1, 96, 3)
    scores = op('MatMul', pixels, f32([[-1, 1]] * 3))
    return shaped(op, op('Transpose', scores, perm=[0, 2, 1]), 1, 2, *SIZE)


@pytest.mark.parametrize('seg', [lambda op: op.conv(2), by_matrix])
@pytest.mark.parametrize(('name', 'values'), [('lanes', 78), ('keypoints', 3)])
def test_scores_of_constant_weights_are_no_queries(networks, halves, seg, name, values):
    model = halves.network(lambda op: [seg(op), described(op, values)],
                           ([1, 2, *SIZE], FLOAT, 'seg'), ([1, 2, values], FLOAT, name))
    with pytest.raises(ConfigError, match=rf"'seg' .*'{name}' .*; name one as output\.name, .*; "
                                          'if they are queries .* set output.kind: queries'):
        halves.segment(networks, model)
    halves.check(halves.segment(networks, model, output={'name': 'seg'})[1])
    spec, _ = halves.segment(networks, model, output={'kind': 'queries'})
    assert spec.pair.classes.name == name


@pytest.mark.parametrize(('values', 'shape', 'name'), [
    (1, [1, 2], 'class_scores'), (4, [1, 2, 4], 'boxes')])
def test_masks_with_a_score_or_a_box_each_are_refused_until_one_is_named(networks, halves, values,
                                                                         shape, name):
    model = halves.network(
        lambda op: [op.conv(2), op.conv(), shaped(op, described(op, values), *shape)],
        ([1, 2, *SIZE], FLOAT, 'seg'), ([1, 1, *SIZE], FLOAT, 'edge'), (shape, FLOAT, name))
    with pytest.raises(ConfigError, match=r'set output\.name: seg or edge$'):
        halves.segment(networks, model)
    halves.check(halves.segment(networks, model, output={'name': 'seg'})[1])


@pytest.mark.parametrize('name', ['context', 'cls_tokens'])
def test_features_of_classes_are_no_classes_of_queries(networks, halves, name):
    model = halves.network(lambda op: [op.conv(2), described(op, 16)],
                           ([1, 2, *SIZE], FLOAT, 'masks'), ([1, 2, 16], FLOAT, name))
    spec, mask = halves.segment(networks, model)
    assert (spec.output_name, spec.pair) == ('masks', None)
    halves.check(mask)


@pytest.mark.parametrize('equation', ['', 'bqc,bchw->bqhw'])
def test_masks_of_computed_embeddings_are_queries_with_a_warning(networks, halves, equation):
    def build(op):
        embedded, pixels = described(op, 3), op.conv(3)
        if equation:
            masks = op('Einsum', embedded, pixels, equation=equation)
        else:
            masks = op('MatMul', embedded, shaped(op, pixels, 1, 3, 96))
        return [shaped(op, masks, 1, 2, *SIZE), described(op, 5)]

    model = halves.network(build, ([1, 2, *SIZE], FLOAT, 'a'), ([1, 2, 5], FLOAT, 'b'))
    spec, _ = halves.segment(networks, model)
    assert (spec.pair.masks.name, spec.pair.classes.name) == ('a', 'b')
    assert 'output.kind' in spec.assumption_warning(labels=False)
    named, _ = halves.segment(networks, model, output={'name': 'a', 'class_name': 'b'})
    assert halves.origin_of(named, 'output.kind') == 'graph'


def detections(op):
    """[1, 9, 32] of 0 to 1: as if of 32 anchors with 5 classes, or with 3 and 2 coefficients."""
    return op('Sigmoid', shaped(op, maps(op, 3), 1, 9, 32))


@pytest.mark.parametrize('measure', [False, True])
@pytest.mark.parametrize('end', [
    lambda op, x: op('Softmax', x, axis=1),
    lambda op, x: op('LogSoftmax', x, axis=1)])
def test_probabilities_of_classes_are_no_prototypes(networks, halves, end, measure):
    model = halves.network(
        lambda op: [detections(op), end(op, op.pooled(2, op.conv(2)))],
        ([1, 9, 32], FLOAT, 'output0'), ([1, 2, 4, 6], FLOAT, 'output1'))
    spec, mask = halves.segment(networks, model, measure=measure)
    assert (spec.output_name, spec.pair) == ('output1', None)
    halves.check(mask)
    with pytest.raises(ConfigError, match=r'no matching outputs are prototypes .*, raw values'):
        halves.segment(networks, model, output={'kind': 'instances'})


def test_coefficients_of_one_sign_are_refused_until_the_segmentation_is_named(networks, halves):
    model = halves.network(lambda op: [detections(op), op.pooled(2, op.conv(2))],
                           ([1, 9, 32], FLOAT, 'boxes_and_scores'), ([1, 2, 4, 6], FLOAT, 'y'))
    with pytest.raises(ConfigError, match=r"coefficients in 'boxes_and_scores' were measured: 0\."
                                          r'.*both signs.*name it as output\.name'):
        halves.segment(networks, model)
    halves.check(halves.segment(networks, model, output={'name': 'y'})[1])
    assert halves.segment(networks, model, output={'kind': 'instances'})[0].pair is not None


def test_a_softmax_over_masks_that_have_a_row_each_is_not_taken(networks, halves):
    model = halves.network(
        lambda op: [op('Softmax', shaped(op, maps(op, 3), 1, 2, 144), axis=2),
                    op('Softmax', op.conv(2), axis=1)],
        ([1, 2, 144], FLOAT, 'a'), ([1, 2, *SIZE], FLOAT, 'b'))
    with pytest.raises(ConfigError, match='2 outputs could be the segmentation'):
        halves.segment(networks, model)


@pytest.mark.parametrize(('build', 'outputs'), [
    (lambda op: [op.conv(2), p(op)], [([1, 2, *SIZE], 'seg'), ([1, 1, *SIZE], 'disp')]),
    (lambda op: [rows(op, 6), op.conv(2)], [([1, 24, 6], 'dets'), ([1, 2, *SIZE], 'seg')]),
    (lambda op: [p(op), op.conv(2)], [([1, 1, *SIZE], 'depth'), ([1, 2, *SIZE], 'det_seg')]),
    (lambda op: [op('ReduceMax', op('Softmax', op.conv(2), axis=1), axes=[1]), op(
        'Cast', ids(op), to=FLOAT)], [([1, 1, *SIZE], 'score'), ([1, 1, *SIZE], 'seg')]),
    (lambda op: [op('ReduceMax', op.conv(2), axes=[1]), op(
        'Cast', ids(op), to=FLOAT)], [([1, 1, *SIZE], 'values'), ([1, 1, *SIZE], 'seg')])])
def test_the_output_whose_name_is_not_of_something_else_is_taken(networks, halves, build, outputs):
    spec, mask = halves.segment(networks, halves.network(
        build, *((shape, FLOAT, name) for shape, name in outputs)))
    assert spec.output_name.endswith('seg')
    halves.check(mask)


def cut(op, x, border, first=2):
    """The map without pixels at its borders, as convolutions without padding leave it."""
    return op('Slice', x, np.array([border] * 2), np.array([-border] * 2),
              np.array([first, first + 1]))


@pytest.mark.parametrize(('build', 'output'), [
    (lambda op: cut(op, op.conv(2), 5), ([1, 2, 50, 50], FLOAT)),
    (lambda op: cut(op, last(op), 5, first=1), ([1, 50, 50, 2], FLOAT)),
    (lambda op: cut(op, ids(op, keepdims=0), 5, first=1), ([1, 50, 50], INT64))])
def test_a_map_without_the_border_is_warned_of(networks, halves, caplog, build, output):
    networks.spec_of(halves.network(build, output, size=(60, 60)))
    assert 'is 50x50, which is not the size of the input, 60x60, divided' in caplog.text


@pytest.mark.parametrize(('fed', 'size'), [
    ((513, 513), (129, 129)), ((321, 481), (41, 61)), ((518, 518), (148, 148)),
    ((473, 473), (60, 60)), ((60, 80), (60, 80)), ((32, 48), (96, 144)), ((224, 224), (64, 64))])
def test_maps_of_strides_are_not_warned_of(networks, halves, caplog, fed, size):
    def build(op):
        return op('Resize', op.conv(2), '', '', np.array([1, 2, *size]))

    networks.spec_of(halves.network(build, ([1, 2, *size], FLOAT), size=fed))
    assert 'divided by a stride' not in caplog.text
