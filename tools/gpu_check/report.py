# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Formatting of the results as tables in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from infer import BUFFERS
from startup import PARTS

from trt_segmentation.options import PRECISIONS

Row = Mapping[str, Any]


def markdown(results: Mapping[str, Any]) -> str:
    """Return all results so far as Markdown: the table, then the other steps."""
    parts = [_machine(results), _overview(results), _cameras(results)]
    parts += [section(found, *name.split()[1:]) for step, section in _SECTIONS.items()
              for name, found in results.items()
              if name.split()[0] == step and 'error' not in found]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _machine(results: Mapping[str, Any]) -> str:
    found = results.get('machine', {'error': 'not there'})
    if 'error' in found:
        return ''
    dates = {row['date'] for step in ('build', 'agree', 'infer')
             for row in results.get(step, {}).values() if 'date' in row} or {found['date']}
    return (f"{found['gpu']} (at most {found['max_clock']}), driver {found['driver']}, "
            f"{found['tensorrt']}, Python {found['python']}, {found['cpus']} CPUs, "
            f"{' to '.join(sorted({min(dates), max(dates)}))}.")


def _overview(results: Mapping[str, Any]) -> str:
    """One row for each network and precision, including failed ones."""
    build, agree, infer = (results.get(step, {}) for step in ('build', 'agree', 'infer'))
    if not build:
        return ''
    return _table(
        ('network', 'precision', 'agreement', 'confidence off by (of 255)',
         'layers, by the engine inspector', 'build, s', 'GPU, ms',
         *(name for buffer in BUFFERS for name in (
             f'`infer`, {buffer} buffer, p50 ms', 'p99', 'p50 over GPU and copies'))),
        ((row['network'], row['precision'],
          *(_build_failure(row)
            or (*_agreement(agree.get(name, {})), *_times(infer.get(name, {})))))
         for name, row in sorted(build.items(), key=_place)))


def _place(entry: tuple[str, Row]) -> tuple[str, int]:
    _, row = entry
    return row['network'], PRECISIONS.index(row['precision'])


_CELLS = 11
"""Number of cells in a row of the table, without network and precision."""


def _build_failure(row: Row) -> tuple[str, ...]:
    """The cells of a network that was not built; empty if it was built."""
    if 'error' not in row:
        return ()
    return '', '', 'not built: ' + _last_line(row['error']), *[''] * (_CELLS - 3)


def _agreement(row: Row) -> tuple[str, ...]:
    if 'agreement' not in row:
        return '', '', _failure('not compared', row), ''
    counted = f" (of {row['counted']:.1%})" if row['counted'] < 1 else ''
    return (f"{row['agreement']:.3%}{counted}", str(row.get('confidence_off_max', '')),
            row['layers'], f"{row['build_seconds']:.0f}" if 'build_seconds' in row else '')


def _times(row: Row) -> tuple[str, ...]:
    if 'reused' not in row:
        return _failure('not measured', row), *[''] * 6
    cells = [f"{row['reused']['run']:.2f}"]
    for buffer in BUFFERS:
        found = row[buffer]
        on_gpu = found['copy_in'] + found['run'] + found['copy_out']
        cells += [f"{found['p50']:.2f}", f"{found['p99']:.2f}", f"{found['p50'] / on_gpu:.2f}"]
    return tuple(cells)


def _failure(what: str, row: Row) -> str:
    return f"{what}: {_last_line(row['error'])}" if 'error' in row else what


def _last_line(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()] or ['']
    return lines[-1].replace('|', '/')[-200:]


def _speed(rows: Mapping[str, Row], size: str) -> str:
    lines = []
    for row in _good(rows):
        gpu, wall, split = row['gpu_ms_p50'], row['wall_ms']['segmenter'], row['split_ms']
        lines.append((row['network'], row['precision'], f"{gpu['copy_in']:.2f}",
                      f"{gpu['run']:.2f}", f"{split['head']:.2f}", f"{split['network']:.2f}",
                      f"{split['tail']:.2f}", f"{gpu['copy_out']:.2f}", f"{wall['p50']:.2f}",
                      f"{wall['p99']:.2f}", f"{row['wall_over_gpu']:.2f}"))
    return f'## Speed, {size} BGR to a mask, both in reused buffers\n\n' + _table(
        ('network', 'precision', 'copy in, ms', 'run, ms', 'of that head', 'network', 'tail',
         'mask out, ms', '`infer` p50, ms', 'p99, ms', 'p50 / sum of the three'), lines)


def _baseline(rows: Mapping[str, Row], size: str) -> str:
    return f'## Against the hand-written baseline, {size} BGR to mask and overlay\n\n' + _table(
        ('network', 'precision', '`infer` p50, ms', 'baseline p50, ms', 'times as fast'),
        ((row['network'], row['precision'], f"{row['wall_ms']['segmenter']['p50']:.2f}",
          f"{row['wall_ms']['baseline']['p50']:.1f}", f"{row['ratio_p50']:.1f}")
         for row in _good(rows)))


def _dds(rows: Mapping[str, Row], size: str, outputs: str) -> str:
    lines, stages = [], []
    for row in _good(rows):
        ros, name = row['ros'], (row['network'], row['precision'])
        for node, entries in ros['rates'].items():
            peak = {**ros['peak'][node], 'peak': True} if ros['peak'] else {}
            lines += [(*name, node, _rate(entry),
                       f"{entry['received_rate']:.1f}", f"{entry['loss']:.0%}",
                       f"{entry['latency_ms']['p50']:.1f}", f"{entry['latency_ms']['p99']:.1f}",
                       f"{entry['mask_latency_ms']['p50']:.1f}",
                       f"{entry['callback_ms']['p50']:.2f}",
                       f"{entry['callback_beyond_infer_ms']['p50']:.2f}")
                      for entry in (*entries, peak) if entry.get('latency_ms')]
        stages += [(*name, _rate(entry), *(f'{value:.2f}' for value in entry['split_ms'].values()))
                   for entry in ros['rates']['node'] if entry.get('split_ms')]
    return (f'## Camera, node and subscriber over DDS: {size} to {outputs}\n\n' + _table(
        ('network', 'precision', 'node', 'Hz in', 'Hz out', 'loss', 'latency p50, ms', 'p99, ms',
         'mask p50', 'callback p50, ms', 'of that beyond `infer`'), lines)
        + '\n\nTime of each stage of a frame in the node, mean ms:\n\n' + _table(
        ('network', 'precision', 'Hz in', 'to_node', 'take', 'dispatch', 'read', 'infer',
         'publish', 'to_subscriber'), stages))


def _cameras(results: Mapping[str, Any]) -> str:
    """One table of all arms of the step ``cameras``."""
    lines = []
    for step, rows in results.items():
        if step.split()[0] != 'cameras' or 'error' in rows:
            continue
        for row in _good(rows):
            ros, (height, width) = row['ros'], row['source_size']
            how = ('' if ros['cameras'] == 1 else
                   ', a node each' if ros['one_node_each'] else ', one batch')
            lines += [(row['network'], row['precision'], ros['encoding'], f'{width}x{height}',
                       f"{ros['cameras']}{how}", step.split()[-1],
                       f"{row['wall_ms']['segmenter']['p50']:.2f}", _rate(entry),
                       f"{entry['received_rate']:.1f}", f"{entry['loss']:.1%}",
                       *(f"{entry['latency_ms'][at]:.1f}" for at in ('p50', 'p95')),
                       *(f"{entry['cpu_ms'].get(part, 0.0):.2f}" for part in ('user', 'system')),
                       f"{entry['bytes']['image'] / 1e6:.2f}")
                      for entry in (*ros['rates']['node'],
                                    {**ros['peak'].get('node', {}), 'peak': True})
                      if entry.get('latency_ms')]
    return '' if not lines else '## What cameras cost, image to mask over DDS\n\n' + _table(
        ('network', 'precision', 'camera sends', 'size', 'cameras', 'pipeline_depth',
         '`infer` of one image p50, ms', 'Hz in', 'Hz out', 'loss', 'latency p50, ms', 'p95',
         'CPU of a frame: user, ms', 'system, ms', 'MB of an image'), lines)


def _rate(entry: Row) -> str:
    return f"{entry['rate']:.0f}" + (' (peak)' if 'peak' in entry else '')


def _sizes(rows: Sequence[Row]) -> str:
    return '## One engine, four sizes in turn\n\n' + _table(
        ('round', 'size', 'agreement', 'first image, ms', 'engines built'),
        ((str(row['round']), row['size'], f"{row['agreement']:.3%}",
          f"{row['first_image_ms']:.1f}", str(row['builds'])) for row in rows))


def _startup(rows: Mapping[str, Row]) -> str:
    return '## From the start of a process to its first mask, engine in the cache\n\n' + _table(
        ('network', 'precision', 'seconds', *(f'{part}, median' for part in PARTS)),
        ((row['network'], row['precision'],
          ', '.join(f'{seconds:.2f}' for seconds in row['seconds']),
          *(f"{row['parts'][part]:.2f}" for part in PARTS))
         for row in _good(rows) if 'parts' in row))


def _node(found: Row) -> str:
    memory = found['memory'][0], found['memory'][-1]
    return ('## The node over DDS\n\n'
            f"{found['frames']} frames of 1280x720, each published after the mask of the "
            f"previous one arrived: {found['frames_per_second']:.0f} frames a second, "
            f"{found['lost']} without "
            f"a mask, {found['agreement']:.3%} of the pixels as on ONNX Runtime; first mask "
            f"{found['first_mask_s']:.2f} s after the start of the process; exit status after "
            f"SIGINT {found['exit_status']}.\n\n" + _table(
                ('after frame', 'resident memory of the node, MB', 'GPU memory used, MB'),
                ((str(each['frame']), f"{each['resident_mb']:.1f}", f"{each['device_mb']:.0f}")
                 for each in memory)))


def _devices(found: Row) -> str:
    rows = [('alone', found['alone']), *(('together', each) for each in found['together'])]
    return '## A node on each GPU, one engine file\n\n' + _table(
        ('nodes', 'GPU', 'frames', 'without a mask', 'frames a second', 'agreement',
         'GPU memory used, MB', 'exit status'),
        ((which, str(row['device']), str(row['frames']), str(row['lost']),
          f"{row['frames_per_second']:.0f}", f"{row['agreement']:.3%}",
          f"{row['memory'][-1]['device_mb']:.0f}", str(row['exit_status']))
         for which, row in rows))


def _streams(rows: Sequence[Row]) -> str:
    return '## Camera encodings, a node each at the same time\n\n' + _table(
        ('camera sends', 'frames', 'without a mask', 'frames a second',
         'same pixels as of bgr8 on ONNX Runtime', 'after frame',
         'resident memory of the node, MB', 'GPU memory used by all, MB'),
        ((row['encoding'], str(row['frames']), str(row['lost']),
          f"{row['frames_per_second']:.0f}", f"{row['agreement']:.3%}", str(each['frame']),
          f"{each['resident_mb']:.1f}", f"{each['device_mb']:.0f}")
         for row in rows for each in (row['memory'][0], row['memory'][-1])))


def _bag(found: Row) -> str:
    outcome = 'the same file, byte for byte' if found['same'] else 'DIFFERENT files'
    return (f"## A rosbag of {found['frames']} frames of {found['size']}\n\n"
            f'All runs gave {outcome}.\n\n' + _table(
                ('run', 'on GPUs', 'seconds', 'SHA-256'),
                ((way, str(row['gpus']), f"{row['seconds']:.1f}", row['sha256'][:16])
                 for way, row in found['ways'].items())))


def _lifecycle(found: Row) -> str:
    return ('## GPU memory through the lifecycle\n\n'
            f"{found['before']:.0f} MB are used before the node. In each cycle it segments an "
            f"image of {found['size']}. What the first cycle keeps is the CUDA context, which "
            'belongs to the process.\n\n' + _table(
                ('cycle', 'active, MB', 'after cleanup, MB'),
                ((str(number), f"{each['active']:.0f}", f"{each['clean']:.0f}")
                 for number, each in enumerate(found['cycles'], 1))))


def _batch(rows: Mapping[str, Row]) -> str:
    lines = [(row['network'], row['precision'], f"{row['images']} of {row['size']}",
              way.replace('_', ' '), f"{row['network_ms'][way]:.3f}",
              *(f"{row['gpu_ms'][way][part]:.3f}" for part in ('copy_in', 'run', 'copy_out')),
              f"{row['wall_ms'][way]:.3f}", f"{row['agreement']:.3%}")
             for row in _good(rows) for way in ('one_by_one', 'batch')]
    return '## Several images in one enqueue\n\n' + _table(
        ('network', 'precision', 'images', 'how', 'network only on the GPU, ms', 'copies in, ms',
         'run, ms', 'masks out, ms', '`Segmenter`, ms', 'same pixels'), lines)


def _external(rows: Mapping[str, Row]) -> str:
    return '## External engines: plans built without head and tail, chained\n\n' + _table(
        ('network', 'precision', 'agreement', 'confidence off by (of 255)'),
        ((row['network'], row['precision'], f"{row['agreement']:.3%}",
          str(row.get('confidence_off_max', ''))) for row in _good(rows)))


def _encodings(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if 'error' in row:
            lines.append((row['encoding'], _last_line(row['error']), *[''] * 9))
            continue
        found, gpu, bgr8 = row['differences'], row['gpu_ms'], row['bgr8_gpu_ms']
        lines.append((row['encoding'], row['size'], f"{row['seconds']:.1f}",
                      *(', '.join(map(str, found[kind])) for kind in ('random', 'photo')),
                      f"{row['scratch_mb']:.0f}", f"{row['converter_ms']:.3f}",
                      f"{gpu['copy_in']:.3f} + {gpu['run']:.3f}",
                      f"{bgr8['copy_in']:.3f} + {bgr8['run']:.3f}",
                      f"{row['mask_agreement']:.3%}", f"{row['overlay_agreement']:.3%}"))
    return '## Camera encodings that are converted on the GPU\n\n' + _table(
        ('encoding', 'size', 'built or loaded in, s', 'largest difference to OpenCV (B, G, R), '
         'random', 'photo', 'scratch, MB', 'converter, ms', 'copy in + run, ms', 'of bgr8, ms',
         'same mask as bgr8', 'same overlay'), lines)


def _smoothing(rows: Mapping[str, Row]) -> str:
    def agreement(row: Row) -> tuple[str, ...]:
        keys = 'agreement', 'agreement_unsmoothed'
        return tuple(f'{row[key]:.3%}' if key in row else '' for key in keys)

    lines = []
    for row in _good(rows):
        plain = {part: row[part]['plain'] for part in ('tail_ms', 'run_ms')}
        lines += [(row['network'], row['precision'], row['size'], variant,
                   *(f'{row[part][variant]:.3f} ({row[part][variant] - plain[part]:+.3f})'
                     for part in plain),
                   *(agreement(row) if variant == 'smoothing' else ('', '')))
                  for variant in row['run_ms']]
    return '## Temporal smoothing and instances\n\n' + _table(
        ('network', 'precision', 'size', 'outputs', 'tail alone, ms (more than plain)',
         'whole engine, ms (more than plain)', 'smoothed masks as on ONNX Runtime',
         'as unsmoothed ones'), lines)


_SECTIONS: dict[str, Callable[..., str]] = {
    'speed': _speed, 'baseline': _baseline, 'dds': _dds, 'sizes': _sizes, 'startup': _startup,
    'node': _node, 'streams': _streams, 'lifecycle': _lifecycle, 'devices': _devices, 'bag': _bag,
    'batch': _batch, 'external': _external, 'encodings': _encodings, 'smoothing': _smoothing}
"""By step, which is the first word of a result's name; the other words are arguments."""


def _good(rows: Mapping[str, Row]) -> list[Row]:
    return [row for row in rows.values() if 'error' not in row]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
