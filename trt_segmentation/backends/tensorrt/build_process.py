# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Builds in a child process, which can be stopped, may crash, and returns all its memory.

The child is a fresh interpreter and not one of multiprocessing, which would import the main module
again with all its imports. Parent and child share one pipe. The parent sends the request; the
child sends log records, progress, and the plan or an error. Each process ends with the other: the
parent kills the child when it returns, and the child exits when the pipe closes.
"""

import logging
import logging.handlers
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from trt_segmentation import PROGRESS_LOGGER
from trt_segmentation.backends.tensorrt.api import LOGGER
from trt_segmentation.backends.tensorrt.builder import Plan, Profiles, build_plan
from trt_segmentation.backends.tensorrt.progress import log_progress
from trt_segmentation.errors import BackendError, SegmentationError
from trt_segmentation.options import BuildOptions

_PACKAGE = 'trt_segmentation'
_SECONDS_TO_DIE = 10
_POLL_SECONDS = 0.5
_CHILD = """
import sys
sys.path[:] = {path!r}
from trt_segmentation.backends.tensorrt.build_process import child_main
child_main({fd})
"""


def build_in_child(model: bytes, profiles: Profiles, options: BuildOptions, *,
                   float_layers: Callable[[str], bool], source: str = 'the network',
                   timing_cache: bytes = b'', device: int = 0,
                   on_progress: Callable[[str], None] = log_progress) -> Plan:
    """Do what ``build_plan`` does, in a child process.

    Args:
        model, profiles, options, source, timing_cache: as of ``build_plan``.
        float_layers: as of ``build_plan``, and picklable: a function of a module that can be
            imported, or ``functools.partial`` of one.
        device: index of the GPU to build on, as CUDA counts them in this process.
        on_progress: called in this process and this thread. An exception in it ends the build at
            once; so do KeyboardInterrupt and any end of this process.

    Raises:
        SegmentationError: as of ``build_plan``; BackendError also if the child process dies.
    """
    arguments = {'model': model, 'profiles': profiles, 'options': options, 'source': source,
                 'float_layers': float_layers, 'timing_cache': timing_cache}
    request = pickle.dumps((_log_level(), arguments))
    ours, theirs = multiprocessing.Pipe()
    with ours:
        with theirs:
            child = _start(theirs, device)
        try:
            return _follow(child, ours, request, on_progress, source)
        finally:
            child.kill()
            child.wait()


def child_main(fd: int) -> None:
    """Build the request that comes through the pipe ``fd``; the child's main program."""
    connection = Connection(fd)
    try:
        request = connection.recv_bytes()
    except EOFError:
        return
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    outbox = _Outbox(connection)
    level, arguments = pickle.loads(request)
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(level)
    logger.addHandler(logging.handlers.QueueHandler(outbox))  # type: ignore[arg-type]  # no get
    logger.propagate = False
    try:
        plan = build_plan(**arguments, on_progress=lambda text: outbox.put('progress', text))
        outbox.put('plan', plan)
    except SegmentationError as error:
        outbox.put('error', error)
    except Exception as error:
        logger.exception('the child that builds the engine failed')
        outbox.put('error', BackendError('the child process that builds the engine failed: '
                                         f'{type(error).__name__}: {error}'))


def visible_devices(device: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which one GPU of this process is the only one.

    Args:
        device: index of the GPU in a process with the given environment.
        environment: may already have CUDA_VISIBLE_DEVICES, which selects and orders GPUs.
    """
    chosen = environment.get('CUDA_VISIBLE_DEVICES')
    names = chosen.split(',') if chosen else []
    name = names[device] if device < len(names) else str(device)
    return {**environment, 'CUDA_VISIBLE_DEVICES': name}


def _start(theirs: Connection, device: int) -> subprocess.Popen:
    program = _CHILD.format(path=sys.path, fd=theirs.fileno())
    # In a session of its own, so that Ctrl-C reaches only the parent, which ends the child.
    return subprocess.Popen([sys.executable, '-c', program], pass_fds=[theirs.fileno()],
                            stdin=subprocess.DEVNULL, start_new_session=True,
                            env=visible_devices(device, os.environ) if device else None)


def _follow(child: subprocess.Popen, ours: Connection, request: bytes,
            on_progress: Callable[[str], None], source: str) -> Plan:
    actions: Mapping[str, Callable[[Any], None]] = {'progress': on_progress, 'log': _log}
    try:
        ours.send_bytes(request)
    except OSError:
        raise _death(child, source) from None
    while True:
        try:
            # A signal in another thread, or just before the wait, does not end the wait: Python
            # handles it only afterwards. So each wait is short.
            while not ours.poll(_POLL_SECONDS):
                pass
            kind, content = ours.recv()
        except (EOFError, OSError):
            raise _death(child, source) from None
        if kind == 'plan':
            return content
        if kind == 'error':
            raise content
        actions[kind](content)


def _death(child: subprocess.Popen, source: str) -> BackendError:
    """Return an error with the cause of the child's death; its pipe is closed already."""
    try:
        status = child.wait(_SECONDS_TO_DIE)
    except subprocess.TimeoutExpired:
        return BackendError(f'the process that built {source} closed its pipe but does not end')
    if status >= 0:
        return BackendError(f'the process that built {source} ended with status {status}; see '
                            'its output on stderr')
    name = signal.Signals(-status).name
    why = ('most likely because memory ran out, see dmesg: close other programs, or build on a '
           'machine with more memory' if name == 'SIGKILL' else
           'a crash inside TensorRT or its driver: try another version of either')
    return BackendError(f'the process that built {source} was ended by {name}, {why}')


def _log_level() -> int:
    """The lowest level that a logger of the parent process accepts."""
    return min(logging.getLogger(name).getEffectiveLevel()
               for name in (_PACKAGE, LOGGER, PROGRESS_LOGGER))


def _log(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


class _Outbox:
    """The child's end of the pipe, safe for threads; ``QueueHandler`` uses it as its queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put(self, kind: str, content: Any) -> None:
        with self._lock:
            self._connection.send((kind, content))

    def put_nowait(self, record: logging.LogRecord) -> None:
        self.put('log', record)


def _end_with_parent(connection: Connection) -> None:
    """End this process when the parent's end of the pipe closes."""
    connection.poll(None)  # the parent sends nothing more, so this is the end of the pipe
    os._exit(1)
