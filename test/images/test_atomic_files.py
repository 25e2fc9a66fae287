# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Files are written atomically; pipes and devices are written directly."""

import errno
import os
import stat

import pytest

from trt_segmentation.errors import OutputError
from trt_segmentation.images.atomic_files import check_new, make_folder, write_file, write_new_file


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / 'a.txt'
    write_file(path, b'old')
    with path.open('rb') as reader:
        write_file(path, b'new')
        assert reader.read() == b'old'
    assert path.read_bytes() == b'new'
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / 'a.txt', b'')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'a.txt').stat().st_mode) == 0o640


def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / 'a.txt'
    write_file(path, b'old')

    def refuse(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(type(path), 'replace', refuse)
    with pytest.raises(OutputError, match=r'a\.txt: cannot be written \(No space left on device'):
        write_file(path, b'new')
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_too_long_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match=r'cannot be written \(File name too long\)'):
        write_file(tmp_path / ('x' * 256), b'')
    assert list(tmp_path.iterdir()) == []


def test_a_link_leads_to_what_is_written(tmp_path):
    (tmp_path / 'there').mkdir()
    link = tmp_path / 'link.txt'
    link.symlink_to(tmp_path / 'there' / 'a.txt')
    write_file(link, b'new')
    assert link.is_symlink()
    assert (tmp_path / 'there' / 'a.txt').read_bytes() == b'new'


def test_a_pipe_stays_one(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_file(pipe, b'report')
    assert os.read(reader, 100) == b'report'
    os.close(reader)
    assert pipe.is_fifo()


def test_a_new_file_replaces_nothing(tmp_path):
    write_new_file(tmp_path / 'a.txt', b'first')
    check_new(tmp_path / 'b.txt')
    for refuse in (lambda: check_new(tmp_path / 'a.txt'),
                   lambda: write_new_file(tmp_path / 'a.txt', b'second')):
        with pytest.raises(OutputError, match=r'a\.txt: exists already; remove it'):
            refuse()
    assert (tmp_path / 'a.txt').read_bytes() == b'first'
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_created_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file/folder: cannot be created'):
        make_folder(tmp_path / 'file' / 'folder')
    with pytest.raises(OutputError, match=r'gone/a\.txt: cannot be written'):
        write_file(tmp_path / 'gone' / 'a.txt', b'')


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('fault', [OSError(errno.ENOSPC, 'No space left on device'),
                                   KeyboardInterrupt()])
def test_an_incomplete_write_leaves_no_file(tmp_path, monkeypatch, fault, links):
    def fail(*arguments):
        raise fault

    monkeypatch.setattr(os, 'link', fail if links else no_links)
    monkeypatch.setattr('pathlib.Path.replace', fail)
    wanted = OutputError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(wanted) as raised:
        write_new_file(tmp_path / 'net.yaml', b'whole')
    assert wanted is KeyboardInterrupt or 'net.yaml: cannot be written (No space' in \
        str(raised.value)
    assert list(tmp_path.iterdir()) == []


def no_links(*arguments):
    raise PermissionError(errno.EPERM, 'Operation not permitted')


@pytest.mark.parametrize('links', [True, False])
def test_a_file_that_exists_is_kept(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, 'link', no_links)
    write_new_file(tmp_path / 'net.yaml', b'mine')
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere')
    for name in ('net.yaml', 'dangling'):
        with pytest.raises(OutputError, match=f'{name}: exists already; remove it, or name'):
            write_new_file(tmp_path / name, b'other')
    assert (tmp_path / 'net.yaml').read_bytes() == b'mine'
    assert {path.name for path in tmp_path.iterdir()} == {'net.yaml', 'dangling'}


def test_where_there_is_no_folder_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match='cannot be written'):
        write_new_file(tmp_path / 'gone' / 'net.yaml', b'')
