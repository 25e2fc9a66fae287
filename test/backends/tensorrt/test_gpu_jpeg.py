# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG decoded into GPU memory: the same masks, OpenCV for everything else, and failures that
concern only their own image."""

import inspect
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.backends.device_arrays import DeviceArray
from trt_segmentation.backends.tensorrt import gpu_jpeg
from trt_segmentation.backends.tensorrt.session import TensorRtSession
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.errors import ImageError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.images.decoding import ImageDecoder
from trt_segmentation.images.header import read_header
from trt_segmentation.images.sources import read_image
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

PROFILE = {'image': ((1, 8, 8, 3), (1, 240, 320, 3), (1, 720, 1280, 3))}
INFO = BackendInfo('tensorrt', '10.3.0', 'Stand-in GPU', 'fp32')
WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]


@pytest.fixture
def segmenter(gpu, tensorrt, networks):
    spec = networks.spec_of(networks.pointwise(WEIGHTS, (32, 48)), input={'color': 'bgr'})
    session = TensorRtSession(
        gpu.device, [Stage.load(tensorrt.plan(prepare(spec).model, PROFILE), gpu.device)], INFO)
    with Segmenter(session, spec) as segmenter:
        yield segmenter


def jpeg_of(image, **options):
    for name in options:
        if not hasattr(cv2, f'IMWRITE_JPEG_{name}'):
            pytest.skip(f'OpenCV {cv2.__version__} has no option {name}')
    flags = [value for name, setting in options.items()
             for value in (getattr(cv2, f'IMWRITE_JPEG_{name}'), setting)]
    return cv2.imencode('.jpg', image, flags)[1].tobytes()


def message(data, form='bgr8; jpeg compressed bgr8'):
    return SimpleNamespace(format=form, data=data)


@pytest.fixture
def image(networks):
    return cv2.GaussianBlur(networks.random_image(60, 75), (9, 9), 2)


def test_a_jpeg_is_decoded_into_gpu_memory_and_gives_the_same_mask(codec, segmenter, gpu, image):
    data, outputs = jpeg_of(image), ('mask', 'overlay')
    pixels, color = ImageDecoder().read(message(data))
    wanted = segmenter.infer(pixels, color=color, outputs=outputs).copy()
    before = gpu.counts['copied in']
    decoder = ImageDecoder(segmenter.jpeg_decoder())
    for _ in range(3):
        found, order = decoder.read(message(data))
        assert isinstance(found, DeviceArray)
        assert order == color
        result = segmenter.infer(found, color=order, outputs=outputs)
        np.testing.assert_array_equal(result.mask, wanted.mask)
        np.testing.assert_array_equal(result.overlay, wanted.overlay)
    assert (codec.decoded, codec.decoders, len(codec.images)) == (3, 1, 1)
    assert gpu.counts['copied in'] == before


def test_another_size_gets_other_memory(codec, segmenter, image):
    read = segmenter.jpeg_decoder()
    first = read(jpeg_of(image))
    assert read(jpeg_of(image)).address == first.address
    assert read(jpeg_of(image[:32])).shape == (32, 75, 3)
    assert len(codec.images) == 2


def test_images_that_are_read_ahead_have_memory_of_their_own(codec, segmenter, image, tmp_path):
    read, path = segmenter.jpeg_decoder(reuse=False), tmp_path / 'a.jpg'
    path.write_bytes(jpeg_of(image))
    first, second = read_image(path, 0, read), read_image(path, 0, read)
    assert first.address != second.address
    wanted = segmenter.infer(cv2.imread(str(path))).copy()
    for found in (first, second):
        np.testing.assert_array_equal(segmenter.infer(found).mask, wanted.mask)


def test_the_cpu_does_not_wait_for_the_decoder(codec, segmenter, gpu, networks):
    """Three images are being decoded before the first one is segmented."""
    images = [cv2.GaussianBlur(networks.random_image(60, 75, seed), (9, 9), 2)
              for seed in range(3)]
    wanted = [segmenter.infer(cv2.imdecode(np.frombuffer(jpeg_of(image), np.uint8), 1)).mask.copy()
              for image in images]
    readers, before = [segmenter.jpeg_decoder() for _ in images], gpu.counts['synchronised']
    found = [read(jpeg_of(image)) for read, image in zip(readers, images, strict=True)]
    assert gpu.counts['synchronised'] == before
    assert len({array.stream for array in found}) == 3  # none waits for another one
    for array, mask in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(segmenter.infer(array).mask, mask)


def test_images_are_freed_on_a_stream_that_outlives_the_segmenter(codec, segmenter, image, gpu):
    """nvImageCodec frees an image on the stream on which it was decoded."""
    found = segmenter.jpeg_decoder()(jpeg_of(image))
    segmenter.close()
    assert found.stream in [stream.handle for stream in gpu.device.lasting_streams]


def with_bytes(data, marker, offset, *values):
    """Return a JPEG with other bytes at an offset from a marker."""
    at = data.index(bytes((0xff, marker))) + offset
    return data[:at] + bytes(values) + data[at + len(values):]


ON_CPU = {
    'progressive': lambda image: jpeg_of(image, PROGRESSIVE=1),
    'gray': lambda image: jpeg_of(image[..., 0]),
    'names RGB': lambda image: _named(jpeg_of(image), b'RGB'),
    'Adobe RGB': lambda image: _adobe(jpeg_of(image), 0),
    '4:1:1': lambda image: jpeg_of(image, SAMPLING_FACTOR=0x411111),
    'PNG': lambda image: cv2.imencode('.png', image)[1].tobytes(),
}


def _named(data, names):
    for index, name in enumerate(names):
        data = with_bytes(data, 0xc0, 10 + 3 * index, name)
        data = with_bytes(data, 0xda, 5 + 2 * index, name)
    return data


def _adobe(data, transform):
    return data[:2] + b'\xff\xee\x00\x0eAdobe\0d\0\0\0\0' + bytes([transform]) + data[2:]


@pytest.mark.parametrize('make', ON_CPU.values(), ids=ON_CPU)
def test_other_variants_are_decoded_by_opencv(codec, segmenter, image, make):
    data = make(image)
    wanted, _ = ImageDecoder().read(message(data))
    found, _ = ImageDecoder(segmenter.jpeg_decoder()).read(message(data))
    np.testing.assert_array_equal(found, wanted)
    assert codec.decoded == 0


@pytest.mark.parametrize('options', [
    {}, {'OPTIMIZE': 1}, {'RST_INTERVAL': 4}, {'SAMPLING_FACTOR': 0x111111},
    {'SAMPLING_FACTOR': 0x211111}, {'SAMPLING_FACTOR': 0x121111}])
def test_usual_variants_are_baseline(image, options):
    assert read_header(jpeg_of(image, **options)).is_baseline
    assert read_header(_adobe(jpeg_of(image, **options), 1)).is_baseline


def test_orientation_is_not_applied(codec, segmenter, image):
    exif = (b'\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06'
            + bytes(6))
    data = jpeg_of(image)
    found, _ = ImageDecoder(segmenter.jpeg_decoder()).read(message(data[:2] + exif + data[2:]))
    assert found.shape == image.shape
    assert codec.decoded == 1


def test_bad_files_between_good_ones_cost_only_themselves(codec, segmenter, image, caplog):
    good = jpeg_of(image)
    wanted = segmenter.infer(cv2.imdecode(np.frombuffer(good, np.uint8), 1)).copy()
    middle = len(good) // 2
    bad = [good[:middle], good[:-2], b'', b'no picture',
           with_bytes(good, 0xc0, 5, 0xff, 0xdc, 0xff, 0xdc),    # 65500x65500
           with_bytes(good, 0xc0, 5, 0x20, 0, 0x20, 0),          # 8192x8192 in a few bytes
           with_bytes(good, 0xc0, 5, 0, 0, 0, 0),
           with_bytes(good, 0xc4, 5, *[0xff] * 16)]              # no such Huffman table
    decoder, refused = ImageDecoder(segmenter.jpeg_decoder()), 0
    for index in range(80):
        if index % 2:
            with pytest.raises(ImageError):
                decoder.read(message(bad[index // 2 % len(bad)]))
            refused += 1
            continue
        found, color = decoder.read(message(good))
        assert isinstance(found, DeviceArray)
        np.testing.assert_array_equal(segmenter.infer(found, color=color).mask, wanted.mask)
    assert (refused, codec.decoded) == (40, 40)
    assert codec.decoders == 1
    assert not caplog.records


@pytest.mark.parametrize('how', ['raise', 'none'])
def test_opencv_decodes_where_nvimagecodec_fails(codec, segmenter, image, how, caplog):
    decoder, good = ImageDecoder(segmenter.jpeg_decoder()), jpeg_of(image)
    codec.fails = lambda size: how
    for _ in range(200):
        assert isinstance(decoder.read(message(good))[0], np.ndarray)
    assert codec.decoders < 10
    assert [record.levelname for record in caplog.records] == ['WARNING']
    codec.fails, before = (lambda size: ''), codec.decoders
    found = [isinstance(decoder.read(message(good))[0], DeviceArray) for _ in range(400)]
    assert found[-1]
    assert found == sorted(found)  # once it works again, every JPEG
    assert codec.decoders == before + 1  # a decoder that failed twice is not used again


def test_a_decoder_that_does_not_start_is_warned_of_once(codec, segmenter, image, caplog):
    codec.starts = False
    decoder = ImageDecoder(segmenter.jpeg_decoder())
    for _ in range(100):
        assert isinstance(decoder.read(message(jpeg_of(image)))[0], np.ndarray)
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'no such library' in caplog.text


def test_without_nvimagecodec_one_line_names_the_extra(segmenter, image, caplog, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'nvidia.nvimgcodec', None)
    gpu_jpeg.find_nvimgcodec.cache_clear()
    decoder = ImageDecoder(segmenter.jpeg_decoder())
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert isinstance(decoder.read(message(jpeg_of(image)))[0], np.ndarray)
    gpu_jpeg.find_nvimgcodec.cache_clear()
    assert [record.levelname for record in caplog.records] == ['INFO']
    assert 'pip install nvidia-nvimgcodec-cu12 nvidia-nvjpeg-cu12' in caplog.text


def test_an_image_in_host_memory_is_not_used(codec, segmenter, image):
    codec.on_host = True
    assert segmenter.jpeg_decoder()(jpeg_of(image)) is None


def test_a_closed_segmenter_decodes_nothing_on_the_gpu(codec, segmenter, image):
    read = segmenter.jpeg_decoder()
    segmenter.close()
    assert read(jpeg_of(image)) is None


def test_it_can_be_turned_off(segmenter):
    assert Segmenter(segmenter._session, segmenter.spec, gpu_jpeg=False).jpeg_decoder() is None
    with Segmenter.open(options=RunOptions(backend='onnxruntime')) as on_cpu:
        assert on_cpu.jpeg_decoder() is None


def test_names_are_those_of_nvimagecodec():
    api = pytest.importorskip('nvidia.nvimgcodec')
    params = api.DecodeParams(apply_exif_orientation=False, color_spec=api.ColorSpec.SRGB,
                              sample_format=api.SampleFormat.I_BGR)
    assert params.sample_format == api.SampleFormat.I_BGR
    stream = api.CodeStream(np.frombuffer(jpeg_of(np.zeros((48, 64, 3), np.uint8)), np.uint8))
    assert (stream.height, stream.width) == (48, 64)
    assert api.ImageBufferKind.STRIDED_DEVICE
    for name in ('device_id', 'max_num_cpu_threads'):
        assert f'{name}: ' in api.Decoder.__init__.__doc__
    for name in ('image', 'params', 'cuda_stream'):
        assert f'{name}: ' in inspect.getdoc(api.Decoder.decode)
    assert {'shape', 'buffer_kind', '__cuda_array_interface__'} <= set(dir(api.Image))
