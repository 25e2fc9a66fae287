# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of one channel: what they are fed, from whatever camera, against plain NumPy."""

import json
import types
from functools import cache

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from trt_segmentation.backends.tensorrt.cache import write_engine
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.benchmark.baseline import BaselinePipeline, open_network_only
from trt_segmentation.cli.likely_configs import likely_configs
from trt_segmentation.cli.main import main
from trt_segmentation.errors import ConfigError, ImageError, ModelError
from trt_segmentation.graph.analysis.measurement import Preprocessing, fed_image, sample_image
from trt_segmentation.graph.onnx_tools.network import describe_network, read_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.precision.calibration import network_inputs
from trt_segmentation.graph.reading.input_sizes import by_inference, by_running
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.images.decoding import ImageDecoder
from trt_segmentation.images.sources import read_image
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.ros.region import Region
from trt_segmentation.segmenter import Segmenter

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
AS_IT_IS = {'scale': 1.0, 'mean': [0.0], 'std': [1.0]}
BRIGHT = {'scale': 1 / 127.5, 'mean': [1.0], 'std': [1.0]}
"""Of a network with ``WEIGHTS``: class 1 from a value of 128 on."""
BRIGHT_16 = {**BRIGHT, 'scale': 1 / 32767.5, 'depth': 16}
WEIGHTS = [[-1], [1]]
SIZE = (24, 31)
LAYOUTS = pytest.mark.parametrize('layout', ['nchw', 'nhwc'])


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def luma(bgr):
    """ITU-R BT.601's brightness, not rounded."""
    blue, green, red = np.moveaxis(bgr.astype(np.float64), 2, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.fixture(scope='session')
def feeder(networks):
    """Makes functions from image (and channels) to what the network's input gets: [h, w]."""
    @cache
    def feeder_of(resize='stretch', layout='nchw', dtype=TensorProto.FLOAT, opset=17, **fed):
        size = (None, None) if resize == 'none' else SIZE
        model = networks.pointwise(WEIGHTS, size, layout=layout, dtype=dtype, opset=opset)
        spec = networks.spec_of(model, input={**AS_IT_IS, **fed, 'resize': resize})
        runner = networks.Runner(prepare(spec, ('mask',)), ['network/pixels'])
        return lambda image, **controls: runner(image, **controls)['network/pixels'].squeeze(
            0 if layout == 'nchw' else 2)

    return feeder_of


@LAYOUTS
@given(source=SIZES)
def test_colours_become_brightness(networks, feeder, layout, source):
    bgr = networks.random_image(*source)
    fed = feeder(layout=layout)(bgr)
    np.testing.assert_allclose(fed, networks.resized(luma(bgr), SIZE), atol=0.02)
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    np.testing.assert_allclose(feeder(layout=layout)(rgb, channels=(0, 1, 2)), fed, atol=1e-3)


@pytest.mark.parametrize('opset', [11, 12, 17, 18])
def test_it_is_what_opencv_makes_of_them(networks, feeder, opset):
    bgr = networks.random_image(200, 300)
    fed = feeder('none', opset=opset)(bgr)
    assert np.abs(fed - cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)).max() <= 0.51
    bytes_fed = feeder('none', dtype=TensorProto.UINT8, opset=opset)(bgr)
    difference = bytes_fed.astype(int) - cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize('resize', ['stretch', 'letterbox', 'none'])
@given(source=SIZES)
def test_a_gray_image_in_three_channels_is_the_gray_image(feeder, resize, source):
    gray = noise(source)
    fed = feeder(resize)(gray)
    colour = feeder(resize)(np.repeat(gray[..., None], 3, axis=2))
    if resize == 'none':
        np.testing.assert_array_equal(fed, gray)
        np.testing.assert_array_equal(colour, gray)
    # ONNX Runtime's resize rounds float32 in another order for each number of channels.
    np.testing.assert_allclose(colour, fed, atol=1e-3)


@pytest.mark.parametrize('resize', ['stretch', 'letterbox', 'none'])
@given(source=SIZES)
def test_of_16_bits_the_higher_8_are_fed(feeder, resize, source):
    wide = noise(source, np.uint16)
    np.testing.assert_allclose(feeder(resize)(wide),
                               feeder(resize)((wide >> 8).astype(np.uint8)), atol=1e-3)


@given(source=SIZES)
def test_with_depth_16_all_16_are_fed(networks, feeder, source):
    wide, gray = noise(source, np.uint16), noise(source)
    fed = feeder('none', depth=16)
    np.testing.assert_array_equal(fed(wide), wide)
    np.testing.assert_array_equal(fed(gray), gray * 257.0)
    np.testing.assert_array_equal(fed(np.repeat(gray[..., None], 3, axis=2)), gray * 257.0)
    np.testing.assert_allclose(feeder(depth=16)(wide), networks.resized(wide, SIZE), atol=4)


@pytest.mark.parametrize(('depth', 'fed'), [(8, 114), (16, 114 * 257)])
def test_a_border_is_a_pixel_of_8_bits(feeder, depth, fed):
    wide = np.full((10, 31), 7 * 257, np.uint16)
    found = feeder('letterbox', depth=depth, border=114)(wide)
    assert (found[0] == fed).all()
    assert (found[12] == (7 if depth == 8 else 7 * 257)).all()


@pytest.mark.parametrize('for_cpu', [False, True])
@pytest.mark.parametrize('alpha', [0.0, 0.25, 1.0])
def test_the_overlay_has_three_channels(networks, for_cpu, alpha):
    spec = networks.spec_of(networks.pointwise(WEIGHTS, SIZE), input=BRIGHT,
                            classes={'colors': [[10, 20, 30], [250, 130, 40]]})
    runner = networks.Runner(prepare(spec, for_cpu=for_cpu))
    wide, bgr = noise(SIZE, np.uint16), networks.random_image(*SIZE)
    for image, seen in ((wide, wide[..., None] >> 8), (noise(SIZE), noise((*SIZE, 1))),
                        (bgr, bgr)):
        found = runner(image, alpha=alpha)
        colours = spec.palette.table('bgr')[found['mask']].astype(np.float32)
        blended = seen + (colours - seen) * alpha
        assert found['overlay'].shape == (*SIZE, 3)
        assert np.abs(found['overlay'] - blended).max() <= 0.5


@pytest.mark.parametrize('depth', [8, 16])
@pytest.mark.parametrize(('dtype', 'lowest'), [(TensorProto.UINT8, 0), (TensorProto.INT8, -128)])
def test_inputs_of_8_bits_are_fed_the_pixel(networks, dtype, lowest, depth):
    spec = networks.spec_of(networks.pointwise(WEIGHTS, SIZE, dtype=dtype),
                            input={'depth': depth})
    feed = networks.Runner(prepare(spec, ('mask',)), ['network/pixels'])
    gray, wide = noise(SIZE), noise(SIZE).astype(np.uint16) * 257
    for image in (gray, wide):
        fed = feed(image)['network/pixels'][0]
        np.testing.assert_array_equal(fed, gray.astype(int) + lowest)


@LAYOUTS
def test_what_is_run_to_look_at_a_network_has_one_channel(networks, layout):
    preprocessing = Preprocessing(layout, SIZE, 1.0, (0.0,), (1.0,), 'gray')
    fed = fed_image(preprocessing, TensorProto.FLOAT)
    assert fed.shape == tuple(networks.image_shape(SIZE, layout, 1))
    np.testing.assert_array_equal(np.squeeze(fed), sample_image(*SIZE)[..., 1])
    network = describe_network(networks.pointwise(WEIGHTS, (None, None), layout=layout), '')
    for fault in (by_running(network, layout, 1), by_inference(network, layout, 1)):
        assert not fault(SIZE)


# What is said of it ------------------------------------------------------------------------


def declared(networks, *shape):
    return networks.onnx_model([], [networks.tensor('pixels', shape)],
                               [networks.tensor('scores', [1, 2, 8, 12])])


@pytest.mark.parametrize(('shape', 'layout'), [
    ((1, 1, 8, 12), 'nchw'), ((1, 8, 12, 1), 'nhwc'), ((None, 1, 8, 12), 'nchw')])
def test_one_channel_is_gray(networks, shape, layout):
    spec = networks.spec_of(declared(networks, *shape))
    assert (spec.color, spec.input_layout, spec.size) == ('gray', layout, (8, 12))
    provenance = {entry.key: entry for entry in spec.provenance}
    assert provenance['input.color'].origin == 'graph'
    assert (spec.scale, spec.mean, spec.std) == (1 / 255, (0.0,), (1.0,))
    assert provenance['input.scale'].origin == provenance['input.mean'].origin == 'assumed'


@LAYOUTS
def test_open_channels_are_read_off_the_first_convolution(networks, layout):
    model = networks.pointwise(WEIGHTS, (8, 12), layout=layout)
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.Clear()
    spec = networks.spec_of(model, input={'size': [8, 12]})
    assert (spec.color, spec.input_layout) == ('gray', layout)
    assert spec.network.inputs[0].shape == tuple(networks.image_shape((8, 12), layout, 1))


def test_open_channels_are_what_the_config_says(networks):
    told = {'size': [8, 12], 'layout': 'nchw', 'color': 'gray'}
    spec = networks.spec_of(declared(networks, 1, None, None, None), input=told)
    assert spec.network.inputs[0].shape == (1, 1, 8, 12)


@pytest.mark.parametrize(('channels', 'told', 'said'), [
    (1, {'color': 'rgb'}, ['input.color is rgb', '1 channel', 'gray']),
    (3, {'color': 'gray'}, ['input.color is gray', '3 channels', 'rgb or bgr']),
    (3, {'depth': 16}, ['input.depth is 16', '3 channels']),
    (1, {'mean': [0, 0, 0]}, ['input.mean has 3 numbers', 'gray', '1 channel']),
    (3, {'std': [1]}, ['input.std has 1 number,', 'rgb', '3 channels']),
])
def test_what_contradicts_the_graph(networks, channels, told, said):
    with pytest.raises(ConfigError) as caught:
        networks.spec_of(declared(networks, 1, channels, 8, 12), input=told)
    for words in ('net.onnx', *said):
        assert words in str(caught.value)


@pytest.mark.parametrize(('told', 'said'), [
    ('{color: gray, mean: [1, 1, 1]}', 'input.mean has 3 numbers, but input.color is gray, which '
                                       'has 1 channel'),
    ('{color: bgr, std: [1]}', 'input.std has 1 number, but input.color is bgr, which has 3'),
    ('{mean: [1], std: [1, 1, 1]}', 'input.mean has 1 number, but input.std 3 numbers'),
    ('{mean: [1, 2]}', 'of 3 numbers, one per channel, or of 1 number for'),
    ('{color: rgb, depth: 8}', 'input.depth is 8, but input.color is rgb'),
    ('{depth: 12}', 'input.depth is 12; it is 8 or 16'),
    ('{color: grey}', "input.color is 'grey'; it is one of rgb, bgr, gray"),
])
def test_configs_that_are_refused(told, said):
    with pytest.raises(ConfigError, match='test: ') as caught:
        ModelConfig.from_text(f'input: {told}', 'test')
    assert said in str(caught.value)


@pytest.mark.parametrize('channels', [2, 4, 6])
def test_other_channels_are_refused(networks, channels):
    with pytest.raises(ModelError, match='neither 3 channels, as a colour image has, nor 1'):
        networks.spec_of(declared(networks, 1, channels, 8, 12))


@pytest.mark.parametrize(('told', 'depth', 'origin'), [
    ({'scale': 1 / 65535}, 16, 'config'), ({'scale': 1 / 4095, 'depth': 8}, 8, 'config'),
    ({'scale': 1 / 255}, 8, 'default'), ({'scale': 0.01}, 8, 'default')])
def test_a_scale_may_say_that_pixels_have_16_bits(networks, told, depth, origin):
    spec = networks.spec_of(networks.pointwise([[1], [-1]], SIZE), input=told)
    assert spec.gray_bits == depth
    assert next(entry.origin for entry in spec.provenance if entry.key == 'input.depth') == origin


@pytest.mark.parametrize('depth', [8, 16])
def test_a_complete_config_is_read_back(networks, depth):
    network = describe_network(networks.pointwise(WEIGHTS, SIZE), 'net.onnx')
    spec = resolve(network, networks.config_of(input={'depth': depth}))
    assert spec.scale == pytest.approx(1 / (2 ** depth - 1))
    told = complete_config(spec)
    assert ModelConfig.from_text(told.to_text(), 'test') == told
    again = resolve(network, told)
    assert (again.color, again.depth, again.scale, again.mean, again.std) == \
        (spec.color, depth, spec.scale, spec.mean, spec.std)


@pytest.mark.parametrize('depth', [8, 16])
def test_likely_configs_have_one_channel(networks, depth):
    model = networks.pointwise(WEIGHTS, SIZE)
    network = describe_network(model, 'net.onnx')
    told = networks.config_of(input={'depth': depth})
    configs = likely_configs(resolve(network, told))
    assert len(configs) == 4
    highest = 2 ** depth - 1
    ends = [tuple((value * spec.scale - spec.mean[0]) / spec.std[0] for value in (0, highest))
            for spec in (resolve(network, config.over(told)) for config in configs)]
    assert ends[0] == pytest.approx((0, 1))
    assert ends[1] == pytest.approx((-1, 1))
    assert ends[3] == pytest.approx((0, highest))


# Through the front door --------------------------------------------------------------------


@pytest.fixture
def save(networks, tmp_path):
    def save(fed=BRIGHT, **how):
        path = tmp_path / 'net.onnx'
        onnx.save(networks.pointwise(WEIGHTS, SIZE, **how), path)
        (tmp_path / 'net.yaml').write_text(networks.config_of(input=fed).to_text())
        return path
    return save


@pytest.fixture
def opened(save):
    """Opens a segmenter of one channel; all are closed in the end."""
    segmenters = []

    def opened(fed=BRIGHT, **options):
        path = save(fed)
        segmenters.append(Segmenter.open(path, config=path.with_suffix('.yaml'),
                                         options=RunOptions('onnxruntime', **options)))
        return segmenters[-1]

    yield opened
    for segmenter in segmenters:
        segmenter.close()


def test_one_network_takes_every_kind_of_image_in_turn(opened):
    segmenter, gray = opened(), noise(SIZE)
    wide = gray.astype(np.uint16) << 8 | 99
    bgr = np.repeat(gray[..., None], 3, axis=2)
    for image in (gray, bgr, wide, gray[..., None], wide[..., None], bgr, gray.T.copy().T):
        found = segmenter.infer(image, outputs=('mask', 'overlay'))
        np.testing.assert_array_equal(found.mask, gray > 127)
        assert found.overlay.shape == (*SIZE, 3)


def test_depth_16_decides_between_values_that_share_their_higher_byte(opened):
    image = np.full(SIZE, 32767, np.uint16)
    image[:, 15:] = 32768 + 255
    np.testing.assert_array_equal(opened(BRIGHT_16).infer(image).mask, image > 32767)


def test_several_gray_images_at_once(opened):
    segmenter, (one, other) = opened(batch=2), noise((2, *SIZE))
    for found, image in zip(segmenter.infer_batch((one, other)), (one, other), strict=True):
        np.testing.assert_array_equal(found.mask, image > 127)
    with pytest.raises(ImageError, match='31x24 gray and another 31x24 gray 16-bit'):
        segmenter.infer_batch((one, one.astype(np.uint16)))


def test_a_mono8_frame_is_neither_converted_nor_copied(opened, monkeypatch):
    segmenter, gray = opened(), noise((480, 640))
    msg = types.SimpleNamespace(width=640, height=480, step=640, encoding='mono8',
                                is_bigendian=0, data=gray.reshape(-1))
    fed, session = [], segmenter._session
    infer = session.infer
    monkeypatch.setattr(session, 'infer', lambda images, outs: (fed.extend(images),
                                                                infer(images, outs)))
    pixels, color = ImageDecoder().read(msg, segmenter.spec.gray_bits)
    mask = segmenter.infer(pixels, color=color).mask
    np.testing.assert_array_equal(mask.shape, gray.shape)
    (image,) = fed
    assert image.shape == (480, 640, 1)
    assert image.ctypes.data == gray.ctypes.data
    assert image.flags.c_contiguous  # ONNX Runtime is given this address


@pytest.mark.parametrize(('image', 'said'), [
    (noise((8, 12)).astype(np.float32) / 255, '(image * 255).round().astype(np.uint8)'),
    (noise((8, 12, 4)), 'cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)'),
    (noise((1, 8, 12)), 'image.transpose(1, 2, 0)'),
    (noise((1, 8, 12), np.uint16), 'image.transpose(1, 2, 0)'),
    (noise((8, 12, 3), np.uint16), '(image >> 8).astype(np.uint8)'),
])
def test_what_is_no_image_is_refused_with_the_line_that_makes_it_one(opened, image, said):
    segmenter = opened()
    with pytest.raises(ImageError) as caught:
        segmenter.infer(image)
    assert str(caught.value).endswith(said) or f'{said}, if its values' in str(caught.value)
    assert 'needed by a network of one channel' in str(caught.value)
    remedied = eval(said, {'image': image, 'np': np, 'cv2': cv2})
    assert segmenter.infer(remedied).mask.shape == (8, 12)


def test_three_channels_do_not_take_gray_images():
    with Segmenter.open() as segmenter, pytest.raises(ImageError, match='GRAY2BGR'):
        segmenter.infer(noise((8, 12)))


@pytest.mark.parametrize('image', [noise(SIZE), noise(SIZE, np.uint16), noise((*SIZE, 3))])
def test_a_region_of_interest(opened, image):
    segmenter, region = opened(), Region(2, 3, 20, 10)
    out = {'mask': np.empty(SIZE, np.uint8), 'overlay': np.empty((*SIZE, 3), np.uint8)}
    region.infer_batch(segmenter, [image], color='bgr', outputs=('mask', 'overlay'), outs=[out])
    inside = np.s_[3:13, 2:22]
    expected = np.full(SIZE, 255, np.uint8)
    expected[inside] = segmenter.infer(image[inside]).mask
    np.testing.assert_array_equal(out['mask'], expected)
    seen = image >> 8 if image.dtype == np.uint16 else image
    np.testing.assert_array_equal(out['overlay'][0], np.broadcast_to(
        seen.reshape(*SIZE, -1), (*SIZE, 3))[0])


def test_files(opened, tmp_path):
    half = np.zeros(SIZE, np.uint8)
    half[:, 15:] = 200
    wide = half.astype(np.uint16) * 257
    for name, image in (('8.png', half), ('16.png', wide), ('8.jpg', half)):
        cv2.imwrite(str(tmp_path / name), image)
    for depth, names in ((8, ('8.png', '8.jpg')), (16, ('8.png', '16.png', '8.jpg'))):
        segmenter = opened(BRIGHT if depth == 8 else BRIGHT_16)
        for name in names:
            (found,) = segmenter.predict(tmp_path / name)
            np.testing.assert_array_equal(found.segmentation.mask, half > 127)
    assert read_image(tmp_path / '16.png', 16).dtype == np.uint16
    with pytest.raises(ImageError, match=r'measured values .* write input\.depth: 16'):
        read_image(tmp_path / '16.png', 8)
    with pytest.raises(ImageError, match=r'Store brightness with 8 bits$'):
        read_image(tmp_path / '16.png')


def test_run_and_inspect(save, tmp_path, capsys):
    path, photo = save(), tmp_path / 'half.png'
    image = np.zeros((48, 62), np.uint8)
    image[:, 32:] = 255
    cv2.imwrite(str(photo), image)
    config = ['--config', str(path.with_suffix('.yaml'))]
    assert main(['run', str(photo), '--model', str(path), '--output', str(tmp_path / 'out'),
                 '--backend', 'onnxruntime', *config]) == 0
    mask = cv2.imread(str(tmp_path / 'out' / 'half_mask.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, image > 127)
    written = tmp_path / 'written.yaml'
    assert main(['inspect', str(path), '--on', str(photo), '--picture', str(tmp_path / 'p.png'),
                 '--choose', '2', '--write-config', str(written)]) == 0
    assert '1/255 (0 to 1)' in capsys.readouterr().out
    told = ModelConfig.from_file(written).input
    assert (told.color, told.depth, told.mean, told.std) == ('gray', 8, (1.0,), (1.0,))
    assert main(['inspect', str(path), '--config', str(written)]) == 0
    assert 'input.scale' in capsys.readouterr().out


@pytest.mark.parametrize('fed', [BRIGHT, BRIGHT_16])
def test_calibration_and_the_hand_written_baseline_feed_the_same(opened, networks, fed):
    segmenter = opened(fed)
    for image, brightness in ((noise(SIZE), noise(SIZE)),
                              (noise(SIZE, np.uint16), noise(SIZE, np.uint16) / 257)):
        ((found,),) = (feed.values() for feed in network_inputs(segmenter.spec, [image]))
        if segmenter.spec.depth == 8:
            brightness = np.floor(brightness * 257 / 256) if image.itemsize == 2 else brightness
        np.testing.assert_allclose(found[0, 0], brightness / 127.5 - 1, atol=1e-6)
    bgr = networks.random_image(*SIZE)
    network = open_network_only(segmenter.spec, 'onnxruntime', RunOptions())
    baseline = BaselinePipeline(segmenter.spec, network, overlay=False)
    certain = np.abs(luma(bgr) - 127.5) > 1
    np.testing.assert_array_equal(baseline.run(bgr)[certain], segmenter.infer(bgr).mask[certain])


# On TensorRT -------------------------------------------------------------------------------


def all_kinds_of_images():
    gray = noise((64, 96))
    return gray, gray.astype(np.uint16) << 8, np.repeat(gray[..., None], 3, axis=2), gray


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_an_engine_takes_every_kind_of_image(save, tensorrt, tmp_path, precision):
    build = BuildOptions(precision, min_size=(64, 64), opt_size=(64, 96), max_size=(128, 128))
    options = RunOptions('tensorrt', build=build)
    path = save(BRIGHT)
    config = ModelConfig.from_file(path.with_suffix('.yaml'))
    spec = resolve(read_network(path), config)
    write_engine(tmp_path / 'net.engine', EngineLoader().fetch(spec, build, 'nearest'))
    assert [shape[3] for shape in tensorrt.builds[0]['profiles']['image']] == [1, 1, 3]
    for model in (path, tmp_path / 'net.engine'):
        with Segmenter.open(model, config=config, options=options) as segmenter:
            for image in all_kinds_of_images():
                found = segmenter.infer(image, outputs=('mask', 'overlay'))
                with Segmenter.open(path, config=config, options=RunOptions('onnxruntime')) as cpu:
                    np.testing.assert_array_equal(found.mask, cpu.infer(image).mask)
                assert found.overlay.shape == (64, 96, 3)


@pytest.mark.parametrize('builds', [True, False])
def test_an_engine_that_was_built_elsewhere(networks, tensorrt, tmp_path, builds):
    if not builds:
        del tensorrt.module.Builder
    path = tmp_path / 'net.plan'
    path.write_bytes(tensorrt.plan(networks.pointwise(WEIGHTS, (64, 96))))
    with Segmenter.open(path, config=networks.config_of(input=BRIGHT),
                        options=RunOptions('tensorrt')) as segmenter:
        assert segmenter.spec.color == 'gray'
        for image in all_kinds_of_images():
            found = segmenter.infer(image, outputs=('mask', 'overlay'))
            np.testing.assert_array_equal(found.mask, all_kinds_of_images()[0] > 127)


# Datasets and rosbags ----------------------------------------------------------------------


def test_evaluate(save, tmp_path):
    path, folder = save(BRIGHT_16), tmp_path / 'data'
    for name in ('images', 'labels'):
        (folder / name).mkdir(parents=True)
    for index, image in enumerate((noise(SIZE), noise(SIZE, np.uint16))):
        middle = 127 if image.itemsize == 1 else 32767
        cv2.imwrite(str(folder / 'images' / f'{index}.png'), image)
        cv2.imwrite(str(folder / 'labels' / f'{index}.png'), (image > middle).astype(np.uint8))
    report = tmp_path / 'report.json'
    assert main(['evaluate', str(path), '--images', str(folder / 'images'), '--labels',
                 str(folder / 'labels'), '--config', str(path.with_suffix('.yaml')),
                 '--backend', 'onnxruntime', '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    assert (found['images'], found['ground_truth']['pixel_accuracy']) == (2, 1.0)
