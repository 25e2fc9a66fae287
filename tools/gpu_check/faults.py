# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What people do to a Segmenter on a real GPU: interrupt it, share it, and break its context."""

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
PATIENCE = 120.0
"""Seconds until a broken child has answered, and ended."""

_WRITES_TO_NOWHERE = b'''
.version 6.4
.target sm_50
.address_size 64
.visible .entry write_to_nowhere()
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
    """Interrupt, share and break a segmenter of the demo network.

    Args:
        options: how it is opened.

    Returns:
        Of each fault what came of it: numbers of wrong masks, errors, and bytes of GPU memory.
    """
    segmenter = Segmenter.open(options=options)
    images = [read_frame(number, *size).image for number, size in enumerate(SIZES)]
    right = [segmenter.infer(image).copy().mask for image in images]
    before = segmenter.gpu_memory()
    found: dict[str, Any] = {
        'interrupted': _interrupted(segmenter, images, right),
        'shared': _shared(segmenter, images, right),
        'memory before, used and free': before,
        'memory after, used and free': segmenter.gpu_memory()}
    segmenter.close()
    # A context that is broken stays so until its process ends.
    spawning = multiprocessing.get_context('spawn')
    here, there = spawning.Pipe()
    child = spawning.Process(target=_broken, args=(options, there))
    child.start()
    broken = here.recv() if here.poll(PATIENCE) else {'error': 'no answer'}
    child.join(PATIENCE)
    child.kill()
    return {**found, 'broken': {**broken, 'exit code': child.exitcode}}


def _interrupted(segmenter: Segmenter, images: list[np.ndarray], right: list[np.ndarray],
                 ) -> dict[str, int]:
    """Let Ctrl-C come at any moment of an image, and see what becomes of the next one."""
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    whole = signal.signal(signal.SIGALRM, interrupt)
    choices, counts = np.random.default_rng(0), {'came': 0, 'wrong masks': 0}
    try:
        for number in range(INTERRUPTS):
            at = number % len(images)
            try:
                signal.setitimer(signal.ITIMER_REAL, choices.uniform(5e-5, 3e-3))
                while True:
                    segmenter.infer(images[at])
            except KeyboardInterrupt:
                counts['came'] += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts['wrong masks'] += not np.array_equal(segmenter.infer(images[at]).mask,
                                                        right[at])
    finally:
        signal.signal(signal.SIGALRM, whole)
    return counts


def _shared(segmenter: Segmenter, images: list[np.ndarray], right: list[np.ndarray],
            ) -> dict[str, Any]:
    """Let several threads use it at once, each with results of its own."""
    counts: dict[str, Any] = {'right masks': 0, 'wrong masks': 0, 'refused': []}
    lock = threading.Lock()

    def use(thread: int) -> None:
        at = thread % len(images)
        out = {'mask': np.empty(right[at].shape, right[at].dtype)}
        for _ in range(IMAGES):
            try:
                segmenter.infer(images[at], out=out)
            except SegmentationError as error:
                with lock:
                    counts['refused'].append(str(error))
                continue
            with lock:
                counts['right masks' if np.array_equal(out['mask'], right[at])
                       else 'wrong masks'] += 1

    threads = [threading.Thread(target=use, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def _broken(options: RunOptions, answer: Any) -> None:
    """Write to an address that is none, use the segmenter afterwards, and send what came of it."""
    segmenter = Segmenter.open(options=options)
    image = read_frame(0, *SIZES[0]).image
    segmenter.infer(image)
    cuda = ctypes.CDLL('libcuda.so.1')
    context, module, kernel = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), options.device)
    cuda.cuCtxPushCurrent_v2(context)
    cuda.cuModuleLoadData(ctypes.byref(module), _WRITES_TO_NOWHERE)
    cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b'write_to_nowhere')
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
    answer.send(found)
