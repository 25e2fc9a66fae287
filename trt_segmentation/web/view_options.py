# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Options of ``trt-segmentation view``."""

import argparse
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, fields

from trt_segmentation.errors import SegmentationError

MAX_FPS = 60
MIN_WIDTH = 64
TRANSPORTS = ('raw', 'compressed')


class ViewError(SegmentationError):
    """The page cannot be served."""


@dataclass(frozen=True)
class ViewOptions:
    """The node to show, and the address of the page.

    Attributes:
        node: full name of the node.
        host: name or address to listen on.
        port: port to listen on; 0: a free one.
        fps: maximum pictures per second.
        width: maximum width of a picture, pixels; wider ones are scaled down.
        task: name of the task to show; '' if the network has only one.
        transport: of the overlay, one of ``TRANSPORTS``.
    """

    node: str = '/segmentation'
    host: str = '127.0.0.1'
    port: int = 8080
    fps: float = 10.0
    width: int = 960
    task: str = ''
    transport: str = 'raw'

    @property
    def is_local(self) -> bool:
        """Whether only this machine can open the page."""
        address = _address(self.host)
        return self.host == 'localhost' or (address is not None and address.is_loopback)

    @property
    def is_everywhere(self) -> bool:
        """Whether the server listens on all addresses of the machine."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    def arguments(self) -> list[str]:
        """Return the options as arguments of ``add_arguments``."""
        return [f'--{field.name}={getattr(self, field.name)}' for field in fields(self)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation view``."""
    default = ViewOptions()
    parser.add_argument('--node', default=default.node, metavar='NAME', type=_full_name,
                        help='full name of the node, with its namespace '
                             f'(default {default.node})')
    parser.add_argument('--task', default=default.task, metavar='NAME',
                        help='task to show, for a network with several: lanes for ~/lanes/mask')
    parser.add_argument('--host', default=default.host,
                        help='name or address to listen on '
                             f'(default {default.host}: this machine only)')
    parser.add_argument('--port', default=default.port, metavar='N', type=_number(int, 0, 65535),
                        help=f'port to listen on; 0: a free one (default {default.port})')
    parser.add_argument('--fps', default=default.fps, metavar='HZ',
                        type=_number(float, 0.1, MAX_FPS),
                        help=f'maximum pictures per second (default {default.fps:g})')
    parser.add_argument('--width', default=default.width, metavar='PIXELS',
                        type=_number(int, MIN_WIDTH, 16384),
                        help='maximum width; wider pictures are scaled down '
                             f'(default {default.width})')
    parser.add_argument('--transport', choices=TRANSPORTS, default=default.transport,
                        help='of the overlay: raw, or compressed (JPEG), which is a small part of '
                             'the bytes for a viewer on another machine (default raw)')


def parsed(args: argparse.Namespace) -> ViewOptions:
    """Return the options that ``add_arguments`` has parsed."""
    return ViewOptions(args.node, args.host, args.port, args.fps, args.width,
                       args.task, args.transport)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _full_name(text: str) -> str:
    return '/' + text.strip('/')


def _number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for a number within bounds."""
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = high + 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
        return value

    return read
