# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The results as the table of docs/models.md."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

BEGIN, END = '<!-- made by tools/model_zoo: begin -->', '<!-- made by tools/model_zoo: end -->'
"""What the table stands between, so that another run replaces it."""

_HEADINGS = ('family', 'network', 'input', 'exporter', 'config', 'growth', 'agreement',
             'with nearest', 'counted', 'classes seen', 'TensorRT for RTX')


def table(rows: Sequence[Row], machine: str) -> str:
    """Return the table in Markdown.

    Args:
        rows: one a network; see ``__main__``.
        machine: versions and date.
    """
    lines = [_HEADINGS, ('---',) * len(_HEADINGS), *map(_cells, rows)]
    body = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    return f'{BEGIN}\n\n{machine}\n\n{body}\n\n{END}\n'


def with_table(page: str, new: str) -> str:
    """Return a page with its table replaced; without one, with the table at its end."""
    if BEGIN not in page:
        return f'{page}\n{new}'
    before, _, rest = page.partition(BEGIN)
    return before + new.rstrip('\n') + rest.partition(END)[2]


def _cells(row: Row) -> tuple[str, ...]:
    height, width = row['size']
    start = (row['family'], row['network'], f'{height}x{width}', row['export'],
             f'`{row["config"]}`' if row['config'] else 'none')
    if 'error' in row:
        return *start, '', _one_line(row['error']), *[''] * 4
    return (*start, row['growth'], f'{row["agreement"]:.3%}', f'{row["nearest"]:.3%}',
            f'{row["counted"]:.1%}', str(row['classes']), _one_line(row['tensorrt']))


def _one_line(text: str) -> str:
    return ' '.join(text.split()).replace('|', '/')[:160]
