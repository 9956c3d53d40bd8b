"""The ledger: one row per charge in an SQLite file, written in batches and durable once `append` has returned.

The position of the last row is kept beside the rows, in one transaction: each record of a store is there exactly once,
however often it is read.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson

from tollhouse.middlewares.stores import sqlite
from tollhouse.middlewares.stores.sqlite import BUSY_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GROUPS = ("day", "key", "team", "user", "model", "provider", "status")
TOKENS = ("input", "cached", "cache_write", "output", "reasoning", "audio_input", "audio_output")
_TEXTS = ("request", "key", "team", "user", "model", "provider", "upstream_model", "prices")
# Each entry takes the schema one version further; never edit one that has been released.
_MIGRATIONS = (
    f"""
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        status TEXT NOT NULL,
        hold TEXT NOT NULL,
        amount INTEGER NOT NULL,
        priced INTEGER NOT NULL,
        expired INTEGER NOT NULL,
        {", ".join(f"{name} TEXT" for name in _TEXTS)},
        {", ".join(f"{name} INTEGER NOT NULL" for name in TOKENS)}
    ) STRICT;
    CREATE INDEX ledger_by_time ON ledger (at_ms);
    CREATE INDEX ledger_by_hold ON ledger (hold);
    CREATE TABLE positions (source TEXT PRIMARY KEY, last TEXT NOT NULL) STRICT, WITHOUT ROWID
    """,
)
_COLUMNS = ("at_ms", "status", "hold", "amount", "priced", "expired", *_TEXTS, *TOKENS)
# A shared store that has lost its latest records in a failover may tell them again under new positions. Of one hold
# there is at most one record that it has expired, and one of its end. An embedded store numbers its records without a
# gap, and its holds by itself: others may have the same numbers.
_INSERT = f"""
    INSERT INTO ledger ({", ".join(_COLUMNS)}) SELECT {", ".join(f"?{i + 1}" for i in range(len(_COLUMNS)))}
    WHERE ?{len(_COLUMNS) + 1} OR NOT EXISTS (SELECT 1 FROM ledger WHERE hold = ?3 AND expired = ?6)
"""  # noqa: S608
# A correction changes what a request has cost, and so does an attempt whose answer did not come; neither is a request.
_REQUESTS = "sum(status NOT IN ('late', 'attempt'))"
_UNPRICED = "sum(NOT priced AND status NOT IN ('late', 'attempt'))"


class Charge(NamedTuple):
    """A record of the ledger: `amount` nano-USD were added to what is posted. `detail` is the gateway's own.

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
            self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_S)
            return
        self._db = sqlite.connect(path)
        sqlite.migrate(self._db, _MIGRATIONS, "the ledger")

    def last(self, source: str) -> str | None:
        """The position of the last record of `source`; None if there is none."""
        row = self._db.execute("SELECT last FROM positions WHERE source = ?", (source,)).fetchone()
        return None if row is None else row[0]

    def append(self, source: str, charges: Sequence[Charge]) -> None:
        """Write records that follow on `last(source)`. All or none."""
        if not charges:
            return
        with sqlite.transaction(self._db):
            self._db.executemany(_INSERT, ((*_row(one), isinstance(one.position, int)) for one in charges))
            self._db.execute(
                "INSERT INTO positions VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last",
                (source, str(charges[-1].position)),
            )

    def usage(self, by: Iterable[str], *, since_ms: int | None = None, until_ms: int | None = None) -> list[UsageRow]:
        """Sums by some of `GROUPS`, in their order. Days are UTC. Raises ValueError for another group."""
        groups = list(by)
        for name in groups:
            if name not in GROUPS:
                raise ValueError(f"usage is summed by {', '.join(GROUPS)}, not by {name}")
        names = ["date(at_ms / 1000, 'unixepoch')" if name == "day" else name for name in groups]
        sums = ", ".join(f"sum({name})" for name in TOKENS)
        group = f"GROUP BY {', '.join(names)} ORDER BY {', '.join(names)}" if names else ""
        rows = self._db.execute(
            f"SELECT {', '.join([*names, _REQUESTS])}, sum(amount), {_UNPRICED}, {sums} "  # noqa: S608 - names from the list above
            f"FROM ledger WHERE at_ms >= ? AND at_ms < ? {group}",
            (since_ms or 0, until_ms if until_ms is not None else 1 << 62),
        )
        return [_usage(groups, row) for row in rows if row[len(groups)] is not None]

    def total(self) -> int:
        """Everything that was charged, in nano-USD."""
        return int(self._db.execute("SELECT coalesce(sum(amount), 0) FROM ledger").fetchone()[0])

    def records(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The latest rows, newest first."""
        rows = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM ledger ORDER BY id DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def close(self) -> None:
        self._db.close()


def _row(charge: Charge) -> tuple[Any, ...]:
    detail: dict[str, Any] = orjson.loads(charge.detail) if charge.detail else {}
    # The store's word on holds that nobody ended comes before the gateway's.
    status = charge.status if charge.status != "settled" else detail.get("status", "complete")
    return (
        charge.at_ms,
        status,
        charge.hold,
        charge.amount,
        int(detail.get("priced", True)),
        int(charge.status == "estimated"),
        *(detail.get(name) for name in _TEXTS),
        *(0 if charge.status == "late" else detail.get(name, 0) for name in TOKENS),
    )


def _usage(groups: list[str], row: tuple[Any, ...]) -> UsageRow:
    n = len(groups)
    requests, cost, unpriced, *tokens = row[n:]
    return UsageRow(
        dict(zip(groups, row[:n], strict=True)), requests, cost, unpriced, dict(zip(TOKENS, tokens, strict=True))
    )
