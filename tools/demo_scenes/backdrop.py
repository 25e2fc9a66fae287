# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What never comes nearer: the sky, and the wooded hills at the horizon."""

import math
from dataclasses import replace

import cv2
import numpy as np

from demo_scenes.camera import fixed
from demo_scenes.canvas import Canvas
from demo_scenes.classes import SKY, VEGETATION
from demo_scenes.textures import NOISE_MEAN, NOISE_STD, TILE, plane_noise
from demo_scenes.world import Stream

_CLOUD_BASE = 900.0
"""Height of the clouds in metres."""

_CLOUD_TEXELS = 0.16
"""Texels of noise in a metre of cloud."""

_SKY_SCALE = 4
"""The sky is drawn this many times smaller, as it has no detail."""

_HILLS = (
    (0.055, 3, np.array([96.0, 108.0, 78.0]), 420.0),
    (0.028, 9, np.array([52.0, 92.0, 64.0]), 210.0),
)
"""Ranges from far to near: slope of the skyline, its waves a radian, colour, metres of air."""


def draw_sky(canvas: Canvas) -> None:
    """Paint everything above the ground: a gradient with clouds."""
    light, view = canvas.world.light, canvas.view
    x, y = canvas.world.random(Stream.CLOUDS).uniform(0, TILE, 2)
    horizon = view.ground_rows.start
    height, width = max(horizon // _SKY_SCALE, 2), view.width // _SKY_SCALE
    t = np.linspace(1, 0, height)[:, None, None] ** 1.3
    sky = np.asarray(light.horizon) * (1 - t) + np.asarray(light.zenith) * t
    small = replace(view, height=view.height // _SKY_SCALE, width=width,
                    focal=view.focal / _SKY_SCALE)
    noise = plane_noise(small, _CLOUD_BASE, _CLOUD_TEXELS, slice(0, height), 3.0, 1,
                        shift=(x, y))
    edge = NOISE_MEAN + NOISE_STD * (1.0 - 2.2 * light.cover)
    cloud = np.clip((noise.astype(np.float32) - edge) / 95, 0, 1)[..., None]
    cloud = cloud * np.clip(np.linspace(2.0, 0.0, height)[:, None, None], 0, 1)
    sky = sky + (np.asarray(light.cloud) - sky) * cloud
    canvas.image[:horizon] = cv2.resize(sky, (view.width, horizon),
                                        interpolation=cv2.INTER_LINEAR)
    canvas.labels[:horizon] = SKY


def draw_hills(canvas: Canvas) -> None:
    """Paint skylines that turn with the camera, with the woods below them."""
    view, world = canvas.view, canvas.world
    rng = world.random(Stream.HILLS)
    yaw = math.atan2(view.rotation[2, 1], view.rotation[2, 0])
    x = np.linspace(-2, view.width + 2, 161)
    bearing = yaw - np.arctan((x - view.centre[0]) / view.focal[0])
    order = np.arange(1, 7)
    foot = view.horizon + 0.012 * view.height
    for rise, rough, colour, depth in _HILLS:
        waves = np.sin(bearing[:, None] * (order * rough) + rng.uniform(0, 6.28, 6))
        height = np.clip(0.8 + 0.35 * (waves / order**0.7).sum(1), 0.25, 2)
        skyline = np.stack([x, view.horizon - view.focal[1] * rise * height], 1)
        ring = np.concatenate([skyline, [[view.width + 2, foot], [-2, foot]]])
        colours = canvas.hazed(colour * world.light.ambient, depth)
        canvas.polygon(fixed(ring), colours, VEGETATION, 0.0)
