# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The ground: grass, road, lane markings, and the light and haze on them."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from demo_scenes.canvas import AIR, Canvas
from demo_scenes.classes import MARKING, ROAD, VEGETATION
from demo_scenes.textures import NOISE_MEAN, NOISE_STD, plane_noise
from demo_scenes.thing import Thing
from demo_scenes.world import BLOCK, Stream, blocks

_NEAREST, _FARTHEST = 0.6, 420.0
"""Metres ahead of the camera between which the road is drawn."""

_PATCH_RANGE, _DASH_RANGE, _CROSSING_RANGE, _SHADOW_RANGE = 72.0, 130.0, 80.0, 80.0
"""Metres ahead up to which these are drawn."""

_LINE, _DOUBLE_LINE, _DOUBLE_GAP = 0.08, 0.07, 0.14
"""Half widths of a line and of each of a double one, half the distance of the latter, metres."""

_WHITE, _YELLOW = np.array([226.0, 230.0, 230.0]), np.array([70.0, 190.0, 232.0])

_FINE, _BROAD = (0.9, 2, 42.0, 0.10), (2.4, 3, 6.0, 1.2)
"""Textures: exponent and key of ``textures.noise``, texels a metre, and the ground's length in
metres that a pixel may cover before the texture fades."""


def draw_ground(canvas: Canvas, things: Sequence[Thing]) -> None:
    """Paint all below the horizon, with the shadows of the things that stand on it."""
    rows = canvas.view.ground_rows
    corner = (canvas.view.width, canvas.view.height)
    cv2.rectangle(canvas.image, (0, rows.start), corner, canvas.world.grass.tolist(), cv2.FILLED)
    canvas.labels[rows] = VEGETATION
    canvas.ground_depth()
    _draw_road(canvas)
    _draw_markings(canvas)
    for thing in things:
        if thing.far < canvas.view.position[0] + _SHADOW_RANGE:
            thing.cast_shadow(canvas)
    gain = cv2.merge([_ground_light(canvas)] * 3)
    lit = cv2.multiply(canvas.image[rows], gain, dtype=cv2.CV_8U)
    _haze(canvas, lit)
    canvas.image[rows] = lit


def _reach(canvas: Canvas) -> np.ndarray:
    """Return street positions from under the camera to the end of sight, denser where nearer."""
    return canvas.view.position[0] + np.geomspace(_NEAREST, _FARTHEST, 44)


def _draw_road(canvas: Canvas) -> None:
    """Paint kerb, shoulders, lanes and mended patches."""
    world, street = canvas.world, canvas.world.street
    s, start = _reach(canvas), canvas.view.position[0]
    left, right = street.side(1), -street.side(-1)
    canvas.ribbon(s, left + 0.22, right - 0.22, world.asphalt * 1.28 + 12, ROAD)
    canvas.ribbon(s, left, right, world.asphalt * 0.93, ROAD)
    canvas.ribbon(s, street.edge, -street.edge, world.asphalt, ROAD)
    for block in blocks(start, start + _PATCH_RANGE):
        rng = world.random_block(Stream.ROAD_PATCHES, block)
        if rng.random() > 0.5:
            continue
        a = block * BLOCK + rng.uniform(0, 14)
        d = rng.uniform(-street.edge + 1.5, street.edge - 0.3)
        b = a + rng.uniform(2, 9)
        if b > start + _NEAREST:
            patch = np.linspace(max(a, start + _NEAREST), b, 6)
            canvas.ribbon(patch, d, d - rng.uniform(0.8, 1.4), world.asphalt * 0.84, ROAD)


def _draw_markings(canvas: Canvas) -> None:
    """Paint edge lines, centre line, broken lines between lanes, and crossings."""
    street, s = canvas.world.street, _reach(canvas)
    for d in (street.edge - 0.25, 0.25 - street.edge):
        canvas.ribbon(s, d + _LINE, d - _LINE, _WHITE, MARKING)
    for lane in range(1 - street.lanes, street.lanes):
        tone = _YELLOW if street.yellow and lane == 0 else _WHITE
        if lane == 0 and street.lanes > 1:
            for d in (_DOUBLE_GAP, -_DOUBLE_GAP):
                canvas.ribbon(s, d + _DOUBLE_LINE, d - _DOUBLE_LINE, tone, MARKING)
        else:
            _draw_dashes(canvas, lane * street.lane_width, tone)
    _draw_crossings(canvas)


def _draw_dashes(canvas: Canvas, d: float, tone: np.ndarray) -> None:
    dash, start = canvas.world.street.dash, canvas.view.position[0]
    period = 2.3 * dash
    for k in range(math.floor(start / period), math.floor((start + _DASH_RANGE) / period) + 1):
        a, b = max(k * period, start + _NEAREST), k * period + dash
        if b > a:
            canvas.ribbon(np.linspace(a, b, 3), d + _LINE, d - _LINE, tone, MARKING)


def _draw_crossings(canvas: Canvas) -> None:
    """Paint zebra crossings, 3 m along the street with bars half a metre wide."""
    street, start = canvas.world.street, canvas.view.position[0]
    for block in blocks(start - 5, start + _CROSSING_RANGE):
        rng = canvas.world.random_block(Stream.CROSSINGS, block)
        a = block * BLOCK + rng.uniform(2, 18)
        if rng.random() > 0.2 or a + 3.0 < start + _NEAREST:
            continue
        s = np.linspace(max(a, start + _NEAREST), a + 3.0, 3)
        for d in np.arange(0.9 - street.edge, street.edge - 0.9, 1.0):
            canvas.ribbon(s, d + 0.5, d, _WHITE, MARKING)


def _ground_light(canvas: Canvas) -> np.ndarray:
    """Return the gain of each ground pixel, float32 [R, W]: shadows times surface texture."""
    view, rows = canvas.view, canvas.view.ground_rows
    covered = view.position[2] / view.ground_slope**2 / view.focal[1]

    def texture(exponent: float, key: int, scale: float, size: float) -> np.ndarray:
        noise = plane_noise(view, 0.0, scale, rows, exponent, key).astype(np.float32) - NOISE_MEAN
        return noise * np.clip(size / covered, 0, 1)[:, None].astype(np.float32)

    amount = np.full(256, 10, np.uint8)
    amount[VEGETATION] = 34
    depth = cv2.LUT(canvas.labels[rows], amount).astype(np.float32) / (NOISE_STD * NOISE_MEAN)
    shade = cv2.blur(canvas.shade[rows], (5, 5)).astype(np.float32) / 255
    return (1 + (texture(*_FINE) + texture(*_BROAD)) * depth) * shade


def _haze(canvas: Canvas, lit: np.ndarray) -> None:
    """Lay the air over the lit ground, uint8 [R, W, 3], as far down as it shows."""
    veil = 1 - np.exp(-canvas.view.position[2] / canvas.view.ground_slope / AIR)
    hazy = slice(0, int(np.searchsorted(-veil, -0.03)))
    share = veil[hazy, None, None]
    lit[hazy] = lit[hazy] * (1 - share) + canvas.air * share
