"""The extension's copy of SQLite behaves as Python's, where it fails and where others have the file too."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tollhouse._native import LedgerDatabase
from tollhouse.middlewares.stores import ledger
from tollhouse.middlewares.stores.ledger import Charge, LedgerFile

DETAIL = orjson.dumps(["r", "alice"])
TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL UNIQUE, b INTEGER CHECK (b < 9)) STRICT"


def charge(position: int) -> Charge:
    return Charge(position, "settled", str(position), 5, position, DETAIL)


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELEKT 1", ()),
        ("SELECT * FROM nothing", ()),
        ("SELECT ?", ()),
        ("SELECT 1; SELECT 2", ()),
        ("INSERT INTO t (a) VALUES (NULL)", ()),
        ("INSERT INTO t (a) VALUES ('x'), ('x')", ()),
        ("INSERT INTO t (a, b) VALUES ('x', 9)", ()),
        ("INSERT INTO t (a, b) VALUES ('x', 'y')", ()),
        ("INSERT INTO t (id, a) VALUES ('one', 'x')", ()),
        ("SELECT zeroblob(1 << 40)", ()),
        ("SELECT CAST(x'ff' AS TEXT)", ()),
        ("SELECT abs(-9223372036854775808)", ()),
        ("COMMIT", ()),
        ("ATTACH '/nowhere/at/all' AS other", ()),
        ("SELECT ?", (1 << 64,)),
    ],
)
def test_errors_are_those_of_pythons_sqlite(tmp_path: Path, sql: str, parameters: tuple[int, ...]) -> None:
    own, pythons = LedgerDatabase(tmp_path / "own.db"), sqlite3.connect(":memory:", isolation_level=None)
    raised = []
    for db in (own, pythons):
        db.execute(TABLE)
        with pytest.raises(Exception) as error:
            list(db.execute(sql, parameters))
        raised.append((type(error.value), getattr(error.value, "sqlite_errorcode", None)))
        db.close()
    assert raised[0] == raised[1]


def test_values_come_back_as_from_pythons_sqlite(tmp_path: Path) -> None:
    sql = "SELECT ?, ?, ?, ?, 1.5, x'00ff', 'a' || char(0) || 'b', date(1728000000, 'unixepoch')"
    parameters = (None, -(1 << 63), "é", True)
    own, pythons = LedgerDatabase(tmp_path / "own.db"), sqlite3.connect(":memory:")
    assert own.execute(sql, parameters) == list(pythons.execute(sql, parameters))
    own.close()
    pythons.close()


def test_a_file_that_is_no_database_is_told_as_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database, but longer than the head of one\n" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        LedgerFile(path)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        LedgerFile(tmp_path / "missing.db", read_only=True)


def test_a_closed_file_is_told_as_one(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger.db")
    file.close()
    file.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        file.total()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        file.append("s", [charge(1)])


@contextmanager
def written_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """It has the lock until it reads a line."""
    script = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); db.execute('BEGIN IMMEDIATE'); "
        "print('locked', flush=True); sys.stdin.readline(); db.execute('ROLLBACK')"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "locked\n"
        yield other
        other.stdin.close()


def test_a_file_that_another_process_writes_is_waited_for_so_long_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BUSY_S", 0.3)
    file = LedgerFile(tmp_path / "ledger.db")
    file.append("s", [charge(1)])
    with written_by_another_process(tmp_path / "ledger.db"):
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked") as refused:
            file.append("s", [charge(2)])
        assert time.monotonic() - began >= 0.3
        assert refused.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
        assert (file.last("s"), file.total()) == ("1", 5)
    file.append("s", [charge(2)])
    assert (file.last("s"), file.total()) == ("2", 10)
    file.close()


def test_a_batch_waits_for_another_process_and_holds_nobody_up(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger.db")
    with written_by_another_process(tmp_path / "ledger.db") as other:
        writer = threading.Thread(target=file.append, args=("s", [charge(1)]))
        writer.start()
        # Were the interpreter's lock held, nobody would be here to let go of the other one.
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        writer.join(10)
        assert not writer.is_alive()
    assert file.last("s") == "1"
    file.close()


FULL_DISK = """
import resource, sqlite3, sys
from pathlib import Path
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.ledger import LedgerFile

path = Path(sys.argv[1])
store, file = EmbeddedQuota(), LedgerFile(path)
plan = store.plan([])
def settle(count):
    for _ in range(count):
        store.settle(store.admit(plan, expires_in_ms=1000).hold, amount=0, entry=b'["r", "alice"]')
settle(10)
assert file.append_from("e", store.records, 5000) == 10
settle(4000)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
size = path.with_name(path.name + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))
for _ in range(2):
    try:
        file.append_from("e", store.records, 5000)
    except sqlite3.OperationalError:
        pass
    else:
        raise AssertionError("there was room")
    assert (file.last("e"), len(file.records(9999)), len(store.charges(9999))) == ("10", 10, 4000)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert file.append_from("e", store.records, 5000) == 4000
assert (file.last("e"), len(file.records(9999)), store.charges(1)) == ("4010", 4010, [])
assert {row["key"] for row in file.records(9999)} == {"alice"}
file.close()
print("well")
"""


def test_when_the_disk_is_full_nothing_is_lost_and_it_goes_on_later(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "ledger.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "well\n", done.stderr


def test_who_reads_while_it_is_written_sees_whole_batches(tmp_path: Path) -> None:
    path, batch, batches = tmp_path / "ledger.db", 50, 40
    file, teller, reader = LedgerFile(path), LedgerFile(path), LedgerFile(path, read_only=True)
    teller.follow("teller")

    def write() -> None:
        for first in range(1, batch * batches, batch):
            file.append("s", [charge(position) for position in range(first, first + batch)])

    def tell() -> None:
        told = 0
        while told < batch * batches:
            told = max([told, *(row["id"] for row in teller.charged(told, 70))])
            teller.mark("teller", told)

    threads = [threading.Thread(target=work) for work in (write, tell)]
    for thread in threads:
        thread.start()
    seen = 0
    while seen < batch * batches:
        total = reader.total()
        sums = [(row.requests, row.cost) for row in reader.usage([])]
        ((requests, cost),) = sums or [(0, 0)]
        assert seen <= total // 5 <= requests
        assert (total % (5 * batch), requests % batch, cost) == (0, 0, 5 * requests)
        seen = total // 5
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert (file.last("s"), file.last("teller")) == (str(batch * batches), str(batch * batches))
    for one in (file, teller, reader):
        one.close()
