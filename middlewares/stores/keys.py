"""The embedded store of virtual keys: one SQLite file, durable once a call has returned, shared by all processes.

A key is `sk-th-`, 12 public characters, a dash and 48 secret ones. Only the SHA-256 of the whole is kept, so a key is
shown once, when it is made.
"""

from __future__ import annotations

import json
import secrets
import string
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollhouse.middlewares.stores import sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PREFIX = "sk-th-"
PUBLIC_LENGTH = 12
SECRET_LENGTH = 48
_ALPHABET = string.ascii_letters + string.digits
# Each entry takes the schema one version further; never edit one that has been released.
_MIGRATIONS = (
    """
    CREATE TABLE keys (
        public TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL,
        team TEXT,
        models TEXT,
        created_at REAL NOT NULL,
        expires_at REAL,
        revoked_at REAL
    ) STRICT
    """,
    # Whoever wrote and however: what a process has read once it need not read again for one key that is new.
    """
    CREATE TABLE changes (revision INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL) STRICT;
    CREATE TRIGGER key_made AFTER INSERT ON keys BEGIN
        INSERT INTO changes (digest) VALUES (NEW.digest);
    END;
    CREATE TRIGGER key_changed AFTER UPDATE ON keys BEGIN
        INSERT INTO changes (digest) VALUES (OLD.digest);
        INSERT INTO changes (digest) SELECT NEW.digest WHERE NEW.digest <> OLD.digest;
    END;
    CREATE TRIGGER key_deleted AFTER DELETE ON keys BEGIN
        INSERT INTO changes (digest) VALUES (OLD.digest);
    END;
    CREATE INDEX active_keys_by_name ON keys (name) WHERE revoked_at IS NULL;
    """,
)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as it is stored; times in seconds since the epoch. `models` None allows all."""

    public: str
    name: str
    team: str | None
    models: tuple[str, ...] | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    digest: bytes = field(repr=False)


class AmbiguousName(Exception):
    """Several active keys have this name; say which by its public part."""


def generate() -> tuple[str, str]:
    """A new key: its public part, and the key itself."""
    public, secret = ("".join(secrets.choice(_ALPHABET) for _ in range(n)) for n in (PUBLIC_LENGTH, SECRET_LENGTH))
    return public, f"{PREFIX}{public}-{secret}"


def digest(key: bytes) -> bytes:
    """What a key is known by."""
    return sha256(key).digest()


class KeyStore:
    """Opens (and if needed makes) the store at `path`. For one thread at a time; any number of processes.

    Raises sqlite3.Error or OSError when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite.connect(path)
        self._watching = self._db.cursor()  # kept: a connection remembers each of the last two hundred that it has made
        self._writes = 0
        sqlite.migrate(self._db, _MIGRATIONS, "the key store")

    def create(
        self,
        *,
        name: str,
        team: str | None = None,
        models: tuple[str, ...] | None = None,
        expires_at: float | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key; the second value is the key itself, which is not kept."""
        public, key = generate()
        record = KeyRecord(
            public=public,
            name=name,
            team=team,
            models=models,
            created_at=time.time(),
            expires_at=expires_at,
            revoked_at=None,
            digest=digest(key.encode()),
        )
        listed = None if models is None else json.dumps(models)
        with self._transaction():
            self._db.execute(
                "INSERT INTO keys (public, digest, name, team, models, created_at, expires_at) VALUES (?,?,?,?,?,?,?)",
                (public, record.digest, name, team, listed, record.created_at, expires_at),
            )
        return record, key

    def list(self, *, after: str | None = None, limit: int = -1) -> Sequence[KeyRecord]:
        """Keys, revoked ones too, in the order in which they were made; `limit` of them, if it is not negative.

        after: the public part of a key; those that were made after it. Raises KeyError where there is none.
        """
        place = 0
        if after is not None:
            found = self._db.execute("SELECT rowid FROM keys WHERE public = ?", (after,)).fetchone()
            if found is None:
                raise KeyError(after)
            place = found[0]
        return self._records("SELECT * FROM keys WHERE rowid > ? ORDER BY rowid LIMIT ?", place, limit)

    def active(self) -> Iterator[KeyRecord]:
        """The keys that are not revoked; expired ones are among them, their time is in the record."""
        return map(_record, self._db.execute("SELECT * FROM keys WHERE revoked_at IS NULL"))

    def is_empty_but_for(self, name: str) -> bool:
        """Whether no active key has another name."""
        query = "SELECT 1 FROM keys WHERE revoked_at IS NULL AND (name < ?1 OR name > ?1) LIMIT 1"
        return self._db.execute(query, (name,)).fetchone() is None

    def named(self, name: str) -> Sequence[KeyRecord]:
        """The active keys of this name."""
        return self._records("SELECT * FROM keys WHERE revoked_at IS NULL AND name = ?", name)

    def revision(self) -> int:
        """Of the last change."""
        return int(self._db.execute("SELECT coalesce(max(revision), 0) FROM changes").fetchone()[0])

    def changed(self, since: int) -> tuple[int, dict[bytes, KeyRecord | None]]:
        """What was made, changed or revoked after that revision, as it is now, by digest; and the revision of that.

        None: there is no such key any more.
        """
        rows = self._db.execute(
            "SELECT revision, changes.digest, keys.* FROM changes LEFT JOIN keys ON keys.digest = changes.digest"
            " WHERE revision > ? ORDER BY revision",
            (since,),
        )
        found: dict[bytes, KeyRecord | None] = {}
        for revision, digest_, *row in rows:
            since = revision
            found[digest_] = None if row[0] is None else _record(tuple(row))
        return since, found

    def revoke(self, public_or_name: str) -> bool:
        """End a key, named by its public part or by a name that only one active key has. False if there is none."""
        with self._transaction():
            # An id is looked for first: it is unique, and a name may look like one.
            found = [record.public for record in self._with_public(public_or_name) or self.named(public_or_name)]
            if len(found) > 1:
                msg = f"{len(found)} active keys are named {public_or_name!r}: give the id of one of them"
                raise AmbiguousName(msg)
            self._db.execute(
                "UPDATE keys SET revoked_at = ? WHERE public = ?", (time.time(), found[0] if found else "")
            )
        return bool(found)

    def _with_public(self, public: str) -> Sequence[KeyRecord]:
        return self._records("SELECT * FROM keys WHERE revoked_at IS NULL AND public = ?", public)

    def _records(self, query: str, *values: object) -> Sequence[KeyRecord]:
        return tuple(map(_record, self._db.execute(query, values)))

    def version(self) -> tuple[int, int]:
        """Differs from an earlier answer if anything was written since, here or elsewhere. Cheap enough to poll."""
        ((version,),) = self._watching.execute("PRAGMA data_version")
        return version, self._writes

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite.transaction(self._db):
            yield
        self._writes += 1


def _record(row: tuple[Any, ...]) -> KeyRecord:
    public, digest_, name, team, models, created_at, expires_at, revoked_at = row
    return KeyRecord(
        public=public,
        name=name,
        team=team,
        models=None if models is None else tuple(json.loads(models)),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        digest=digest_,
    )
