# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``trt-segmentation``: one module a subcommand."""

import argparse
import importlib
import io
import sys

from trt_segmentation import __version__
from trt_segmentation.cli.console import log_on_stderr
from trt_segmentation.errors import SegmentationError

COMMANDS = ('run', 'build', 'inspect', 'bench', 'evaluate', 'compare', 'demo', 'view')


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        0; 1 where something failed, after a message that says what; 2 for wrong arguments; 130
        after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog='trt-segmentation',
        description='Semantic segmentation: camera image in, class mask and overlay out.')
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name in COMMANDS:
        module = importlib.import_module(f'trt_segmentation.cli.{name}')
        summary = str(module.__doc__).splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    args = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        with log_on_stderr():
            return args.execute(args)
    except SegmentationError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    raise SystemExit(main())
