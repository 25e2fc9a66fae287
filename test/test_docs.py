# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation: their links lead somewhere, and they are short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
PAGES = [*(ROOT / f'{name}.md' for name in (
    'README', 'CONTRIBUTING', 'QUALITY_DECLARATION', 'SECURITY')), *sorted(DOCS.rglob('*.md'))]
GENERATED = {'parameters.md', 'command_line.md', 'model_config.md', 'networks.md'}
NAMED = re.compile(r'`((?:test|tools|trt_segmentation|docs|config|launch)/[\w./*-]+)`')
FENCE = re.compile(r'^ *(```|~~~).*?^ *\1', re.M | re.S)


def prose(page):
    return FENCE.sub('', page.read_text(encoding='utf-8'))


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and MyST name them."""
    headings = re.findall(r'^#+ (.*)$', prose(page), re.M)
    return {re.sub(r'[^\w\- ]', '', re.sub(r'[`*]|\]\([^)]*\)|\[', '', heading).lower())
            .strip().replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if '://' in link:
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize('page', [page for page in PAGES if page.parent.name != 'measurements'],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_project_that_a_page_names_exists(page):
    """Such as the test of a promise. Measurements name files as they were."""
    named = NAMED.findall(prose(page))
    assert [name for name in named if not list(ROOT.glob(name))] == []


@pytest.mark.parametrize('name', ['promises.md', 'promises-offline.md'])
def test_every_promise_of_a_table_names_its_test(name):
    tables = re.findall(r'^\| promise \| test \|\n.*\n((?:\|.*\n)+)',
                        prose(DOCS / 'explanation' / name), re.M)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 15
    told = re.compile(r'`(test|python tools)\b|not tested')
    assert [row for row in rows if not told.search(row.split(' | ')[1])] == []


def test_a_page_is_read_in_one_sitting():
    """Measurements and pages that are written by scripts may be longer."""
    pages = [page for page in DOCS.rglob('*.md')
             if page.parent.name != 'measurements' and page.name not in GENERATED]
    words = {page: len(page.read_text(encoding='utf-8').split()) for page in pages}
    assert {str(page): count for page, count in words.items() if count > 1200} == {}
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').split()) <= 600


def test_every_page_is_reached_from_the_index():
    found, waiting = set(), [DOCS / 'index.md']
    while waiting:
        page = waiting.pop()
        found.add(page)
        links = re.findall(r'\]\(([^)#\s]+\.md)', prose(page))
        waiting += {(page.parent / link).resolve() for link in links
                    if '://' not in link} - found
    assert found >= set(DOCS.rglob('*.md'))
