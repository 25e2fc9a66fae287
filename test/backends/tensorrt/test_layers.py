# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What engines say of their layers, in the words of several versions of TensorRT."""

import json

import pytest

from trt_segmentation.backends.tensorrt.layers import (
    Layer,
    as_json,
    from_json,
    layer_counts,
    parse_layers,
    precision_run,
    summary,
)


def tensor(words, key='Format/Datatype'):
    return {'Name': 't', 'Location': 'Device', 'Dimensions': [1, 3, -1, -1], key: words}


def told(*entries):
    return json.dumps({'Layers': entries, 'Bindings': ['image', 'mask']})


def entry(inputs, outputs, name='network/conv + network/relu', **more):
    return {'Name': name, 'LayerType': 'CaskConvolution', 'Inputs': list(map(tensor, inputs)),
            'Outputs': list(map(tensor, outputs)), **more}


def layers(*precisions, in_network=True):
    return tuple(Layer(str(i), 'Conv', p, '', in_network) for i, p in enumerate(precisions))


@pytest.mark.parametrize(('words', 'precision'), [
    ('Row major linear FP32', 'fp32'), ('Float', 'fp32'),
    ('Row major linear FP16 format', 'fp16'), ('Half', 'fp16'),
    ('Channel major FP16 format where channel % 8 == 0', 'fp16'),
    ('Channel major FP32 format where channel % 4 == 0', 'fp32'),
    ('Channel major Int8 format where channel == 4 and column stride % 32 == 0', 'int8'),
    ('Thirty-two wide channel vectorized row major Int8 format', 'int8'), ('Int8', 'int8'),
    ('Row major linear BF16', 'bf16'), ('BFloat16', 'bf16'), ('FP8', 'fp8'), ('Float8', 'fp8'),
    ('Row major Int32 format', 'int32'), ('Row major linear UInt8 format', 'uint8'),
    ('Bool', 'bool'), ('Int64', 'int64'), ('N/A due to dynamic shapes', ''), ('', '')])
def test_types_are_read_from_the_inspectors_words(words, precision):
    (layer,) = parse_layers(told(entry([words], [words])))
    assert layer.precision == precision


@pytest.mark.parametrize(('inputs', 'outputs', 'precision'), [
    (['Float'], ['Half'], 'fp16'), (['Int8', 'Float'], ['Half'], 'int8'),
    (['Float', 'Int32'], ['Bool'], 'fp32'), (['UInt8'], ['Float'], 'fp32'),
    (['Int32'], ['Int32'], 'int32'), ([], [], '')])
def test_the_narrowest_value_counts_and_indices_only_where_there_are_no_values(
        inputs, outputs, precision):
    (layer,) = parse_layers(told(entry(inputs, outputs)))
    assert layer.precision == precision


def test_a_layer_that_keeps_half_weights_computes_in_half():
    fused = entry(['Float'], ['Float'], Weights={'Type': 'Half', 'Count': 9408})
    assert parse_layers(told(fused))[0].precision == 'fp16'


OF_8_6 = """{"Layers": [{
  "Name": "network//network/backbone/conv1/Conv + network//network/backbone/relu/Relu",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "network/image", "Format/Datatype": "N/A due to dynamic shapes"}],
  "Outputs": [{"Name": "network/relu", "Format/Datatype": "N/A due to dynamic shapes"}],
  "Weights": {"Type": "Float", "Count": 9408}, "Bias": {"Type": "Float", "Count": 64},
  "Metadata": "[ONNX Layer: network//network/backbone/conv1/Conv]\x1e[ONNX Layer: network/relu]"
},{
  "Name": "network//network/backbone/maxpool/MaxPool", "LayerType": "CaskPooling",
  "Inputs": [{"Name": "network/relu", "Format/Datatype": "N/A due to dynamic shapes"}],
  "Outputs": [{"Name": "network/pool", "Format/Datatype": "N/A due to dynamic shapes"}],
  "TacticName": "sm50_xmma_pooling_tiled_FP32NCHW_kMAX_custom_tP4_tQ32_tRS3_tUV2"
},{
  "Name": "head/Resize_1", "LayerType": "Resize",
  "Inputs": [{"Name": "head/Cast_0", "Format/Datatype": "N/A due to dynamic shapes"}],
  "Outputs": [{"Name": "head/Resize_1", "Format/Datatype": "N/A due to dynamic shapes"}],
  "TacticValue": "0x0000000000000001"
}]}"""
"""Shortened from what TensorRT 8.6.0 told on an H100, with its bare record separator."""


def test_what_8_6_tells_of_open_dimensions_is_read_from_weights_and_kernels():
    assert [layer.precision for layer in parse_layers(OF_8_6)] == ['fp32', 'fp32', '']
    assert precision_run(parse_layers(OF_8_6)) == 'fp32'


def test_a_layer_has_its_name_kind_and_kernel():
    (layer,) = parse_layers(told(entry(['Float'], ['Float'], TacticName='sm80_xmma_fprop',
                                       TacticValue='0x3e8')))
    assert layer == Layer('network/conv + network/relu', 'CaskConvolution', 'fp32',
                          'sm80_xmma_fprop', in_network=True)


def test_separate_datatypes_and_low_verbosity_are_understood():
    split = {'Name': 'n', 'LayerType': 'kgen', 'Inputs': [tensor('Half', 'Datatype')]}
    assert [layer.precision for layer in parse_layers(told(split, 'network/conv'))] == ['fp16', '']
    assert parse_layers(told('network/conv'))[0].in_network


def test_fusions_with_names_of_their_own_are_known_by_their_metadata():
    fused = entry(['Half'], ['Half'], name='__myl_Fc_myl0_3',
                  Metadata='[ONNX Layer: head/Cast_0]\x1e[ONNX Layer: network/conv]')
    head = entry(['Half'], ['Half'], name='__myl_Cast', Metadata='[ONNX Layer: head/Cast_0]')
    assert [layer.in_network for layer in parse_layers(told(fused, head))] == [True, False]


@pytest.mark.parametrize('text', ['', '{"Layers": [', '[]', '{}', 'null'])
def test_nothing_told_is_no_layers(text):
    assert parse_layers(text) == ()


def test_counts_and_summary_name_every_precision():
    found = layers('fp16', 'fp32', 'fp16', 'fp16', 'int32', '')
    assert layer_counts(found) == {'fp16': 3, 'fp32': 1, 'int32': 1, '': 1}
    assert summary(found) == 'fp16 in 3 of 6 layers, fp32 in 1, int32 in 1, unknown in 1'
    assert summary(layers('fp32')) == 'fp32 in 1 of 1 layer'
    assert summary(()) == ''


def test_the_precision_run_is_that_of_most_layers_of_the_network():
    around = layers('fp32', 'fp32', 'fp32', in_network=False)
    assert precision_run((*around, *layers('fp16', 'fp16', 'fp32', 'int32', 'int32'))) == 'fp16'
    assert precision_run(around) == 'fp32'
    assert precision_run((*around, *layers('', 'int32'))) == 'fp32'
    assert precision_run(layers('', 'int32', 'bool')) == ''
    assert precision_run(()) == ''


def test_a_tie_is_no_claim_of_the_narrower_precision():
    assert precision_run(layers('fp16', 'fp32', 'fp32', 'fp16')) == 'fp32'


def test_layers_survive_json():
    found = layers('fp16', '')
    assert from_json(json.loads(json.dumps(as_json(found)))) == found
