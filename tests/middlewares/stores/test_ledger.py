import sqlite3

import orjson
import pytest

from tollhouse._native import LedgerDatabase
from tollhouse.middlewares.stores.ledger import Charge, LedgerFile
from tollhouse.middlewares.stores.ledger_schema import DETAIL, MIGRATIONS, TOKENS

DAY = 86_400_000
START = 20_000 * DAY  # 2024-10-04


def charge(position: int, amount: int, *, status: str = "settled", at: int = START, **detail: object) -> Charge:
    given = {"request": f"r{position}", "key": "alice", "model": "m", "status": "complete", "input": 10, "output": 5}
    return Charge(position, status, str(position), amount, at, orjson.dumps(listed(given | detail)))


def listed(detail: dict[str, object]) -> list[object]:
    unknown = {"status": "complete", "priced": True} | dict.fromkeys(TOKENS, 0)
    return [detail.get(name, unknown.get(name)) for name in DETAIL]


@pytest.fixture
def ledger(tmp_path):
    file = LedgerFile(tmp_path / "state" / "ledger.db")
    yield file
    file.close()


def test_rows_are_summed_by_any_group(ledger):
    ledger.append(
        "s",
        [
            charge(1, 100),
            charge(2, 50, key="bob", team="t", cached=4),
            charge(3, 7, at=START + DAY, status="estimated"),
            charge(4, -20, status="late"),
            charge(5, 0, priced=False, model="free"),
        ],
    )
    by_key = {row.group["key"]: row for row in ledger.usage(["key"])}
    assert (by_key["alice"].requests, by_key["alice"].cost, by_key["alice"].unpriced) == (3, 87, 1)
    assert by_key["bob"].tokens == {
        "input": 10,
        "cached": 4,
        "cache_write": 0,
        "output": 5,
        "reasoning": 0,
        "audio_input": 0,
        "audio_output": 0,
    }
    days = [(row.group["day"], row.cost) for row in ledger.usage(["day"])]
    assert days == [("2024-10-04", 130), ("2024-10-05", 7)]
    assert [(r.group["status"], r.requests) for r in ledger.usage(["status"])] == [
        ("complete", 3),
        ("estimated", 1),
        ("late", 0),
    ]
    assert ledger.usage([])[0].cost == ledger.total() == 137


def test_a_time_is_from_and_until_but_not_with(ledger):
    ledger.append("s", [charge(i, 1, at=START + i * DAY) for i in range(4)])
    rows = ledger.usage(["day"], since_ms=START + DAY, until_ms=START + 3 * DAY)
    assert [row.group["day"] for row in rows] == ["2024-10-05", "2024-10-06"]
    assert ledger.usage(["day"], since_ms=START + 9 * DAY) == []
    assert ledger.usage([], since_ms=START + 9 * DAY) == []


def test_an_unknown_group_is_named(ledger):
    with pytest.raises(ValueError, match="not by colour"):
        ledger.usage(["colour; DROP TABLE ledger".partition(";")[0]])


def test_the_position_is_kept_with_the_rows_all_or_none(ledger):
    assert ledger.last("s") is None
    ledger.append("s", [charge(1, 1), charge(2, 2)])
    ledger.append("other", [charge(9, 1)])
    with pytest.raises(ValueError, match="the detail of the charge"):
        ledger.append("s", [charge(3, 3), charge(4, 4)._replace(detail=b"{")])
    assert (ledger.last("s"), ledger.last("other"), ledger.total()) == ("2", "9", 4)
    ledger.append("s", [])
    assert ledger.last("s") == "2"


def test_a_store_that_tells_again_what_it_has_told_is_not_believed(ledger):
    expired = charge(2, 9, status="estimated")._replace(position="2-0")
    ledger.append("s", [charge(1, 5)._replace(position="1-0"), expired])
    told_again = charge(1, 5)._replace(position="7-0")
    expired_again = charge(2, 9, status="estimated")._replace(position="8-0")
    ledger.append("s", [told_again, expired_again, charge(2, -4, status="late")._replace(position="8-1")])
    ledger.append("s", [charge(2, -4, status="late")._replace(position="9-0")])
    assert (ledger.total(), ledger.last("s")) == (10, "9-0")


def test_holds_of_different_embedded_stores_may_have_the_same_number(ledger):
    ledger.append("embedded:0", [charge(1, 5)])
    ledger.append("embedded:1", [charge(1, 7)])
    assert (ledger.total(), ledger.last("embedded:1")) == (12, "1")


def test_a_record_without_details_still_counts(ledger):
    ledger.append("s", [Charge(1, "unknown", "h", 5, START, b"")])
    assert ledger.records()[0]["status"] == "unknown"
    assert ledger.total() == 5


def test_it_can_be_read_while_it_is_written_and_is_only_its_owners(tmp_path, ledger):
    ledger.append("s", [charge(1, 1)])
    path = tmp_path / "state" / "ledger.db"
    reader = LedgerFile(path, read_only=True)
    assert reader.total() == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.append("s", [charge(2, 1)])
    reader.close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_of_a_newer_version_is_refused(tmp_path, ledger):
    db = LedgerDatabase(tmp_path / "state" / "ledger.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.DatabaseError, match="ledger was written by a newer version"):
        LedgerFile(tmp_path / "state" / "ledger.db")


def test_more_rows_than_one_statement_takes_are_all_there(ledger):
    ledger.append("s", [charge(i, 1, key=f"k{i % 3}") for i in range(1, 200)])
    assert (ledger.total(), ledger.last("s"), len(ledger.records())) == (199, "199", 199)
    assert [(r.group["key"], r.requests) for r in ledger.usage(["key"])] == [("k0", 66), ("k1", 67), ("k2", 66)]


def test_what_rows_have_in_common_is_written_again_after_a_batch_that_failed(ledger):
    with pytest.raises(ValueError, match="the detail of the charge"):
        ledger.append("s", [charge(1, 1, key="new"), charge(2, 1)._replace(detail=b"{")])
    ledger.append("s", [charge(1, 1, key="new")])
    assert [row.group["key"] for row in ledger.usage(["key"])] == ["new"]


@pytest.mark.parametrize(
    "detail",
    [
        pytest.param(["r1", "alice", "t"], id="list that ends early"),
        pytest.param({"request": "r1", "key": "alice", "team": "t"}, id="members by name"),
    ],
)
def test_what_a_detail_does_not_say_is_not_known(ledger, detail):
    ledger.append("s", [Charge(1, "settled", "1", 5, START, orjson.dumps(detail))])
    row = ledger.records()[0]
    assert (row["request"], row["key"], row["team"], row["model"]) == ("r1", "alice", "t", None)
    assert (row["status"], row["priced"], row["input"]) == ("complete", 1, 0)


def test_a_file_of_the_version_before_is_taken_over_whole(tmp_path):
    path = tmp_path / "ledger.db"
    old = sqlite3.connect(path)
    for statement in MIGRATIONS[0].split(";"):
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    names = "at_ms, status, hold, amount, priced, expired, request, key, team, model, " + ", ".join(TOKENS)
    for hold, expired, team in (("1", 0, None), ("2", 1, "t"), ("n-1", 0, "t"), ("n-1", 1, "t")):
        old.execute(
            f"INSERT INTO ledger ({names}) "
            "VALUES (?, 'complete', ?, 7, 1, ?, 'r', 'alice', ?, 'm', 10, 0, 0, 5, 0, 0, 0)",
            (START, hold, expired, team),
        )
    old.commit()
    old.close()
    with pytest.raises(sqlite3.DatabaseError, match="older version"):
        LedgerFile(path, read_only=True)
    ledger = LedgerFile(path)
    assert [(r.group["team"], r.requests, r.cost, r.tokens["input"]) for r in ledger.usage(["team"])] == [
        (None, 1, 7, 10),
        ("t", 3, 21, 30),
    ]
    ledger.append("redis:t", [Charge("9-0", "settled", "n-1", 7, START, b"")])
    assert ledger.total() == 28
    assert ledger.records()[-1]["hold"] == "1"
    ledger.close()


def test_a_detail_of_the_version_without_tenants_is_read_as_it_was_meant(ledger):
    old = ["r1", "alice", "t", "kim", "m", "p", "upstream", "prices", "complete", True, 10, 0, 0, 5, 0, 0, 0]
    assert len(old) == len(DETAIL) - 1
    new = [*old[:5], "acme", *old[5:]]
    ledger.append("s", [Charge(i, "settled", str(i), 5, START, orjson.dumps(one)) for i, one in ((1, old), (2, new))])
    second, first = ledger.records()
    assert (first.pop("tenant"), second.pop("tenant")) == (None, "acme")
    assert (first["provider"], first["prices"], first["output"]) == ("p", "prices", 5)
    assert {name for name in first if first[name] != second[name]} <= {"hold"}


def test_who_follows_the_ledger_is_told_of_what_came_to_something_since(ledger):
    ledger.append("s", [charge(1, 5)])
    ledger.follow("reader")
    assert ledger.last("reader") == "1"
    ledger.append("s", [charge(2, 0), charge(3, 7), charge(4, -2, status="late")])
    ledger.follow("reader")
    assert [(one["id"], one["nano_usd"], one["status"]) for one in ledger.charged(1, 9)] == [
        (3, 7, "complete"),
        (4, -2, "late"),
    ]
    ledger.mark("reader", 3)
    assert ledger.last("reader") == "3"
    assert ledger.id == ledger.id
    assert len(ledger.id) == 32
