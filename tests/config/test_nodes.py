"""Two parsers of YAML, one result: libyaml is the quick one, PyYAML's own says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tollhouse.config import nodes
from tollhouse.config.document import Document, parse

ROOT = Path(__file__).parents[2]
FILES = [*sorted(ROOT.glob("deploy/**/*.y*ml")), ROOT / "config" / "providers.yaml"]
TEXTS = [
    "a: 1\nb: [x, {c: 'it''s'}]\n",
    'a: "\\u00e9 \\x41"\n',
    "base: &b {x: 1}\nmore:\n  <<: *b\n  y: 2\n",
    "a: |\n  two\n  lines\nb: >-\n  one\n  line\n",
    "a: 1\na: 2\n",
    "{a: 1, b: [1, 2]}",
    "a: 2026-11-22\nb: 0x1f\nc: 1_000\nd: ~\ne: yes\nf: 1e3\n",
    "",
    "- a list\n",
    "a: !!python/object:os.system x\n",
]
WRONG = [
    "a: [1,2",
    "a: b: c",
    "\ta: 1",
    "a: 'x",
    "- a\nb: 1",
    "a: &x *y",
    "{a: 1, b",
    "a: \x01",
    "[" * 3000,
    "a: &a [*a]",
]


def _told(text: str) -> tuple[object, ...]:
    document: Document = parse(text, "f")
    # Where there is a problem, no more than its own line is asked for.
    return document.data, document.problems, None if document.problems else document._lines


@pytest.fixture
def slow(monkeypatch):
    def told(text: str):
        with monkeypatch.context() as patch:
            patch.setattr(yaml, "__with_libyaml__", False)
            return _told(text)

    return told


@pytest.mark.parametrize("text", [*TEXTS, *WRONG])
def test_values_lines_and_problems_are_those_of_the_parser_in_python(slow, text):
    assert _told(text) == slow(text)


def test_files_that_are_shipped_are_read_alike(slow):
    assert len(FILES) > 1
    for path in FILES:
        for text in path.read_text().split("\n---\n"):
            assert _told(text) == slow(text), path


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML was built without libyaml")
def test_what_is_right_is_read_by_libyaml():
    loader, _ = nodes.composed("a: 1")
    assert isinstance(loader, nodes._QuickLoader)
