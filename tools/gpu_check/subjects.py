# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The networks that are checked, with their configs and images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.sources import read_image
from trt_segmentation.options import BuildOptions, CalibrationOptions, RunOptions
from trt_segmentation.segmenter import demo_model

CHECK_FRAMES = range(4)
CALIBRATION_FRAMES = range(4, 16)
"""Frames of the demo clip, of other streets than ``CHECK_FRAMES``."""

_CITYSCAPES = 'classes: {preset: cityscapes}'
_CONFIGS = {
    'selfie_256_nchw': '{input: {color: rgb, scale: 0.003921568627}, '
                       'classes: {labels: [background, person]}}',
    'deeplabv3_mnv2_voc257_nchw': '{input: {color: rgb, scale: 0.00784313725, mean: [1, 1, 1], '
                                  'std: [1, 1, 1]}, classes: {preset: pascal_voc}}',
    'road_segmentation_adas_0001_nhwc': '{input: {color: bgr, scale: 1, mean: [0, 0, 0], '
                                        'std: [1, 1, 1]}, '
                                        'classes: {labels: [background, road, curb, mark]}}',
    'lraspp_mobilenet_v3_large': _CITYSCAPES,
    'deeplabv3_resnet50': _CITYSCAPES,
}
_PHOTOS = {
    'selfie_256_nchw': ('astronaut.png', 'grace_hopper.jpg'),
    'deeplabv3_mnv2_voc257_nchw': ('astronaut.png', 'chelsea.png'),
    'road_segmentation_adas_0001_nhwc': ('road.png',),
}


@dataclass(frozen=True)
class Builds:
    """Build options common to all networks.

    Attributes:
        cache: folder of engines.
        tactics: names of tactic sources; None for TensorRT's default.
        level: optimization level, 0 to 5; -1 for TensorRT's default.
    """

    cache: Path
    tactics: tuple[str, ...] | None = None
    level: int = -1


@dataclass(frozen=True)
class Subject:
    """One network.

    Attributes:
        model: its ONNX file.
        config: its model config, a YAML file; '' without one.
        images: loads its test images, uint8 BGR.
        precisions: in which it is checked.
        trained: whether its weights are trained; with random ones, only clear decisions count.
        calibration: folder of images; '' if int8 is not checked.
        answers: PyTorch's results, a .npz of ``tools/model_zoo``; None to compare with ONNX
            Runtime.
    """

    model: Path
    config: str
    images: Callable[[], list[np.ndarray]]
    precisions: tuple[str, ...]
    trained: bool
    calibration: str = ''
    answers: Path | None = None

    @property
    def name(self) -> str:
        return self.model.stem

    def options(self, precision: str, builds: Builds) -> RunOptions:
        """Return the options that open the network on TensorRT."""
        calibration = CalibrationOptions(images=self.calibration, method='percentile')
        build = BuildOptions(precision, optimization_level=builds.level,
                             tactic_sources=builds.tactics, fp16_fallback=False,
                             calibration=calibration)
        return RunOptions('tensorrt', mask_interpolation=self.growth,
                          engine_cache=str(builds.cache), build=build)

    @property
    def growth(self) -> str:
        """The mask interpolation."""
        return str(np.load(self.answers)['growth']) if self.answers else 'nearest'


def find_subjects(models: Path, images: Path, work: Path) -> list[Subject]:
    """Return the embedded network and the known networks of a folder.

    Args:
        models: folder of ONNX files; their configs are read from it and written to it.
        images: folder of photos.
        work: folder to which calibration images are written.
    """
    roads = work / 'calibration' / 'roads'
    _write_calibration_roads(roads)
    found = [Subject(demo_model(), '', _rendered(720, 1280), ('fp32', 'fp16', 'int8'), True,
                     str(roads))]
    for model in sorted(models.glob('*.onnx')):
        config, answers = model.with_suffix('.yaml'), model.with_suffix('.npz')
        if answers.exists():
            found.append(Subject(model, str(config), _answered(answers), ('fp32', 'fp16'), False,
                                 answers=answers))
            continue
        if model.stem in _CONFIGS:
            config.write_text(_CONFIGS[model.stem] + '\n', encoding='utf-8')
        elif not config.exists():
            continue
        if photos := _PHOTOS.get(model.stem):
            paths = [images / photo for photo in photos]
            folder = work / 'calibration' / model.stem
            _write_calibration_photos(folder, sorted(images.glob('*.[jp][pn]g')))
            found.append(Subject(model, str(config), _read(paths), ('fp32', 'fp16', 'int8'), True,
                                 str(folder)))
        else:
            of_roads = model.stem in _CONFIGS
            found.append(Subject(model, str(config), _rendered(1080, 1920), ('fp32', 'fp16')
                                 + ('int8',) * of_roads, False, str(roads) if of_roads else ''))
    return found


def fitting(image: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Return a BGR image in the form that a network takes: [H, W] for one channel."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if spec.color == 'gray' else image


def _rendered(height: int, width: int) -> Callable[[], list[np.ndarray]]:
    return lambda: [read_frame(number, height, width).image for number in CHECK_FRAMES]


def _read(paths: list[Path]) -> Callable[[], list[np.ndarray]]:
    return lambda: [read_image(path) for path in paths]


def _answered(answers: Path) -> Callable[[], list[np.ndarray]]:
    return lambda: numbered(np.load(answers), 'image')


def numbered(arrays: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Return the arrays called NAME_0, NAME_1 and so on."""
    return [arrays[f'{name}_{number}'] for number in range(len(arrays))
            if f'{name}_{number}' in arrays]


def _write_calibration_roads(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in CALIBRATION_FRAMES:
        cv2.imwrite(str(folder / f'{number}.png'), read_frame(number, 360, 640).image)


def _write_calibration_photos(folder: Path, photos: list[Path]) -> None:
    """Write each photo mirrored, brighter and darker, so that they differ from the test images."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        image = read_image(photo)[:, ::-1]
        for gain in (0.7, 0.85, 1.0, 1.15):
            cv2.imwrite(str(folder / f'{photo.stem}_{gain}.png'),
                        cv2.convertScaleAbs(image, alpha=gain))
