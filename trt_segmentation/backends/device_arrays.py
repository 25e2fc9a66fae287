# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays in GPU memory that other libraries own: the CUDA array interface, and DLPack.

Both are read without those libraries. DLPack is preferred: it names the device, and the producer
makes our stream wait for its own work (https://dmlc.github.io/dlpack, "Synchronization").
https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html describes the other.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from trt_segmentation.errors import ImageError

LEGACY_STREAM = 1
"""CUDA's handle of the legacy default stream, in both protocols, too."""

_CUDA, _CUDA_MANAGED = 2, 13  # DLDeviceType
_NOT_ON_GPU = 1, 3  # host memory, pageable and page-locked
_DLPACK_KINDS = {0: 'i', 1: 'u', 2: 'f'}  # DLDataTypeCode


class OnGpu:
    """The type of ``ON_GPU``."""

    def __repr__(self) -> str:
        return 'ON_GPU'


ON_GPU = OnGpu()
"""In place of an array of ``out``: the output stays in GPU memory, and is not copied."""


@dataclass(frozen=True)
class DeviceArray:
    """A C-contiguous array in GPU memory.

    Attributes:
        address: of its first value, on the device.
        shape, dtype: as of NumPy.
        device: as CUDA counts; None if the producer does not name it.
        stream: handle of the stream that has work on it; None if no work is pending, or our
            stream waits for it already.
        is_writable: whether results may be written into it.
        owner: keeps the memory allocated.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    device: int | None = None
    stream: int | None = None
    is_writable: bool = True
    owner: Any = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per value."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return prod(self.shape) * self.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """For CuPy, PyTorch and others; they must keep this object while they use the memory."""
        return {'shape': self.shape, 'typestr': self.dtype.str, 'version': 3, 'strides': None,
                'data': (self.address, not self.is_writable), 'stream': self.stream}


def is_on_device(value: Any) -> bool:
    """Return whether an object offers GPU memory; host memory through DLPack does not count."""
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, '__cuda_array_interface__'):
        return True
    return hasattr(value, '__dlpack_device__') and hasattr(value, '__dlpack__') \
        and int(value.__dlpack_device__()[0]) not in _NOT_ON_GPU


def read_device_array(value: Any, what: str, device: int, stream: int) -> DeviceArray:
    """Return the memory of an object for which ``is_on_device`` is true.

    Args:
        value: of any library.
        what: its name in messages, such as 'the image'.
        device: the GPU of the session, as CUDA counts.
        stream: handle of the session's stream; a DLPack producer lets it wait for its own work.

    Raises:
        ImageError: it is on another device, not contiguous, or of an unknown type.
    """
    if isinstance(value, DeviceArray):
        array = value
    elif hasattr(value, '__dlpack__') and hasattr(value, '__dlpack_device__'):
        array = _from_dlpack(value, what, device, stream)
    else:
        array = _from_interface(value, what)
    check_device(array, what, device)
    return array


def check_device(array: DeviceArray, what: str, device: int) -> None:
    """Check that an array is on a device, if it names its own.

    Raises:
        ImageError: it is on another one.
    """
    if array.device not in (None, device):
        raise _other_device(what, f'GPU {array.device}', device)


def host_remedy(value: Any, what: str = 'image') -> str:
    """Return the expression that copies an object from GPU memory into a NumPy array."""
    library = type(value).__module__.partition('.')[0]
    if library == 'torch':
        return f'{what}.detach().cpu().numpy()'
    if library == 'cupy':
        return f'cupy.asnumpy({what})'
    if library == 'nvidia':  # nvImageCodec
        return f'np.asarray({what}.cpu())'
    return f'cupy.asnumpy(cupy.asarray({what}))'


def _other_device(what: str, found: str, device: int) -> ImageError:
    return ImageError(f'{what} is in the memory of {found}, and the network runs on GPU {device}; '
                      'copy it there, or open the network on the other one, see '
                      'RunOptions.device')


def _check_contiguous(what: str, shape: tuple[int, ...], strides: Any, itemsize: int) -> None:
    """Check strides in bytes; None means C-contiguous.

    Raises:
        ImageError: the values have gaps or another order.
    """
    if strides is None or 0 in shape:
        return
    wanted = tuple(itemsize * prod(shape[axis + 1:]) for axis in range(len(shape)))
    if any(stride != right and size > 1 for stride, right, size
           in zip(strides, wanted, shape, strict=True)):
        raise ImageError(f'{what} of shape {list(shape)} has strides of {list(strides)} bytes; '
                         f'C-contiguous, {list(wanted)}, is needed: write .contiguous() in '
                         'PyTorch, cupy.ascontiguousarray in CuPy')


# The CUDA array interface ------------------------------------------------------------------------


def _from_interface(value: Any, what: str) -> DeviceArray:
    found = value.__cuda_array_interface__
    if found.get('mask') is not None:
        raise ImageError(f'{what} is a masked array; give its values only')
    dtype, shape = np.dtype(found['typestr']), tuple(int(side) for side in found['shape'])
    _check_contiguous(what, shape, found.get('strides'), dtype.itemsize)
    address, is_readonly = found['data']
    # Version 2 names no stream. Its producers (PyTorch) work on the legacy default stream.
    stream = found.get('stream') if found.get('version', 0) >= 3 else LEGACY_STREAM
    if stream == 0:  # ambiguous, which the interface forbids
        raise ImageError(f"{what}: its __cuda_array_interface__ has stream 0; 1 is the legacy "
                         'default stream, 2 the per-thread one, None needs no waiting')
    return DeviceArray(int(address or 0), shape, dtype, None, stream, not is_readonly, value)


# DLPack: dlpack.h --------------------------------------------------------------------------------


class _Tensor(ctypes.Structure):
    """DLTensor, with which a DLManagedTensor begins."""

    _fields_ = (('data', ctypes.c_void_p), ('device_type', ctypes.c_int32),
                ('device_id', ctypes.c_int32), ('ndim', ctypes.c_int32),
                ('code', ctypes.c_uint8), ('bits', ctypes.c_uint8), ('lanes', ctypes.c_uint16),
                ('shape', ctypes.POINTER(ctypes.c_int64)),
                ('strides', ctypes.POINTER(ctypes.c_int64)), ('byte_offset', ctypes.c_uint64))


def _capsule_pointer() -> Callable[[Any, bytes], int]:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return get


def _from_dlpack(value: Any, what: str, device: int, stream: int) -> DeviceArray:
    kind, index = (int(number) for number in value.__dlpack_device__())
    if kind not in (_CUDA, _CUDA_MANAGED):
        raise _other_device(what, f'a device of DLPack type {kind}', device)
    if index != device:  # before the producer touches our stream on its device
        raise _other_device(what, f'GPU {index}', device)
    try:
        capsule = value.__dlpack__(stream=stream)
    except (BufferError, RuntimeError, TypeError) as error:  # such as one that requires grad
        raise ImageError(f'{what} cannot be read through DLPack: {error}') from error
    # The capsule is not renamed: whoever drops it last frees the tensor, see its destructor.
    tensor = _Tensor.from_address(_capsule_pointer()(capsule, b'dltensor'))
    letter = _DLPACK_KINDS.get(tensor.code)
    if letter is None or tensor.lanes != 1 or tensor.bits not in (8, 16, 32, 64) \
            or letter + str(tensor.bits) == 'f8':
        raise ImageError(f'{what} has values of DLPack type {tensor.code} with {tensor.bits} bits '
                         f'and {tensor.lanes} lanes; uint8 is needed')
    dtype = np.dtype(f'{letter}{tensor.bits // 8}')
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = [tensor.strides[axis] * dtype.itemsize for axis in range(tensor.ndim)] \
        if tensor.strides else None
    _check_contiguous(what, shape, strides, dtype.itemsize)
    return DeviceArray((tensor.data or 0) + tensor.byte_offset, shape, dtype, index, None, True,
                       capsule)
