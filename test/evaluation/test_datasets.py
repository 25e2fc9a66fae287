# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Pairs of images and labels, and the ids in the labels."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from trt_segmentation.errors import ImageError
from trt_segmentation.evaluation.datasets import DatasetError, Sample, find_samples, read_truth

IDS = (np.arange(48, dtype=np.uint8).reshape(6, 8) % 3)
BLANK = np.zeros((6, 8, 3), np.uint8)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)
    return path


def cityscapes(root, names, split='val'):
    """Write a dataset in Cityscapes' layout."""
    for name in names:
        city = name.partition('_')[0]
        write(root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png', BLANK)
        for kind in ('labelTrainIds', 'labelIds', 'color'):
            write(root / 'gtFine' / split / city / f'{name}_gtFine_{kind}.png', IDS)


def voc(root, splits):
    """Write a dataset in Pascal VOC's layout."""
    (root / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    for split, names in splits.items():
        (root / 'ImageSets' / 'Segmentation' / f'{split}.txt').write_text('\n'.join(names) + '\n')
        for name in names:
            write(root / 'JPEGImages' / f'{name}.jpg', BLANK)
            write(root / 'SegmentationClass' / f'{name}.png', IDS)


def test_two_folders_are_paired_by_stem(tmp_path, caplog):
    for name in ('b.jpg', 'a.png', 'lonely.png'):
        write(tmp_path / 'images' / name, BLANK)
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    for name in ('a.png', 'b.png', 'other.png'):
        write(tmp_path / 'labels' / name, IDS)
    pairs = find_samples(tmp_path / 'images', tmp_path / 'labels')
    assert [(pair.image.name, pair.labels.name) for pair in pairs] == [('a.png', 'a.png'),
                                                                       ('b.jpg', 'b.png')]
    assert '1 of 3 images have no labels' in caplog.text


def test_a_damaged_image_is_not_passed_over(tmp_path):
    for folder in ('images', 'labels'):
        write(tmp_path / folder / 'a.png', IDS)
    (tmp_path / 'images' / 'a.png').write_bytes(b'')
    assert len(find_samples(tmp_path / 'images', tmp_path / 'labels')) == 1


def test_labels_beside_their_images_are_no_images(tmp_path):
    write(tmp_path / 'a.jpg', BLANK)
    write(tmp_path / 'a.png', IDS)
    assert find_samples(tmp_path, tmp_path) == [Sample(tmp_path / 'a.jpg', tmp_path / 'a.png')]


@pytest.mark.parametrize('inside', ['', 'leftImg8bit/val', 'leftImg8bit/val/ulm'])
def test_cityscapes_is_recognised(tmp_path, inside):
    cityscapes(tmp_path, ['ulm_000001_000019', 'ulm_000000_000019'])
    cityscapes(tmp_path, ['jena_000000_000019'], 'train')
    pairs = find_samples(tmp_path / inside)
    assert [pair.labels for pair in pairs] == [
        tmp_path / 'gtFine' / 'val' / 'ulm' / f'{name}_gtFine_labelTrainIds.png'
        for name in ('ulm_000000_000019', 'ulm_000001_000019')]
    assert all(pair.image.is_file() for pair in pairs)


def test_a_split_of_cityscapes_and_a_folder_of_labels_can_be_named(tmp_path):
    cityscapes(tmp_path, ['ulm_000000_000019'])
    cityscapes(tmp_path, ['jena_000000_000019'], 'train')
    assert find_samples(tmp_path, split='train')[0].image.name.startswith('jena')
    (tmp_path / 'gtFine').rename(tmp_path / 'truth')
    pairs = find_samples(tmp_path / 'leftImg8bit' / 'val', tmp_path / 'truth' / 'val')
    assert [pair.labels.is_file() for pair in pairs] == [True]


def test_the_split_of_pascal_voc_says_which_images_count(tmp_path):
    voc(tmp_path, {'val': ['2007_000033', '2007_000042'], 'train': ['2007_000032']})
    assert find_samples(tmp_path) == [
        Sample(tmp_path / 'JPEGImages' / f'{name}.jpg',
               tmp_path / 'SegmentationClass' / f'{name}.png')
        for name in ('2007_000033', '2007_000042')]
    with pytest.raises(DatasetError, match=r'test\.txt: there is no such split; .*train, val'):
        find_samples(tmp_path, split='test')


def test_a_split_without_images_names_those_there_are(tmp_path):
    voc(tmp_path / 'voc', {'val': [], 'train': ['2007_000032']})
    with pytest.raises(DatasetError, match=r"val\.txt: there is no image in the split 'val'; "
                                           r'the splits are train, val'):
        find_samples(tmp_path / 'voc')
    cityscapes(tmp_path / 'cs', ['jena_000000_000019'], 'train')
    with pytest.raises(DatasetError, match=r'nope: there is no such split; the splits are train$'):
        find_samples(tmp_path / 'cs', split='nope')
    (tmp_path / 'cs' / 'leftImg8bit' / 'test').mkdir()
    with pytest.raises(DatasetError, match=r"no image in the split 'test'; .* are test, train"):
        find_samples(tmp_path / 'cs', split='test')


def test_a_list_of_names_is_utf_8_with_or_without_a_mark(tmp_path):
    voc(tmp_path, {'val': ['2007_000033', '2007_000042']})
    names = tmp_path / 'ImageSets' / 'Segmentation' / 'val.txt'
    names.write_bytes(b'\xef\xbb\xbf' + names.read_bytes())
    assert [pair.image.stem for pair in find_samples(tmp_path)] == ['2007_000033', '2007_000042']
    names.write_bytes(b'stra\xdfe\n')
    with pytest.raises(DatasetError, match=r'val\.txt: is no UTF-8 text'):
        find_samples(tmp_path)


@pytest.mark.parametrize('inside', ['leftImg8bit', 'leftImg8bit/val', 'plain'])
def test_only_a_whole_dataset_has_splits(tmp_path, inside):
    cityscapes(tmp_path, ['ulm_000000_000019'])
    write(tmp_path / 'plain' / 'a.png', BLANK)
    with pytest.raises(DatasetError, match=r'--split train: .* is no whole dataset'):
        find_samples(tmp_path / inside, split='train', labels_needed=False)
    assert len(find_samples(tmp_path / inside, labels_needed=False)) == 1


def test_without_labels_only_images_are_found_if_that_is_enough(tmp_path):
    cityscapes(tmp_path / 'a', ['ulm_000000_000019'])
    next(tmp_path.rglob('*labelTrainIds.png')).unlink()
    write(tmp_path / 'b' / 'x.png', BLANK)
    for folder in ('a', 'b'):
        assert [s.labels for s in find_samples(tmp_path / folder, labels_needed=False)] == [None]
    with pytest.raises(DatasetError, match=r'are expected at .*_gtFine_labelTrainIds\.png'):
        find_samples(tmp_path / 'a')
    with pytest.raises(DatasetError, match=r'x\.png, are expected in the folder of --labels'):
        find_samples(tmp_path / 'b')


def test_an_empty_pairing_is_an_error(tmp_path):
    write(tmp_path / 'images' / 'a.png', BLANK)
    write(tmp_path / 'labels' / 'b.png', IDS)
    (tmp_path / 'nothing').mkdir()
    with pytest.raises(DatasetError, match='none of the 1 images has labels'):
        find_samples(tmp_path / 'images', tmp_path / 'labels')
    with pytest.raises(DatasetError, match='there is no image in this folder'):
        find_samples(tmp_path / 'nothing', tmp_path / 'labels')
    with pytest.raises(DatasetError, match='gone: there is no such folder'):
        find_samples(tmp_path / 'images', tmp_path / 'gone')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_ids_are_read_as_they_are_stored(tmp_path, dtype):
    path = write(tmp_path / 'a.png', IDS.astype(dtype))
    truth = read_truth(path, (6, 8), 3, [255])
    assert truth.dtype == np.uint8
    np.testing.assert_array_equal(truth, IDS)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_indices_of_a_palette_are_the_ids(tmp_path, bits):
    ids = np.minimum(IDS, 2 ** bits - 1).astype(np.uint8)
    picture = Image.fromarray(ids)
    picture.putpalette([0, 0, 0, 128, 0, 0] * 2 ** (bits - 1))
    picture.save(tmp_path / 'a.png', bits=bits)
    assert (tmp_path / 'a.png').read_bytes()[24:26] == bytes([bits, 3])
    np.testing.assert_array_equal(read_truth(tmp_path / 'a.png', (6, 8), 3, [255]), ids)


def test_ids_of_one_bit_are_not_stretched(tmp_path):
    Image.fromarray(IDS > 0).save(tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes()[24:26] == bytes([1, 0])
    np.testing.assert_array_equal(read_truth(tmp_path / 'a.png', (6, 8), 2, [255]), IDS > 0)


def test_ignored_ids_are_no_truth(tmp_path):
    ids = IDS.astype(np.uint16)
    ids[0] = 65535
    ids[1] = 256
    path = write(tmp_path / 'a.png', ids)
    truth = read_truth(path, (6, 8), 3, [65535, 256, 1])
    np.testing.assert_array_equal(truth[2:], np.where(IDS == 1, 255, IDS)[2:])
    assert (truth[:2] == 255).all()


@pytest.mark.parametrize(('labels', 'message'), [
    (IDS[:, :5], r'a\.png: the labels are 5x6, but their image is 8x6'),
    (IDS * 8, r'a\.png: the labels have id 16, but the network has 3 classes'),
    (np.full((6, 8), 259, np.uint16), 'have id 259, but the network has 3 classes'),
    (BLANK, r'a\.png: is a picture of 3 channels; labels are class ids')])
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, message):
    path = write(tmp_path / 'a.png', labels)
    with pytest.raises(DatasetError, match=message):
        read_truth(path, (6, 8), 3, [255])


def palette_png(path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 3, (90, 90), np.uint8))
    picture.convert('P').save(path)


@pytest.mark.parametrize('make', [lambda path: write(path, np.tile(IDS, (9, 9))), palette_png])
@pytest.mark.parametrize('kept', [0, 20, 0.5, 0.9])
def test_damaged_labels_are_reported(tmp_path, make, kept):
    path = tmp_path / 'a.png'
    make(path)
    data = path.read_bytes()
    path.write_bytes(data[:int(kept * len(data)) if kept < 1 else kept])
    with pytest.raises(ImageError, match=r'a\.png: .*damaged'):
        read_truth(path, (90, 90), 3, [255])


def test_a_palette_without_pillow_names_the_package_to_install(tmp_path, monkeypatch):
    palette_png(tmp_path / 'a.png')
    monkeypatch.setitem(sys.modules, 'PIL', None)
    with pytest.raises(DatasetError, match='pip install pillow'):
        read_truth(tmp_path / 'a.png', (90, 90), 3, [255])


def test_labels_of_more_than_255_classes_have_16_bits(tmp_path):
    ids = np.array([[0, 255, 299, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), ids)
    truth = read_truth(tmp_path / 'a.png', ids.shape, 300, [])
    assert truth.dtype == np.uint16
    assert truth.tolist() == ids.tolist()
