# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Expansion of ``~`` and ``package://`` in the paths of parameters and launch arguments."""

import os
from dataclasses import replace
from typing import Any

from trt_segmentation.errors import ConfigError
from trt_segmentation.ros.parameters import Parameters

PATH_PARAMETERS = ('engine_path', 'model_config', 'engine_cache', 'calibration_images',
                   'calibration_table')
"""The parameters of the node that are paths of files or folders."""

_SCHEME = 'package://'


def with_expanded_paths(parameters: Parameters) -> Parameters:
    """Return parameters with all paths expanded.

    Raises:
        ConfigError: a ``package://`` path cannot be resolved.
    """
    expanded: dict[str, Any] = {name: expand_path(name, getattr(parameters, name))
                                for name in PATH_PARAMETERS}
    return replace(parameters, **expanded)


def expand_path(name: str, text: str) -> str:
    """Expand a path; a path in none of these forms is returned unchanged.

    Args:
        name: of the parameter, for error messages.
        text: ``package://PACKAGE/PATH``, a path in the share folder of a ROS package; or
            ``~/PATH``, a path in the home folder. Shells do not expand ``~`` in
            ``engine_path:=~/net.onnx``.

    Raises:
        ConfigError: the package is not installed, or its name is missing.
    """
    if not text.startswith(_SCHEME):
        return os.path.expanduser(text)
    package, _, path = text.removeprefix(_SCHEME).partition('/')
    if not package:
        raise ConfigError(f"{name} is '{text}'; it must name a ROS package, as in "
                          'package://my_robot/models/net.onnx')
    return os.path.join(_share_folder(name, text, package), path)


def _share_folder(name: str, text: str, package: str) -> str:
    try:
        from ament_index_python.packages import get_package_share_directory
        return get_package_share_directory(package)
    except ImportError:
        raise ConfigError(f"{name} is '{text}'; package:// requires ament_index_python, which is "
                          'installed with ROS 2') from None
    except (LookupError, ValueError, OSError):  # not found, invalid name, no search path
        raise ConfigError(
            f"{name} is '{text}'; ROS package {package} was not found in AMENT_PREFIX_PATH "
            f"({os.environ.get('AMENT_PREFIX_PATH', '') or 'which is empty'}); install it and "
            'source the setup file of its workspace') from None
