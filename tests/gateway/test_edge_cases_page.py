"""docs/edge-cases.md names the tests that show what it says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "edge-cases.md").read_text()
NAMED = re.findall(r"`([\w/]+\.(?:rs|py))::(\w+)`", PAGE)


def _is_there(file: str, name: str) -> bool:
    is_rust = file.endswith(".rs")
    path = ROOT / ("native/core/src" if is_rust else "tests") / file
    if not path.is_file():
        return False
    test = rf"#\[test\]\s+fn {name}\(\)" if is_rust else rf"^ *(?:async )?def {name}\("
    return re.search(test, path.read_text(), re.MULTILINE) is not None


def test_every_test_that_the_page_names_exists():
    assert len(NAMED) > 100
    assert [f"{file}::{name}" for file, name in NAMED if not _is_there(file, name)] == []


def test_every_case_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| case")]
    assert [row for row in rows if "::" not in row] == []


def test_every_number_of_the_list_of_streams_is_there():
    streams = PAGE.partition("## Event streams")[2].partition("\n## ")[0]
    numbers = {int(number) for number in re.findall(r"^\| (\d+) ", streams, re.MULTILINE)}
    assert numbers == set(range(1, 26))
