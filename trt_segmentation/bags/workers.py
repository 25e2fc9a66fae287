# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Who segments the parts: this process, others on this machine, or a Dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from trt_segmentation.bags import parts
from trt_segmentation.bags.parts import Part, Report, Work, segment_part
from trt_segmentation.errors import SegmentationError


class WorkerError(SegmentationError):
    """Processes that cannot be started or reached, or that have died."""


@dataclass(frozen=True)
class Workers:
    """Where parts are segmented.

    Attributes:
        count: processes on this machine; 1 is this process.
        devices: indices of GPUs that they share; empty leaves all to the options' one.
        cluster: address of a Dask scheduler whose workers do it instead; ''.
    """

    count: int = 1
    devices: tuple[int, ...] = ()
    cluster: str = ''


def segment_parts(work: Work, wanted: Sequence[Part], workers: Workers) -> Iterator[Report]:
    """Yield the reports of parts as they are finished, in any order.

    Raises:
        WorkerError: a process has died or the cluster cannot be reached.
        SegmentationError: what ``segment_part`` raises.
    """
    waiting, running = iter(wanted), set[Future]()
    with _executor(workers) as (executor, slots):
        try:
            while True:
                # Few at a time: in this process, submitting a part is segmenting it.
                while len(running) < slots and (part := next(waiting, None)) is not None:
                    running.add(executor.submit(segment_part, work, part))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenExecutor as error:
            raise WorkerError('a worker process has died, for example since memory ran out; with '
                              'the same command, the run goes on where it was') from error
        finally:
            for future in running:
                future.cancel()


@contextmanager
def _executor(workers: Workers) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many parts it shall have at a time."""
    if workers.cluster:
        with _cluster(workers.cluster) as client:
            slots = 2 * sum(client.nthreads().values())
            yield client.get_executor(pure=False), max(slots, 2)
    elif workers.count > 1:
        context = multiprocessing.get_context('spawn')  # CUDA does not survive a fork
        devices: Any = context.SimpleQueue()
        for index in range(workers.count):
            devices.put(workers.devices[index % len(workers.devices)] if workers.devices else None)
        with ProcessPoolExecutor(workers.count, context, _begin_worker, (devices,)) as pool:
            yield pool, 2 * workers.count
    else:
        parts.use_device(workers.devices[0] if workers.devices else None)
        try:
            yield _Here(), 1
        finally:
            parts.release()


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise WorkerError('a cluster needs Dask, which is not installed; '
                          'pip install distributed') from error
    try:
        client = Client(address, timeout=5)
    except (OSError, ValueError) as error:
        raise WorkerError(f'{address}: no Dask scheduler can be reached there ({error}); '
                          '`dask scheduler` prints its address') from error
    with client:
        if not client.nthreads():
            raise WorkerError(f'{address}: this Dask scheduler has no workers; start some with '
                              f'`dask worker {address} --nthreads 1`')
        yield client


class _Here(Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _begin_worker(devices: Any) -> None:
    # Ctrl-C goes to all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parts.use_device(devices.get())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process with the one that started it: concurrent.futures would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
