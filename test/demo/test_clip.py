# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The clip and the sample images that ship with the package."""

import cv2
import numpy as np
import pytest

from trt_segmentation.demo.clip import IMAGE_FOLDER, LABEL_FOLDER, LABELS, read_clip, read_frame
from trt_segmentation.images.sources import SAMPLES, open_images, read_image
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.segmenter import demo_model


@pytest.fixture(scope='module')
def clip():
    return read_clip()


def test_every_image_has_labels():
    stems = [sorted(path.stem for path in folder.iterdir())
             for folder in (IMAGE_FOLDER, LABEL_FOLDER)]
    assert stems[0] == stems[1] == [f'{number:02}' for number in range(16)]


def test_frames_are_those_of_the_files_in_their_order(clip):
    assert len(clip) == 16
    for index, frame in enumerate(clip):
        assert frame.image.shape == (720, 1280, 3)
        assert frame.labels.shape == (720, 1280)
        assert frame.image.dtype == frame.labels.dtype == np.uint8
        np.testing.assert_array_equal(frame.image, read_image(IMAGE_FOLDER / f'{index:02}.jpg'))
    assert len({frame.image.tobytes() for frame in clip}) == 16


def test_every_class_is_seen_and_no_other_id(clip):
    for frame in clip:
        np.testing.assert_array_equal(np.unique(frame.labels), range(len(LABELS)))


def test_classes_are_those_of_the_demo_network():
    assert ModelConfig.from_file(demo_model().with_suffix('.yaml')).classes.labels == LABELS


def test_the_clip_starts_again_after_its_last_frame(clip):
    again = read_frame(16 + 3)
    np.testing.assert_array_equal(again.image, clip[3].image)
    np.testing.assert_array_equal(again.labels, clip[3].labels)


@pytest.mark.parametrize('size', [(144, 256), (48, 256), (2160, 3840)])
def test_a_frame_of_another_size_is_the_same_view(clip, size):
    frame = read_frame(5, *size)
    assert frame.image.shape == (*size, 3)
    back = cv2.resize(frame.image, (1280, 720)).astype(int)
    assert np.abs(back - clip[5].image).mean() < 12
    # By odd factors, the centre of a pixel falls into one pixel, whatever OpenCV rounds.
    rows, columns = (np.floor((np.arange(wanted) + 0.5) * extent / wanted).astype(int)
                     for wanted, extent in zip(size, (720, 1280), strict=True))
    np.testing.assert_array_equal(frame.labels, clip[5].labels[rows[:, None], columns])


def test_sample_images_are_small_and_not_of_the_clip(clip):
    samples = [image for _, image in open_images(SAMPLES)]
    assert [image.shape for image in samples] == [(360, 640, 3)] * 4
    for sample in samples:
        shown = cv2.resize(sample, (1280, 720)).astype(int)
        assert min(np.abs(shown - frame.image).mean() for frame in clip) > 20
