# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: found again, never mixed up, never half there."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.backends.tensorrt.cache import (
    Engine,
    EngineCache,
    key_of,
    read_engine,
    sidecar_of,
    write_engine,
)
from trt_segmentation.cache_folder import cache_folder
from trt_segmentation.errors import ModelError

FACTS = {'graph': 'abc', 'options': {'size': (64, 64), 'tf32': False}}
ENGINE = Engine(bytes(range(256)) * 40, {'layers': [{'name': 'conv'}], 'build_seconds': 1.5})

WRITER = """
import pathlib, sys, time
from trt_segmentation.backends.tensorrt.cache import Engine, EngineCache
folder, calls, seconds = sys.argv[1:]

def make():
    with open(calls, 'a') as file:
        file.write('made\\n')
    print('making', flush=True)
    time.sleep(float(seconds))
    return Engine(b'plan', {})

print(EngineCache(pathlib.Path(folder)).fetch('road', {'a': 1}, make).plan.decode())
"""


class Maker:
    """Makes an engine and counts how often."""

    def __init__(self, engine=ENGINE):
        self.engine, self.calls = engine, 0

    def __call__(self):
        self.calls += 1
        return self.engine


def never():
    raise AssertionError('the engine was there')


def start_writer(folder, calls, seconds):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, '-c', WRITER, folder, calls, str(seconds)],
                            env=environment, text=True, stdout=subprocess.PIPE)


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / 'engines')


@pytest.fixture
def kept(cache, tmp_path):
    """The path of an engine that the cache holds."""
    cache.fetch('road', FACTS, Maker())
    (path,) = (tmp_path / 'engines').glob('*.engine')
    return path


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_an_engine_is_made_once(cache, kept):
    found = cache.fetch('road', FACTS, never)
    assert (found.plan, found.facts) == (ENGINE.plan, ENGINE.facts)
    assert kept.name == f'road-{key_of(FACTS)[:16]}.engine'


def test_another_fact_is_another_engine(cache, kept):
    other = Maker(Engine(b'other'))
    assert cache.fetch('road', {**FACTS, 'graph': 'abd'}, other).plan == b'other'
    assert cache.fetch('road', FACTS, never).plan == ENGINE.plan


def test_the_sidecar_says_in_full_what_the_engine_depends_on(kept):
    sidecar = json.loads(sidecar_of(kept).read_text())
    assert sidecar['key'] == {'graph': 'abc', 'options': {'size': [64, 64], 'tf32': False}}
    assert sidecar['facts'] == ENGINE.facts
    assert sidecar['plan']['size'] == len(ENGINE.plan)
    assert sidecar['created'].endswith('+00:00')


def cut(path):
    path.write_bytes(ENGINE.plan[:-1])


def flip(path):
    path.write_bytes(ENGINE.plan[:-1] + b'!')


def rename_key(path):
    text = sidecar_of(path).read_text()
    sidecar_of(path).write_text(text.replace('abc', 'abd'))


DAMAGES = {
    'cut': (cut, 'has 10239 bytes and should have 10240'),
    'flipped': (flip, 'its SHA-256 is not'),
    'no sidecar': (lambda path: sidecar_of(path).unlink(), 'sidecar is missing'),
    'empty sidecar': (lambda path: sidecar_of(path).write_text(''), 'sidecar is not JSON'),
    'binary sidecar': (lambda path: sidecar_of(path).write_bytes(b'\xff'), 'sidecar is not JSON'),
    'strange sidecar': (lambda path: sidecar_of(path).write_text('[1]'), 'not written by'),
    "another's sidecar": (rename_key, 'sidecar is that of another engine')}


@pytest.mark.parametrize('name', DAMAGES)
def test_a_damaged_pair_is_logged_once_and_rebuilt(cache, kept, caplog, name):
    damage, reason = DAMAGES[name]
    damage(kept)
    maker = Maker()
    assert cache.fetch('road', FACTS, maker).plan == ENGINE.plan
    (warning,) = warnings(caplog)
    assert str(kept) in warning and reason in warning
    assert cache.fetch('road', FACTS, never).plan == ENGINE.plan
    assert maker.calls == 1


def test_a_missing_plan_is_rebuilt_silently(cache, kept, caplog):
    kept.unlink()
    assert cache.fetch('road', FACTS, Maker()).plan == ENGINE.plan
    assert warnings(caplog) == []


def test_what_a_killed_writer_left_is_cleared_away(cache, tmp_path):
    folder, calls = tmp_path / 'engines', tmp_path / 'calls'
    writer = start_writer(folder, calls, 60)
    assert writer.stdout.readline() == 'making\n'
    (folder / f'.road-{key_of({"a": 1})[:16]}.engine.0123abcd.tmp').write_bytes(b'pl')
    writer.kill()
    writer.communicate()
    assert cache.fetch('road', {'a': 1}, Maker()).plan == ENGINE.plan
    assert list(folder.glob('.*.tmp')) == []


def test_two_processes_that_want_the_same_engine_make_it_once(tmp_path):
    writers = [start_writer(tmp_path / 'engines', tmp_path / 'calls', 1) for _ in range(2)]
    outputs = sorted(writer.communicate(timeout=60)[0] for writer in writers)
    assert outputs == ['making\nplan\n', 'plan\n']
    assert (tmp_path / 'calls').read_text() == 'made\n'


def test_waiting_for_another_process_is_logged(cache, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    writer = start_writer(tmp_path / 'engines', tmp_path / 'calls', 1)
    assert writer.stdout.readline() == 'making\n'
    assert cache.fetch('road', {'a': 1}, never).plan == b'plan'
    writer.communicate()
    assert 'waiting for another process that is building' in caplog.text


def test_a_failed_build_leaves_nothing_and_blocks_nobody(cache, tmp_path):
    with pytest.raises(AssertionError, match='the engine was there'):
        cache.fetch('road', FACTS, never)
    assert list((tmp_path / 'engines').glob('*.engine')) == []
    assert cache.fetch('road', FACTS, Maker()).plan == ENGINE.plan


@pytest.mark.parametrize('place', ['file/engines', 'file'])
def test_where_no_folder_can_be_made_engines_stay_in_memory(tmp_path, caplog, place):
    (tmp_path / 'file').write_text('')
    cache, maker = EngineCache(tmp_path / place), Maker()
    for _ in range(2):
        assert cache.fetch('road', FACTS, maker).plan == ENGINE.plan
    cache.write_timing_cache('8.6', b'times')
    assert maker.calls == 2
    (warning,) = warnings(caplog)
    assert str(tmp_path / place) in warning and 'TRT_SEGMENTATION_CACHE' in warning


def test_a_full_disk_costs_the_cache_and_not_the_engine(small_disk, caplog):
    disk = small_disk(1024)
    big = Engine(bytes(2 << 20))
    cache = EngineCache(disk / 'engines')
    assert cache.fetch('road', FACTS, Maker(big)).plan == big.plan
    assert 'No space left' in warnings(caplog)[0]
    assert list((disk / 'engines').glob('*.engine')) == []
    assert list((disk / 'engines').glob('.*.tmp')) == []


def test_a_read_only_folder_is_read(small_disk, caplog):
    disk = small_disk(1024)
    cache = EngineCache(disk)
    cache.fetch('road', FACTS, Maker())
    cache.write_timing_cache('8.6', b'times')
    subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
    assert cache.fetch('road', FACTS, never).plan == ENGINE.plan
    assert cache.read_timing_cache('8.6') == b'times'
    assert warnings(caplog) == []
    assert cache.fetch('road', {'new': 1}, Maker()).plan == ENGINE.plan
    assert 'Read-only file system' in warnings(caplog)[0]


@pytest.mark.parametrize('name', ['../up', '/etc/x', '.hidden', 'a b/c', 'weg ü', 'x' * 300])
def test_names_of_any_kind_stay_in_the_folder(cache, tmp_path, name):
    cache.fetch(name, FACTS, Maker())
    cache.write_timing_cache(name, b'times')
    assert cache.fetch(name, FACTS, never).plan == ENGINE.plan
    assert cache.read_timing_cache(name) == b'times'
    assert [path.name for path in tmp_path.iterdir()] == ['engines']


def test_timing_caches_are_kept_by_name(cache):
    assert cache.read_timing_cache('8.6 H100') == b''
    cache.write_timing_cache('8.6 H100', b'one')
    cache.write_timing_cache('8.6 H100', b'two')
    cache.write_timing_cache('8.6 H100', b'')
    cache.write_timing_cache('8.6 L4', b'other')
    assert cache.read_timing_cache('8.6 H100') == b'two'


def test_the_folder_is_the_users_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv('TRT_SEGMENTATION_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'trt_segmentation'
    monkeypatch.setenv('TRT_SEGMENTATION_CACHE', '/var/engines')
    assert cache_folder() == Path('/var/engines')
    assert cache_folder('/data') == Path('/data')


def test_an_engine_file_is_read_as_it_was_written(tmp_path):
    write_engine(tmp_path / 'road.engine', ENGINE)
    assert read_engine(tmp_path / 'road.engine') == ENGINE
    assert sorted(path.name for path in tmp_path.iterdir()) == ['road.engine', 'road.engine.json']


def test_an_engine_of_the_cache_is_an_engine_file(kept):
    assert read_engine(kept) == ENGINE


def test_a_plan_from_elsewhere_has_no_facts(tmp_path):
    (tmp_path / 'their.plan').write_bytes(b'plan')
    assert read_engine(tmp_path / 'their.plan') == Engine(b'plan', {})


@pytest.mark.parametrize('name', sorted(set(DAMAGES) - {'no sidecar', "another's sidecar"}))
def test_a_damaged_engine_file_is_refused(tmp_path, name):
    path = tmp_path / 'road.engine'
    write_engine(path, ENGINE)
    damage, reason = DAMAGES[name]
    damage(path)
    with pytest.raises(ModelError, match=rf'road\.engine: .*{reason}.*; copy both files again, or '
                                         'rebuild it'):
        read_engine(path)


@pytest.mark.parametrize('name', ['none.engine', '.'])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(ModelError, match='cannot be read: '):
        read_engine(tmp_path / name)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5)
                      | st.floats(allow_nan=False, allow_infinity=False),
                      lambda inner: st.lists(inner, max_size=3), max_leaves=5)
KEY_FACTS = st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=4)


@given(KEY_FACTS, st.data())
def test_any_changed_fact_changes_the_key(facts, data):
    name = data.draw(st.sampled_from(sorted(facts)))
    value = data.draw(VALUES.filter(lambda value: repr(value) != repr(facts[name])))
    assert key_of({**facts, name: value}) != key_of(facts)
    assert key_of({other: facts[other] for other in facts if other != name}) != key_of(facts)


@given(KEY_FACTS, st.randoms(use_true_random=False))
def test_the_order_of_facts_does_not_change_the_key(facts, random):
    names = list(facts)
    random.shuffle(names)
    assert key_of({name: facts[name] for name in names}) == key_of(facts)
