"""SQLite files as the stores use them: shared by processes, and durable once a transaction has returned."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BUSY_S = 5.0


class Connection(Protocol):
    """Python's own or the extension's, which has a copy of SQLite for itself. No file may be open in both: locks are
    the process's, and closing the file in one of them takes them from the other.
    """

    def execute(self, sql: str, /) -> Iterable[tuple[Any, ...]]:
        """The rows of one statement. Raises sqlite3.Error."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, made for its owner only if it is not there. Raises sqlite3.Error or OSError."""
    make(path)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    be_durable(db)
    return db


def make(path: Path) -> None:
    """For its owner only, if it is not there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)


def be_durable(db: Connection) -> None:
    """What was said to be there must be there after a power cut, and can be read while others write."""
    _use_wal(db)
    db.execute("PRAGMA synchronous = FULL")


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """All or nothing, and nobody else writes meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def migrate(db: Connection, steps: tuple[str, ...], what: str) -> None:
    """Take the schema to the last of `steps`. Raises sqlite3.DatabaseError for a file of a newer version."""
    if _schema(db) == len(steps):
        return
    with transaction(db):
        # Somebody else may have been first.
        known = _schema(db)
        if known > len(steps):
            raise _newer(what, known)
        for step in steps[known:]:
            for statement in _statements(step):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(steps)}")


def _statements(step: str) -> Iterator[str]:
    """One after the other; those in the body of a trigger belong to it."""
    statement = ""
    for piece in step.split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def expect(db: Connection, steps: tuple[str, ...], what: str) -> None:
    """Raises sqlite3.DatabaseError unless the schema is the last of `steps`: whoever only reads changes nothing."""
    known = _schema(db)
    if known > len(steps):
        raise _newer(what, known)
    if known < len(steps):
        msg = f"{what} is of an older version (schema {known}): the gateway brings it up to date when it starts"
        raise sqlite3.DatabaseError(msg)


def _newer(what: str, known: int) -> sqlite3.DatabaseError:
    return sqlite3.DatabaseError(f"{what} was written by a newer version (schema {known})")


def _schema(db: Connection) -> int:
    ((version,),) = db.execute("PRAGMA user_version")
    return int(version)


def _use_wal(db: Connection) -> None:
    """For this step SQLite does not wait for others that open a new file at the same moment."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return
