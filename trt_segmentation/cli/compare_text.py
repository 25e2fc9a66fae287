# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Text of the report of ``trt-segmentation compare``."""

from collections.abc import Mapping, Sequence
from typing import Any


def comparison_text(report: Mapping[str, Any]) -> str:
    """Return the report of ``compare`` as a table with notes."""
    entries = report['precisions']
    first, *others = entries
    height, width = report['timed_size']
    lines = [f"{report['model']}: {entries[first]['backend']}",
             f"{report['images']} images of {report['images_from']}"
             + (f", {len(report['skipped'])} more could not be read" if report['skipped'] else '')
             + f"; times of {report['frames']} frames of {width}x{height} in turn, p50", '',
             *_table(entries, first)]
    if others and entries[first]['backend'].startswith('onnxruntime'):
        lines += ['', 'On ONNX Runtime, the table shows the effect of the converted graphs on the '
                      'masks. Their speed', 'does not predict that of TensorRT.']
    elif advice := _int8_advice(entries):
        lines += ['', advice]
    lines += [f'\n{precision} cannot be built: {reason}'
              for precision, reason in report['failed'].items()]
    return '\n'.join(lines)


def _int8_advice(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Advice if int8 is not faster than fp16; '' if it is faster or was not measured."""
    times = [entries.get(precision, {}).get('gpu_ms_p50', {}).get('run')
             for precision in ('int8', 'fp16')]
    if None in times or times[0] < times[1]:
        return ''
    return ('int8 is not faster than fp16 on this GPU ({:.3f} and {:.3f} ms): use fp16. The node '
            'and build do so\nautomatically, unless fp16_fallback is false.'.format(*times))


_COLUMNS = {
    'mIoU': lambda entry: f"{entry['miou']:.2%}",
    'accuracy': lambda entry: f"{entry['pixel_accuracy']:.2%}",
    'agreement': lambda entry: f"{entry['agreement']:.3%}",
    'wall ms': lambda entry: f"{entry['wall_ms']['p50']:.2f}",
    'GPU ms': lambda entry: f"{entry['gpu_ms_p50']['run']:.3f}",
    'speed': lambda entry: f"{entry['times_as_fast']:.2f}x",
    'MB': lambda entry: f"{entry['megabytes']:.2f}",
}


def _table(entries: Mapping[str, Mapping[str, Any]], first: str) -> list[str]:
    """A line for each precision; columns without values are left out."""
    needs = {'mIoU': 'miou', 'accuracy': 'pixel_accuracy', 'GPU ms': 'gpu_ms_p50'}
    columns = [name for name in _COLUMNS if needs.get(name, 'agreement') in entries[first]]
    lines = [f'{"":9}' + ''.join(f'{name:>11}' for name in columns) + '  what runs']
    return lines + [f'{precision:9}' + ''.join(f'{_COLUMNS[name](entry):>11}' for name in columns)
                    + f"  {entry['runs']}" for precision, entry in entries.items()]


def layer_text(precision: str, report: Mapping[str, Any], layers: Sequence[Mapping[str, Any]],
               image_count: int) -> str:
    """Return the reason for listing layers, and the layers.

    Args:
        precision: the one that agrees too little with the first.
        report: the report of ``compare``.
        layers: errors of the layers, worst first.
        image_count: number of images on which they were compared.
    """
    entry = report['precisions'][precision]
    first = next(iter(report['precisions']))
    lines = [f"\n{precision} agrees with {first} on {entry['agreement']:.3%} of the pixels, less "
             f"than {entry['at_least']:.3%}. The layers",
             f'with the largest error, as signal-to-noise ratio in dB on the {image_count} images '
             'that differ most, on ONNX Runtime:',
             'own: error of this layer alone, on fp32 inputs; all: with the errors of earlier '
             'layers.',
             'At 20 dB the noise is a tenth of the signal; - is an overflow.',
             f"{'own':>9}{'all':>9}  layer"]
    lines += [f"{_decibels(loss['own_db'])}{_decibels(loss['total_db'])}  "
              f"{loss['op_type']} {loss['node']}" for loss in layers]
    return '\n'.join(lines)


def _decibels(value: float | None) -> str:
    return f'{"-":>9}' if value is None else f'{value:9.1f}'
