# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The next steps after ``inspect``, as commands to copy into a shell."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

_PHOTO = 'PHOTO.jpg'
_LOOK = 'do the colours match the objects?'


@dataclass(frozen=True)
class Inspected:
    """The arguments and results of ``inspect``.

    Attributes:
        model: path of the network; '' for the embedded one.
        config: path of its config; '' for none.
        options: arguments to repeat for ``inspect`` and ``run``.
        assumes: whether values are assumed even with this config.
        configs: number of likely configs.
        photo: path of the photo that they were drawn on; '' for none.
        picture: path of the drawing.
        task: name of the first task; '' if the network has only one.
    """

    model: str
    config: str = ''
    options: tuple[str, ...] = ()
    assumes: bool = False
    configs: int = 1
    photo: str = ''
    picture: str = ''
    task: str = ''


def next_steps(inspected: Inspected) -> str:
    """Return a headline and three lines: commands to run, and the file to look at."""
    steps = _with_new_config(inspected) if inspected.assumes else _with_this_config(inspected)
    photo = '' if inspected.photo else f' ({_PHOTO}: a photo of what the camera sees)'
    return '\n'.join([f'next steps{photo}', *(f'  {step}' for step in steps)])


def _with_new_config(inspected: Inspected) -> tuple[str, ...]:
    """The steps if values are assumed: write a config first."""
    config = _free_name(f'{_stem(inspected.model)}.yaml')
    again = ['inspect', *_model(inspected.model)]
    if inspected.config:
        again += ['--config', _path(inspected.config)]
    again += inspected.options
    choice = ['--choose', '1'] if inspected.picture and inspected.configs > 1 else []
    run, overlay = _run(inspected, config)
    look = f'look at {overlay}: {_LOOK}'
    if choice:
        look = (f'look at {inspected.picture} first, and replace 1 with the number of the best '
                f'result; then at {overlay}')
    elif inspected.configs > 1:
        look += f' If not: {_command(*again, "--on", _photo(inspected))}'
    return _command(*again, *choice, '--write-config', config), run, look


def _with_this_config(inspected: Inspected) -> tuple[str, ...]:
    run, overlay = _run(inspected, inspected.config)
    launch = ['ros2', 'launch', 'trt_segmentation', 'seg.launch.py']
    if inspected.model:
        launch.append(f'engine_path:={Path(inspected.model).absolute()}')
    if inspected.config:
        launch.append(f'model_config:={Path(inspected.config).absolute()}')
    if inspected.options:
        launch.append(f'mask_encoding:={inspected.options[-1]}')
    launch.append('image_topic:=/camera/image_raw')
    return run, f'look at {overlay}: {_LOOK}', shlex.join(launch)


def _run(inspected: Inspected, config: str) -> tuple[str, str]:
    """Return the command that segments a photo, and the path of its overlay."""
    model = ['--model', _path(inspected.model)] if inspected.model else []
    config_option = ['--config', _path(config)] if config else []
    output, photo = f'{_stem(inspected.model)}_out', _photo(inspected)
    names = [Path(photo).stem, *([inspected.task] if inspected.task else []), 'overlay.png']
    return (_command('run', photo, *model, *config_option, *inspected.options,
                     '--output', _path(output)),
            f'{output}/{"_".join(names)}')


def _photo(inspected: Inspected) -> str:
    return _path(inspected.photo or _PHOTO)


def _command(*arguments: str) -> str:
    return shlex.join(['trt-segmentation', *arguments])


def _stem(model: str) -> str:
    return Path(model).stem if model else 'demo'


def _model(model: str) -> list[str]:
    return [_path(model)] if model else []


def _path(path: str) -> str:
    """Return a path that argparse does not take for an option."""
    return f'./{path}' if path.startswith('-') else path


def _free_name(name: str) -> str:
    """Return an unused file name in this folder."""
    stem, suffix = os.path.splitext(_path(name))
    names = [f'{stem}{suffix}', *(f'{stem}_{number}{suffix}' for number in range(2, 1000))]
    return next((name for name in names if not os.path.lexists(name)), names[0])
