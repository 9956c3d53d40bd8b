import sqlite3

import orjson
import pytest

from tollhouse.middlewares.stores.ledger import Charge, LedgerFile

DAY = 86_400_000
START = 20_000 * DAY  # 2024-10-04


def charge(position: int, amount: int, *, status: str = "settled", at: int = START, **detail: object) -> Charge:
    given = {"request": f"r{position}", "key": "alice", "model": "m", "status": "complete", "input": 10, "output": 5}
    return Charge(position, status, str(position), amount, at, orjson.dumps(given | detail))


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
    with pytest.raises(orjson.JSONDecodeError):
        ledger.append("s", [charge(3, 3), charge(4, 4)._replace(detail=b"{")])
    assert (ledger.last("s"), ledger.last("other"), ledger.total()) == ("2", "9", 4)
    ledger.append("s", [])
    assert ledger.last("s") == "2"


def test_a_store_that_tells_again_what_it_has_told_is_not_believed(ledger):
    ledger.append("s", [charge(1, 5), charge(2, 9, status="estimated")])
    told_again = charge(1, 5)._replace(position="7-0")
    expired_again = charge(2, 9, status="estimated")._replace(position="8-0")
    ledger.append("s", [told_again, expired_again, charge(2, -4, status="late")])
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
    db = sqlite3.connect(tmp_path / "state" / "ledger.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.DatabaseError, match="ledger was written by a newer version"):
        LedgerFile(tmp_path / "state" / "ledger.db")
