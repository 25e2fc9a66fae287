# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""SVG pictures for the documentation, readable on light and dark pages.

A picture has a card as its background, so it does not depend on the page's colours. The card is
dark where the reader prefers dark pages.
"""

from collections.abc import Iterable
from html import escape

_STYLE = """
.card{fill:#ffffff;stroke:#d0d7de} .panel{fill:#f6f8fa;stroke:#d0d7de}
.text{fill:#1f2328} .faint{fill:#59636e} .grid{stroke:#d8dee4} .gap{stroke:#ffffff}
@media (prefers-color-scheme: dark){
.card{fill:#0d1117;stroke:#3d444d} .panel{fill:#161b22;stroke:#3d444d}
.text{fill:#e6edf3} .faint{fill:#9198a1} .grid{stroke:#2a313c} .gap{stroke:#0d1117}}
"""
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """Return a picture on a card.

    Args:
        width, height: pixels.
        title: read aloud for people who do not see it.
        parts: elements.
    """
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}">',
        f'<title>{escape(title)}</title>', f'<style>{_STYLE}</style>',
        rect(0.5, 0.5, width - 1, height - 1, kind='card', radius=8), *parts, '</svg>', ''])


def rect(x: float, y: float, width: float, height: float, *, kind: str = '', color: str = '',
         radius: float = 0, opacity: float = 1) -> str:
    """Return a rectangle of a kind of ``_STYLE`` or of a colour."""
    return (f'<rect x="{x:.5g}" y="{y:.5g}" width="{width:.5g}" height="{height:.5g}" '
            f'rx="{radius}" {_paint(kind, color)}{_opacity(opacity)}/>')


def text(x: float, y: float, content: str, *, size: int = 13, kind: str = 'text', color: str = '',
         anchor: str = 'start', weight: int = 400) -> str:
    """Return one line of text; ``y`` is its base line."""
    return (f'<text x="{x:.5g}" y="{y:.5g}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" {_paint(kind, color)}>{escape(content)}</text>')


def line(x1: float, y1: float, x2: float, y2: float, *, kind: str = 'grid', color: str = '',
         width: float = 1, dashes: str = '') -> str:
    """Return a straight line."""
    paint = f'stroke="{color}"' if color else f'class="{kind}"'
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ''
    return (f'<line x1="{x1:.5g}" y1="{y1:.5g}" x2="{x2:.5g}" y2="{y2:.5g}" {paint} '
            f'stroke-width="{width}" stroke-linecap="round"{pattern}/>')


def dot(x: float, y: float, radius: float, color: str, *, hollow: bool = False) -> str:
    """Return a filled circle, or a ring on the colour of the card."""
    paint = f'class="card" style="stroke:{color}" stroke-width="2"' if hollow \
        else f'fill="{color}"'
    return f'<circle cx="{x:.5g}" cy="{y:.5g}" r="{radius}" {paint}/>'


def _paint(kind: str, color: str) -> str:
    return f'fill="{color}"' if color else f'class="{kind}"'


def _opacity(opacity: float) -> str:
    return '' if opacity == 1 else f' opacity="{opacity}"'
