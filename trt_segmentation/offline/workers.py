# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Execution of the tasks of a run in this process, in local processes, or on a Dask cluster."""

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


MAX_WORKERS = 1024
"""Processes of one run on this machine. Several thousand would not even start: the queue of their
GPUs is full before one of them reads it."""


class WorkerError(SegmentationError):
    """Worker processes cannot be started or reached, or one has died."""


@dataclass(frozen=True)
class Workers:
    """Where tasks run.

    Attributes:
        count: number of processes on this machine; 1 is this process only.
        devices: indices of the GPUs that they share; if empty, all use that of the options.
        cluster: address of a Dask scheduler whose workers run the tasks instead; '' for none.
    """

    count: int = 1
    devices: tuple[int, ...] = ()
    cluster: str = ''

    @property
    def is_in_process(self) -> bool:
        """Whether this process runs all tasks."""
        return not self.cluster and self.count <= 1


@contextmanager
def in_process(workers: Workers) -> Iterator[None]:
    """Use the first GPU in the body of a with statement; close the segmenter after it."""
    thread_segmenter.use_device(workers.devices[0] if workers.devices else None)
    try:
        yield
    finally:
        thread_segmenter.release()


def run_tasks(function: Callable[[Task], Done], tasks: Sequence[Task], workers: Workers,
              ) -> Iterator[Done]:
    """Call a function for each task in other processes; yield its results in any order.

    Args:
        function: can be pickled.
        tasks: can be pickled.
        workers: the other processes; not ``is_in_process``.

    Raises:
        WorkerError: a process has died, or the cluster cannot be reached.
        SegmentationError: raised by the function.
    """
    waiting, running = iter(tasks), set[Future]()
    with _executor(workers) as (executor, slots):
        try:
            while True:
                # Few at a time, so that few are cancelled when one fails.
                while len(running) < slots and (task := next(waiting, None)) is not None:
                    running.add(executor.submit(function, task))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenExecutor as error:
            raise WorkerError('a worker process has died, for example because memory ran out; the '
                              'same command resumes this run') from error
        finally:
            for future in running:
                future.cancel()


@contextmanager
def _executor(workers: Workers) -> Iterator[tuple[Executor, int]]:
    """An executor, and the maximum number of tasks submitted at a time."""
    if workers.cluster:
        with _cluster(workers.cluster) as client:
            slots = 2 * sum(client.nthreads().values())
            yield client.get_executor(pure=False), max(slots, 2)
    else:
        context = multiprocessing.get_context('spawn')  # CUDA does not survive a fork
        devices: Any = context.SimpleQueue()
        for index in range(workers.count):
            devices.put(workers.devices[index % len(workers.devices)] if workers.devices else None)
        with ProcessPoolExecutor(workers.count, context, _start_worker, (devices,)) as pool:
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
        raise WorkerError(f'{address}: no Dask scheduler can be reached ({error}); '
                          '`dask scheduler` prints its address') from error
    with client:
        if not client.nthreads():
            raise WorkerError(f'{address}: this Dask scheduler has no workers; start some with '
                              f'`dask worker {address} --nthreads 1`')
        yield client


def _start_worker(devices: Any) -> None:
    # Ctrl-C signals all processes; the main process stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    thread_segmenter.use_device(devices.get())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends; concurrent.futures would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
