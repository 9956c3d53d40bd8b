from __future__ import annotations

import json

from bench.detection.instructions import CEILINGS, Case, judge, pair


def test_an_input_and_its_double_are_one_case():
    assert pair([("load", 1, 500), ("spaces", 10, 40), ("spaces", 20, 88)]) == [
        Case("load", 500.0),
        Case("spaces", 4.4, 2.2),
    ]


def test_more_instructions_than_the_ceiling_are_a_problem():
    ceilings = {"chat": 5.0}
    assert judge([Case("chat", 5.0)], ceilings) == []
    assert judge([Case("chat", 5.1)], ceilings) == ["chat: 5.10 instructions, at most 5.00"]
    assert judge([Case("chat", 5.1)], ceilings, allowance=1.25) == []


def test_growth_faster_than_the_input_is_a_problem():
    assert judge([Case("spaces", 1.0, 3.9)], {"spaces": 2.0}) == [
        "spaces: twice the input takes 3.90 times the instructions"
    ]


def test_cases_and_ceilings_must_name_each_other():
    assert judge([Case("new", 1.0)], {"old": 1.0}) == [
        "new: has no ceiling; --update gives it one",
        "old: is not measured any more",
    ]


def test_the_committed_ceilings_name_their_toolchain():
    committed = json.loads(CEILINGS.read_text())
    assert committed["toolchain"].startswith("rustc ")
    assert all(ceiling > 0 for ceiling in committed["instructions"].values())
