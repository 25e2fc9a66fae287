# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``trt-segmentation``: one module per subcommand."""

import argparse
import errno
import importlib
import io
import os
import signal
import sys

from trt_segmentation import __version__
from trt_segmentation.cli.console import log_on_stderr, message_of
from trt_segmentation.errors import SegmentationError, did_you_mean, printable

COMMANDS = {
    'run': 'Segment images, folders of images, videos and rosbags; write masks and overlays.',
    'build': 'Build the TensorRT engine of a network for this machine ahead of time.',
    'inspect': 'Show inputs, outputs and missing settings of a network, or describe an engine.',
    'bench': 'Measure how fast a model segments: alone, in the real node, against a hand-written '
             'baseline.',
    'evaluate': 'Score a model against ground truth, another model, or itself in another '
                'precision.',
    'compare': "Compare a network's precisions side by side: accuracy, agreement, speed and "
               'size.',
    'demo': 'Run camera, node and recorder as processes over DDS; report frames, rate and '
            'latency.',
    'view': 'Show a running node in a web browser: overlay, classes and their shares, rates, '
            'latency.',
}
"""The first line of each module's docstring. It is repeated here to import only one module."""

_EXAMPLES = {
    'run': 'trt-segmentation run street.jpg --output out',
    'build': 'trt-segmentation build net.onnx --config net.yaml --precision fp16',
    'inspect': 'trt-segmentation inspect net.onnx --write-config net.yaml',
    'bench': 'trt-segmentation bench net.onnx --against baseline --size 720x1280 --frames 20',
    'evaluate': 'trt-segmentation evaluate net.onnx --images images --labels labels',
    'compare': 'trt-segmentation compare net.onnx --images images --calibration-images typical',
    'demo': 'trt-segmentation demo --frames 60 --output demo_output',
    'view': 'trt-segmentation view --node /segmentation',
}

_USAGE = {'run': 'INPUT [INPUT ...] --output DIR [options]',
          'evaluate': '[MODEL] --images PATH [options]', 'demo': '[options]', 'view': '[options]'}
"""Required arguments; other commands take an optional model."""


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: arguments without the program's name; None: those of the process.

    Returns:
        0; 1 after an error, which is printed; 2 for wrong arguments; 130 after Ctrl-C; 141 if the
        reader of the output has closed it.
    """
    _replace_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may be invalid UTF-8
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # of a file that no other place checks, or of stdout
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        _discard_output()
        print(f'error: {printable(error.filename or "stdout")}: {error.strerror}', file=sys.stderr)
        return 1


def _run(argv: list[str]) -> int:
    args = argparse.Namespace()
    try:
        with log_on_stderr():
            _parse(argv, args)
            return args.execute(args)
    except SegmentationError as error:
        print(f'error: {message_of(error, args)}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of the arguments that follow a command's name."""
    return _parsers(name)[1][name]


def _parse(argv: list[str], args: argparse.Namespace) -> None:
    """Parse the arguments; only the parser of the requested command is filled."""
    requested = next((word for word in argv if not word.startswith('-')), '')
    parser, commands = _parsers(requested)
    if fault := _empty(argv):
        commands.get(requested, parser).error(f'{fault}; is a shell variable not set?')
    if requested and requested not in commands:
        parser.error(f"there is no command '{requested}'; commands are {', '.join(commands)}"
                     f'{did_you_mean(requested, commands)}')
    _, unknown = parser.parse_known_args(argv, args)
    if unknown:
        command = commands[args.command]
        near = did_you_mean(unknown[0].partition('=')[0], command._option_string_actions)
        command.error(f'unrecognized arguments: {" ".join(unknown)}{near}')


def _empty(argv: list[str]) -> str:
    """Say which argument is empty; '' if there is none."""
    for before, word in zip(['trt-segmentation', *argv], argv, strict=False):
        if not word:
            return f"the argument after '{before}' is empty"
        if word.startswith('--') and word.endswith('='):
            return f"'{word}' has no value"
    return ''


def _parsers(requested: str) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog='trt-segmentation',
        description='Semantic segmentation of camera images: class mask, confidence and overlay.')
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, usage=f'trt-segmentation {name} {_USAGE.get(name, "[MODEL] [options]")}',
            help=summary, description=summary, epilog=f'example:\n  {_EXAMPLES[name]}',
            formatter_class=_KeepEpilog)
        if name == requested:
            module = importlib.import_module(f'trt_segmentation.cli.{name}')
            module.add_arguments(command)
            command.set_defaults(execute=module.execute)
    return parser, commands.choices


class _KeepEpilog(argparse.HelpFormatter):
    """Wraps the description, but not the example."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith('example:'):
            return text
        return super()._fill_text(text, width, indent)


def _replace_closed_streams() -> None:
    """Open the null device for each of stdin, stdout and stderr that the caller has closed.

    Otherwise the next file that is opened gets its number, and what libraries print.
    """
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:
            null_device = os.open(os.devnull, os.O_RDWR)
            if null_device != number:
                os.dup2(null_device, number)
                os.close(null_device)
            setattr(sys, name, os.fdopen(number, 'w' if number else 'r', closefd=False))


def _discard_output() -> None:
    """Redirect stdout to the null device, so that Python's flush at exit does not fail.

    See "Note on SIGPIPE" in the documentation of Python's module ``signal``.
    """
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, sys.stdout.fileno())
    os.close(null_device)


if __name__ == '__main__':
    raise SystemExit(main())
