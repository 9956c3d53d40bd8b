import json
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from tollhouse._native import duration, usd
from tollhouse.gateway import usage
from tollhouse.gateway.cli import cli
from tollhouse.middlewares.stores.ledger import Charge, LedgerFile

DAY = 86_400_000
START = 20_000 * DAY  # 2024-10-04


@pytest.fixture
def state(tmp_path: Path) -> Path:
    ledger = LedgerFile(tmp_path / "ledger.db")
    rows = [("alice", 1_500_000_000, START), ("bob", 7, START), ("alice", 1, START + DAY)]
    ledger.append(
        "s",
        [
            Charge(i, "settled", str(i), amount, at, orjson.dumps({"key": key, "input": 10, "output": 4}))
            for i, (key, amount, at) in enumerate(rows)
        ],
    )
    ledger.close()
    return tmp_path


def _run(state: Path, *arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, ["usage", "--state-dir", str(state), *arguments])
    return found.exit_code, found.output


def test_it_is_a_table_for_people(state):
    code, text = _run(state, "--by", "day,key")
    assert code == 0
    assert [line.split() for line in text.splitlines()] == [
        ["day", "key", "requests", "cost_usd", "input", "output"],
        ["2024-10-04", "alice", "1", "1.50", "10", "4"],
        ["2024-10-04", "bob", "1", "0.000000007", "10", "4"],
        ["2024-10-05", "alice", "1", "0.000000001", "10", "4"],
        ["total", "3", "1.500000008", "30", "12"],
    ]


def test_it_is_json_for_programs(state):
    code, text = _run(state, "--by", "key", "--json", "--since", "2024-10-05")
    rows = [json.loads(line) for line in text.splitlines()]
    assert code == 0
    assert [(row["key"], row["requests"], row["cost_usd"]) for row in rows] == [("alice", 1, "0.000000001")]


def test_no_usage_is_said(state):
    assert _run(state, "--since", "2030-01-01") == (0, "no usage\n")


@pytest.mark.parametrize("arguments", [["--by", "colour"], ["--since", "yesterday"]])
def test_wrong_usage_exits_with_2(state, arguments):
    code, text = _run(state, *arguments)
    assert code == 2
    assert arguments[1] in text


def test_a_ledger_that_is_not_there_exits_with_1(tmp_path):
    code, text = _run(tmp_path / "nowhere")
    assert code == 1
    assert "there is no ledger at" in text


def test_a_moment_is_utc_unless_it_says_otherwise():
    assert usage.moment(None) is None
    assert usage.moment("2024-10-04") == START
    assert usage.moment("2024-10-04T02:00:00+02:00") == START


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (10**9, "1.00"),
        (1_250_000_000, "1.25"),
        (-70, "-0.00000007"),
        (123 * 10**16, "1230000000.00"),
    ],
)
def test_dollars_are_written_exactly(nano, text):
    assert usd(nano) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1s"),
        (7660, "7.66s"),
        (60_000, "1m0s"),
        (90_500, "1m30.5s"),
        (3_723_000, "1h2m3s"),
    ],
)
def test_durations_are_written_as_openai_does(ms, text):
    assert duration(ms) == text
