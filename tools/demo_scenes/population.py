# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What stands where along the street: a block's furniture, and the traffic of the moment."""

import math
from collections.abc import Iterator

import numpy as np

from demo_scenes.building import Building
from demo_scenes.person import Person
from demo_scenes.plant import Plant
from demo_scenes.textures import BUSH_KINDS, CROWN_KINDS
from demo_scenes.thing import Thing
from demo_scenes.vehicle import Vehicle
from demo_scenes.vehicle_models import MODELS
from demo_scenes.world import BLOCK, Stream, Street, World, blocks

_RANGE_BEHIND, _RANGE = 16.0, 190.0
"""Metres behind and ahead of the camera between which blocks are furnished."""

_VEHICLE_RANGE, _PERSON_RANGE = 70.0, 54.0
"""Metres ahead up to which a block's start may be for it to have vehicles and people."""

_ONCOMING_PACE = 0.6
"""Metres that oncoming traffic drives for each metre of the camera."""

_WALLS = np.array([
    (150, 178, 206), (120, 140, 176), (92, 104, 152), (196, 206, 214), (168, 172, 176),
    (140, 158, 168), (176, 190, 190), (104, 130, 188), (210, 204, 196)], float)
_ROOFS = np.array([(62, 72, 132), (74, 70, 68), (56, 60, 84), (96, 92, 90)], float)
_LEAVES = np.array([44.0, 112.0, 78.0])
_PAINTS = np.array([
    (232, 232, 230), (178, 176, 172), (62, 58, 56), (44, 38, 164), (140, 74, 34), (98, 104, 108),
    (60, 92, 50), (52, 150, 214), (158, 122, 70), (70, 70, 120), (206, 214, 218)], float)
_SKINS = np.array([(150, 180, 222), (120, 155, 205), (84, 116, 168), (58, 80, 118)], float)
_CLOTHES = np.array([
    (58, 52, 160), (140, 92, 40), (62, 62, 66), (70, 130, 180), (190, 190, 196), (70, 110, 60),
    (120, 60, 110), (48, 150, 220), (180, 150, 60), (90, 84, 78)], float)
_TROUSERS = np.array([(92, 62, 40), (52, 48, 46), (96, 118, 134), (70, 72, 76)], float)
_HAIR = np.array([30.0, 38.0, 50.0])


def things_ahead(world: World, distance: float) -> list[Thing]:
    """Return what stands ahead of a camera that has driven some metres, from far to near."""
    found: list[Thing] = [*_traffic_ahead(world, distance)]
    for block in blocks(distance - _RANGE_BEHIND, distance + _RANGE):
        start = block * BLOCK
        rng = world.random_block(Stream.FURNITURE, block)
        found += _buildings(world.street, rng, start)
        found += _plants(world.street, rng, start)
        if start < distance + _VEHICLE_RANGE:
            found += _parked(world.street, rng, start)
            found += _oncoming(world.street, rng, start, distance)
        if start < distance + _PERSON_RANGE:
            found += _persons(world.street, rng, start, distance)
    ahead = [t for t in found if distance + 1.0 < t.far < distance + t.reach]
    return sorted(ahead, key=lambda t: -t.far)


def _buildings(street: Street, rng: np.random.Generator, start: float) -> Iterator[Building]:
    for sign in (1.0, -1.0):
        length, depth = rng.uniform(11, 20), rng.uniform(9, 14)
        height = rng.choice([3.2, 6.4, 9.6, 12.8], p=[0.15, 0.4, 0.3, 0.15]) + rng.uniform(0, 0.8)
        pitch = rng.uniform(1.6, 3.0) if height < 10 and rng.random() < 0.75 else 0.0
        back = street.side(sign) + rng.uniform(5.5, 11)
        wall, roof = _pick(rng, _WALLS), _pick(rng, _ROOFS)
        trim = np.clip(wall * rng.choice([0.6, 1.25]) + rng.uniform(-8, 8, 3), 0, 245)
        key = int(rng.integers(1 << 31))
        s = start + length / 2 + rng.uniform(0, BLOCK - length)
        if rng.random() < 0.82:
            yield Building(
                s, sign * (back + depth / 2), length, depth, height, pitch,
                wall=wall * rng.uniform(0.85, 1.08), roof=roof, trim=trim,
                brick=bool(wall[2] > 1.35 * wall[0]), key=key)


def _plants(street: Street, rng: np.random.Generator, start: float) -> Iterator[Plant]:
    for sign in (1.0, -1.0):
        side = street.side(sign)
        for _ in range(int(rng.integers(1, 3))):
            tall = rng.uniform(4.5, 8.5)
            tint = _LEAVES * rng.uniform(0.75, 1.15) + rng.uniform(-12, 22, 3) * [0.5, 0.8, 1.0]
            yield Plant(
                start + rng.uniform(0, BLOCK), sign * (side + rng.uniform(3.2, 6.5)),
                width=tall * rng.uniform(0.55, 0.8), height=tall,
                trunk=tall * rng.uniform(0.24, 0.36),
                kind=CROWN_KINDS[rng.integers(len(CROWN_KINDS))], tint=tint)
        if rng.random() < 0.5:
            yield from _hedge(rng, start, sign * (side + rng.uniform(2.6, 5.0)))


def _hedge(rng: np.random.Generator, start: float, d: float) -> Iterator[Plant]:
    height = rng.uniform(0.9, 1.7)
    tint = _LEAVES * rng.uniform(0.7, 1.0)
    s, stop = start + rng.uniform(0, 8), start + rng.uniform(10, BLOCK)
    while s < stop:
        size = rng.uniform(0.85, 1.15)
        yield Plant(s, d + rng.uniform(-0.2, 0.2), width=2.4 * size, height=height * size,
                    trunk=0.0, kind=BUSH_KINDS[rng.integers(len(BUSH_KINDS))],
                    tint=tint * rng.uniform(0.9, 1.1))
        s += 1.5


def _persons(street: Street, rng: np.random.Generator, start: float,
             distance: float) -> Iterator[Person]:
    """Groups of one to three; the wider the shoulder, the closer group follows on group."""
    for sign, gap in ((-1.0, 7.0), (1.0, 9.5)):
        gap -= 1.2 * (street.side(sign) - street.edge)
        s = start + rng.uniform(0, 2)
        while s < start + BLOCK:
            for k in range(int(rng.choice([1, 2, 3], p=[0.55, 0.35, 0.10]))):
                near = s + rng.uniform(-0.4, 0.4)
                yield _person(rng, near, sign, (street.side(sign), 0.75 * k), distance)
            s += rng.uniform(0.75, 1.25) * gap


def _person(rng: np.random.Generator, s: float, sign: float, off: tuple[float, float],
            distance: float) -> Person:
    """Return someone beside the street.

    Args:
        rng: decides on looks, pace and where exactly.
        s: position along the street before anyone moved.
        sign: +1 for the left side, -1 for the right.
        off: metres from the centre line to the grass, and from there on as a group's member.
        distance: metres that the camera has driven.
    """
    colours = [_pick(rng, table) for table in (_SKINS, _CLOTHES, _TROUSERS)]
    colours.append(_HAIR * rng.uniform(0.5, 2.6))
    tones = np.array(colours) * rng.uniform(0.9, 1.1)
    pace = rng.choice([-0.1, 0.0, 0.1])
    phase = rng.uniform(0, 2 * math.pi)
    stride = math.sin(phase + 5.0 * pace * distance) if pace else 0.25
    return Person(
        s + pace * (distance - s), sign * (off[0] + rng.uniform(0.2, 1.5) + off[1]),
        height=rng.uniform(1.55, 1.92), stride=stride, aside=rng.uniform(0.0, 1.0),
        coat=bool(rng.random() < 0.35), tones=tones)


def _parked(street: Street, rng: np.random.Generator, start: float) -> Iterator[Vehicle]:
    for sign in (1.0, -1.0):
        for slot in range(3):
            s = start + 8.0 * slot + rng.uniform(3.2, 4.8)
            model = int(rng.choice(len(MODELS), p=[0.32, 0.28, 0.24, 0.12, 0.04]))
            paint = _paint(rng)
            if rng.random() < 0.34 and street.side(sign) - street.edge > 2:
                yield Vehicle(s, sign * (street.edge + 1.35), model, paint, oncoming=sign > 0)


def _oncoming(street: Street, rng: np.random.Generator, start: float,
              distance: float) -> Iterator[Vehicle]:
    for lane in range(street.lanes):
        s, model = start + rng.uniform(4, 20), int(rng.integers(len(MODELS)))
        paint = _paint(rng)
        if rng.random() < 0.5:
            d = (lane + 0.5) * street.lane_width + rng.uniform(-0.2, 0.2)
            yield Vehicle(s - _ONCOMING_PACE * (distance - s), d, model, paint, oncoming=True)


def _traffic_ahead(world: World, distance: float) -> Iterator[Vehicle]:
    """Traffic that keeps pace with the camera in the lanes of its own direction."""
    rng = world.random(Stream.TRAFFIC_AHEAD)
    for lane in range(world.street.lanes):
        own = lane == world.lens.lane
        gap = rng.uniform(10, 24) if own else rng.uniform(9, 40)
        swing, rate, phase = rng.uniform(0.5, 2.0), rng.uniform(0.02, 0.05), rng.uniform(0, 6)
        model = int(rng.choice(len(MODELS), p=[0.3, 0.3, 0.25, 0.1, 0.05]))
        paint = _paint(rng)
        s = distance + gap + swing * math.sin(rate * distance + phase)
        d = -(lane + 0.5) * world.street.lane_width + rng.uniform(-0.25, 0.25)
        yield Vehicle(s, d, model, paint, oncoming=False)


def _paint(rng: np.random.Generator) -> np.ndarray:
    return _pick(rng, _PAINTS) * rng.uniform(0.85, 1.05)


def _pick(rng: np.random.Generator, table: np.ndarray) -> np.ndarray:
    return table[rng.integers(len(table))]
