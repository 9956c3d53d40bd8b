from __future__ import annotations

import ast

import pytest

from bench.callgrind import Counts, asked, judge
from bench.gateways.entry import ROOT
from bench.hot.catalogue import PIECES
from bench.hot.instructions import COUNTS, SLACK
from bench.hot.piece import each, ran, repeated
from bench.hot.seeded import MORE, SEEDS, _first_statement

NAMES = [piece.name for piece in PIECES]


def test_every_piece_has_a_name_of_its_own_and_a_committed_count():
    committed = Counts.read(COUNTS)
    assert sorted(NAMES) == sorted(committed.instructions)
    assert all(count > 0 for count in committed.instructions.values())


def test_a_tenth_more_is_beyond_the_slack_even_of_a_piece_that_became_as_cheap_as_may_be():
    assert judge({"edge": 100 * (1 - SLACK)}, {"edge": 100}, most=1 + SLACK, least=1 - SLACK) == []
    slowed = {"edge": 100 * (1 - SLACK) * (1 + MORE)}
    assert judge(slowed, {"edge": 100}, most=1 + SLACK, least=1 - SLACK) == [
        "edge: 105.60 instructions, at most 104.00"
    ]


def test_what_became_cheaper_is_to_be_written_down():
    assert judge({"edge": 90}, {"edge": 100}, most=1.04, least=0.96) == [
        "edge: 90.00 instructions, less than 96.00: --update holds it there"
    ]


def test_blocks_are_told_apart_by_the_name_that_the_program_gave_and_other_threads_are_left_out(tmp_path):
    for number, thread, name, total in ((1, 1, "a", 20), (2, 1, "a", 10), (3, 1, "b c", 30), (1, 2, "a", 99)):
        text = f"desc: Trigger: Client Request: {name}\nfn=(1)\n0 5\n\ntotals: {total}\n"
        (tmp_path / f"out.4711.{number}-{thread:02}").write_text(text)
    (tmp_path / "out.4711-01").write_text("desc: Trigger: Program termination\ntotals: 7\n")
    assert asked(tmp_path) == {"a": [20, 10], "b c": [30]}


async def test_a_block_does_as_many_units_as_it_was_made_for():
    done: list[object] = []
    await ran(repeated(lambda: done.append("again"))(3))
    await ran(each(lambda: len(done), done.append)(2))
    assert done == ["again"] * 3 + [3, 3]


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.function)
def test_what_the_proof_slows_is_there(seed):
    assert seed.piece in NAMES
    assert _first_statement(ast.parse((ROOT / seed.file).read_text()), seed.function)
