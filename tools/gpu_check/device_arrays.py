# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images and results in GPU memory, and JPEG decoded and encoded there, on a GPU::

    python tools/gpu_check/device_arrays.py OUT.json [MODEL.onnx] [--frames N] [--steps STEP ...]
                                            [--overlay-scale 0.5] ...

OUT.json is written after each step. A step whose library is missing is skipped by name.
"""

import argparse
import itertools
import json
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import decode_image
from trt_segmentation.images.encoding import encode_jpeg
from trt_segmentation.options import OVERLAY_SCALES, BuildOptions, RunOptions, tactic_names
from trt_segmentation.segmenter import ON_GPU, Segmenter

SIZE = 1080, 1920
REPEATS = 200
SAMPLING = {'4:4:4': 0x111111, '4:2:2': 0x211111, '4:2:0': 0x221111, '4:4:0': 0x121111}
QUALITIES = 50, 75, 95


class DeviceMemory:
    """An array in GPU memory with the CUDA array interface, allocated by the session's device."""

    def __init__(self, segmenter: Segmenter, array: np.ndarray) -> None:
        session: Any = segmenter._session
        self._device, self._stream = session._device, session._stream
        self.array = np.ascontiguousarray(array)
        with self._device.current():
            self._memory = self._device.allocate(array.nbytes)
            self._device.copy_in(self._memory, self.array, self._stream)
            self._stream.synchronize()
        self.__cuda_array_interface__ = {
            'shape': array.shape, 'typestr': array.dtype.str, 'strides': None, 'version': 3,
            'data': (int(self._memory), False), 'stream': None}

    def read(self) -> np.ndarray:
        """Return a copy in host memory."""
        with self._device.current():
            self._device.copy_out(self.array, self._memory, self._stream)
            self._stream.synchronize()
        return self.array

    def free(self) -> None:
        """Free the memory."""
        with self._device.current():
            self._memory.free()


def milliseconds(work: Callable[[], Any]) -> dict[str, float]:
    """Return p50 and p95 of the wall time, and the mean CPU time, of repeated calls."""
    work()
    work()
    times, cpu = [], time.process_time()
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    cpu_ms = 1000 * (time.process_time() - cpu) / REPEATS
    return {'p50': round(float(np.median(times)), 3),
            'p95': round(float(np.percentile(times, 95)), 3), 'cpu': round(cpu_ms, 3)}


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of equal pixels, percent."""
    return round(100 * float((found == wanted).mean()), 4)


def check_interface(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """The CUDA array interface, image and mask, against NumPy arrays."""
    wanted = segmenter.infer(image).mask.copy()
    out = {'mask': np.empty_like(wanted)}
    given, mask = DeviceMemory(segmenter, image), DeviceMemory(segmenter, np.zeros_like(wanted))
    try:
        segmenter.infer(given, out={'mask': mask})
        return {'agreement': agreement(mask.read(), wanted),
                'host_ms': milliseconds(lambda: segmenter.infer(image, out=out)),
                'device_ms': milliseconds(lambda: segmenter.infer(given, out={'mask': mask}))}
    finally:
        given.free()
        mask.free()


def check_nvimgcodec(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """An image of nvImageCodec itself, which has DLPack."""
    from nvidia import nvimgcodec  # type: ignore[import-not-found]
    data = cv2.imencode('.jpg', image)[1].tobytes()
    decoded = nvimgcodec.Decoder(device_id=0).decode(nvimgcodec.CodeStream(data))
    wanted = segmenter.infer(decode_image(data, 'the JPEG')).mask.copy()
    return {'agreement': agreement(segmenter.infer(decoded, color='rgb').mask, wanted)}


def check_torch(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """PyTorch's tensors: in and out, on a stream with pending work, and those that are refused."""
    import torch
    wanted = segmenter.infer(image).mask.copy()
    given = torch.from_numpy(image).cuda()
    mask = torch.zeros(wanted.shape, dtype=torch.uint8, device='cuda')
    segmenter.infer(given, out={'mask': mask})
    found: dict[str, Any] = {'torch': torch.__version__,
                             'agreement': agreement(mask.cpu().numpy(), wanted)}
    late = torch.zeros_like(given)
    with torch.cuda.stream(torch.cuda.Stream()):
        busy = torch.rand((4096, 4096), device='cuda')
        for _ in range(50):
            busy = busy @ busy
        late.copy_(given)
        found['pending_work'] = agreement(segmenter.infer(late).mask, wanted)
    refused = {'planes': given.permute(2, 0, 1).contiguous(), 'strides': given.permute(1, 0, 2),
               'float': given.float(), 'grad': given.float().requires_grad_(),
               'host': torch.from_numpy(image)}
    for name, tensor in refused.items():
        try:
            segmenter.infer(tensor)
            found[name] = 'accepted'
        except ImageError as error:
            found[name] = str(error)
    found['ms'] = milliseconds(lambda: segmenter.infer(given, out={'mask': mask}))
    return found


def check_jpeg(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """Decode times, and masks of the GPU's decoder against those of OpenCV's."""
    decode, found = segmenter.jpeg_decoder(), {}
    if decode is None:
        return {'skipped': 'JPEG is decoded on the CPU'}
    for (name, factor), quality in itertools.product(SAMPLING.items(), QUALITIES):
        data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality,
                                            cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()
        pixels = decode_image(data, name, decode_jpeg=decode)
        on_gpu = not isinstance(pixels, np.ndarray)
        mask = segmenter.infer(pixels).mask.copy()
        wanted = segmenter.infer(decode_image(data, name)).mask
        found[f'{name} q{quality}'] = {
            'on_gpu': on_gpu, 'bytes': len(data), 'agreement': agreement(mask, wanted),
            'gpu_ms': milliseconds(partial(_decoded, segmenter, data, decode)),
            'opencv_ms': milliseconds(partial(decode_image, data, '')),
            'jpeg_to_mask_ms': milliseconds(partial(_jpeg_to_mask, segmenter, data, decode))}
    return found


def check_ahead(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """Three JPEGs that are being decoded at the same time, and whose bytes are overwritten as soon
    as the decoder has returned, before the first one is segmented."""
    decoders = [segmenter.jpeg_decoder() for _ in range(3)]
    if decoders[0] is None:
        return {'skipped': 'JPEG is decoded on the CPU'}
    jpegs = [cv2.imencode('.jpg', np.roll(image, 200 * turn, 1))[1] for turn in range(3)]
    wanted = [segmenter.infer(decode_image(data, '', decode_jpeg=decoders[0])).mask.copy()
              for data in jpegs]
    found = {'on_gpu': 0, 'other_masks': 0}
    for _ in range(REPEATS):
        given = [data.copy() for data in jpegs]
        arrays = []
        for data, decode in zip(given, decoders, strict=True):
            arrays.append(decode_image(data, '', decode_jpeg=decode))
            data[:] = 0
        for array, mask in zip(arrays, wanted, strict=True):
            found['on_gpu'] += not isinstance(array, np.ndarray)
            found['other_masks'] += not np.array_equal(segmenter.infer(array).mask, mask)
    return found


def _decoded(segmenter: Segmenter, data: bytes, decode: Callable[[Any], Any]) -> None:
    """Decode a JPEG, and wait for it."""
    decode_image(data, '', decode_jpeg=decode)
    session: Any = segmenter._session
    with session._device.current():
        for stream in session._device.lasting_streams:
            stream.synchronize()


def _jpeg_to_mask(segmenter: Segmenter, data: bytes, decode: Callable[[Any], Any]) -> None:
    segmenter.infer(decode_image(data, '', decode_jpeg=decode))


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two images, dB."""
    return round(cv2.PSNR(found, wanted), 2)


def check_encoder(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """The overlay as JPEG, encoded by nvImageCodec and by OpenCV: PSNR to the overlay and to each
    other, bytes and times; and the time of ``infer`` with and without the overlay's copy."""
    if not segmenter.encodes_jpeg:
        return {'skipped': 'JPEG is encoded on the CPU'}
    outputs = 'mask', 'overlay'
    copied = {name: np.empty(segmenter.output_shape(name, image.shape[:2]), np.uint8)
              for name in outputs}
    kept = {**copied, 'overlay': ON_GPU}
    found: dict[str, Any] = {
        'overlay': list(copied['overlay'].shape),
        'infer_ms': milliseconds(lambda: segmenter.infer(image, outputs=outputs, out=copied)),
        'infer_on_gpu_ms': milliseconds(lambda: segmenter.infer(image, outputs=outputs, out=kept)),
        'gpu_ms': segmenter.gpu_times(image, outputs, 50)}
    for color, quality in itertools.product(('bgr', 'rgb'), QUALITIES):
        overlay = segmenter.infer(image, color=color, outputs='overlay').overlay.copy()
        overlay = overlay if color == 'bgr' else np.ascontiguousarray(overlay[..., ::-1])
        session: Any = segmenter._session
        is_encoded = session.encode_jpeg('overlay', 0, quality, color == 'rgb') is not None
        data = {'gpu': segmenter.encode_jpeg('overlay', quality),
                'opencv': encode_jpeg(overlay, quality)}
        pixels = {name: decode_image(each, name) for name, each in data.items()}
        found[f'{color} q{quality}'] = {
            'on_gpu': is_encoded,
            'bytes': {name: len(each) for name, each in data.items()},
            'psnr': {**{name: psnr(each, overlay) for name, each in pixels.items()},
                     'gpu to opencv': psnr(pixels['gpu'], pixels['opencv'])},
            'gpu_ms': milliseconds(partial(segmenter.encode_jpeg, 'overlay', quality)),
            'opencv_ms': milliseconds(partial(encode_jpeg, overlay, quality))}
    found['memory'] = encoder_memory(segmenter)
    return found


def encoder_memory(segmenter: Segmenter) -> list[dict[str, Any]]:
    """Return the memory in use while overlays are encoded again and again."""
    memory = []
    for number in range(2001):
        segmenter.encode_jpeg('overlay', 80)
        if number % 500 == 0:
            gpu = segmenter.gpu_memory()
            memory.append({'overlays': number, 'gpu_free_mb': gpu and gpu[1] // 10 ** 6,
                           'host_mb': resident_mb()})
    return memory


def bad_jpegs(good: bytes) -> list[bytes]:
    """Return JPEGs that are cut, corrupt, or declare other sizes."""
    middle, frame, noise = len(good) // 2, good.index(b'\xff\xc0') + 5, bytearray(good)
    for at in np.random.default_rng(0).integers(middle, len(good) - 2, 40):
        noise[at] ^= 0x55
    sizes = [good[:frame] + size + good[frame + 4:]
             for size in (b'\xff\xdc\xff\xdc', b'\x20\0\x20\0', bytes(4))]
    table = good.index(b'\xff\xc4') + 5
    return [good[:middle], good[:middle] + b'\xff\xd9', good[:-2], bytes(noise), *sizes,
            good[:table] + b'\xff' * 16 + good[table + 16:], b'', b'no picture']


def check_stream(segmenter: Segmenter, image: np.ndarray, frames: int) -> dict[str, Any]:
    """Good JPEGs with bad ones between them: memory, and the masks of the good ones."""
    decode = segmenter.jpeg_decoder()
    good = cv2.imencode('.jpg', image)[1].tobytes()
    bad, found = bad_jpegs(good), {'refused': 0, 'on_gpu': 0, 'other_masks': 0}
    wanted = segmenter.infer(decode_image(good, '', decode_jpeg=decode)).mask.copy()
    memory = []
    for number in range(frames):
        data = bad[number // 5 % len(bad)] if number % 5 == 4 else good
        try:
            pixels = decode_image(data, '', decode_jpeg=decode)
            found['on_gpu'] += not isinstance(pixels, np.ndarray)
            if data is good:
                mask = segmenter.infer(pixels).mask
                found['other_masks'] += not np.array_equal(mask, wanted)
        except ImageError:
            found['refused'] += 1
        if number % max(frames // 8, 1) == 0:
            gpu = segmenter.gpu_memory()
            memory.append({'frame': number, 'gpu_free_mb': gpu and gpu[1] // 10 ** 6,
                           'host_mb': resident_mb()})
    return {'frames': frames, **found, 'memory': memory,
            'peak_host_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000}


def resident_mb() -> int:
    """Return the process's resident memory in MB."""
    pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    return pages * resource.getpagesize() // 10 ** 6


def check_all(segmenter: Segmenter, image: np.ndarray, frames: int, out: Path,
              wanted: Sequence[str] = ()) -> None:
    """Run the wanted steps, or all; write the results after each."""
    results: dict[str, Any] = {'runs_on': str(segmenter.info)}
    steps: dict[str, Callable[[], Any]] = {
        'interface': lambda: check_interface(segmenter, image),
        'encoder': lambda: check_encoder(segmenter, image),
        'jpeg': lambda: check_jpeg(segmenter, image),
        'ahead': lambda: check_ahead(segmenter, image),
        'stream': lambda: check_stream(segmenter, image, frames),
        'nvimgcodec': lambda: check_nvimgcodec(segmenter, image),
        'torch': lambda: check_torch(segmenter, image)}
    for name, step in steps.items():
        if wanted and name not in wanted:
            continue
        try:
            results[name] = step()
        except ImportError as error:
            results[name] = {'skipped': str(error)}
        except Exception as error:  # the other steps are still worth their time
            results[name] = {'failed': repr(error)}
        out.write_text(json.dumps(results, indent=1), encoding='utf-8')
        print(name, json.dumps(results[name])[:2000], flush=True)


def main() -> None:
    """Run the steps on one network in fp16; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('model', nargs='?', default='')
    parser.add_argument('--frames', type=int, default=2000)
    parser.add_argument('--steps', nargs='+', default=(), metavar='STEP',
                        help='interface, encoder, jpeg, ahead, stream, nvimgcodec, torch; '
                             'default: all')
    parser.add_argument('--overlay-scale', type=float, choices=OVERLAY_SCALES, default=1.0)
    parser.add_argument('--engine-cache', default='')
    parser.add_argument('--optimization-level', type=int, default=-1)
    parser.add_argument('--tactic-sources', default='')
    args = parser.parse_args()
    build = BuildOptions('fp16', optimization_level=args.optimization_level,
                         tactic_sources=tactic_names(args.tactic_sources))
    options = RunOptions('tensorrt', engine_cache=args.engine_cache, build=build,
                         overlay_scale=args.overlay_scale)
    with Segmenter.open(args.model, options=options) as segmenter:
        check_all(segmenter, read_frame(0, *SIZE).image, args.frames, args.out, args.steps)


if __name__ == '__main__':
    main()
