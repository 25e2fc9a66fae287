# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images and results in GPU memory: the CUDA array interface and DLPack, their streams, and what
is refused."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.backends.device_arrays import is_on_device
from trt_segmentation.backends.tensorrt.session import TensorRtSession
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.errors import BackendError, ImageError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.segmenter import Segmenter

PROFILE = {'image': ((1, 8, 8, 3), (1, 240, 320, 3), (1, 720, 1280, 3))}
INFO = BackendInfo('tensorrt', '10.3.0', 'Stand-in GPU', 'fp32')
WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]


class Memory:
    """A NumPy array's values in the stand-in GPU's memory."""

    def __init__(self, gpu, array):
        self._gpu, self.shape, self.dtype = gpu, array.shape, array.dtype
        with gpu.device.current():
            self._memory = gpu.driver.mem_alloc(array.nbytes)
        self.address = int(self._memory)
        self.bytes[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    @property
    def bytes(self):
        return self._gpu.bytes_at(self.address)

    @property
    def values(self):
        return self.bytes.view(self.dtype).reshape(self.shape)

    def free(self):
        with self._gpu.device.current():
            self._memory.free()

    def interface(self, **changes):
        return SimpleNamespace(__cuda_array_interface__={
            'shape': self.shape, 'typestr': self.dtype.str, 'data': (self.address, False),
            'version': 3, 'strides': None, 'stream': None, **changes})

    def dlpack(self, **changes):
        return DlPack(self, **changes)


class DlPack:
    """A producer of DLPack capsules, as PyTorch's tensors are."""

    FIELDS = (('data', ctypes.c_void_p), ('device_type', ctypes.c_int32),
              ('device_id', ctypes.c_int32), ('ndim', ctypes.c_int32), ('code', ctypes.c_uint8),
              ('bits', ctypes.c_uint8), ('lanes', ctypes.c_uint16),
              ('shape', ctypes.POINTER(ctypes.c_int64)),
              ('strides', ctypes.POINTER(ctypes.c_int64)), ('byte_offset', ctypes.c_uint64))
    Managed = type('Managed', (ctypes.Structure,), {'_fields_': (
        *FIELDS, ('context', ctypes.c_void_p), ('deleter', ctypes.c_void_p))})

    def __init__(self, memory, device=(2, 0), strides=None, offset=0, error=None, kind=None):
        self._memory, self._device, self._error, self.streams = memory, device, error, []
        axes = ctypes.c_int64 * len(memory.shape)
        code, bits = kind or ({'u': 1, 'i': 0, 'f': 2}[memory.dtype.kind],
                              8 * memory.dtype.itemsize)
        self._kept = axes(*memory.shape), strides and axes(*strides)
        self._managed = self.Managed(
            memory.address - offset, *device, len(memory.shape), code, bits, 1,
            self._kept[0], self._kept[1], offset)

    def __dlpack_device__(self):
        return self._device

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        if self._error:
            raise self._error
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self._managed), b'dltensor', None)


@pytest.fixture
def on_gpu(gpu):
    """Puts arrays into the stand-in's memory, and frees them in the end."""
    put = []

    def on_gpu(array):
        put.append(Memory(gpu, array))
        return put[-1]

    yield on_gpu
    for memory in put:
        memory.free()


@pytest.fixture
def open_segmenter(gpu, tensorrt, networks):
    opened = []

    def open_segmenter(**spec):
        resolved = networks.spec_of(networks.pointwise(WEIGHTS, (32, 48)),
                                    input={'color': 'bgr'}, **spec)
        plan = tensorrt.plan(prepare(resolved).model, PROFILE)
        session = TensorRtSession(gpu.device, [Stage.load(plan, gpu.device)], INFO)
        opened.append(Segmenter(session, resolved))
        return opened[-1]

    yield open_segmenter
    for segmenter in opened:
        segmenter.close()


@pytest.fixture
def segmenter(open_segmenter):
    return open_segmenter()


@pytest.fixture
def image(networks):
    return networks.random_image(60, 75)


OFFERS = {'interface': Memory.interface, 'dlpack': Memory.dlpack,
          'version 2': lambda memory: memory.interface(version=2),
          'offset': lambda memory: memory.dlpack(offset=64),
          'strides': lambda memory: memory.dlpack(strides=(225, 3, 1)),
          'interface with strides': lambda memory: memory.interface(strides=(225, 3, 1))}


@pytest.mark.parametrize('offer', OFFERS.values(), ids=OFFERS)
def test_an_image_on_the_device_gives_the_mask_of_the_same_image_on_the_host(
        gpu, segmenter, on_gpu, image, offer):
    outputs = ('mask', 'confidence', 'overlay')
    wanted = segmenter.infer(image, outputs=outputs).copy()
    before = gpu.counts['copied in']
    found = segmenter.infer(offer(on_gpu(image)), outputs=outputs)
    for name in outputs:
        np.testing.assert_array_equal(found.arrays[name], wanted.arrays[name], name)
    assert (gpu.counts['copied in'] - before, gpu.counts['copied within']) == (0, 1)


@pytest.mark.parametrize('color', ['bgr', 'rgb'])
def test_results_are_written_to_the_device(gpu, segmenter, on_gpu, image, color):
    wanted = segmenter.infer(image, color=color, outputs=('mask', 'overlay')).copy()
    mask, overlay = on_gpu(np.zeros((60, 75), np.uint8)), on_gpu(np.zeros_like(image))
    before = gpu.counts['copied out']
    out = {'mask': mask.dlpack(), 'overlay': overlay.interface()}
    found = segmenter.infer(on_gpu(image).dlpack(), color=color, outputs=('mask', 'overlay'),
                            out=out)
    assert found.arrays['mask'] is out['mask']
    np.testing.assert_array_equal(mask.values, wanted.mask)
    np.testing.assert_array_equal(overlay.values, wanted.overlay)
    assert gpu.counts['copied out'] == before


def test_host_and_device_memory_may_be_mixed(segmenter, on_gpu, image):
    wanted = segmenter.infer(image).copy()
    mask = on_gpu(np.zeros((60, 75), np.uint8))
    segmenter.infer(image, out={'mask': mask.interface()})
    np.testing.assert_array_equal(mask.values, wanted.mask)
    host = np.zeros((60, 75), np.uint8)
    segmenter.infer(on_gpu(image).interface(), out={'mask': host})
    np.testing.assert_array_equal(host, wanted.mask)


def test_the_work_on_the_stream_of_an_image_is_waited_for(gpu, segmenter, on_gpu, image):
    wanted = segmenter.infer(image).copy()
    memory = on_gpu(np.zeros_like(image))
    with gpu.device.current():
        stream = gpu.device.stream()
        stream.put(lambda: np.copyto(memory.bytes, image.reshape(-1)))
    found = segmenter.infer(memory.interface(stream=stream.handle))
    np.testing.assert_array_equal(found.mask, wanted.mask)


@pytest.mark.parametrize(('changes', 'waits'), [
    ({'stream': None}, 0), ({'stream': 1}, 1), ({'stream': 2}, 1), ({'version': 2}, 1)])
def test_default_streams_are_waited_for(gpu, segmenter, on_gpu, image, changes, waits):
    segmenter.infer(on_gpu(image).interface(**changes))
    assert gpu.counts['waited for'] == waits


def test_dlpack_gets_the_sessions_stream(gpu, segmenter, on_gpu, image):
    offered = on_gpu(image).dlpack()
    segmenter.infer(offered)
    assert len(offered.streams) == 1
    assert offered.streams[0] in gpu.streams
    assert gpu.counts['waited for'] == 0


REFUSED = {
    'type': (lambda put, image: put(image.astype(np.float32)).dlpack(),
             r'the image is float32 \[60, 75, 3\] in GPU memory; uint8 \[height, width, 3\]'),
    'planes': (lambda put, image: put(image.transpose(2, 0, 1)).interface(),
               r'uint8 \[3, 60, 75\] in GPU memory.*image.permute\(1, 2, 0\).contiguous\(\)'),
    'strides': (lambda put, image: put(image).dlpack(strides=(1, 60, 4500)),
                r'has strides of \[1, 60, 4500\] bytes; C-contiguous, \[225, 3, 1\]'),
    'interface strides': (lambda put, image: put(image).interface(strides=(450, 3, 1)),
                          r'has strides of \[450, 3, 1\] bytes'),
    'other GPU': (lambda put, image: put(image).dlpack(device=(2, 1)),
                  'is in the memory of GPU 1, and the network runs on GPU 0'),
    'other device': (lambda put, image: put(image).dlpack(device=(10, 0)),
                     'a device of DLPack type 10'),
    'grad': (lambda put, image: put(image).dlpack(error=BufferError('use tensor.detach()')),
             r'cannot be read through DLPack: use tensor.detach\(\)'),
    'bfloat16': (lambda put, image: put(image).dlpack(kind=(4, 16)),
                 'values of DLPack type 4 with 16 bits'),
    'masked': (lambda put, image: put(image).interface(mask=object()), 'is a masked array'),
    'stream 0': (lambda put, image: put(image).interface(stream=0), 'has stream 0'),
    'nowhere': (lambda put, image: put(image).interface(data=(64, False)),
                'is at 0x40, which is no memory of a GPU'),
    'empty': (lambda put, image: put(image).interface(shape=(0, 75, 3)), r'uint8 \[0, 75, 3\]'),
}


@pytest.mark.parametrize(('offer', 'message'), REFUSED.values(), ids=REFUSED)
def test_other_memory_is_refused_and_the_next_image_is_segmented(
        segmenter, on_gpu, image, offer, message):
    wanted = segmenter.infer(image).copy()
    with pytest.raises(ImageError, match=message):
        segmenter.infer(offer(on_gpu, image))
    np.testing.assert_array_equal(segmenter.infer(on_gpu(image).dlpack()).mask, wanted.mask)


def test_the_memory_of_another_gpu_is_refused(gpu, segmenter, on_gpu, image):
    memory = on_gpu(image)
    gpu.foreign[memory.address] = 3
    with pytest.raises(ImageError, match='is in the memory of GPU 3'):
        segmenter.infer(memory.interface())


@pytest.mark.parametrize(('shape', 'changes', 'message'), [
    ((60, 74), {}, r"out\['mask'\] is uint8 \[60, 74\] in GPU memory; a writable"),
    ((60, 75), {'readonly': True}, r"out\['mask'\] is uint8 \[60, 75\] in GPU memory"),
    ((60, 75), {'strides': (1, 60)}, r"out\['mask'\] of shape \[60, 75\] has strides")])
def test_results_need_memory_that_fits(segmenter, on_gpu, image, shape, changes, message):
    memory = on_gpu(np.zeros(shape, np.uint8))
    if changes.pop('readonly', False):
        changes['data'] = memory.address, True
    with pytest.raises(ImageError, match=message):
        segmenter.infer(image, out={'mask': memory.interface(**changes)})


def test_a_closed_segmenter_reads_no_device_memory(segmenter, on_gpu, image):
    offered = on_gpu(image).dlpack()
    segmenter.close()
    with pytest.raises(BackendError, match='is closed'):
        segmenter.infer(offered)
    assert offered.streams == []


def test_an_error_of_cuda_is_reported_and_the_segmenter_continues(gpu, segmenter, on_gpu, image):
    wanted = segmenter.infer(image).copy()
    with pytest.raises(BackendError, match='invalid resource handle'):
        segmenter.infer(on_gpu(image).interface(stream=12345))
    gpu.fail('copy')
    with pytest.raises(BackendError, match='illegal memory access'):
        segmenter.infer(on_gpu(image).dlpack())
    np.testing.assert_array_equal(segmenter.infer(on_gpu(image).dlpack()).mask, wanted.mask)


@pytest.mark.skipif(not hasattr(np, 'from_dlpack'), reason='NumPy has it from 1.22 on')
def test_host_memory_through_dlpack_is_answered_with_its_conversion(segmenter, image):
    class Host:
        __dlpack_device__ = staticmethod(image.__dlpack_device__)

        def __dlpack__(self, **how):
            return image.__dlpack__(**how)

    assert not is_on_device(Host())
    assert not is_on_device(image)
    with pytest.raises(ImageError, match=r'np.from_dlpack\(image\)'):
        segmenter.infer(Host())


def test_onnxruntime_names_the_conversion(gpu, on_gpu, image, networks):
    with Segmenter.open() as segmenter:
        offered = on_gpu(image).dlpack()
        with pytest.raises(ImageError, match=r'the image is in GPU memory, and onnxruntime reads '
                                             r'and writes host memory: cupy.asnumpy'):
            segmenter.infer(offered)
        with pytest.raises(ImageError, match=r"out\['mask'\] is in GPU memory"):
            segmenter.infer(image, out={'mask': offered})
