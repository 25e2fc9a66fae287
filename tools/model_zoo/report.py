# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Markdown table of the results for docs/reference/networks.md."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

BEGIN, END = '<!-- made by tools/model_zoo: begin -->', '<!-- made by tools/model_zoo: end -->'
"""Markers around the table, by which the next run finds and replaces it."""

_HEADINGS = ('family', 'network', 'input', 'exporter', 'config', 'growth', 'agreement',
             'with nearest', 'counted', 'classes seen', 'TensorRT for RTX')
_GPU_HEADINGS = ('agreement on the GPU', 'run there, ms')


def table(rows: Sequence[Row], gpu: Row) -> str:
    """Return the table in Markdown.

    Args:
        rows: one per network; see ``__main__``.
        gpu: results of ``tools/gpu_check`` on the same networks, for two more columns; may be
            empty.
    """
    headings = _HEADINGS + (_GPU_HEADINGS if gpu else ())
    cells = (_cells(row) + (_gpu_cells(row, gpu) if gpu else ()) for row in rows)
    body = '\n'.join(f'| {" | ".join(line)} |' for line in (
        headings, ('---',) * len(headings), *cells))
    made = list(dict.fromkeys(row['made'] for row in rows))
    if gpu:
        there = gpu['machine']
        made.append(f'GPU: {there["gpu"]}, {there["tensorrt"]}, fp32, {there["date"]}.')
    return '\n\n'.join((BEGIN, *made, body, END)) + '\n'


def with_table(page: str, new: str) -> str:
    """Return a page with its table replaced, or with the table appended if it has none."""
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


def _gpu_cells(row: Row, gpu: Row) -> tuple[str, str]:
    key = f'{row["stem"]} fp32'
    found = gpu.get('agree', {}).get(key) or gpu.get('build', {}).get(key)
    if found is None:
        return 'not measured', ''
    if 'error' in found:
        return _one_line(found['error']), ''
    return f'{found["agreement"]:.3%}', f'{found["run_ms"]:.2f}'


def _one_line(text: str) -> str:
    return ' '.join(text.split()).replace('|', '/')[:160]
