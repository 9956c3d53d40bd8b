"""The ledger: one row per charge in an SQLite file, written in batches and durable once `append` has returned.

The position of the last row is kept beside the rows, in one transaction: each record of a store is there exactly once,
however often it is read.
"""

from __future__ import annotations

import sqlite3
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson

from tollhouse.middlewares.errors import word
from tollhouse.middlewares.stores import sqlite
from tollhouse.middlewares.stores.ledger_schema import DETAIL, MIGRATIONS, SERIES, TOKENS
from tollhouse.middlewares.stores.sqlite import BUSY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GROUPS = ("day", "key", "team", "user", "model", "provider", "status")
_COLUMNS = ("series", "at_ms", "shared", "hold", "expired", "amount", "request", *TOKENS)
# Between two statements other threads have their turn, and taking turns costs more than a row does.
_ROWS = 64
_VALUES = f"({', '.join('?' * len(_COLUMNS))})"
# A shared store that has lost its latest records in a failover may tell them again under new positions. Of one hold
# there is at most one record that it has expired, and one of its end. An embedded store numbers its records without a
# gap, and its holds by itself: others may have the same numbers.
_INSERT = f"INSERT INTO ledger ({', '.join(_COLUMNS)}) VALUES {{}} ON CONFLICT DO NOTHING"  # noqa: S608
_STATUS, _PRICED, _TOKENS = (DETAIL.index(name) for name in ("status", "priced", TOKENS[0]))
_NO_TOKENS = (0,) * len(TOKENS)
_UNKNOWN: tuple[Any, ...] = (*(None,) * _STATUS, "complete", True, *_NO_TOKENS)
_TENANT = DETAIL.index("tenant")
_ID = "ledger"  # the position that is the file's own name
_KEPT = 100_000
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
        self._series: dict[tuple[Any, ...], int] = {}
        if read_only:
            self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)
            sqlite.expect(self._db, MIGRATIONS, "the ledger")
            return
        self._db = sqlite.connect(path)
        sqlite.migrate(self._db, MIGRATIONS, "the ledger")

    def last(self, source: str) -> str | None:
        """The position of the last record of `source`; None if there is none."""
        row = self._db.execute("SELECT last FROM positions WHERE source = ?", (source,)).fetchone()
        return None if row is None else row[0]

    def append(self, source: str, charges: Sequence[Charge]) -> None:
        """Write records that follow on `last(source)`. All or none."""
        if not charges:
            return
        try:
            with sqlite.transaction(self._db):
                for at in range(0, len(charges), _ROWS):
                    some = charges[at : at + _ROWS]
                    values: list[Any] = []
                    for one in some:
                        values += self._row(one)
                    self._db.execute(_INSERT.format(", ".join([_VALUES] * len(some))), values)
                self._db.execute(
                    "INSERT INTO positions VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last",
                    (source, str(charges[-1].position)),
                )
        except BaseException:
            self._series.clear()  # some of them have gone with the transaction
            raise

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
        return int(self._db.execute("SELECT coalesce(sum(amount), 0) FROM ledger").fetchone()[0])

    def records(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The latest rows, newest first."""
        names = [*_COLUMNS[1:], *SERIES]
        rows = self._db.execute(
            f"SELECT {', '.join(names)} FROM ledger JOIN series ON series.id = series ORDER BY ledger.id DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def close(self) -> None:
        self._db.close()

    def _row(self, charge: Charge) -> tuple[Any, ...]:
        """Values of `_COLUMNS`."""
        detail = orjson.loads(charge.detail) if charge.detail else []
        if len(detail) != len(DETAIL):
            detail = _completed(detail)
        # The store's word on holds that nobody ended comes before the gateway's.
        own = detail[_STATUS]
        # An attempt is no request, also where the store had lost its hold.
        is_own = charge.status == "settled" or (charge.status == "unknown" and own == "attempt")
        status = own if is_own else charge.status
        what = (status, detail[_PRICED], *detail[1:_STATUS])
        series = self._series.get(what)
        if series is None:
            series = self._find(what)
        position, _, hold, amount, at_ms, _ = charge
        tokens = _NO_TOKENS if charge.status == "late" else detail[_TOKENS:]
        is_shared = not isinstance(position, int)
        return (series, at_ms, is_shared, hold, charge.status == "estimated", amount, detail[0], *tokens)

    def _find(self, what: tuple[Any, ...]) -> int:
        if len(self._series) >= _KEPT:
            self._series.clear()
        same = " AND ".join(f"{name} IS ?" for name in SERIES)
        found = self._db.execute(f"SELECT id FROM series WHERE {same}", what).fetchone()  # noqa: S608
        if found is None:
            places = ", ".join("?" * len(SERIES))
            found = self._db.execute(
                f"INSERT INTO series ({', '.join(SERIES)}) VALUES ({places}) RETURNING id",  # noqa: S608
                what,
            ).fetchone()
        self._series[what] = found[0]
        return int(found[0])


def _completed(detail: list[Any] | dict[str, Any]) -> list[Any]:
    """With everything that is missing. A store that an earlier version wrote has members by name."""
    if isinstance(detail, dict):
        detail = [detail.get(name, _UNKNOWN[i]) for i, name in enumerate(DETAIL)]
    elif len(detail) == len(DETAIL) - 1:  # of a version without tenants
        detail = [*detail[:_TENANT], None, *detail[_TENANT:]]
    return [*detail, *_UNKNOWN[len(detail) :]]


def _usage(groups: list[str], row: tuple[Any, ...]) -> UsageRow:
    n = len(groups)
    requests, cost, unpriced, *tokens = row[n:]
    return UsageRow(
        dict(zip(groups, row[:n], strict=True)), requests, cost, unpriced, dict(zip(TOKENS, tokens, strict=True))
    )
