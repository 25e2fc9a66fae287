# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a module of TensorRT has; a program, since a process can import only one version of it.

    python tensorrt_lookup.py MODULE < paths.json > answer.json

Paths are those of ``tensorrt_names.py``. What a method returns and a property holds is in the
docstring that pybind11 writes.
"""

import dataclasses
import importlib
import json
import re
import sys

from trt_segmentation.backends.tensorrt.api import Capabilities


def has(module, path):
    """Return whether there is such a path; None where a docstring leaves a type open."""
    found = module
    for step in re.findall(r'\w+|\(\)', path):
        if isinstance(found, property):
            found = _returned(module, found.fget)
        if found is None:
            return None
        if step != '()':
            if not hasattr(found, step):
                return False
            found = getattr(found, step)
        elif not isinstance(found, type):  # the call of a class makes one of its objects
            found = _returned(module, found)
    return True


def _returned(module, function):
    """Return the class that a docstring names, as in '-> tensorrt.ILayer'.

    Of TensorRT 8.6 it may be the one of C++: '-> nvonnxparser::IParserError' is a ParserError.
    """
    said = re.search(r'-> *(?:\w+(?:\.|::))*(\w+)', function.__doc__ or '')
    name = said[1] if said else ''
    return getattr(module, name, None) or getattr(module, name.removeprefix('I'), None)


if __name__ == '__main__':
    trt = importlib.import_module(sys.argv[1])
    json.dump({'has': {path: has(trt, path) for path in json.load(sys.stdin)},
               'capabilities': dataclasses.asdict(Capabilities.of(trt))}, sys.stdout)
