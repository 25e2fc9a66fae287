# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Faults of a Segmenter on a GPU: interrupts, sharing by threads, and a broken CUDA context."""

import ctypes
import multiprocessing
import signal
import threading
import time
from typing import Any

import numpy as np

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import SegmentationError
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZES = (1080, 1920), (720, 1280)
INTERRUPTS = 200
THREADS = 4
IMAGES = 200
CHILD_TIMEOUT = 120.0
"""Seconds for the child process with the broken context to reply, and to end."""

_INVALID_WRITE = b'''
.version 6.4
.target sm_50
.address_size 64
.visible .entry invalid_write()
{
    .reg .b64 %address;
    .reg .b32 %value;
    mov.u64 %address, 16;
    mov.u32 %value, 1;
    st.global.u32 [%address], %value;
    ret;
}
'''


def check_faults(options: RunOptions) -> dict[str, Any]:
    """Interrupt a segmenter of the demo network, share it, and break its CUDA context.

    Args:
        options: of the segmenter.

    Returns:
        The result of each fault: numbers of wrong masks, errors, and bytes of GPU memory.
    """
    segmenter = Segmenter.open(options=options)
    images = [read_frame(number, *size).image for number, size in enumerate(SIZES)]
    expected = [segmenter.infer(image).copy().mask for image in images]
    before = segmenter.gpu_memory()
    found: dict[str, Any] = {
        'interrupted': _interrupted(segmenter, images, expected),
        'shared': _shared(segmenter, images, expected),
        'memory before, used and free': before,
        'memory after, used and free': segmenter.gpu_memory()}
    segmenter.close()
    # A broken context stays broken until its process ends.
    spawning = multiprocessing.get_context('spawn')
    receiver, sender = spawning.Pipe()
    child = spawning.Process(target=_broken, args=(options, sender))
    child.start()
    broken = receiver.recv() if receiver.poll(CHILD_TIMEOUT) else {'error': 'no reply'}
    child.join(CHILD_TIMEOUT)
    child.kill()
    return {**found, 'broken': {**broken, 'exit code': child.exitcode}}


def _interrupted(segmenter: Segmenter, images: list[np.ndarray],
                 expected: list[np.ndarray]) -> dict[str, int]:
    """Raise KeyboardInterrupt at random times during inference, and check the next mask."""
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGALRM, interrupt)
    random, counts = np.random.default_rng(0), {'interrupts': 0, 'wrong masks': 0}
    try:
        for number in range(INTERRUPTS):
            at = number % len(images)
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-5, 3e-3))
                while True:
                    segmenter.infer(images[at])
            except KeyboardInterrupt:
                counts['interrupts'] += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts['wrong masks'] += not np.array_equal(segmenter.infer(images[at]).mask,
                                                        expected[at])
    finally:
        signal.signal(signal.SIGALRM, earlier)
    return counts


def _shared(segmenter: Segmenter, images: list[np.ndarray],
            expected: list[np.ndarray]) -> dict[str, Any]:
    """Use a segmenter in several threads at once, each with its own output array."""
    counts: dict[str, Any] = {'right masks': 0, 'wrong masks': 0, 'refused': []}
    lock = threading.Lock()

    def use(thread: int) -> None:
        at = thread % len(images)
        out = {'mask': np.empty(expected[at].shape, expected[at].dtype)}
        for _ in range(IMAGES):
            try:
                segmenter.infer(images[at], out=out)
            except SegmentationError as error:
                with lock:
                    counts['refused'].append(str(error))
                continue
            with lock:
                counts['right masks' if np.array_equal(out['mask'], expected[at])
                       else 'wrong masks'] += 1

    threads = [threading.Thread(target=use, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def _broken(options: RunOptions, sender: Any) -> None:
    """Write to an invalid address, use the segmenter afterwards, and send the results."""
    segmenter = Segmenter.open(options=options)
    image = read_frame(0, *SIZES[0]).image
    segmenter.infer(image)
    cuda = ctypes.CDLL('libcuda.so.1')
    context, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), options.device)
    cuda.cuCtxPushCurrent_v2(context)
    cuda.cuModuleLoadData(ctypes.byref(module), _INVALID_WRITE)
    cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b'invalid_write')
    launched = cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
    synchronised = cuda.cuCtxSynchronize()
    cuda.cuCtxPopCurrent_v2(ctypes.byref(context))
    found: dict[str, Any] = {'launch': launched, 'synchronise': synchronised}
    for name, use in (('infer', lambda: segmenter.infer(image)),
                      ('infer again', lambda: segmenter.infer(image)),
                      ('gpu_memory', segmenter.gpu_memory),
                      ('overlay_alpha', lambda: setattr(segmenter, 'overlay_alpha', 0.2)),
                      ('close', segmenter.close)):
        start = time.monotonic()
        try:
            use()
            found[name] = 'done'
        except SegmentationError as error:
            found[name] = f'{type(error).__name__}: {error}'
        found[f'{name}, s'] = round(time.monotonic() - start, 3)
    sender.send(found)
