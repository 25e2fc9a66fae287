# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What all commands share: help, what is imported, and how they end."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import onnx
import pytest

from trt_segmentation.cli import inspect
from trt_segmentation.cli.arguments import open_segmenter, read_spec, run_options
from trt_segmentation.cli.main import COMMANDS, main
from trt_segmentation.cli.node_arguments import node_parameters
from trt_segmentation.segmenter import Segmenter

NEEDED = {'run': ('a.jpg', '--output=out'), 'evaluate': ('--images=images',)}
PROGRAM = [sys.executable, '-m', 'trt_segmentation.cli.main']


def help_of(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, '--help'])
    assert ended.value.code == 0
    return capsys.readouterr().out


def parsed(arguments, monkeypatch):
    """Return what a command would be executed with."""
    found = []

    def execute(args: Namespace) -> int:
        found.append(args)
        return 0

    monkeypatch.setattr(f'trt_segmentation.cli.{arguments[0]}.execute', execute)
    assert main(arguments) == 0
    return found[0]


@pytest.mark.parametrize('command', COMMANDS)
def test_summaries_are_those_of_the_modules(command):
    module = importlib.import_module(f'trt_segmentation.cli.{command}')
    assert COMMANDS[command] == module.__doc__.splitlines()[0]


def test_a_command_imports_no_other():
    text = ('import sys; from trt_segmentation.cli.main import main\n'
            'try:\n    main(["inspect", "--help"])\nfinally:\n    print(*sys.modules)')
    done = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True,
                          timeout=60)
    loaded = done.stdout.splitlines()[-1].split()
    ours = {name for name in loaded if name.startswith('trt_segmentation.cli.')}
    assert ours == {f'trt_segmentation.cli.{name}' for name in
                    ('arguments', 'console', 'inspect', 'likely_configs', 'main', 'next_steps')}
    assert {'cv2', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'tqdm'} & set(loaded) == set()


@pytest.mark.parametrize('command', COMMANDS)
def test_help_ends_with_an_example_that_parses(command, capsys, monkeypatch):
    shown = help_of(command, capsys)
    *_, title, example = shown.splitlines()
    assert title == 'example:'
    program, *arguments = shlex.split(example)
    assert (program, arguments[0]) == ('trt-segmentation', command)
    parsed(arguments, monkeypatch)


SIZE_OF = {'--min-size': '64x64', '--opt-size': '128x128', '--max-size': '256x256'}


@pytest.mark.parametrize(('option', 'commands', 'least'), [
    ('--threads', 'run bench evaluate compare demo', 0), ('--device', 'run build compare', 0),
    ('--workspace', 'run build', 0), ('--dla-core', 'run build', 0),
    ('--calibration-count', 'run build evaluate compare', 1), ('--batch', 'build', 1),
    ('--frames', 'bench compare demo', 1), ('--runs', 'bench', 1), ('--limit',
     'evaluate compare', 0), ('--ignore', 'evaluate compare', 0), ('--worst', 'evaluate', 0),
    ('--layers', 'compare', 0)])
def test_invalid_numbers_are_refused(option, commands, least, capsys, monkeypatch):
    for command in commands.split():
        given = [command, *NEEDED.get(command, ())]
        for text in (str(least - 1), '-1', '1.5', 'many'):
            with pytest.raises(SystemExit) as ended:
                main([*given, f'{option}={text}'])
            assert ended.value.code == 2
            assert (f"argument {option}: '{text}' is not a whole number of at least {least}"
                    if option != '--ignore' else f"'{text}' is not a whole number from 0 to 65535"
                    ) in capsys.readouterr().err
        found = getattr(parsed([*given, f'{option}={least}'], monkeypatch),
                        option[2:].replace('-', '_'))
        assert found in (least, [least])


@pytest.mark.parametrize('command', [
    'run', 'build', 'evaluate', 'compare', 'bench', 'demo', 'inspect'])
def test_measuring_can_be_turned_off(command, monkeypatch):
    given = [command, *NEEDED.get(command, ())]
    assert parsed(given, monkeypatch).measure is True
    assert parsed([*given, '--no-measure'], monkeypatch).measure is False


def test_decoding_on_the_gpu_can_be_turned_off(monkeypatch):
    given = ['run', *NEEDED.get('run', ())]
    assert run_options(parsed(given, monkeypatch)).gpu_jpeg is True
    assert run_options(parsed([*given, '--no-gpu-jpeg'], monkeypatch)).gpu_jpeg is False


def test_the_node_gets_the_measure_option(monkeypatch):
    for given, text in (([], 'true'), (['--no-measure'], 'false')):
        assert f'measure:={text}' in node_parameters(parsed(['bench', *given], monkeypatch))


@pytest.mark.parametrize(('more', 'kind'), [([], 'sigmoid'), (['--no-measure'], 'logits')])
def test_all_commands_read_a_network_alike(networks, tmp_path, monkeypatch, capsys, caplog, more,
                                           kind):
    path = tmp_path / 'net.onnx'
    onnx.save(networks.sigmoid_in_parts([[0.01] * 3], (16, 24)), path)
    args = parsed(['evaluate', str(path), '--images', str(tmp_path), '--backend=onnxruntime',
                   *more], monkeypatch)
    assert read_spec(args).kind == kind
    with open_segmenter(args) as segmenter:
        assert segmenter.spec.kind == kind
    assumed = 'color, input.scale, input.mean, input.std' + (', output.kind' if more else '')
    assert (f'{path}: neither a model config nor the network defines input.{assumed}; assumed'
            in caplog.text)
    monkeypatch.undo()
    assert main(['inspect', str(path), *more]) == 0
    shown = next(line.split() for line in capsys.readouterr().out.splitlines()
                 if line.strip().startswith('output.kind'))
    assert shown[1:3] == [kind, 'assumed' if more else 'measured']


@pytest.mark.parametrize(('arguments', 'message'), [
    ('build --optimization-level 6', "'6' is not a whole number from 0 to 5"),
    ('bench --seconds 0', "'0' is not a number above 0"),
    ('bench --seconds nan', "'nan' is not a number above 0"),
    ('bench --rates nan', "'nan' is not a comma-separated list of rates"),
    ('bench --rates 10,inf', "'10,inf' is not a comma-separated list of rates"),
    ('demo --rate inf', "'inf' is not a number above 0"),
    ('compare --at-least 0', "'0' is not a fraction of the pixels, more than 0 and at most 1"),
    ('bench --size 0x5', "'0x5' is not HEIGHTxWIDTH, for example 1080x1920"),
    ('bench --size 16384x16385', "'16384x16385' is too large: a side has at most 16384 pixels"),
    ('bench --rates x', "'x' is not a comma-separated list of rates of at least 1 Hz"),
    ('bench --outputs overlay', "'overlay' is not a comma-separated list of mask and any of conf"),
    ('inspect --choose 0', "'0' is not a whole number of at least 1"),
    ('run a.jpg --output out --modell=x', 'unrecognized arguments: --modell=x; did you mean '
                                          '--model?'),
    ('run a.jpg --output=', "run: error: '--output=' has no value; is a shell variable not set?"),
    ('inspct net.onnx', "there is no command 'inspct'; commands are run, build, inspect, bench, "
                        'evaluate, compare, demo, view; did you mean inspect?\n'),
    ('inspect net.onnx street.jpg', 'inspect: error: unrecognized arguments: street.jpg\n')])
def test_values_beyond_their_range_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments.split())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'before'), [
    (['run', '', '--output', 'out'], 'run'), (['run', 'a.jpg', '--output', ''], '--output'),
    (['run', 'a.jpg', '--model', '', '--output', 'out'], '--model'), (['inspect', ''], 'inspect'),
    (['evaluate', '--images', ''], '--images'), ([''], 'trt-segmentation')])
def test_an_empty_argument_is_refused(tmp_path, monkeypatch, capsys, arguments, before):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"error: the argument after '{before}' is empty; is a shell" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('arguments', 'message'), [
    ('--min-size 200x100', '--min-size is 200x100, but --opt-size is 128x128; the first must not'),
    ('--max-size 256x100', '--opt-size is 128x128, but --max-size is 256x100')])
def test_sizes_in_the_wrong_order_are_refused_by_their_options(arguments, message, capsys):
    sizes = SIZE_OF | dict([arguments.split()])
    assert main(['bench', *(word for pair in sizes.items() for word in pair)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [
    'build --output', 'evaluate --images images --json', 'compare --json', 'bench --json',
    'bench --plot'])
def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(
        arguments, tmp_path, capsys, monkeypatch):
    for path, message in ((tmp_path, f"'{tmp_path}' is a folder; name a file in it"),
                          (tmp_path / 'gone' / 'a', f"there is no folder '{tmp_path / 'gone'}'"),
                          (Path('/proc/version'), "'/proc/version' cannot be written: perm")):
        if path.is_file() and os.access(path, os.W_OK):
            continue  # a superuser may write it
        with pytest.raises(SystemExit) as ended:
            main([*arguments.split(), str(path)])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    given = [*arguments.split(), str(tmp_path / 'a')]
    assert str(tmp_path / 'a') in map(str, vars(parsed(given, monkeypatch)).values())


@pytest.mark.parametrize(('option', 'package'), [('--ros', 'rclpy'), ('--plot=a.png',
                                                                      'matplotlib')])
def test_bench_misses_a_package_before_it_measures(option, package, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec',
                        lambda name: None if name == package else find_spec(name))
    monkeypatch.setattr(Segmenter, 'open', None)
    assert main(['bench', option]) == 1
    assert capsys.readouterr().err.startswith(f'error: {package} is not installed; ')


def test_a_plot_with_the_name_of_another_format_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Segmenter, 'open', None)
    assert main(['bench', '--plot', str(tmp_path / 'x.txt')]) == 1
    assert f"but the drawing is a PNG; name it {tmp_path / 'x.png'}" in capsys.readouterr().err


@pytest.mark.parametrize('command', COMMANDS)
def test_help_shows_what_is_common_before_what_is_rare(command, capsys):
    shown = help_of(command, capsys)
    headings = [line for line in shown.splitlines() if line.endswith(':') and line[0] != ' ']
    first = headings['positional arguments:' in headings]
    assert first == 'options:'
    assert len(shown.split('\n\n')[0].splitlines()) == 1  # usage
    if 'TensorRT builds:' in headings:
        assert headings[-2:] == ['TensorRT builds:', 'example:']
        common = shown.partition('\nmasks:')[0]
        assert '--config' in common
        assert '--precision' in common


@pytest.mark.parametrize('command', [name for name in COMMANDS
                                     if name not in ('build', 'demo', 'view')])
def test_the_example_runs_where_its_files_are(command, networks, tmp_path, monkeypatch, capsys):
    networks.write_noise(tmp_path, 2)
    networks.save_colours(tmp_path / 'net.onnx')
    shutil.copytree(tmp_path / 'images', tmp_path / 'typical')
    shutil.copy(tmp_path / 'images' / '0.png', tmp_path / 'street.jpg')
    monkeypatch.chdir(tmp_path)
    _, *arguments = shlex.split(help_of(command, capsys).splitlines()[-1])
    assert main(arguments) == 0
    assert 'error' not in capsys.readouterr().err


def test_an_unknown_command_is_answered_with_all_of_them(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['segment'])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize('arguments', [['inspect'], ['inspect', '--help'], ['--help'],
                                       ['inspect', 'gone.onnx']], ids=' '.join)
def test_a_reader_that_goes_away_is_no_error(arguments):
    environment = {name: value for name, value in os.environ.items()
                   if name != 'PYTHONUNBUFFERED'}
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment) as process:
        process.stdout.close()
        shown = process.stderr.read()
        code = process.wait(60)
    if arguments[-1] == 'gone.onnx':  # stderr is still open
        assert (code, shown.count(b'\n')) == (1, 1)
    else:
        assert (code, shown) == (141, b'')


@pytest.mark.parametrize('arguments', ['--cameras 2', '--rates 10', '--one-node-each'])
def test_options_of_the_node_need_the_node(arguments, capsys):
    assert main(['bench', *arguments.split()]) == 1
    assert f'{arguments.split()[0]} is for the real node; add --ros' in capsys.readouterr().err


@pytest.mark.parametrize(('redirection', 'code', 'shown'), [
    ('>&- 2>&- <&-', 0, ''), ('>/dev/full', 1, 'error: stdout: No space left on device\n')])
def test_an_output_that_is_closed_or_full_gives_no_traceback(redirection, code, shown):
    environment = {name: value for name, value in os.environ.items()
                   if name != 'PYTHONUNBUFFERED'}
    done = subprocess.run(['sh', '-c', f'exec "$@" --version {redirection}', 'sh', *PROGRAM],
                          capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (code, shown)


def test_a_file_without_permission_is_named(monkeypatch, capsys):
    def refuse(args):
        raise PermissionError(13, 'Permission denied', 'locked/net.onnx')

    monkeypatch.setattr(inspect, 'execute', refuse)
    monkeypatch.setattr('trt_segmentation.cli.main._discard_output', lambda: None)
    assert main(['inspect']) == 1
    assert capsys.readouterr().err == 'error: locked/net.onnx: Permission denied\n'


def test_an_interrupt_ends_silently(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, 'execute', interrupt)
    assert main(['inspect']) == 130
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ('', '')
