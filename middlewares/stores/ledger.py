"""The ledger: one row per charge in an SQLite file, written in batches and durable once `append` has returned.

The position of the last row is kept beside the rows, in one transaction: each record of a store is there exactly once,
however often it is read. The file is the extension's: rows go from the store to the disk without the interpreter, and
Python's own sqlite3 must not open it in a process that has it open (`stores.sqlite.Connection`).
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse._native import LedgerDatabase
from tollhouse.middlewares.errors import word
from tollhouse.middlewares.stores import sqlite
from tollhouse.middlewares.stores.ledger_schema import MIGRATIONS, SERIES, TOKENS
from tollhouse.middlewares.stores.sqlite import BUSY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tollhouse._native import QuotaRecords

GROUPS = ("day", "key", "team", "user", "model", "provider", "status")
_COLUMNS = ("at_ms", "shared", "hold", "expired", "amount", "request", *TOKENS, *SERIES)
_ID = "ledger"  # the position that is the file's own name
# A correction changes what a request has cost, and so does an attempt whose answer did not come; neither is a request.
_REQUESTS = "sum(status NOT IN ('late', 'attempt'))"
_UNPRICED = "sum(NOT priced AND status NOT IN ('late', 'attempt'))"


class Charge(NamedTuple):
    """A record of the ledger: `amount` nano-USD were added to what is posted. `detail` is the gateway's own: a JSON
    list in the order of `DETAIL`.

    `status` is settled, late (after the hold had been charged in full: the difference), estimated (it expired) or
    unknown (the store had lost the hold).
    """

    position: int | str
    status: str
    hold: str
    amount: int
    at_ms: int
    detail: bytes


class UsageRow(NamedTuple):
    """Sums of a group. `cost` is in nano-USD, `unpriced` counts requests whose model has no price."""

    group: dict[str, str | None]
    requests: int
    cost: int
    unpriced: int
    tokens: dict[str, int]


class LedgerFile:
    """Opens (and makes, unless it is only read) the ledger at `path`. For one thread at a time, any number of readers.

    Raises sqlite3.Error or OSError when the file cannot be used.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        if read_only:
            self._db = LedgerDatabase(path, read_only=True, busy_s=BUSY_S)
            sqlite.expect(self._db, MIGRATIONS, "the ledger")
            return
        sqlite.make(path)
        self._db = LedgerDatabase(path, busy_s=BUSY_S)
        sqlite.be_durable(self._db)
        sqlite.migrate(self._db, MIGRATIONS, "the ledger")

    def last(self, source: str) -> str | None:
        """The position of the last record of `source`; None if there is none."""
        return self._db.last(source)

    def append(self, source: str, charges: Sequence[Charge]) -> None:
        """Write records that follow on `last(source)`. All or none. Raises ValueError for a detail that is none."""
        self._db.append(source, charges)

    def append_from(self, source: str, records: QuotaRecords, limit: int) -> int:
        """Take the records of an embedded store, at most `limit` of them; how many. It drops what is durable here."""
        return self._db.append_from(source, records, limit)

    @property
    def id(self) -> str:
        """Of this file, in all the world."""
        found = self.last(_ID)
        if found is None:
            self._db.execute("INSERT INTO positions VALUES (?, ?) ON CONFLICT DO NOTHING", (_ID, token_hex(16)))
            found = self.last(_ID)
        assert found is not None
        return found

    def follow(self, reader: str) -> None:
        """From the first time on, `reader` is one who is told of the rows that come (`last`, `mark`)."""
        self._db.execute(
            "INSERT INTO positions SELECT ?, coalesce(max(id), 0) FROM ledger WHERE true ON CONFLICT DO NOTHING",
            (reader,),
        )

    def charged(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Rows behind the one with the id `after` that came to anything, oldest first."""
        names = ("id", "request", "at_ms", "nano_usd", "status", "key", "team", "user", "tenant", "model", "provider")
        rows = self._db.execute(
            "SELECT ledger.id, request, at_ms, amount, status, key, team, user, tenant, model, provider "
            "FROM ledger JOIN series ON series.id = series WHERE ledger.id > ? AND amount != 0 "
            "ORDER BY ledger.id LIMIT ?",
            (after, limit),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def mark(self, reader: str, last: int) -> None:
        """`reader` was told of everything up to and with this row."""
        self._db.execute("UPDATE positions SET last = ? WHERE source = ?", (str(last), reader))

    def usage(self, by: Iterable[str], *, since_ms: int | None = None, until_ms: int | None = None) -> list[UsageRow]:
        """Sums by some of `GROUPS`, in their order. Days are UTC. Raises ValueError for another group."""
        groups = list(by)
        for name in groups:
            if name not in GROUPS:
                raise ValueError(f"usage is summed by {', '.join(GROUPS)}, not by {word(name)}")
        names = ["date(at_ms / 1000, 'unixepoch')" if name == "day" else name for name in groups]
        sums = ", ".join(f"sum({name})" for name in TOKENS)
        group = f"GROUP BY {', '.join(names)} ORDER BY {', '.join(names)}" if names else ""
        rows = self._db.execute(
            f"SELECT {', '.join([*names, _REQUESTS])}, sum(amount), {_UNPRICED}, {sums} "  # noqa: S608 - names from the list above
            f"FROM ledger JOIN series ON series.id = series WHERE at_ms >= ? AND at_ms < ? {group}",
            (since_ms or 0, until_ms if until_ms is not None else 1 << 62),
        )
        return [_usage(groups, row) for row in rows if row[len(groups)] is not None]

    def total(self) -> int:
        """Everything that was charged, in nano-USD."""
        ((total,),) = self._db.execute("SELECT coalesce(sum(amount), 0) FROM ledger")
        return int(total)

    def records(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The latest rows, newest first."""
        rows = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM ledger JOIN series ON series.id = series "  # noqa: S608 - names from the list above
            "ORDER BY ledger.id DESC LIMIT ?",
            (limit,),
        )
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def close(self) -> None:
        self._db.close()


def _usage(groups: list[str], row: tuple[Any, ...]) -> UsageRow:
    n = len(groups)
    requests, cost, unpriced, *tokens = row[n:]
    return UsageRow(
        dict(zip(groups, row[:n], strict=True)), requests, cost, unpriced, dict(zip(TOKENS, tokens, strict=True))
    )
