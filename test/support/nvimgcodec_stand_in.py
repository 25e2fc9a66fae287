# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""nvImageCodec on the stand-in GPU: OpenCV decodes and encodes, in its memory.

It has the names of nvImageCodec that the package uses (``test_gpu_jpeg.py`` looks them up in the
real module), and nothing of its arithmetic or speed. It is stricter: a decoder that has raised an
error fails from then on, pixels arrive when the stream is waited for, and images are decoded only
while the context is current.
"""

import cv2
import numpy as np


class NvImgCodec:
    """In the place of the module ``nvidia.nvimgcodec``.

    Attributes:
        decoded, decoders: how many JPEGs were decoded, and decoders created.
        encoded, encoders: the same of the encoder.
        fails: whether a JPEG of a size (height, width) fails; 'raise', 'none' or ''.
        starts: whether a decoder can be created.
        on_host: whether images are in host memory, as those of the decoders on the CPU.
    """

    class ColorSpec:
        SRGB = 'SRGB'

    class ChromaSubsampling:
        CSS_420 = 0x221111

    class QualityType:
        QUALITY = 'QUALITY'

    class ImageBufferKind:
        STRIDED_DEVICE, STRIDED_HOST = 'device', 'host'

    class SampleFormat:
        I_BGR, I_RGB = 'I_BGR', 'I_RGB'

    def __init__(self, gpu):
        self.gpu, self.decoded, self.decoders, self.encoded, self.encoders = gpu, 0, 0, 0, 0
        self.fails, self.starts = (lambda size: ''), True
        self.images, self.on_host = [], False

    def CodeStream(self, data):  # noqa: N802
        return CodeStream(data)

    def DecodeParams(self, apply_exif_orientation, color_spec, sample_format):  # noqa: N802
        assert (apply_exif_orientation, color_spec, sample_format) == (False, 'SRGB', 'I_BGR')
        return 'params'

    def Decoder(self, device_id, max_num_cpu_threads):  # noqa: N802
        self.gpu.demand_current()
        if not self.starts:
            raise RuntimeError('nvImageCodec failure: no such library')
        self.decoders += 1
        return Decoder(self)

    def EncodeParams(self, quality_type, quality_value, chroma_subsampling):  # noqa: N802
        assert (quality_type, chroma_subsampling) == ('QUALITY', 0x221111)
        return quality_value

    def as_image(self, source, *, cuda_stream, sample_format):
        assert cuda_stream in self.gpu.streams
        return source.__cuda_array_interface__, sample_format

    def Encoder(self, device_id, max_num_cpu_threads):  # noqa: N802
        self.gpu.demand_current()
        if not self.starts:
            raise RuntimeError('nvImageCodec failure: no such library')
        self.encoders += 1
        return Encoder(self)

    def free(self):
        """Free what images have allocated."""
        with self.gpu.device.current():
            for image in self.images:
                image.memory.free()


class CodeStream:
    """Bytes whose header was parsed."""

    def __init__(self, data):
        assert data.dtype == np.uint8
        self.data = data
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        self.pixels = pixels
        self.height, self.width = (0, 0) if pixels is None else pixels.shape[:2]


class Decoder:
    """See ``NvImgCodec``."""

    def __init__(self, api):
        self._api, self._failed = api, False

    def decode(self, stream, *, image, params, cuda_stream):
        api, gpu = self._api, self._api.gpu
        gpu.demand_current()
        assert params == 'params'
        how = api.fails((stream.height, stream.width))
        if self._failed or how or stream.pixels is None:
            if how == 'raise' or self._failed:
                self._failed = True
                raise RuntimeError('nvImageCodec failure: bad bitstream')
            return None
        if image is None:
            image = Image(api, stream.pixels.shape)
        assert image.shape == stream.pixels.shape
        image.buffer_kind = 'host' if api.on_host else 'device'
        address = int(image.memory)
        gpu.streams[cuda_stream].put(
            lambda: np.copyto(gpu.bytes_at(address), stream.pixels.reshape(-1)))
        api.decoded += 1
        return image


class Encoder:
    """See ``NvImgCodec``."""

    def __init__(self, api):
        self._api, self._failed = api, False

    def encode(self, image, codec, *, params, cuda_stream):
        api, gpu = self._api, self._api.gpu
        gpu.demand_current()
        assert codec == 'jpeg'
        described, form = image
        how = api.fails(described['shape'][:2])
        if self._failed or how == 'raise':
            self._failed = True
            raise RuntimeError('nvImageCodec failure: bad image')
        if how:
            return None
        size = int(np.prod(described['shape']))
        pixels = gpu.bytes_at(described['data'][0], size).reshape(described['shape'])
        pixels = pixels if form == 'I_BGR' else np.ascontiguousarray(pixels[..., ::-1])
        api.encoded += 1
        return bytearray(cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, params])[1])


class Image:
    """Pixels in the stand-in's memory."""

    buffer_kind = 'device'

    def __init__(self, api, shape):
        self.shape, self.memory = shape, api.gpu.driver.mem_alloc(int(np.prod(shape)))
        api.images.append(self)

    @property
    def __cuda_array_interface__(self):
        return {'shape': self.shape, 'typestr': '|u1', 'data': (int(self.memory), False),
                'version': 3, 'strides': None, 'stream': None}
