# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What cameras cost over DDS: by encoding, image size and number of cameras."""

from collections.abc import Iterator
from dataclasses import dataclass

from trt_segmentation.benchmark.dds import CAMERA_ENCODINGS
from trt_segmentation.graph.pipeline import camera_bytes

RATE = 30
"""Of the camera, Hz."""

RUNS = 3
"""Runs of each rate; best and worst are dropped."""

SIZES = '480x640', '720x1280', '1080x1920', '2160x3840'
ENCODING_SIZE, CAMERA_SIZE = '1080x1920', '720x1280'
CAMERAS = 2, 4, 3
"""Numbers of them; one is an arm of the sizes."""
DEPTHS = 2, 1
"""The highest rate is searched for the first one."""


@dataclass(frozen=True)
class Arm:
    """One measurement of ``trt-segmentation bench --ros``, from camera to mask.

    Attributes:
        encoding: of the camera's images.
        size: height and width as text.
        cameras: their number.
        one_node_each: instead of a batch in one node.
        depth: the parameter pipeline_depth.
        peak: whether the highest rate is searched, too.
    """

    encoding: str = 'bgr8'
    size: str = ENCODING_SIZE
    cameras: int = 1
    one_node_each: bool = False
    depth: int = 2
    peak: bool = False

    @property
    def batch(self) -> int:
        """Images that one engine takes."""
        return 1 if self.one_node_each else self.cameras

    @property
    def builds(self) -> tuple[str, ...]:
        """Arguments of ``trt-segmentation build`` for what the built network lacks; empty if it
        lacks nothing."""
        converted = self.encoding in camera_bytes.CAMERA_ENCODINGS
        return (*('--batch', str(self.batch)) * (self.batch > 1),
                *('--input-encodings', self.encoding) * converted)

    def __str__(self) -> str:
        how = ' each' * self.one_node_each
        return f'{self.encoding} {self.size} {self.cameras}{how} depth {self.depth}'

    def arguments(self, seconds: float) -> list[str]:
        """Arguments of ``trt-segmentation bench``, with runs of some seconds."""
        return ['--outputs', 'mask', '--size', self.size, '--frames', '60', '--ros',
                '--rates', str(RATE), '--runs', str(RUNS), '--seconds', str(seconds),
                '--encoding', self.encoding, '--cameras', str(self.cameras),
                *['--one-node-each'] * self.one_node_each, *['--no-peak'] * (not self.peak),
                '--pipeline-depth', str(self.depth)]


def arms() -> Iterator[Arm]:
    """Yield all arms; each is there once."""
    for depth in DEPTHS:
        for encoding in CAMERA_ENCODINGS:
            yield Arm(encoding, depth=depth, peak=depth == DEPTHS[0])
    for size in SIZES:
        if size != ENCODING_SIZE:
            yield Arm(size=size)
    for cameras in CAMERAS:
        for one_node_each in (False, True):
            yield Arm(size=CAMERA_SIZE, cameras=cameras, one_node_each=one_node_each)
