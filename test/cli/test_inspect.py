# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``inspect``: next steps, likely configs, and sizes."""

import shlex

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from trt_segmentation.cli.likely_configs import likely_configs, same_masks, try_out
from trt_segmentation.cli.main import main
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.model_config import InputConfig, ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter, demo_model

RIGHT = 1
"""Number of the config that the demo network was trained with."""


@pytest.fixture(scope='module')
def scene():
    return read_frame(11, 180, 320)


@pytest.fixture
def here(tmp_path, monkeypatch, scene):
    """An empty working folder with a network whose file does not define its input."""
    model = onnx.load(demo_model())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "my 'net'.onnx")
    cv2.imwrite(str(tmp_path / 'street 1.png'), scene.image)
    cv2.imwrite(str(tmp_path / 'PHOTO.jpg'), scene.image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def steps(text):
    """Return the three lines that ``inspect`` ends with."""
    headline, *lines = text.splitlines()[-4:]
    assert headline.startswith('next steps')
    assert all(line.startswith('  ') for line in lines)
    return [line.strip() for line in lines]


def paste(line):
    """Run a command line as a shell would."""
    program, *arguments = shlex.split(line)
    assert program == 'trt-segmentation'
    assert main(arguments) == 0


def spec_of(model, text=''):
    return resolve(read_network(model), ModelConfig.from_text(text, 'test'))


# Next steps


def test_the_commands_work_as_they_are_printed(here, capsys):
    assert main(['inspect', "my 'net'.onnx"]) == 0
    write, run, look = steps(capsys.readouterr().out)
    paste(write)
    paste(run)
    overlay = look.removeprefix('look at ').partition(':')[0]
    assert cv2.imread(overlay) is not None
    paste(look.partition('If not: ')[2])
    assert cv2.imread("my 'net'_on_PHOTO.png") is not None


def test_with_a_photo_the_commands_name_it(here, capsys):
    assert main(['inspect', "my 'net'.onnx", '--on', 'street 1.png']) == 0
    shown = capsys.readouterr().out
    assert 'PHOTO.jpg' not in shown
    write, run, look = steps(shown)
    assert '--choose 1 --write-config' in write
    assert look.startswith("look at my 'net'_on_street 1.png first")
    paste(write)
    paste(run)
    assert cv2.imread("my 'net'_out/street 1_overlay.png") is not None


def test_a_config_is_passed_on(here, capsys):
    (here / 'labels.yaml').write_text('input: {color: rgb}\n')
    (here / "my 'net'.yaml").write_text('mine')
    assert main(['inspect', "my 'net'.onnx", '--config', 'labels.yaml', '--mask-encoding',
                 'mono16']) == 0
    write, run, _ = steps(capsys.readouterr().out)
    for command in (write, run):
        assert '--mask-encoding mono16' in command
        paste(command)
    assert (here / "my 'net'.yaml").read_text() == 'mine'
    assert ModelConfig.from_file("my 'net'_2.yaml").input.color == 'rgb'


def test_what_is_known_can_be_run_at_once(here, capsys):
    assert main(['inspect']) == 0
    run, look, launch = steps(capsys.readouterr().out)
    paste(run)
    assert cv2.imread(look.removeprefix('look at ').partition(':')[0]) is not None
    assert launch == ('ros2 launch trt_segmentation seg.launch.py '
                      'image_topic:=/camera/image_raw')
    assert main(['inspect', "my 'net'.onnx", '--write-config', 'net.yaml']) == 0
    run, _, launch = steps(capsys.readouterr().out)
    assert '--config net.yaml' in run
    assert shlex.split(launch)[4:6] == [f"engine_path:={here}/my 'net'.onnx",
                                        f'model_config:={here}/net.yaml']


def test_names_like_options_are_no_options(here, capsys):
    (here / "my 'net'.onnx").rename('-n.onnx')
    assert main(['inspect', '--', '-n.onnx']) == 0
    write, run, _ = steps(capsys.readouterr().out)
    paste(write)
    paste(run)


# The likely configs


@pytest.mark.parametrize(('text', 'count'), [
    ('', 8), ('input: {color: bgr}', 4), ('input: {scale: 1}', 2), ('input: {mean: [1, 1, 1]}', 2),
    ('input: {color: rgb, scale: 1}', 1), ('classes: {labels: [a, b, c, d, e, f, g]}', 8)])
def test_only_what_is_assumed_differs(here, text, count):
    configs = likely_configs(spec_of(here / "my 'net'.onnx", text))
    assert len(configs) == len({config.name for config in configs}) == count
    told = ModelConfig.from_text(text, 'test')
    for likely in configs:
        assert not ModelConfig(likely.input).set_keys() & told.set_keys()
        assert ModelConfig.from_text(likely.yaml, 'line').input == likely.input
        assert likely.over(told).over(told) == likely.over(told)


def test_integers_are_fed_as_they_are(networks, tmp_path):
    onnx.save(networks.pointwise(np.eye(3), (6, 8), dtype=TensorProto.UINT8),
              tmp_path / 'net.onnx')
    configs = likely_configs(spec_of(tmp_path / 'net.onnx'))
    assert [config.name for config in configs] == ['rgb', 'bgr']


def test_what_the_file_itself_says_stays():
    config, = likely_configs(spec_of(demo_model()))
    assert (config.input, config.yaml) == (InputConfig(), '')


def test_the_right_one_fits_best_and_is_assumed(here, scene):
    network = read_network(here / "my 'net'.onnx")
    configs = likely_configs(resolve(network, ModelConfig()))
    trials = try_out(network, ModelConfig(), configs, scene.image, RunOptions('onnxruntime'))
    right = [np.mean(trial.mask == scene.labels) for trial in trials]
    assert np.argmax(right) == RIGHT - 1
    np.testing.assert_array_equal(trials[RIGHT - 1].mask, Segmenter.open().infer(scene.image).mask)
    for trial in trials:
        alone = Segmenter.open(here / "my 'net'.onnx", config=ModelConfig(trial.config.input))
        np.testing.assert_array_equal(trial.mask, alone.infer(scene.image).mask)


def test_configs_with_the_same_mask_are_one_panel(networks, here, capsys):
    onnx.save(networks.pointwise(np.eye(3), (36, 64)), here / 'largest.onnx')  # of the channels
    assert main(['inspect', 'largest.onnx', '--on', 'street 1.png']) == 0
    shown = capsys.readouterr().out
    assert 'rgb, 0 to 255               same mask as 2' in shown
    network = read_network(here / 'largest.onnx')
    trials = try_out(network, ModelConfig(), likely_configs(resolve(network, ModelConfig())),
                     cv2.imread('street 1.png'), RunOptions('onnxruntime'))
    assert list(same_masks(trials).values()) == [[1], [2, 3, 4], [5], [6, 7, 8]]


def test_the_list_has_the_lines_to_copy(here, capsys):
    assert main(['inspect', "my 'net'.onnx", '--on', 'street 1.png', '--picture', 'x.png']) == 0
    shown = capsys.readouterr().out
    assert 'drawn side by side in x.png' in shown
    for number, config in enumerate(likely_configs(spec_of(here / "my 'net'.onnx")), 1):
        assert f'\n  {number}  {config.name}' in shown
        assert f'\n     {config.yaml}\n' in shown
    assert 'mean confidence 0.' in shown
    assert cv2.imread('x.png').shape[1] > 1000


def test_class_ids_have_no_confidence(networks, here, capsys):
    onnx.save(networks.fixed(np.zeros((1, 6, 8), np.int64)), here / 'ids.onnx')
    assert main(['inspect', 'ids.onnx', '--on', 'street 1.png']) == 0
    shown = capsys.readouterr().out
    assert 'confidence 0' not in shown
    assert 'class 0: 100%' in shown


@pytest.mark.parametrize('number', [1, 4, 8])
def test_the_chosen_one_is_written(here, number):
    configs = likely_configs(spec_of(here / "my 'net'.onnx"))
    assert main(['inspect', "my 'net'.onnx", '--choose', str(number), '--write-config',
                 'net.yaml']) == 0
    written = ModelConfig.from_file('net.yaml')
    assert ModelConfig(configs[number - 1].input).over(written) == written
    assert f'# Input chosen from the likely ones: {configs[number - 1].name}.' in \
        (here / 'net.yaml').read_text()
    assert spec_of(here / "my 'net'.onnx", (here / 'net.yaml').read_text()).assumed == ()


def test_several_masks_are_described(networks, here, capsys):
    onnx.save(networks.heads({'road': np.eye(3)[:2], 'lanes': np.eye(3)}, (32, 48)), 'net.onnx')
    assert main(['inspect', 'net.onnx']) == 1
    assert 'or several masks in outputs' in capsys.readouterr().err
    (here / 'net.yaml').write_text('outputs: [{name: road}, {name: lanes, task: lines}]')
    assert main(['inspect', 'net.onnx', '--config', 'net.yaml', '--write-config', 'all.yaml']) == 0
    shown = capsys.readouterr().out
    assert 'available outputs: road/mask, road/confidence, road/overlay, lines/mask' in shown
    assert '\ninstances: none; networks of kind instances and queries give them\n' in shown
    assert any(line.split()[:2] == ['outputs.lines.labels', 'names'] for line in
               shown.splitlines())
    run, look, _ = steps(shown)
    assert look.startswith('look at net_out/PHOTO_road_overlay.png')
    paste(run)
    assert (here / 'net_out' / 'PHOTO_road_overlay.png').is_file()
    spec = spec_of('net.onnx', (here / 'all.yaml').read_text())
    assert ([task.name for task in spec.tasks], spec.assumed) == (['road', 'lines'], ())
    capsys.readouterr()
    assert main(['inspect', 'net.onnx', '--config', 'all.yaml', '--on', 'PHOTO.jpg']) == 1
    assert 'select one with a model config of output: {name: road}' in capsys.readouterr().err


def test_where_instances_come_from(networks, here, capsys):
    onnx.save(networks.joined({'all': networks.asked((32, 48)),
                               'things': networks.spotted((32, 48))}), 'net.onnx')
    (here / 'net.yaml').write_text(
        'outputs: [{task: all, kind: queries, name: all/masks, class_name: all/classes}, '
        '{task: cars, kind: instances, name: things/prototypes, class_name: things/found}]')
    assert main(['inspect', 'net.onnx', '--config', 'net.yaml', '--no-measure']) == 0
    shown = capsys.readouterr().out
    assert ("\ninstances of all: from queries with a mask ('all/masks') and class scores "
            "('all/classes') each; see run --outputs instances detections, and the node "
            "parameter instances\ninstances of cars: from boxes ('things/found') and prototypes "
            "of their masks ('things/prototypes'); see run") in shown


def test_whatever_the_network_is_called_the_config_reads_back(here):
    (here / "my 'net'.onnx").rename('two\nlines: {.onnx')
    assert main(['inspect', 'two\nlines: {.onnx', '--write-config', 'net.yaml']) == 0
    assert ModelConfig.from_file('net.yaml').input.color == 'rgb'


def test_outputs_that_are_alike_are_marked_as_assumed(networks, here, capsys):
    model = networks.pointwise(np.eye(3), (6, 8))
    model.graph.node.append(onnx.helper.make_node('Neg', ['scores'], ['other']))
    model.graph.output.append(networks.tensor('other', [1, 3, 6, 8]))
    onnx.save(model, here / 'two.onnx')
    assert main(['inspect', 'two.onnx', '--write-config', 'two.yaml']) == 0
    assert 'output.name       the first of several' in capsys.readouterr().out
    assert 'nor config: output.name; the first' in (here / 'two.yaml').read_text()


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (['--choose', '2'], '--choose 2 selects the config to write; name the file with '
                        '--write-config'),
    (['--choose', '9', '--write-config', 'y'], '--choose is 9; this network has the likely '
                                               'configs 1 to 8'),
    (['--write-config', 'gone/y'], "gone/y: cannot be written: there is no folder 'gone'"),
    (['--picture', 'x.png'], '--picture x.png is the file for the drawing of --on; name the '
                             'photo with --on PHOTO'),
    (['--on', 'street 1.png', '--picture', 'x.jpg'], 'the drawing is a PNG; name it x.png'),
    (['--on', 'gone.png'], 'gone.png: there is no such file'),
    (['--on', '.'], '.: is a folder; name a file in it'),
    (['--on', "my 'net'.onnx"], 'OpenCV cannot read it as an image'),
    (['--on', 'street 1.png', '--picture', 'PHOTO.png'], 'PHOTO.png: exists already'),
    (['--on', 'street 1.png', '--write-config', 'PHOTO.png'], 'PHOTO.png: exists already')])
def test_what_does_not_go_together_is_one_sentence(here, capsys, arguments, sentence):
    (here / 'PHOTO.png').write_text('mine')
    before = sorted(here.iterdir())
    assert main(['inspect', "my 'net'.onnx", *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith('error: ')
    assert sentence in message
    assert message.count('\n') == 1
    assert sorted(here.iterdir()) == before
    assert (here / 'PHOTO.png').read_text() == 'mine'


@pytest.mark.parametrize('arguments', [['--on', 'x.png'], ['--write-config', 'x.yaml']])
def test_an_engine_has_no_config_to_choose(capsys, arguments):
    assert main(['inspect', 'net.engine', *arguments]) == 1
    assert f'{arguments[0]} is for networks; inspect the .onnx' in capsys.readouterr().err


# Sizes


def halved(networks):
    """A network that halves its input and grows it again, of open size."""
    nodes = [onnx.helper.make_node('MaxPool', ['pixels'], ['half'], kernel_shape=[2, 2],
                                   strides=[2, 2]),
             onnx.helper.make_node('Resize', ['half', '', 'twice'], ['whole']),
             onnx.helper.make_node('Add', ['whole', 'pixels'], ['scores'])]
    shape = [1, 3, None, None]
    return networks.onnx_model(
        nodes, [networks.tensor('pixels', shape)], [networks.tensor('scores', shape)],
        {'twice': np.float32([1, 1, 2, 2])})


def test_a_size_that_runs_is_proposed(networks, here, capsys):
    onnx.save(halved(networks), here / 'open.onnx')
    assert main(['inspect', 'open.onnx', '--write-config', 'open.yaml']) == 0
    shown = capsys.readouterr().out
    assert next(line.split()[1:] for line in shown.splitlines() if 'input.size' in line) == \
        ['[512,', '512]', 'assumed']
    assert 'Assumed, defined by neither graph nor config: input.size;' in \
        (here / 'open.yaml').read_text()
    assert spec_of(here / 'open.onnx', (here / 'open.yaml').read_text()).size == (512, 512)


def test_the_multiple_that_a_size_has_to_be_is_named(networks, here, capsys):
    onnx.save(halved(networks), here / 'open.onnx')
    (here / 'none.yaml').write_text('input: {resize: none}')
    assert main(['inspect', 'open.onnx', '--config', 'none.yaml']) == 0
    assert 'every image: height and width must be multiples of 2' in capsys.readouterr().out
    cv2.imwrite('odd.png', np.zeros((33, 35, 3), np.uint8))
    assert main(['run', 'odd.png', '--model', 'open.onnx', '--config', 'none.yaml', '--output',
                 'out', '--backend', 'onnxruntime']) == 1
    message = capsys.readouterr().err
    assert 'image of 35x33: height and width must be multiples of 2' in message
    assert 'opset' not in message


@pytest.mark.parametrize('command', [['inspect'], ['run', 'one.png', '--output', 'out',
                                                   '--backend', 'onnxruntime', '--model']])
@pytest.mark.parametrize(('size', 'says'), [
    (33, 'input.size, 33x33; height and width must be multiples of 2'),
    (64, 'input.size, 64x64; 32x32 runs: input.size: [32, 32]')])
def test_a_size_that_does_not_run_is_answered_with_one_that_does(networks, here, capsys, command,
                                                                 size, says):
    model = halved(networks)
    if size == 64:  # in the middle, the network has another size built in
        model.graph.node.append(onnx.helper.make_node('Reshape', ['scores', 'built'], ['s']))
        model.graph.initializer.append(onnx.numpy_helper.from_array(
            np.array([1, 3, 32, 32]), 'built'))
        del model.graph.output[:]
        model.graph.output.append(networks.tensor('s', [1, 3, 32, 32]))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = size
    onnx.save(model, here / 'fixed.onnx')
    cv2.imwrite('one.png', np.zeros((40, 40, 3), np.uint8))
    assert main([*command, 'fixed.onnx']) == 1
    message = capsys.readouterr().err
    assert f'fixed.onnx: the network does not run at its {says}' in message
    assert 'opset' not in message
