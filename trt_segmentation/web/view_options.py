# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What ``trt-segmentation view`` can be told."""

import argparse
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, fields

from trt_segmentation.errors import SegmentationError

MAX_FPS = 60
MIN_WIDTH = 64


class ViewError(SegmentationError):
    """A page that cannot be served."""


@dataclass(frozen=True)
class ViewOptions:
    """What is shown, and where.

    Attributes:
        node: full name of the node that is looked at.
        host: name or address to listen on.
        port: 0 takes one that is free.
        fps: pictures a second at most.
        width: pixels that a picture is scaled down to where it is wider.
        task: of the network, whose mask is shown; '' where it has one.
    """

    node: str = '/segmentation'
    host: str = '127.0.0.1'
    port: int = 8080
    fps: float = 10.0
    width: int = 960
    task: str = ''

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can look."""
        address = _address(self.host)
        return self.host == 'localhost' or (address is not None and address.is_loopback)

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens on every address that the machine has."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    def arguments(self) -> list[str]:
        """Return them as the arguments of ``add_arguments``."""
        return [f'--{field.name}={getattr(self, field.name)}' for field in fields(self)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation view``."""
    default = ViewOptions()
    parser.add_argument('--node', default=default.node, metavar='NAME', type=_full_name,
                        help=f'with its namespace (default {default.node})')
    parser.add_argument('--task', default=default.task, metavar='NAME',
                        help='which mask is shown of a network that gives several: lanes for '
                             '~/lanes/mask')
    parser.add_argument('--host', default=default.host,
                        help=f'where to listen (default {default.host}: for this machine only)')
    parser.add_argument('--port', default=default.port, metavar='N', type=_number(int, 0, 65535),
                        help=f'0 takes a free one (default {default.port})')
    parser.add_argument('--fps', default=default.fps, metavar='HZ',
                        type=_number(float, 0.1, MAX_FPS),
                        help=f'pictures a second at most (default {default.fps:g})')
    parser.add_argument('--width', default=default.width, metavar='PIXELS',
                        type=_number(int, MIN_WIDTH, 16384),
                        help=f'wider pictures are scaled down to it (default {default.width})')


def parsed(args: argparse.Namespace) -> ViewOptions:
    """Return what ``add_arguments`` has parsed."""
    return ViewOptions(args.node, args.host, args.port, args.fps, args.width,
                       args.task)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _full_name(text: str) -> str:
    return '/' + text.strip('/')


def _number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """Return what argparse reads a number within bounds with."""
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = high + 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from {low:g} to {high:g}")
        return value

    return read
