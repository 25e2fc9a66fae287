# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Wording that readers stumble over does not come back; CONTRIBUTING.md says what to write."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = 'trt_segmentation', 'launch', 'config', 'tools', 'docs'
SUFFIXES = '.py', '.md', '.yaml', '.html'
DATED = ROOT / 'docs' / 'measurements'
IDIOM = {
    r'counted and said|is said and|says so once': 'counted and logged; is reported',
    r'is told (of|by|that)|who knows its': 'receives; is called with; a network with labels',
    r'\b(made|begun|built|mapped) anew\b': 'rebuilt, recreated',
    r'\bgiven up\b|\bgives up\b': 'discarded, abandoned',
    r'memory that (stays|changes)': 'a reused buffer, a new buffer',
    r'without a word|a word about': 'silently; a warning',
    r'the other arm|the usual (pipeline|script|node)': 'the hand-written baseline',
    r'finds? no partners?': 'without a match within the tolerance',
    r'costs itself': 'is dropped',
}


def texts():
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob('*'))
             if path.suffix in SUFFIXES and DATED not in path.parents]
    assert len(paths) > 200
    return [*paths, ROOT / 'README.md', ROOT / 'CONTRIBUTING.md']


@pytest.mark.parametrize(('idiom', 'instead'), IDIOM.items())
def test_words_are_plain(idiom, instead):
    found = [f'{path.relative_to(ROOT)}:{number}: {line.strip()}' for path in texts()
             for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1)
             if re.search(idiom, line, re.I)]
    assert not found, f'write: {instead}\n' + '\n'.join(found)
