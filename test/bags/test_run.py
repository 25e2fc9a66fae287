# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation run BAG --output OUT.mcap``: its results, which are always the same."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import psutil
import pytest

from trt_segmentation.backends.tensorrt import build_process
from trt_segmentation.bags.salvage import salvage
from trt_segmentation.bags.writing import OutputBag
from trt_segmentation.benchmark.camera_frames import camera_bytes
from trt_segmentation.cli.main import main
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_BYTES
from trt_segmentation.images.decoding import rows_to_bgr
from trt_segmentation.images.rosbag import ImageTopic
from trt_segmentation.images.sources import open_images
from trt_segmentation.offline.overlap import LaneCount
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

TOPICS = {'/segmentation/label_info', '/segmentation/mask', '/segmentation/overlay'}
COMMAND = [sys.executable, '-m', 'trt_segmentation.cli.main']


def run(bag, output, *options):
    return main(['run', str(bag), '--output', str(output), '--threads', '1', *options])


def read(path):
    """Return what is in a bag: (topic, received, message) each, by rosbags."""
    from rosbags.highlevel import AnyReader
    with AnyReader([path]) as reader:
        return [(connection.topic, received, reader.deserialize(data, connection.msgtype))
                for connection, received, data in reader.messages()]


def read_serialized(path):
    with ImageTopic(path) as topic:
        return [(message.received, message.data) for message in topic.messages()]


def stamp(message):
    return message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id


@pytest.mark.parametrize('name', ['out.mcap', 'out.db3'])
def test_every_frame_gets_mask_and_overlay_with_its_stamps(short_drive, tmp_path, name):
    out = tmp_path / name
    assert run(short_drive, out) == 0
    frames = read(short_drive)
    written = {topic: [entry for entry in read(out) if entry[0] == topic] for topic in TOPICS}
    for topic in ('/segmentation/mask', '/segmentation/overlay'):
        assert [(received, stamp(message)) for _, received, message in written[topic]] == \
            [(received, stamp(message)) for _, received, message in frames]
    segmenter = Segmenter.open()
    for index in (0, 31, 59):
        image = frames[index][2].data.reshape(90, 160, 3)
        expected = segmenter.infer(image, outputs=('mask', 'overlay'))
        mask, overlay = (written[topic][index][2] for topic in sorted(written)[1:])
        assert (mask.encoding, mask.step, overlay.encoding, overlay.step) == \
            ('mono8', 160, 'bgr8', 480)
        np.testing.assert_array_equal(mask.data.reshape(90, 160), expected.mask)
        np.testing.assert_array_equal(overlay.data.reshape(90, 160, 3), expected.overlay)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize('name', ['out.mcap', 'out.db3'])
def test_label_info_comes_first_and_is_latched(short_drive, tmp_path, name):
    from rosbags.interfaces import QosDurability
    from rosbags.rosbag2 import Reader
    assert run(short_drive, tmp_path / name, '--outputs', 'mask') == 0
    (topic, received, labels), (_, first_received, first) = read(tmp_path / name)[:2]
    assert topic == '/segmentation/label_info'
    assert (received, stamp(labels)) == (first_received, stamp(first))
    assert tuple(entry.class_name for entry in labels.class_map) == Segmenter.open().spec.labels
    with Reader(tmp_path / name) as reader:
        offered = {c.topic: c.ext.offered_qos_profiles[0].durability for c in reader.connections}
    assert offered == {'/segmentation/label_info': QosDurability.TRANSIENT_LOCAL,
                       '/segmentation/mask': QosDurability.VOLATILE}


@pytest.fixture
def two_heads(networks, tmp_path):
    """The path of a network with the outputs drivable and lanes, named in its metadata."""
    text = networks.config_of(
        input={'color': 'bgr', 'scale': 1.0},
        outputs=[{'name': 'drivable', 'labels': ['other', 'road'], 'threshold': 0.25},
                 {'name': 'lanes', 'labels': ['none', 'left', 'right']}]).to_text()
    heads = {'drivable': np.eye(3)[:2], 'lanes': np.eye(3)}
    onnx.save(networks.heads(heads, (24, 32), metadata=text), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


def test_each_task_has_topics_of_its_own(short_drive, two_heads, tmp_path):
    out = tmp_path / 'out.mcap'
    assert run(short_drive, out, '--model', str(two_heads), '--outputs', 'mask',
               'lanes/overlay') == 0
    written, segmenter = read(out), Segmenter.open(two_heads)
    labels = {topic: message for topic, _, message in written[:2]}
    assert [entry.class_name for entry in labels['/segmentation/lanes/label_info'].class_map] == [
        'none', 'left', 'right']
    assert labels['/segmentation/drivable/label_info'].threshold == 0.25
    assert len(written) == 2 + 3 * 60
    expected = segmenter.infer(read(short_drive)[0][2].data.reshape(90, 160, 3),
                               outputs=('mask', 'lanes/overlay')).arrays
    for topic, _, message in written[2:5]:
        name = topic.removeprefix('/segmentation/')
        np.testing.assert_array_equal(message.data.reshape(expected[name].shape), expected[name])
        del expected[name]
    assert not expected


def fill_disk_after(images, patch):
    """Let the disk be full after some calls that write images."""
    right, count = OutputBag.write_images, iter(range(images))

    def write_some(*arguments):
        if next(count, None) is None:
            raise OSError(28, 'No space left on device')
        right(*arguments)

    patch.setattr(OutputBag, 'write_images', write_some)


def test_of_several_tasks_resumed_it_writes_the_same_bytes(short_drive, two_heads, tmp_path,
                                                           monkeypatch):
    options = ['--model', str(two_heads), '--backend', 'onnxruntime']
    (tmp_path / 'whole').mkdir()
    assert run(short_drive, tmp_path / 'whole' / 'out.mcap', *options) == 0
    with monkeypatch.context() as patch:
        fill_disk_after(40, patch)
        assert run(short_drive, tmp_path / 'out.mcap', *options) == 1
    assert run(short_drive, tmp_path / 'out.mcap', *options, '--workers', '2') == 0
    assert (tmp_path / 'out.mcap').read_bytes() == \
        (tmp_path / 'whole' / 'out.mcap').read_bytes()


def test_smoothed_masks_are_those_of_the_frames_in_order_also_when_resumed(
        write_drive, networks, tmp_path, monkeypatch):
    text = 'input: {color: bgr, scale: 0.02}\noutput: {kind: logits}'
    onnx.save(networks.pointwise(np.eye(3), (24, 32), metadata=text), tmp_path / 'net.onnx')
    drive = write_drive(tmp_path / 'drive', frames=30)
    options = ['--temporal-smoothing', '0.8', '--outputs', 'mask', '--backend', 'onnxruntime',
               '--model', str(tmp_path / 'net.onnx')]
    with monkeypatch.context() as patch:
        fill_disk_after(20, patch)
        assert run(drive, tmp_path / 'out.mcap', *options) == 1
    assert run(drive, tmp_path / 'out.mcap', *options) == 0
    frames = [message for _, _, message in read(drive)]
    masks = [message for _, _, message in read(tmp_path / 'out.mcap')[1:]]
    differ, earlier = 0, 0
    segmenter, alone = (Segmenter.open(tmp_path / 'net.onnx', options=RunOptions(
        'onnxruntime', smoothing=smoothing)) for smoothing in (True, False))
    segmenter.smoothing = 0.8
    for frame, mask in zip(frames, masks, strict=True):
        image, found = frame.data.reshape(90, 160, 3), mask.data.reshape(90, 160)
        if frame.header.stamp.nanosec < earlier:  # the seconds stay 1, so time goes back
            segmenter.reset_smoothing()
        earlier = frame.header.stamp.nanosec
        np.testing.assert_array_equal(found, segmenter.infer(image).mask)
        differ += (found != alone.infer(image).mask).mean()
    assert differ > 1, 'the frames before do not matter'


def test_other_readers_read_it(short_drive, tmp_path):
    mcap_reader = pytest.importorskip('mcap.reader')
    assert run(short_drive, tmp_path / 'out.mcap') == 0
    assert run(short_drive, tmp_path / 'out.db3') == 0
    with (tmp_path / 'out.mcap').open('rb') as file:
        reader = mcap_reader.make_reader(file, validate_crcs=True)
        in_mcap = [(channel.topic, message.log_time, message.data)
                   for _, channel, message in reader.iter_messages()]
        assert reader.get_header().profile == 'ros2'
    database = sqlite3.connect(tmp_path / 'out.db3')
    in_sqlite3 = database.execute('SELECT name, timestamp, data FROM messages JOIN topics '
                                  'ON topic_id = topics.id ORDER BY messages.id').fetchall()
    assert len(in_mcap) == 1 + 2 * 60
    assert in_mcap == in_sqlite3


def test_a_mask_of_16_bits_is_mono16(short_drive, tmp_path):
    assert run(short_drive, tmp_path / 'out.mcap', '--mask-encoding', 'mono16') == 0
    mask = next(message for topic, _, message in read(tmp_path / 'out.mcap') if 'mask' in topic)
    assert (mask.encoding, mask.step, mask.is_bigendian) == ('mono16', 320, 0)
    expected = Segmenter.open().infer(read(short_drive)[0][2].data.reshape(90, 160, 3)).mask
    np.testing.assert_array_equal(mask.data.view('<u2').reshape(90, 160), expected)


@pytest.mark.parametrize(('name', 'several'), [
    ('out.db3', ['--workers', '2']), ('out.mcap', ['--devices', '0,1'])])
def test_several_processes_write_the_same_bytes_as_one(short_drive, tmp_path, name, several):
    written = []
    for options in ([], several):
        out = tmp_path / str(len(options)) / name
        out.parent.mkdir()
        assert run(short_drive, out, '--backend', 'onnxruntime', *options) == 0
        written.append(out.read_bytes())
    assert written[0] == written[1]


def test_a_dask_cluster_writes_the_same_bytes(short_drive, tmp_path):
    distributed = pytest.importorskip('distributed')
    for folder in ('here', 'there'):
        (tmp_path / folder).mkdir()
    assert run(short_drive, tmp_path / 'here' / 'out.mcap') == 0
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        assert run(short_drive, tmp_path / 'there' / 'out.mcap', '--cluster',
                   cluster.scheduler_address) == 0
    assert (tmp_path / 'here' / 'out.mcap').read_bytes() == \
        (tmp_path / 'there' / 'out.mcap').read_bytes()


def journal(output):
    """Return the lines of the journal of a run."""
    path = output.with_name(f'{output.name}.parts') / 'done.jsonl'
    return path.read_text().splitlines() if path.is_file() else []


def start_run(bag, output, workers, parts=3):
    """Start a run; return its process when some parts are in the output."""
    process = subprocess.Popen([*COMMAND, 'run', str(bag), '--output', str(output), '--threads',
                                '1', '--workers', workers], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(journal(output)) < parts:
        assert process.poll() is None, 'ended before it could be interrupted'
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.fixture(scope='module')
def uninterrupted(drive, tmp_path_factory):
    """The bytes of an uninterrupted run."""
    out = tmp_path_factory.mktemp('uninterrupted') / 'out.mcap'
    assert run(drive, out) == 0
    return out.read_bytes()


@pytest.mark.parametrize('workers', ['1', '2'])
def test_killed_and_resumed_it_writes_the_same_bytes(drive, tmp_path, capsys, uninterrupted,
                                                     workers):
    out = tmp_path / 'out.mcap'
    process = start_run(drive, out, workers)
    others = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    assert process.wait() == -9
    assert not psutil.wait_procs(others, timeout=60)[1], 'workers outlive the run'
    assert not out.exists()
    assert 3 <= len(journal(out)) < 8
    assert run(drive, out, '--alpha', '0.9') == 1
    assert 'out.mcap.parts: belongs to a run with alpha 0.5, this run has 0.9; delete' in \
        capsys.readouterr().err
    assert run(drive, out) == 0
    assert out.read_bytes() == uninterrupted
    assert list(tmp_path.iterdir()) == [out]


def test_a_part_that_was_deleted_in_part_is_segmented_again(short_drive, tmp_path, monkeypatch):
    """A run can be killed while it deletes the folder of a part, and before the part's messages
    are in the output."""
    out, other = tmp_path / 'killed' / 'out.mcap', tmp_path / 'whole' / 'out.mcap'
    for path in (out, other):
        path.parent.mkdir()
    assert run(short_drive, other) == 0

    def delete_first_file(folder, **how):
        (Path(folder) / 'report.json').unlink()
        raise OSError('killed')

    with monkeypatch.context() as killed:
        killed.setattr('trt_segmentation.bags.replay.shutil.rmtree', delete_first_file)
        assert run(short_drive, out, '--workers', '2') == 1
    file, = out.parent.glob('out.mcap.parts/output_*/out/out.mcap')
    file.write_bytes(file.read_bytes()[:100])
    assert run(short_drive, out) == 0
    assert out.read_bytes() == other.read_bytes()
    assert list(out.parent.iterdir()) == [out]


def test_a_run_ended_by_a_dead_worker_is_resumed(drive, tmp_path, uninterrupted):
    process = start_run(drive, tmp_path / 'out.mcap', '2')
    workers = [child for child in psutil.Process(process.pid).children()
               if 'spawn_main' in ' '.join(child.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 'error: a worker process has died' in shown
    assert 'Traceback' not in shown
    assert run(drive, tmp_path / 'out.mcap') == 0
    assert (tmp_path / 'out.mcap').read_bytes() == uninterrupted


def test_only_one_run_at_a_time_writes_an_output(drive, tmp_path, capsys):
    process = start_run(drive, tmp_path / 'out.mcap', '1')
    assert run(drive, tmp_path / 'out.mcap') == 1
    assert 'is in use by another process' in capsys.readouterr().err
    process.kill()
    process.communicate()


def test_frames_that_cannot_be_decoded_are_dropped_and_named(tmp_path, bag_writer, capsys):
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    jpeg = cv2.imencode('.jpg', image)[1].tobytes()
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        for data in (jpeg, jpeg[:50], b'', jpeg):
            bag.stamp += 10 ** 9
            bag.write('/camera', bag.compressed(data, 'jpeg'))
    assert run(bag.path, tmp_path / 'out.mcap') == 1
    shown = capsys.readouterr()
    assert '2 of 4 frames of /camera segmented' in shown.out
    assert '2 frames dropped' in shown.err
    assert "received at 2.000000002: format 'jpeg', 50 bytes: cannot be decoded" in shown.err
    masks = [received for topic, received, _ in read(tmp_path / 'out.mcap') if 'mask' in topic]
    assert masks == [10 ** 9 + 1, 4 * 10 ** 9 + 4]


@pytest.mark.parametrize(('storage', 'suffix'), [('MCAP', '.mcap'), ('SQLITE3', '.db3')])
def test_a_truncated_bag_is_read_up_to_the_damage(tmp_path, write_drive, storage, suffix,
                                                    capsys):
    whole, = write_drive(tmp_path / 'drive', storage).glob(f'*{suffix}')
    cut = tmp_path / f'cut{suffix}'
    cut.write_bytes(whole.read_bytes()[:whole.stat().st_size * 3 // 4])
    assert run(whole, tmp_path / 'whole.mcap') == 0
    assert run(cut, tmp_path / 'cut_out.mcap') == 1
    assert 'damaged: ' in capsys.readouterr().err
    masks, expected = ([(received, message.data.tobytes()) for topic, received, message
                        in read(tmp_path / f'{name}.mcap') if 'mask' in topic]
                       for name in ('cut_out', 'whole'))
    assert 40 <= len(masks) <= 45
    assert masks == expected[:len(masks)]


def test_a_damaged_chunk_does_not_affect_the_others(tmp_path, write_drive, capsys):
    bag = write_drive(tmp_path / 'drive', frames=150)
    file, = bag.glob('*.mcap')
    data = bytearray(file.read_bytes())
    with ImageTopic(bag) as topic:
        chunks = topic._reader.readers[0].storage.storages[0].chunks
        start = chunks[2].chunk_start_offset
    data[start + 50:start + 58] = b'\xff' * 8  # the length of its first message
    file.write_bytes(data)
    assert run(bag, tmp_path / 'out.mcap') == 1
    shown = capsys.readouterr().err
    assert 'cannot be read further' in shown
    assert 'messages of /camera/image_raw are in the index but missing in the bag' in shown
    masks = [received for topic, received, _ in read(tmp_path / 'out.mcap') if 'mask' in topic]
    assert masks[-1] == 10 ** 18 + 5 + 150 * 50_000_000
    assert 90 <= len(masks) < 150


@pytest.mark.parametrize('compression', ['', 'zstd', 'lz4'])
def test_a_truncated_chunk_is_read_up_to_its_end(tmp_path, bag_writer, compression):
    writer = pytest.importorskip('mcap.writer')
    noise = np.random.default_rng(0)
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        for _ in range(40):
            bag.write('/camera', bag.image(noise.integers(0, 256, (90, 160, 3), np.uint8)))
    recorded = read_serialized(bag.path)
    compressed = {'': writer.CompressionType.NONE, 'zstd': writer.CompressionType.ZSTD,
                  'lz4': writer.CompressionType.LZ4}[compression]
    path = tmp_path / 'one_chunk.mcap'
    with path.open('wb') as file:
        output = writer.Writer(file, chunk_size=2 ** 30, compression=compressed)
        output.start(profile='ros2')
        schema = output.register_schema('sensor_msgs/msg/Image', 'ros2msg', b'')
        channel = output.register_channel('/camera', 'cdr', schema)
        for received, data in recorded:
            output.add_message(channel, received, data, received)
        output.finish()
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    salvaged = salvage(path, '', tmp_path / 'salvaged')
    assert salvaged.topic == '/camera'
    assert 15 <= salvaged.count <= 20
    assert read_serialized(tmp_path / 'salvaged') == recorded[:salvaged.count]


@pytest.mark.parametrize(('prepare', 'options', 'message'), [
    (lambda path: (path / 'out.mcap').touch(), [], 'out.mcap: already exists; delete it'),
    (lambda path: None, ['--topic', '/up'], "'/up' is no image topic of this rosbag; it has /cam"),
    (lambda path: None, ['--cluster', 'tcp://127.0.0.1:9'], 'no Dask scheduler can be reached'),
    (lambda path: None, ['--cluster', 'x', '--workers', '2'], 'remove --workers'),
    (lambda path: None, ['--temporal-smoothing', '0.5', '--workers', '2'],
     'so one process segments them; remove --workers'),
    (lambda path: None, ['--workers', '-1'], '--workers is -1; it must be from 1 to 1024')])
def test_the_error_of_wrong_options(short_drive, tmp_path, capsys, prepare, options, message):
    prepare(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    assert run(short_drive, tmp_path / 'out.mcap', *options) == 1
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob('*')) == before


def test_a_rosbag_needs_a_rosbag_output_and_other_inputs_do_not(short_drive, tmp_path, capsys):
    assert run(short_drive, tmp_path / 'folder') == 1
    assert 'use --output OUT.mcap' in capsys.readouterr().err
    assert run(tmp_path, tmp_path / 'out.mcap') == 1
    assert 'is a rosbag2, which needs one rosbag as input' in capsys.readouterr().err


def test_a_file_that_is_no_bag_is_named(tmp_path, capsys):
    (tmp_path / 'no.mcap').write_bytes(b'no bag')
    assert run(tmp_path / 'no.mcap', tmp_path / 'out.mcap') == 1
    assert 'no.mcap: no image can be read from this rosbag' in capsys.readouterr().err


def test_masks_can_be_read_as_images(short_drive, tmp_path):
    assert run(short_drive, tmp_path / 'out.mcap') == 0
    (_, image), = open_images(tmp_path / 'out.mcap', '/segmentation/mask', count=1)
    mask = [message for topic, _, message in read(tmp_path / 'out.mcap') if 'mask' in topic][30]
    np.testing.assert_array_equal(image[..., 0], mask.data.reshape(90, 160))


def test_a_failed_run_does_not_block_the_next_one(short_drive, tmp_path, capsys):
    wrong = tmp_path / 'wrong.onnx'
    wrong.write_text('no network')
    out = tmp_path / 'out' / 'masks.mcap'
    out.parent.mkdir()
    for options in (['--topic', '/up'], ['--model', str(wrong)],
                    ['--model', str(wrong), '--workers', '2'], ['--precision', 'int8']):
        assert run(short_drive, out, *options, '--backend', 'onnxruntime') in (0, 1)
        out.unlink(missing_ok=True)
        assert list(out.parent.iterdir()) == []
    assert run(short_drive, out) == 0


def test_threads_and_workers_may_change(drive, tmp_path, uninterrupted):
    process = start_run(drive, tmp_path / 'out.mcap', '1')
    process.kill()
    process.communicate()
    assert run(drive, tmp_path / 'out.mcap', '--threads', '2', '--workers', '2') == 0
    assert (tmp_path / 'out.mcap').read_bytes() == uninterrupted


def test_killed_twice_it_still_writes_the_same_bytes(drive, tmp_path, uninterrupted):
    out = tmp_path / 'out.mcap'
    for parts in (2, 4):
        process = start_run(drive, out, '1', parts)
        process.kill()
        process.communicate()
    assert run(drive, out) == 0
    assert out.read_bytes() == uninterrupted


@pytest.mark.parametrize(('name', 'stage'), [
    ('out.mcap', 'complete'), ('out.mcap', 'renamed'), ('out.mcap', 'half removed'),
    ('out.mcap', 'all but removed'), ('out.db3', 'complete')])
def test_a_run_killed_at_the_end_is_finished_by_the_same_command(short_drive, tmp_path, capsys,
                                                                 monkeypatch, name, stage):
    """SIGKILL after the output is complete: before it is renamed, and during the cleanup."""
    class Killed(BaseException):
        pass

    out = tmp_path / name
    rename, unlink = Path.rename, Path.unlink

    def renamed(path, target):
        if target == out and stage == 'complete':
            raise Killed
        rename(path, target)
        if target == out and stage == 'renamed':
            raise Killed

    def removed(path, missing_ok=False):
        if path.name == 'manifest.json' and stage == 'half removed':
            raise Killed
        unlink(path, missing_ok)
        if path.name == 'manifest.json' and stage == 'all but removed':
            raise Killed

    monkeypatch.setattr(Path, 'rename', renamed)
    monkeypatch.setattr(Path, 'unlink', removed)
    with pytest.raises(Killed):
        run(short_drive, out)
    monkeypatch.undo()
    assert out.exists() == (stage != 'complete')
    capsys.readouterr()
    assert run(short_drive, out) == 0
    assert '60 of 60 frames of /camera/image_raw segmented' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [out]
    assert sum('mask' in topic for topic, *_ in read(out)) == 60
    assert run(short_drive, out) == 1
    assert 'already exists' in capsys.readouterr().err


def test_a_run_ended_by_a_full_disk_is_resumed_with_more_space(drive, small_disk, capsys,
                                                               uninterrupted):
    disk = small_disk(6 * 1024)
    assert run(drive, disk / 'out.mcap') == 1
    assert 'No space left on device; when this is fixed, the same command resumes' in \
        capsys.readouterr().err
    assert 1 <= len(journal(disk / 'out.mcap')) < 8
    assert not (disk / 'out.mcap').exists()
    subprocess.run(['mount', '-o', 'remount,size=100m', disk], check=True)
    assert run(drive, disk / 'out.mcap') == 0
    assert (disk / 'out.mcap').read_bytes() == uninterrupted


def test_after_ctrl_c_the_same_command_segments_the_rest(drive, tmp_path, uninterrupted,
                                                         monkeypatch):
    out = tmp_path / 'out.mcap'
    process = start_run(drive, out, '1')
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert 'interrupted: the same command resumes this run' in shown
    assert 'Traceback' not in shown
    parts = [json.loads(line)['part']['frames'] for line in journal(out)]
    infer, segmented = Segmenter.infer, []

    def count(self, image, **how):
        segmented.append(image.shape)
        return infer(self, image, **how)

    monkeypatch.setattr(Segmenter, 'infer', count)
    assert run(drive, out) == 0
    assert out.read_bytes() == uninterrupted
    # The messages of the last part that is recorded may not be in the file yet.
    assert 0 < len(segmented) <= 180 - sum(parts[:-1]) < 180


@pytest.mark.parametrize('encoding', ['yuyv', 'padded bgr8'])
def test_frames_that_are_converted_do_not_replace_each_other(tmp_path, bag_writer, monkeypatch,
                                                            encoding):
    """Many frames are in progress at the same time, each in its own buffer."""
    monkeypatch.setattr('trt_segmentation.cli.run_bag.lanes_of', lambda *_: LaneCount(4, 2))
    noise = np.random.default_rng(0)
    shape = {'yuyv': (90, 160, 2), 'padded bgr8': (90, 160, 3)}.get(encoding, (90, 160))
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        for level in range(80):
            array = np.clip(noise.normal(3 * level, 4, shape), 0, 255).astype(np.uint8)
            bag.write('/camera', bag.image(array, encoding.removeprefix('padded '),
                                           7 if encoding.startswith('padded') else 0))
    assert run(bag.path, tmp_path / 'out.mcap', '--outputs', 'overlay') == 0
    segmenter = Segmenter.open()
    overlays = [message for topic, _, message in read(tmp_path / 'out.mcap')
                if 'overlay' in topic]
    assert len(overlays) == 80
    for (_, image), overlay in zip(open_images(bag.path), overlays, strict=True):
        expected = segmenter.infer(image, outputs=('overlay',)).overlay
        np.testing.assert_array_equal(overlay.data.reshape(90, 160, 3), expected)


@pytest.mark.parametrize('fails', ['', 'build', 'run'])
def test_camera_encodings_are_converted_on_the_gpu(tmp_path, bag_writer, networks, tensorrt, gpu,
                                                   caplog, monkeypatch, fails):
    onnx.save(networks.pointwise(np.eye(3), (64, 96), metadata='input: {color: bgr, scale: 1}'),
              tmp_path / 'net.onnx')
    images, given = [networks.random_image(64, 96, seed) for seed in range(12)], []
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        for index, image in enumerate(images):
            name = ('nv12', 'yuyv', 'bgr8')[index % 3]
            rows = camera_bytes(image, name)
            message = bag.image(rows, name, padding=index % 2)
            message.height, message.width = 64, 96
            bag.write('/camera', message)
            images[index] = image if name == 'bgr8' else rows_to_bgr(rows, name)
    build, infer = build_process.build_in_child, Segmenter.infer

    def build_or_fail(model, profiles, *more, **named):
        if fails == 'build' and CAMERA_BYTES in profiles:
            raise BackendError('the converter was not built')
        return build(model, profiles, *more, **named)

    def infer_or_fail(self, image, *, encoding='', **how):
        given.append(encoding)
        if fails == 'run' and encoding:
            raise BackendError('no memory is left')
        return infer(self, image, encoding=encoding, **how)

    monkeypatch.setattr(build_process, 'build_in_child', build_or_fail)
    monkeypatch.setattr(Segmenter, 'infer', infer_or_fail)
    with caplog.at_level('INFO'):
        assert run(bag.path, tmp_path / 'out.mcap', '--outputs', 'mask', 'overlay', '--backend',
                   'tensorrt', '--model', str(tmp_path / 'net.onnx')) == 0
    masks, overlays = ([message.data.reshape(64, 96, -1) for topic, _, message
                        in read(tmp_path / 'out.mcap') if topic.endswith(kind)]
                       for kind in ('/mask', '/overlay'))
    assert len(masks) == len(overlays) == 12
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(mask[..., 0], image.argmax(axis=2))
    wanted = {'': {'nv12': 4, 'yuyv': 4}, 'build': {}, 'run': {'nv12': 1, 'yuyv': 1}}[fails]
    assert {name: given.count(name) for name in given if name} == wanted
    if fails:
        assert caplog.text.count('is converted on the CPU, since') == 2
