from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tollhouse import Scanner

PAGE = (Path(__file__).parents[2] / "docs" / "detection.md").read_text()


@pytest.fixture(scope="module")
def example() -> dict[str, object]:
    found = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return tomllib.loads(found[1])


def test_the_example_of_a_rule_finds_its_examples_and_not_its_counter_examples(example):
    [rule] = example["rule"]
    scanner = Scanner(rules=[{**rule, "family": example["family"]}])
    for text in rule["examples"]:
        assert [found.rule for found in scanner.scan(text).findings] == [rule["id"]]
    for text in rule["counter_examples"]:
        assert scanner.scan(text).findings == []


def test_the_reasons_for_refusal_are_those_that_the_page_shows(example):
    [rule] = example["rule"]
    wrong = [
        {**rule, "validator": "radnom"},
        {"id": "acme-staff", "type": "STAFF", "regex": "[0-9]{6}"},
        {"id": "acme-badge", "type": "STAFF", "literals": ["badge"], "max_len": 9999},
    ]
    with pytest.raises(ValueError, match="radnom") as caught:
        Scanner(rules=[{"family": "secrets", **one} for one in wrong])
    for line in str(caught.value).splitlines():
        assert line in PAGE
