# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A JPEG that is cut short is refused, with every version of OpenCV."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import ImageDecoder
from trt_segmentation.images.header import is_cut_jpeg
from trt_segmentation.images.sources import open_images

PIXELS = np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8)


def jpeg(*flags):
    return cv2.imencode('.jpg', PIXELS, list(flags))[1].tobytes()


def with_thumbnail(data):
    """Return a JPEG with a complete thumbnail in its header, as cameras write it."""
    thumbnail = cv2.imencode('.jpg', PIXELS[:16, :16])[1].tobytes()
    return data[:2] + b'\xff\xe1' + struct.pack('>H', 2 + len(thumbnail)) + thumbnail + data[2:]


WHOLE = {'baseline': jpeg(), 'progressive': jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
         'restarts': jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1), 'thumbnail': with_thumbnail(jpeg()),
         'padded': jpeg() + bytes(64), 'fill byte': jpeg()[:2] + b'\xff' + jpeg()[2:]}


@pytest.mark.parametrize('data', WHOLE.values(), ids=WHOLE)
def test_whole_ones_are_read(data, tmp_path):
    assert not is_cut_jpeg(data)
    (tmp_path / 'a.jpg').write_bytes(data)
    (_, image), = open_images(tmp_path / 'a.jpg')
    assert image.shape == PIXELS.shape


@pytest.mark.parametrize('share', [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize('data', [WHOLE[name] for name in list(WHOLE)[:4]], ids=list(WHOLE)[:4])
def test_cut_ones_are_refused(data, share, tmp_path):
    cut = data[:int(len(data) * share)]
    msg = SimpleNamespace(format='jpeg', data=cut)
    with pytest.raises(ImageError, match='cut short'):
        ImageDecoder().read(msg)
    (tmp_path / 'a.jpg').write_bytes(cut)
    with pytest.raises(ImageError, match='cut short'):
        list(open_images(tmp_path / 'a.jpg'))


@pytest.mark.parametrize('data', [b'', b'\xff', b'\x89PNG\r\n', b'BM'])
def test_other_data_is_no_cut_jpeg(data):
    assert not is_cut_jpeg(data)


def test_a_jpeg_header_only_is_cut():
    assert all(is_cut_jpeg(jpeg()[:length]) for length in range(2, 700))
