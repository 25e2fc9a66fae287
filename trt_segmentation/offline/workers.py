# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Who does the tasks of a run: this process, others on this machine, or a Dask cluster."""

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
from typing import Any, TypeVar

from trt_segmentation.errors import SegmentationError
from trt_segmentation.offline import thread_segmenter

Task = TypeVar('Task')
Done = TypeVar('Done')


class WorkerError(SegmentationError):
    """Processes that cannot be started or reached, or that have died."""


@dataclass(frozen=True)
class Workers:
    """Where tasks are done.

    Attributes:
        count: processes on this machine; 1 is this process.
        devices: indices of GPUs that they share; empty leaves all to the options' one.
        cluster: address of a Dask scheduler whose workers do it instead; ''.
    """

    count: int = 1
    devices: tuple[int, ...] = ()
    cluster: str = ''

    @property
    def is_here(self) -> bool:
        """Whether this process does everything."""
        return not self.cluster and self.count <= 1


@contextmanager
def here(workers: Workers) -> Iterator[None]:
    """Do the work in this process for the body of a with statement."""
    thread_segmenter.use_device(workers.devices[0] if workers.devices else None)
    try:
        yield
    finally:
        thread_segmenter.release()


def do_tasks(function: Callable[[Task], Done], tasks: Sequence[Task], workers: Workers,
             ) -> Iterator[Done]:
    """Yield what a function returns for tasks, in any order; other processes call it.

    Args:
        function: can be pickled.
        tasks: can be pickled.
        workers: other processes; see ``Workers.is_here``.

    Raises:
        WorkerError: a process has died or the cluster cannot be reached.
        SegmentationError: what the function raises.
    """
    waiting, running = iter(tasks), set[Future]()
    with _executor(workers) as (executor, slots):
        try:
            while True:
                # Few at a time, so that little is cancelled where one fails.
                while len(running) < slots and (task := next(waiting, None)) is not None:
                    running.add(executor.submit(function, task))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenExecutor as error:
            raise WorkerError('a worker process has died, for example since memory ran out; the '
                              'same command goes on where this run was') from error
        finally:
            for future in running:
                future.cancel()


@contextmanager
def _executor(workers: Workers) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many tasks it shall have at a time."""
    if workers.cluster:
        with _cluster(workers.cluster) as client:
            slots = 2 * sum(client.nthreads().values())
            yield client.get_executor(pure=False), max(slots, 2)
    else:
        context = multiprocessing.get_context('spawn')  # CUDA does not survive a fork
        devices: Any = context.SimpleQueue()
        for index in range(workers.count):
            devices.put(workers.devices[index % len(workers.devices)] if workers.devices else None)
        with ProcessPoolExecutor(workers.count, context, _begin_worker, (devices,)) as pool:
            yield pool, 2 * workers.count


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


def _begin_worker(devices: Any) -> None:
    # Ctrl-C goes to all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    thread_segmenter.use_device(devices.get())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process with the one that started it: concurrent.futures would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
