# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA functions that a session needs: PyCUDA, and the driver where PyCUDA has no call.

PyCUDA aborts a process that ends with a context pushed, and frees nothing from a thread where
the context is not current. So contexts are current only inside ``with device.current()``, and
each owner closes its resources there and does not leave them to the garbage collector.
"""

import atexit
import ctypes
import functools
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from trt_segmentation.errors import BackendError, MissingBackendError

logger = logging.getLogger(__name__)

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: other libraries' work on the default stream does not block ours."""

LASTING_STREAMS = 3
"""As many as a camera has images in memory, so that none waits for the work on the next one."""

_DISABLE_TIMING = 2
"""CU_EVENT_DISABLE_TIMING: such events are cheaper to wait for."""

_DEVICE_ORDINAL = 9
"""CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL."""

_CAPTURE_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate while we capture."""


_TUNED_TO = ('MULTIPROCESSOR_COUNT', 'CLOCK_RATE', 'MEMORY_CLOCK_RATE', 'GLOBAL_MEMORY_BUS_WIDTH',
             'L2_CACHE_SIZE', 'ASYNC_ENGINE_COUNT')
"""Attributes of a device that, besides its name, compute capability and memory, decide which
kernels are fastest. They distinguish Jetson modules of the same name. With an attribute too many,
an engine is rebuilt without need; with one too few, the plan of another module is used."""


_GPU_SIGNS = ('dev/nvidiactl', 'proc/driver/nvidia', 'dev/nvhost-gpu', 'dev/nvgpu', 'dev/nvmap',
              'dev/dxg')
"""Files of the GPU driver on a PC, on Jetsons, and on WSL 2."""

_NVIDIA = '0x10de'
"""NVIDIA's PCI vendor id; the class of display devices begins with 0x03."""


def has_gpu(root: Path = Path('/')) -> bool:
    """Return whether this machine may have an NVIDIA GPU, in less than a millisecond.

    CUDA is not initialised, since processes that are forked later could not use it. A GPU whose
    driver is missing or not loaded yet counts.

    Args:
        root: of the file system.
    """
    if any((root / sign).exists() for sign in _GPU_SIGNS):
        return True
    return any(_read(folder / 'vendor') == _NVIDIA and _read(folder / 'class').startswith('0x03')
               for folder in (root / 'sys/bus/pci/devices').glob('*'))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding='ascii').strip()
    except (OSError, ValueError):
        return ''


def check_gpu() -> None:
    """Check that there is a GPU, before TensorRT is imported.

    Raises:
        MissingBackendError: there is no NVIDIA GPU.
    """
    if not has_gpu():
        raise MissingBackendError('there is no NVIDIA GPU here (a container needs --gpus all)')


@functools.cache
def start_context(index: int) -> None:
    """Create a GPU's primary context in the background, once per process.

    It takes some tenths of a second, in which Python can read a network and look for its engine.
    Without a GPU or PyCUDA nothing happens. Errors are ignored here: ``find_device`` meets and
    reports them again.

    Args:
        index: as CUDA counts, 0 for the first.
    """
    if has_gpu() and find_spec('pycuda'):
        threading.Thread(target=_retain_primary_context, args=(index,)).start()


def _retain_primary_context(index: int) -> None:
    """Uses ctypes, which releases the interpreter lock; PyCUDA does not."""
    try:
        library = ctypes.CDLL('libcuda.so.1')
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if library.cuInit(0) == 0 and library.cuDeviceGet(ctypes.byref(device), index) == 0:
        library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


@functools.cache
def find_device(index: int) -> 'Device':
    """Return a GPU, the same object each time.

    Args:
        index: as CUDA counts, 0 for the first.

    Raises:
        MissingBackendError: PyCUDA, the driver or that GPU is not available.
    """
    check_gpu()
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as error:
        raise MissingBackendError('PyCUDA is not installed; pip install pycuda') from error
    except ImportError as error:
        raise MissingBackendError(f'PyCUDA finds no NVIDIA driver here ({error}); install the '
                                  'driver, or run the container with --gpus all') from error
    try:
        driver.init()
        count = driver.Device.count()
    except driver.Error as error:
        raise MissingBackendError(f'the NVIDIA driver finds no GPU ({error})') from error
    if not 0 <= index < count:
        raise MissingBackendError(f'device is {index}, but there are {count} GPUs here; the '
                                  'first is 0', settings=['device'])
    return Device(driver, index)


class Device:
    """One GPU and its primary context, which all libraries of the process share.

    Args:
        driver: the module ``pycuda.driver``, initialised.
        index: as CUDA counts.

    Attributes:
        name: for example 'NVIDIA H100 80GB HBM3'.
        compute_capability: for example '9.0'.
        properties: other attributes that an engine is tuned to, by name; see ``_TUNED_TO``,
            without those that the driver does not report.
    """

    def __init__(self, driver: Any, index: int) -> None:
        device = driver.Device(index)
        self._driver = driver
        self._device = device
        self._library = ctypes.CDLL('libcuda.so.1')
        self.index = index
        self.name: str = device.name()
        self.compute_capability = '{}.{}'.format(*device.compute_capability())
        self.properties = _properties(driver, device)
        self._current = _Current(self.name, driver, lambda: self._context)

    @functools.cached_property
    def _context(self) -> Any:
        """The primary context, retained when it is first needed: that waits for its creation."""
        context = self._device.retain_primary_context()
        # PyCUDA's destructor would detach it wrongly and report an error.
        atexit.register(context.detach)
        return context

    def current(self) -> AbstractContextManager[None]:
        """Make the device the calling thread's, for the body of a with statement.

        Raises:
            BackendError: a CUDA call in the body failed; the message is CUDA's own.
        """
        return self._current

    def memory(self) -> tuple[int, int]:
        """Return free and total device memory, bytes."""
        return self._driver.mem_get_info()

    def stream(self) -> Any:
        """Return a new stream; ``handle`` is its number, ``synchronize()`` waits for its work,
        ``is_done()`` tells whether that is done."""
        return self._driver.Stream(_NON_BLOCKING)

    @functools.cached_property
    def lasting_streams(self) -> tuple[Any, ...]:
        """As many streams as ``LASTING_STREAMS`` that are never destroyed, for libraries that free
        memory on a stream, perhaps long after it was used."""
        return tuple(self.stream() for _ in range(LASTING_STREAMS))

    def event(self) -> Any:
        """Return a new event; see ``milliseconds_between``."""
        return self._driver.Event()

    def milliseconds_between(self, start: Any, end: Any) -> float:
        """Return the time on the GPU between two recorded events, once the second has passed."""
        end.synchronize()
        return end.time_since(start)

    def allocate(self, size: int) -> Any:
        """Return ``size`` bytes of device memory: ``int()`` is its address, ``free()`` frees it.

        Raises:
            BackendError: there is not enough free memory.
        """
        try:
            return self._driver.mem_alloc(size)
        except self._driver.MemoryError as error:
            free, total = self.memory()
            raise BackendError(
                f'{self.name} has no {size / 1e6:.1f} MB left ({free / 1e6:.0f} of '
                f'{total / 1e6:.0f} MB free); end other programs on it or take smaller images') \
                from error

    def copy_in(self, target: Any, source: np.ndarray, stream: Any) -> None:
        """Enqueue a copy of a C-contiguous array to device memory, or to an address in it."""
        self._driver.memcpy_htod_async(target, source, stream)

    def copy_out(self, target: np.ndarray, source: Any, stream: Any) -> None:
        """Enqueue a copy of device memory, or from an address in it, into a C-contiguous array."""
        self._driver.memcpy_dtoh_async(target, source, stream)

    def copy_within(self, target: int, source: int, size: int, stream: Any) -> None:
        """Enqueue a copy of ``size`` bytes between two addresses in device memory."""
        self._driver.memcpy_dtod_async(target, source, size, stream)

    def wait_for(self, other: int, stream: Any) -> None:
        """Let a stream wait for the work that is on another one now.

        Args:
            other: handle of a stream of any library; 1 is the legacy default stream.
            stream: of ``stream()``.

        Raises:
            BackendError: CUDA reports an error, such as for a stream that was destroyed.
        """
        event = ctypes.c_void_p()
        self.call('cuEventCreate', ctypes.byref(event), ctypes.c_uint(_DISABLE_TIMING))
        try:
            self.call('cuEventRecord', event, ctypes.c_void_p(other))
            self.call('cuStreamWaitEvent', ctypes.c_void_p(stream.handle), event,
                      ctypes.c_uint(0))
        finally:
            self.call('cuEventDestroy_v2', event)  # CUDA frees it once it has passed

    def index_of(self, address: int) -> int:
        """Return on which GPU memory is, as CUDA counts.

        Raises:
            BackendError: it is no memory that CUDA knows.
        """
        index = ctypes.c_int()
        self.call('cuPointerGetAttribute', ctypes.byref(index), ctypes.c_int(_DEVICE_ORDINAL),
                  ctypes.c_uint64(address))
        return index.value

    def page_lock(self, array: np.ndarray) -> 'PageLock':
        """Page-lock memory of the caller, so that copies need no staging buffer.

        Raises:
            BackendError: the driver cannot lock it, for example above ``ulimit -l``.
        """
        return PageLock(self, array)

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> 'Graph':
        """Record the work that ``enqueue`` puts on the stream, without running it.

        Raises:
            BackendError: something in it cannot be recorded.
        """
        return Graph(self, stream, enqueue)

    def call(self, name: str, *args: Any) -> None:
        """Call a function of the CUDA driver by name.

        Raises:
            BackendError: it returned an error.
        """
        status = getattr(self._library, name)(*args)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            reason = text.value.decode() if text.value else f'error {status}'
            raise BackendError(f'{self.name}: {name} failed: {reason}')


class _Current:
    """See ``Device.current``. One object for all frames is faster than a generator for each.

    Args:
        name: of the device.
        driver: as of ``Device``.
        context: returns the primary context.
    """

    def __init__(self, name: str, driver: Any, context: Callable[[], Any]) -> None:
        self._name = name
        self._driver_error: type[Exception] = driver.Error
        self._context = context
        self._pop: Callable[[], None] = driver.Context.pop

    def __enter__(self) -> None:
        try:
            self._context().push()
        except self._driver_error as error:
            raise BackendError(f'{self._name}: {error}') from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        try:
            self._pop()
        except self._driver_error as failure:
            error = failure
        if isinstance(error, self._driver_error):
            raise BackendError(f'{self._name}: {error}') from error


def _properties(driver: Any, device: Any) -> dict[str, int]:
    # In whole GiB: on a Jetson, the usable memory differs by some MB after each boot.
    found = {'memory_gib': round(device.total_memory() / 2 ** 30)}
    for name in _TUNED_TO:
        with suppress(AttributeError, driver.Error):
            found[name.lower()] = int(device.get_attribute(getattr(driver.device_attribute, name)))
    return found


class PageLock:
    """Page-locked memory; see ``Device.page_lock``. PyCUDA 2026.1's own call for it crashes."""

    def __init__(self, device: Device, array: np.ndarray) -> None:
        self._device = device
        # Keeps the memory from being freed while it is locked.
        self._array: np.ndarray | None = array
        device.call('cuMemHostRegister_v2', ctypes.c_void_p(array.ctypes.data),
                    ctypes.c_size_t(array.nbytes), ctypes.c_uint(0))

    def close(self) -> None:
        """Unlock the memory; a second call does nothing, even if the first failed.

        Raises:
            BackendError: CUDA reports an error, possibly of an earlier call.
        """
        array, self._array = self._array, None
        if array is not None:
            self._device.call('cuMemHostUnregister', ctypes.c_void_p(array.ctypes.data))


class Graph:
    """Recorded work that is launched with one call; see ``Device.capture``."""

    def __init__(self, device: Device, stream: Any, enqueue: Callable[[], None]) -> None:
        self._device = device
        handle = ctypes.c_void_p(stream.handle)
        graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        device.call('cuStreamBeginCapture_v2', handle, ctypes.c_int(_CAPTURE_THREAD_LOCAL))
        try:
            try:
                enqueue()
            finally:  # a stream in capture mode cannot be used for anything else
                device.call('cuStreamEndCapture', handle, ctypes.byref(graph))
            device.call('cuGraphInstantiateWithFlags', ctypes.byref(self._executable), graph,
                        ctypes.c_ulonglong(0))
            recorded, graph = graph, ctypes.c_void_p()
            device.call('cuGraphDestroy', recorded)
            self._launch = partial(device.call, 'cuGraphLaunch', self._executable, handle)
        except BaseException:
            close_all([partial(device.call, 'cuGraphDestroy', graph)] * bool(graph)
                      + [self.close])
            raise

    def launch(self) -> None:
        """Enqueue the work on the stream that it was recorded on."""
        self._launch()

    def close(self) -> None:
        """Free it; a second call does nothing, even if the first failed.

        Raises:
            BackendError: CUDA reports an error, possibly of an earlier call.
        """
        executable, self._executable = self._executable, ctypes.c_void_p()
        if executable:
            self._device.call('cuGraphExecDestroy', executable)


def close_all(steps: Iterable[Callable[[], Any]]) -> None:
    """Run every step of a clean-up in this order, even if some of them fail.

    After a sticky CUDA error, every call reports it again, and the caller cannot do anything. So
    exceptions are logged and not raised, with one warning for all steps.

    Args:
        steps: each frees a resource that is no longer used.

    Raises:
        KeyboardInterrupt, SystemExit: after the last step.
    """
    failures: list[Exception] = []

    def take(step: Callable[[], Any]) -> None:
        try:
            step()
        except Exception as error:
            failures.append(error)

    with ExitStack() as stack:  # which also continues after KeyboardInterrupt
        for step in reversed(list(steps)):
            stack.callback(take, step)
    if failures:
        logger.warning('%d GPU resources were not freed properly: %s', len(failures), failures[0])
