# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays encoded as JPEG in GPU memory: no copy of their pixels, and OpenCV where it fails."""

import inspect
import logging

import numpy as np
import pytest

from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.backends.tensorrt import gpu_jpeg
from trt_segmentation.backends.tensorrt.session import TensorRtSession
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.errors import BackendError, ImageError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.images.encoding import encode_jpeg
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import ON_GPU, Segmenter

INFO = BackendInfo('tensorrt', '10.3.0', 'Stand-in GPU', 'fp32')
SIZE = 60, 76


@pytest.fixture
def make_segmenter(gpu, tensorrt, networks):
    """Opens a network on the stand-in."""
    def make(batch=1):
        spec = networks.spec_of(networks.pointwise(np.eye(3), (32, 48)), batch,
                                input={'color': 'bgr'})
        profile = {'image': tuple((batch, *size, 3) for size in ((8, 8), (240, 320), (720, 1280)))}
        plan = tensorrt.plan(prepare(spec).model, profile)
        return Segmenter(TensorRtSession(gpu.device, [Stage.load(plan, gpu.device)], INFO,
                                         batch=batch), spec)
    return make


@pytest.fixture
def segmenter(make_segmenter):
    with make_segmenter() as segmenter:
        yield segmenter


def bgr(overlay, color):
    return np.ascontiguousarray(overlay[..., ::-1]) if color == 'rgb' else overlay


@pytest.mark.parametrize('color', ['bgr', 'rgb'])
def test_an_overlay_is_encoded_without_a_copy_of_its_pixels(codec, segmenter, gpu, networks,
                                                            color):
    for seed in range(2):
        image = networks.random_image(*SIZE, seed)
        wanted = segmenter.infer(image, color=color, outputs='overlay').overlay.copy()
        before = gpu.counts['copied out']
        segmenter.infer(image, color=color, outputs='overlay', out={'overlay': ON_GPU})
        for quality in (80, 10, 80):
            assert segmenter.encode_jpeg('overlay', quality) \
                == encode_jpeg(bgr(wanted, color), quality)
        assert gpu.counts['copied out'] == before
    assert (codec.encoded, codec.encoders) == (6, 1)


def test_each_image_of_a_batch_has_its_own(codec, make_segmenter, networks):
    images = [networks.random_image(*SIZE, seed) for seed in range(3)]
    with make_segmenter(3) as segmenter:
        wanted = [each.overlay.copy() for each
                  in segmenter.infer_batch(images, outputs=('mask', 'overlay'))]
        for index, overlay in enumerate(wanted):
            assert segmenter.encode_jpeg('overlay', 80, index) == encode_jpeg(overlay, 80)


@pytest.mark.parametrize('how', ['raise', 'none'])
@pytest.mark.parametrize('color', ['bgr', 'rgb'])
def test_opencv_encodes_what_nvimagecodec_does_not(codec, segmenter, networks, caplog, how, color):
    image = networks.random_image(*SIZE)
    wanted = encode_jpeg(bgr(segmenter.infer(image, color=color, outputs='overlay').overlay.copy(),
                             color), 80)
    codec.fails = lambda size: how
    for _ in range(50):
        segmenter.infer(image, color=color, outputs='overlay', out={'overlay': ON_GPU})
        assert segmenter.encode_jpeg('overlay', 80) == wanted
    assert codec.encoders < 8
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'failed to encode 5 overlays in a row' in caplog.text
    codec.fails = lambda size: ''
    for _ in range(100):
        assert segmenter.encode_jpeg('overlay', 80) == wanted
    assert codec.encoded > 0


def test_without_nvimagecodec_opencv_encodes_and_one_line_names_the_extra(
        segmenter, networks, caplog, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'nvidia.nvimgcodec', None)
    gpu_jpeg.find_nvimgcodec.cache_clear()
    with caplog.at_level(logging.INFO):
        assert not segmenter.encodes_jpeg
        assert not segmenter.encodes_jpeg
    gpu_jpeg.find_nvimgcodec.cache_clear()
    assert [record.levelname for record in caplog.records] == ['INFO']
    assert 'pip install nvidia-nvimgcodec-cu12' in caplog.text


def test_what_is_not_there_is_refused_by_name(codec, segmenter, networks):
    with pytest.raises(BackendError, match='overlay is no overlay of the last image; it has none'):
        segmenter.encode_jpeg('overlay', 80)
    segmenter.infer(networks.random_image(*SIZE))
    with pytest.raises(BackendError, match='mask is no overlay'):
        segmenter.encode_jpeg('mask', 80)
    with pytest.raises(ImageError, match=r"out\['mask'\] is ON_GPU; a writable"):
        segmenter.infer(networks.random_image(*SIZE), out={'mask': ON_GPU})
    segmenter.close()
    with pytest.raises(BackendError, match='is closed'):
        segmenter.encode_jpeg('overlay', 80)


def test_it_needs_a_gpu_and_can_be_turned_off(codec, segmenter, networks):
    off = Segmenter(segmenter._session, segmenter.spec, gpu_jpeg=False)
    assert segmenter.encodes_jpeg
    assert not off.encodes_jpeg
    with pytest.raises(BackendError, match='only with TensorRT and nvImageCodec'):
        off.encode_jpeg('overlay', 80)
    with Segmenter.open(options=RunOptions(backend='onnxruntime')) as on_cpu:
        assert not on_cpu.encodes_jpeg
        with pytest.raises(ImageError, match=r"out\['overlay'\] is ON_GPU"):
            on_cpu.infer(networks.random_image(*SIZE), outputs='overlay',
                         out={'overlay': ON_GPU})


def test_names_are_those_of_nvimagecodec():
    api = pytest.importorskip('nvidia.nvimgcodec')
    api.EncodeParams(quality_type=api.QualityType.QUALITY, quality_value=80,
                     chroma_subsampling=api.ChromaSubsampling.CSS_420)
    assert api.SampleFormat.I_RGB != api.SampleFormat.I_BGR
    for name in ('device_id', 'max_num_cpu_threads'):
        assert f'{name}: ' in api.Encoder.__init__.__doc__
    for name in ('params', 'cuda_stream'):
        assert f'{name}: ' in inspect.getdoc(api.Encoder.encode)
    for name in ('cuda_stream', 'sample_format'):
        assert f'{name}: ' in inspect.getdoc(api.as_image)
