"""Whose files and batches are whose: providers know one account only, so the gateway has to know the key.

A SQLite file beside the others of the state folder, shared by the processes of this machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tollhouse.middlewares.errors import Unavailable
from tollhouse.middlewares.stores.sqlite import connect, migrate, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

T = TypeVar("T")
_SCHEMA = (
    """CREATE TABLE kept (
        id TEXT NOT NULL, provider TEXT NOT NULL, owner TEXT NOT NULL, made REAL NOT NULL, PRIMARY KEY (id)
    ) WITHOUT ROWID""",
)
_AT_ONCE = 500  # ids in one statement
KEPT_S = 400 * 86400.0  # since an id was heard of last
CERTAIN_S = 3600.0  # a provider that says 404 of what it has told of so lately may be about to know it
_SWEEP_S = 3600.0
_FRESH_S = 600.0  # what was told of so lately is not written anew


# `made`: when the provider told of it last.
_NOTED = f"""INSERT INTO kept VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET made = excluded.made
    WHERE owner = excluded.owner AND made < excluded.made - {_FRESH_S}"""  # noqa: S608 - a number of ours


class Kept(NamedTuple):
    """What is known of an id: the key's id, and the provider that keeps it."""

    owner: str
    provider: str


class Owners:
    """Asked before anything is read. Raises Unavailable where the file cannot be used: nothing is anybody's then.

    What a provider has not told of for `KEPT_S` is forgotten. now: seconds since the epoch.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time) -> None:
        self._path = path
        self._now = now
        self._swept_at = 0.0
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="owners")

    async def add(self, ids: Collection[str], provider: str, owner: str) -> None:
        """The provider has told of these ids. One that has an owner keeps it."""
        now = self._now()
        rows = [(one, provider, owner, now) for one in ids]

        def note(db: sqlite3.Connection) -> sqlite3.Cursor:
            with transaction(db):
                return db.executemany(_NOTED, rows)

        await self._write(note)
        if now >= self._swept_at + _SWEEP_S:
            self._swept_at = now
            await self._write(lambda db: db.execute("DELETE FROM kept WHERE made < ?", (now - KEPT_S,)))

    async def find(self, name: str) -> Kept | None:
        row = await self._run(
            lambda db: db.execute("SELECT owner, provider FROM kept WHERE id = ?", (name,)).fetchone()
        )
        return None if row is None else Kept(*row)

    async def owned(self, ids: Collection[str], owner: str) -> set[str]:
        """Those of `ids` that are this owner's."""
        listed = list(ids)

        def ask(db: sqlite3.Connection) -> set[str]:
            found: set[str] = set()
            for at in range(0, len(listed), _AT_ONCE):
                some = listed[at : at + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT id FROM kept WHERE owner = ? AND id IN ({marks})"  # noqa: S608 - marks only
                found.update(row[0] for row in db.execute(query, (owner, *some)))
            return found

        return await self._run(ask)

    async def forget(self, name: str) -> None:
        await self._write(lambda db: db.execute("DELETE FROM kept WHERE id = ?", (name,)))

    async def gone(self, name: str) -> None:
        """The provider says that there is no such id."""
        known_at = self._now() - CERTAIN_S
        await self._write(lambda db: db.execute("DELETE FROM kept WHERE id = ? AND made < ?", (name, known_at)))

    async def close(self) -> None:
        if self._db is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown(wait=False)

    async def _write(self, tell: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> None:
        # A cursor must not leave its thread: where it is dropped it resets a statement that may be running again.
        await self._run(lambda db: tell(db).close())

    async def _run(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: ask(self._opened()))
        except (OSError, sqlite3.Error) as error:
            msg = "whose files and batches these are cannot be looked up"
            raise Unavailable(msg, code="owner_store_unavailable") from error

    def _opened(self) -> sqlite3.Connection:
        """Opened with the first file that anybody keeps."""
        if self._db is None:
            db = connect(self._path)
            migrate(db, _SCHEMA, str(self._path))
            self._db = db
        return self._db
