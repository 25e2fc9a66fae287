# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU that is not there: PyCUDA's driver and libcuda, with NumPy's memory as the device's.

It stands in for the GPU only: what is above is real, ``backends.tensorrt.cuda`` among it. It says
nothing about TensorRT's arithmetic or speed; on a GPU, ``tools/gpu_check`` does.

It is stricter than a GPU: whatever is put on a stream happens only when somebody waits for it,
memory is full of rubbish until it is written, and nothing is allowed while no context is current.
"""

import ctypes
import gc
import threading
import time
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np

from trt_segmentation.backends.tensorrt import cuda

NAME = 'Stand-in GPU'
_FAULTS = {1: b'invalid argument', 2: b'out of memory', 400: b'invalid resource handle',
           700: b'an illegal memory access was encountered', 712: b'resource already mapped',
           713: b'pointer was not mapped',
           901: b'operation failed due to a previous error during capture'}


class Gpu:
    """The stand-in.

    Attributes:
        device: a real ``cuda.Device``, on the stand-in's driver.
        driver: in the place of ``pycuda.driver``.
        counts: how often what was done.
        memory: bytes by address, of what is allocated.
        locked: sizes by address, of what is page-locked.
        graphs: work by number, of recorded graphs and events that are not destroyed.
        foreign: indices of other GPUs by address, of memory that is there.
        streams: by number.
        total: bytes of device memory.
        attributes: of the device, by name.
        rubbish: byte that new memory is full of.
        broken: whether an error sticks: every call reports it, but things are freed.
    """

    def __init__(self, monkeypatch):
        self.counts, self.total = Counter(), 1 << 33
        self.memory, self.locked, self.graphs, self.streams = {}, {}, {}, {}
        self.broken, self.foreign, self.rubbish = False, {}, 0xA5
        self.attributes = {'MULTIPROCESSOR_COUNT': 132, 'CLOCK_RATE': 1_980_000}
        self._failing = Counter()
        self._thread = threading.local()
        self.driver = _driver(self)
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(cuda, 'has_gpu', lambda: True)
        self.device = self.open_device()

    def open_device(self):
        """Return a real ``cuda.Device``, as the stand-in is now."""
        with self._monkeypatch.context() as patch:
            patch.setattr(ctypes, 'CDLL', lambda name: Library(self))
            return cuda.Device(self.driver, 0)

    def fail(self, what, times=1):
        """Let the next calls fail: 'enqueue', 'capture', 'page lock', 'unlock', 'copy', 'free',
        'synchronize' or 'destroy graph'. The last two and 'free' report an earlier error: they
        do what they are there for."""
        self._failing[what] = times

    def fails(self, what):
        """Return whether this call shall fail."""
        failing = self._failing[what] > 0
        self._failing[what] -= failing
        return failing

    def demand_whole(self, what=''):
        """Raise the driver's error where one sticks, or where this call shall fail."""
        if self.fails(what) or self.broken:
            raise self.driver.Error(f'{what}: an illegal memory access was encountered')

    def depth(self, change=0):
        """Return how many contexts are current in this thread."""
        self._thread.depth = getattr(self._thread, 'depth', 0) + change
        return self._thread.depth

    def demand_current(self):
        """Fail the test where no context is current."""
        assert self.depth(), 'the GPU is used outside of `with device.current()`'

    def bytes_at(self, address, size=None):
        """Return allocated memory, or one of the parts of ``size`` that it consists of."""
        start = max((start for start in self.memory if start <= address), default=0)
        block = self.memory.get(start, ())
        size, offset = size or len(block), address - start
        assert offset < len(block), f'{address:#x} was freed, or never allocated'
        assert len(block) % size == offset % size == 0, f'no part of {len(block)} bytes: {size}'
        return block[offset:offset + size]

    def assert_all_is_freed(self):
        """Fail the test where anything is left."""
        gc.collect()
        assert (self.memory, self.locked, self.graphs, self.depth()) == ({}, {}, {}, 0)
        assert self.counts['allocated'] == self.counts['freed']
        assert self.counts['locked'] == self.counts['unlocked']
        assert self.counts['contexts'] == self.counts['contexts freed']
        assert self.counts['engines'] == self.counts['engines freed']


# The driver ------------------------------------------------------------------------------------


class Stream:
    """Work that waits until somebody waits for it."""

    def __init__(self, gpu, flags=0):
        gpu.demand_current()
        assert flags == 1, 'a stream that waits for the default stream'
        self._gpu, self.handle = gpu, len(gpu.streams) + 1
        self._waiting, self.recording, self.spoilt = [], None, False
        gpu.streams[self.handle] = self

    def put(self, work):
        """Enqueue or record a function."""
        self._gpu.demand_current()
        (self._waiting if self.recording is None else self.recording).append(work)

    def synchronize(self):
        self._gpu.demand_current()
        assert self.recording is None, 'a stream that records cannot be waited for'
        self._gpu.counts['synchronised'] += 1
        while self._waiting:
            self._waiting.pop(0)()
        self._gpu.demand_whole('synchronize')

    def is_done(self):
        """The GPU has worked while the caller slept."""
        self.synchronize()
        return True


class Event:
    """A point of a stream, and the time when it was passed."""

    def record(self, stream):
        self._stream, self._passed = stream, None
        stream.put(self._pass)

    def synchronize(self):
        if self._passed is None:
            self._stream.synchronize()

    def time_since(self, other):
        return 1000 * (self._passed - other._passed)

    def _pass(self):
        self._passed = time.perf_counter()


class Allocation:
    """Device memory."""

    def __init__(self, gpu, size):
        gpu.demand_current()
        if sum(map(len, gpu.memory.values())) + size > gpu.total:
            raise gpu.driver.MemoryError('cuMemAlloc failed: out of memory')
        gpu.demand_whole()
        buffer = np.full(size, gpu.rubbish, np.uint8)
        self._gpu, self._address = gpu, buffer.ctypes.data
        gpu.memory[self._address] = buffer
        gpu.counts['allocated'] += 1

    def __int__(self):
        return self._address

    def free(self):
        self._gpu.demand_current()
        for stream in self._gpu.streams.values():  # so does the driver
            assert not stream._waiting, 'memory is freed before its work is done'
        self._gpu.bytes_at(self._address)
        del self._gpu.memory[self._address]
        self._gpu.counts['freed'] += 1
        self._gpu.demand_whole('free')


def _driver(gpu):
    """Return what stands in for ``pycuda.driver``."""
    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    def host_bytes(array):
        assert array.flags.c_contiguous
        return array.reshape(-1).view(np.uint8)

    def copy_in(target, source, stream):
        gpu.demand_whole('copy')
        gpu.counts['copied in'] += 1
        stream.put(lambda: np.copyto(gpu.bytes_at(int(target), source.nbytes),
                                     host_bytes(source)))

    def copy_out(target, source, stream):
        gpu.counts['copied out'] += 1
        stream.put(lambda: np.copyto(host_bytes(target),
                                     gpu.bytes_at(int(source), target.nbytes)))

    def copy_within(target, source, size, stream):
        gpu.demand_whole('copy')
        gpu.counts['copied within'] += 1
        stream.put(lambda: np.copyto(gpu.bytes_at(int(target), size),
                                     gpu.bytes_at(int(source), size)))

    def memory():
        gpu.demand_whole()
        return gpu.total - sum(map(len, gpu.memory.values())), gpu.total

    def device(index):
        context = SimpleNamespace(push=partial(gpu.depth, 1), detach=lambda: None)
        return SimpleNamespace(name=lambda: NAME, compute_capability=lambda: (9, 0),
                               total_memory=lambda: gpu.total, get_attribute=attribute,
                               retain_primary_context=lambda: context)

    def attribute(name):
        if name not in gpu.attributes:
            raise Error(f'{name}: invalid argument')
        return gpu.attributes[name]

    device.count = lambda: 1
    attributes = SimpleNamespace(**{name: name for name in (*gpu.attributes, 'L2_CACHE_SIZE')})
    return SimpleNamespace(
        Error=Error, MemoryError=MemoryError, Device=device, device_attribute=attributes,
        init=lambda: None, Context=SimpleNamespace(pop=partial(gpu.depth, -1)),
        Stream=partial(Stream, gpu), Event=Event, mem_alloc=partial(Allocation, gpu),
        memcpy_htod_async=copy_in, memcpy_dtoh_async=copy_out, memcpy_dtod_async=copy_within,
        mem_get_info=memory)


class Library:
    """Stands in for libcuda: functions that return 0 or the number of an error."""

    def __init__(self, gpu):
        self._gpu, self._last = gpu, 0

    def __getattribute__(self, name):
        if name.startswith('cu') and name != 'cuGetErrorString':
            object.__getattribute__(self, '_gpu').demand_current()
        return object.__getattribute__(self, name)

    def cuGetErrorString(self, status, text):  # noqa: N802
        text._obj.value = _FAULTS[status]

    def cuMemHostRegister_v2(self, address, size, flags):  # noqa: N802
        start, end, locked = address.value, address.value + size.value, self._gpu.locked
        if self._gpu.fails('page lock'):
            return 2
        if any(start < other + extent and other < end for other, extent in locked.items()):
            return 712
        locked[start] = size.value
        self._gpu.counts['locked'] += 1
        return 0

    def cuMemHostUnregister(self, address):  # noqa: N802
        if self._gpu.locked.pop(address.value, None) is None:
            return 713
        self._gpu.counts['unlocked'] += 1
        return self._reported('unlock')

    def cuStreamBeginCapture_v2(self, stream, mode):  # noqa: N802
        self._gpu.streams[stream.value].recording = []
        return 0

    def cuStreamEndCapture(self, stream, graph):  # noqa: N802
        stream = self._gpu.streams[stream.value]
        work, spoilt = stream.recording, stream.spoilt
        stream.recording, stream.spoilt = None, False
        if spoilt or self._gpu.fails('capture'):
            return 901
        self._keep(graph, work)
        return 0

    def cuGraphInstantiateWithFlags(self, executable, graph, flags):  # noqa: N802
        self._keep(executable, self._gpu.graphs[graph.value])
        self._gpu.counts['captured'] += 1
        return 0

    def cuGraphLaunch(self, executable, stream):  # noqa: N802
        self._gpu.counts['launched'] += 1
        for work in self._gpu.graphs[executable.value]:
            self._gpu.streams[stream.value].put(work)
        return 0

    def cuEventCreate(self, event, flags):  # noqa: N802
        self._keep(event, None)
        return 0

    def cuEventRecord(self, event, stream):  # noqa: N802
        if stream.value not in self._gpu.streams and stream.value not in (None, 1, 2):
            return 400
        self._gpu.graphs[event.value] = self._gpu.streams.get(stream.value)
        return 0

    def cuStreamWaitEvent(self, stream, event, flags):  # noqa: N802
        other = self._gpu.graphs[event.value]
        self._gpu.counts['waited for'] += 1
        if other is not None:
            self._gpu.streams[stream.value].put(other.synchronize)
        return 0

    def cuEventDestroy_v2(self, event):  # noqa: N802
        del self._gpu.graphs[event.value]
        return 0

    def cuPointerGetAttribute(self, value, attribute, address):  # noqa: N802
        if not any(start <= address.value < start + len(block)
                   for start, block in self._gpu.memory.items()):
            return 1
        value._obj.value = self._gpu.foreign.get(address.value, 0)
        return 0

    def cuGraphDestroy(self, graph):  # noqa: N802
        del self._gpu.graphs[graph.value]
        return 0

    def cuGraphExecDestroy(self, graph):  # noqa: N802
        for stream in self._gpu.streams.values():
            assert not stream._waiting, 'a graph is destroyed before its work is done'
        del self._gpu.graphs[graph.value]
        return self._reported('destroy graph')

    def _reported(self, what):
        return 700 if self._gpu.fails(what) or self._gpu.broken else 0

    def _keep(self, place, work):
        self._last += 1
        place._obj.value = self._last
        self._gpu.graphs[self._last] = work
