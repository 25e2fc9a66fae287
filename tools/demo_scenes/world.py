# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a seed decides once for all its frames: light, street, lens and ground colours."""

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

import numpy as np

from demo_scenes.camera import View

BLOCK = 24.0
"""Length in metres of a block: the piece of street furnished from random numbers of its own."""


class Stream(IntEnum):
    """Independent streams of random numbers, so that one thing's never shift another's."""

    WORLD = 1
    TRAFFIC_AHEAD = 2
    FURNITURE = 3
    CLOUDS = 4
    HILLS = 5
    ROAD_PATCHES = 6
    CROSSINGS = 7
    SENSOR = 8


@dataclass(frozen=True)
class Light:
    """Weather and time of day.

    Attributes:
        zenith, horizon, cloud: colours of the sky.
        cover: 0..1, how much of the sky has clouds.
        ambient: 0..1, share of light that a face turned away from the sun gets.
        shadow: 0..1, share of light that a cast shadow takes away.
        gain: factor of the sensor's exposure.
        cast: factor of each channel, the white balance.
        lamps: whether lamps are lit.
        sun: unit vector towards the sun in world axes.
    """

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    cloud: tuple[float, float, float]
    cover: float
    ambient: float
    shadow: float
    gain: float
    cast: tuple[float, float, float]
    lamps: bool = False
    sun: tuple[float, float, float] = (0.0, 0.0, 1.0)


_FAIR = Light(
    zenith=(196, 124, 62), horizon=(238, 218, 192), cloud=(252, 250, 248), cover=0.50,
    ambient=0.62, shadow=0.50, gain=1.04, cast=(0.95, 1.0, 1.04))
_OVERCAST = Light(
    zenith=(196, 184, 172), horizon=(226, 222, 216), cloud=(236, 234, 232), cover=0.85,
    ambient=0.90, shadow=0.16, gain=0.92, cast=(1.03, 1.0, 0.97))
_DUSK = Light(
    zenith=(132, 84, 66), horizon=(142, 186, 250), cloud=(150, 150, 214), cover=0.55,
    ambient=0.78, shadow=0.22, gain=0.74, cast=(0.96, 0.93, 1.07), lamps=True)


@dataclass(frozen=True)
class Street:
    """A street that winds about the world's x axis as a sine.

    Attributes:
        lanes: number of lanes of one direction.
        lane_width, shoulder_left, shoulder_right: in metres.
        bend, wavelength: of the sine in metres.
        phase: of the sine at s = 0, in radians.
        dash: length of a dash of a broken line in metres.
        yellow: whether the centre line is yellow.
    """

    lanes: int
    lane_width: float
    shoulder_left: float
    shoulder_right: float
    bend: float
    wavelength: float
    phase: float
    dash: float
    yellow: bool

    @property
    def edge(self) -> float:
        """Metres from the centre line to the outer edge of the lanes."""
        return self.lanes * self.lane_width

    def side(self, sign: float) -> float:
        """Return the metres from the centre line to the grass on the left (+1) or right (-1)."""
        return self.edge + (self.shoulder_left if sign > 0 else self.shoulder_right)

    def centre(self, s: float | np.ndarray) -> float | np.ndarray:
        """Return the world y of the centre line."""
        return self.bend * np.sin(2 * math.pi * s / self.wavelength + self.phase)

    def heading(self, s: float) -> float:
        """Return the street's direction in radians, counterclockwise from world x."""
        rate = 2 * math.pi / self.wavelength
        return math.atan(self.bend * rate * math.cos(rate * s + self.phase))

    def foot(self, s: float, d: float) -> np.ndarray:
        """Return the world point [3] on the ground."""
        return np.array([s, self.centre(s) + d, 0.0])

    def ground(self, s: np.ndarray, d: float) -> np.ndarray:
        """Return world points [N, 3] on the ground at the positions s [N], all at one offset."""
        return np.stack([s, self.centre(s) + d, np.zeros_like(s)], -1)

    def place(self, s: float, d: float, local: np.ndarray, turn: float = 0.0) -> np.ndarray:
        """Return world points of points [..., 3] of a body that stands on the street.

        The body's axes are forward along the street, left and up, turned by ``turn`` radians.
        """
        angle = self.heading(s) + turn
        c, n = math.cos(angle), math.sin(angle)
        rotation = np.array([[c, n, 0.0], [-n, c, 0.0], [0.0, 0.0, 1.0]])
        return local @ rotation + self.foot(s, d)


@dataclass(frozen=True)
class Lens:
    """A camera and how it is mounted.

    Attributes:
        focal: focal length as a share of the picture's width.
        pitch: radians below the horizontal.
        elevation: metres above the ground.
        lane: the lane it drives in, counted from the centre line.
        blur: standard deviation in pixels of a picture 720 pixels high.
        noise: share of ``sensor``'s grain.
    """

    focal: float
    pitch: float
    elevation: float
    lane: int
    blur: float
    noise: float


@dataclass(frozen=True)
class World:
    """All that belongs to a seed; grass and asphalt are colours, float64 [3]."""

    seed: int
    light: Light
    street: Street
    lens: Lens
    grass: np.ndarray
    asphalt: np.ndarray

    def random(self, stream: Stream, *key: int) -> np.random.Generator:
        """Return random numbers that depend on seed, stream and key alone."""
        return np.random.default_rng([self.seed, stream, *key])

    def random_block(self, stream: Stream, block: int) -> np.random.Generator:
        """Return random numbers of a block, whose number may be negative."""
        return self.random(stream, block + (1 << 30))


def blocks(first: float, last: float) -> range:
    """Return the numbers of the blocks between two positions along the street."""
    return range(math.floor(first / BLOCK), math.floor(last / BLOCK) + 1)


@lru_cache(maxsize=64)
def make_world(seed: int) -> World:
    """Return the world of a seed."""
    rng = np.random.default_rng([seed, Stream.WORLD])
    light = _make_light(rng)
    street = _make_street(rng)
    lens = Lens(
        focal=rng.uniform(0.74, 0.88), pitch=math.radians(rng.uniform(-1.0, 3.6)),
        elevation=rng.uniform(1.35, 1.75), lane=street.lanes - 1, blur=rng.uniform(0.3, 0.8),
        noise=rng.uniform(0.03, 0.12))
    grass = np.array([52.0, 118.0, 96.0]) * rng.uniform(0.85, 1.1) + rng.uniform(-9, 9, 3)
    asphalt = np.full(3, rng.uniform(84, 122)) + rng.uniform(-4, 4, 3)
    return World(seed, light, street, lens, grass, asphalt)


def _make_light(rng: np.random.Generator) -> Light:
    light = (_FAIR, _OVERCAST, _DUSK)[int(rng.choice(3, p=[0.55, 0.25, 0.20]))]
    azimuth, rise = rng.uniform(0, 2 * math.pi), rng.uniform(0.65, 1.05)
    sun = (math.cos(rise) * math.cos(azimuth), math.cos(rise) * math.sin(azimuth), math.sin(rise))
    return replace(light, sun=sun, gain=light.gain * rng.uniform(0.92, 1.06),
                   cover=light.cover * rng.uniform(0.7, 1.2))


def _make_street(rng: np.random.Generator) -> Street:
    lanes = int(rng.choice([1, 2], p=[0.7, 0.3]))
    left, right = rng.choice([0.5, 0.9, 2.5], 2, p=[0.35, 0.25, 0.4])
    return Street(
        lanes, lane_width=rng.uniform(3.2, 3.6), shoulder_left=left, shoulder_right=right,
        bend=rng.choice([0.0, 1.0, 1.0]) * rng.uniform(3, 12), wavelength=rng.uniform(240, 420),
        phase=rng.uniform(0, 2 * math.pi), dash=rng.uniform(2.5, 4.0),
        yellow=bool(rng.random() < 0.25))


def make_view(world: World, distance: float, height: int, width: int) -> View:
    """Return the camera after a distance in metres, for a picture of height x width pixels."""
    street, lens = world.street, world.lens
    yaw, pitch = street.heading(distance), lens.pitch
    forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch),
                        -math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    position = street.foot(distance, -(lens.lane + 0.5) * street.lane_width)
    position[2] = lens.elevation
    focal = np.array([lens.focal * width, lens.focal * height * 16 / 9])
    return View(height, width, focal, position, rotation)
