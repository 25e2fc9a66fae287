#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""List the commands and examples of README.md and docs, and how each is tested::

    python tools/documented_commands.py [ROOT]

Every fenced block has a language. A second word in its info string says why its commands are not
run, as in "bash gpu"; test/docs/not_run.yaml has these reasons. test/docs/test_commands.py and
test/ros/test_documented_commands.py do what this list says.
"""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
NOT_RUN = ROOT / 'test' / 'docs' / 'not_run.yaml'

COMMANDS, PROMPTS = 'bash', 'console'
OTHER_LANGUAGES = frozenset({'text', 'xml', 'dockerfile', 'ini', 'toml', 'cpp', 'cmake', 'json',
                             'mermaid', 'diff'})
"""Languages of blocks that are no commands or examples of this package."""

RUN = 'run'
"""trt-segmentation: executed. Python: executed. YAML: read as model config or parameters."""

PARSED = 'parsed'
"""trt-segmentation: its arguments are parsed. Python: compiled."""

NODE = 'node'
"""ros2: done with the real launch file and node, without the processes of ros2."""

CHECKED = 'checked'
"""The files, options, targets and extras that it names exist."""

LISTED = 'not run'
UNKNOWN = 'unknown'

_FENCE = re.compile(r'(?P<indent> *)(?P<fence>```+|~~~+)(?P<info>.*)')
_OPERATOR = re.compile(r'[();<>|&]+')
_COMMENT = re.compile(r"""(?P<quoted>'[^']*'|"[^"]*")|(^|\s)#.*""")
_DIRECTIVE = re.compile(r'\{(?!code).*\}')
_ASSIGNMENT = re.compile(r'\w+=.*')


@dataclass(frozen=True)
class Example:
    """A command, or a whole block of another language.

    Attributes:
        page: path from the root of the repository.
        line: its number in the page, from 1.
        language: first word of the block's info string.
        marker: second word, a reason not to run it; may be ''.
        text: the command or block.
        words: of a command, without variables in front of it.
    """

    page: str
    line: int
    language: str
    marker: str
    text: str
    words: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """The first word; of ros2, the first two."""
        return ' '.join(self.words[:2 if self.words[0] == 'ros2' else 1])

    @property
    def place(self) -> str:
        """Page and line, for a message."""
        return f'{self.page}:{self.line}'


@lru_cache(maxsize=1)
def read_not_run() -> dict[str, dict[str, str]]:
    """Return the sections of test/docs/not_run.yaml."""
    return yaml.safe_load(NOT_RUN.read_text(encoding='utf-8'))


def read_examples(root: Path = ROOT) -> list[Example]:
    """Return all examples of README.md, CONTRIBUTING.md and docs, without measurements."""
    pages = [root / 'README.md', root / 'CONTRIBUTING.md', *sorted((root / 'docs').rglob('*.md'))]
    return [example for page in pages if 'measurements' not in page.relative_to(root).parts
            for example in examples_of(page.relative_to(root).as_posix(),
                                       page.read_text(encoding='utf-8'))]


def examples_of(page: str, text: str) -> Iterator[Example]:
    """Yield the examples of a page."""
    for first, info, block in _blocks(text):
        language, _, marker = info.strip().partition(' ')
        language = language or (COMMANDS if _has_commands(block) else 'text')
        if language in (COMMANDS, PROMPTS):
            for line, command in _lines(first, block, language == PROMPTS):
                for words in _split(command):
                    yield Example(page, line, language, marker.strip(), command, words)
        elif language not in OTHER_LANGUAGES and not _DIRECTIVE.fullmatch(language):
            yield Example(page, first, language, marker.strip(), dedent(block))


def _blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the first line inside, the info string and the content of each block."""
    fence, info, first, lines = '', '', 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.fullmatch(line)
        if fence and line.strip() and not line.strip().strip(fence[0]) \
                and len(line.strip()) >= len(fence):
            yield first, info, '\n'.join(lines)
            fence = ''
        elif fence:
            lines.append(line)
        elif found:
            fence, info, first, lines = found['fence'], found['info'], number + 1, []


def _has_commands(block: str) -> bool:
    """Whether a block without a language has commands, and not the output of one."""
    known = {'trt-segmentation', 'ros2', 'make', 'python', 'python3',
             *read_not_run()['programs']}
    return any(words[0] in known or words[0] == '$' for _, line in _lines(0, block, False)
               if (words := line.split()))


def _lines(first: int, block: str, prompted: bool) -> Iterator[tuple[int, str]]:
    """Yield the commands of a block with their lines; the prompt is '$ '."""
    lines = block.splitlines()
    position = 0
    while position < len(lines):
        start, command = position, lines[position]
        while command.endswith('\\') and position + 1 < len(lines):
            position += 1
            command = f'{command[:-1].rstrip()} {lines[position].strip()}'
        position += 1
        command = _COMMENT.sub(lambda found: found['quoted'] or '', command).strip()
        if prompted and not command.startswith('$ '):
            continue
        if command := command.removeprefix('$ '):
            yield first + start, command


def _split(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command in a line, without variables and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ''
    words, redirected = list[str](), False
    for word in [*lexer, ';']:
        if not _OPERATOR.fullmatch(word):
            words += [] if redirected else [word]
            redirected = False
        elif word[0] in '<>':
            redirected = True
        else:
            while words and _ASSIGNMENT.fullmatch(words[0]):
                words.pop(0)
            if words:
                yield tuple(words)
            words = []


def is_cli(words: tuple[str, ...]) -> bool:
    """Return whether a command is trt-segmentation, by itself or by ros2 run."""
    return words[0] == 'trt-segmentation' or \
        words[:4] == ('ros2', 'run', 'trt_segmentation', 'trt-segmentation')


def cli_arguments(words: tuple[str, ...]) -> list[str]:
    """Return the arguments of a command for which ``is_cli`` holds."""
    return list(words[words.index('trt-segmentation') + 1:])


def inner_words(example: Example) -> tuple[str, ...]:
    """Return the trt-segmentation or ros2 command that follows another program, or ()."""
    starts = [number for number, word in enumerate(example.words)
              if number and word in ('ros2', 'trt-segmentation')]
    return example.words[starts[0]:] if starts else ()


def treatment(example: Example) -> tuple[str, str]:
    """Return what the tests do with an example, and the reason if they do not run it."""
    if not example.words and example.language not in ('python', 'yaml'):
        return UNKNOWN, f"the language '{example.language}' is not known"
    if example.marker and example.marker not in read_not_run()['reasons']:
        return UNKNOWN, f"the marker '{example.marker}' is not in {NOT_RUN.name}"
    if example.words:
        return _of_command(example)
    if example.language == 'python':
        return _of_python(example)
    return (PARSED, example.marker) if example.marker else (RUN, '')


def _of_command(example: Example) -> tuple[str, str]:
    programs, program = read_not_run()['programs'], example.program
    if is_cli(example.words):
        reason = example.marker or _parsed_only(cli_arguments(example.words))
        return (PARSED, reason) if reason else (RUN, '')
    if program in ('ros2 launch', 'ros2 run', 'ros2 param', 'ros2 topic', 'ros2 service',
                   'ros2 lifecycle'):
        return (CHECKED, example.marker) if example.marker else (NODE, '')
    if program == 'make' or (program.startswith('python') and example.words[1:2]
                             and example.words[1].startswith('tools/')):
        return CHECKED, example.marker
    reason = programs.get(program) or programs.get(example.words[0]) or example.marker
    if reason:
        return (CHECKED if program == 'pip' or inner_words(example) else LISTED), reason
    return UNKNOWN, f"'{program}' is neither known nor listed in {NOT_RUN.name}"


def _parsed_only(arguments: list[str]) -> str:
    """Return the reason why a command of trt-segmentation is not executed; '' if it is."""
    pairs = [f'{one} {other}' for one, other in pairwise(arguments)]
    if any(re.fullmatch('(?!--topic|--node)--?[a-z-]+ /.*|[^-].* /.*', each) for each in pairs):
        return 'paths'
    found = {*arguments[:1], *pairs, *(each for each in arguments if each.startswith('--'))}
    return next((reason for key, reason in read_not_run()['parsed'].items() if key in found), '')


def _of_python(example: Example) -> tuple[str, str]:
    names: set[Any] = {node.id for node in ast.walk(ast.parse(example.text))
                       if isinstance(node, ast.Name)}
    reason = example.marker or next((reason for name, reason in read_not_run()['python'].items()
                                     if name in names), '')
    return (PARSED, reason) if reason else (RUN, '')


def main(root: Path) -> None:
    """Print the list."""
    reasons = read_not_run()['reasons']
    for example in read_examples(root):
        action, reason = treatment(example)
        text = shlex.join(example.words) or f'{example.language}: {example.text.splitlines()[0]}'
        why = f' ({reasons.get(reason, reason)})' if reason else ''
        print(f'{example.place}: {action}{why}: {text}')


if __name__ == '__main__':
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT)
