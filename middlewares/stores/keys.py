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
    from collections.abc import Iterator

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

    def list(self) -> list[KeyRecord]:
        """All keys, revoked ones too, oldest first."""
        return [_record(row) for row in self._db.execute("SELECT * FROM keys ORDER BY created_at, public")]

    def active(self) -> dict[bytes, KeyRecord]:
        """The keys that are not revoked, by digest; expired ones are among them, their time is in the record."""
        rows = self._db.execute("SELECT * FROM keys WHERE revoked_at IS NULL")
        return {record.digest: record for record in map(_record, rows)}

    def revoke(self, public_or_name: str) -> bool:
        """End a key, named by its public part or by a name that only one active key has. False if there is none."""
        with self._transaction():
            found = [
                row[0]
                for row in self._db.execute(
                    "SELECT public FROM keys WHERE revoked_at IS NULL AND (public = ?1 OR name = ?1)", (public_or_name,)
                )
            ]
            if public_or_name in found:
                found = [public_or_name]
            if len(found) > 1:
                msg = f"{len(found)} active keys are named {public_or_name!r}: give the id of one of them"
                raise AmbiguousName(msg)
            self._db.execute(
                "UPDATE keys SET revoked_at = ? WHERE public = ?", (time.time(), found[0] if found else "")
            )
        return bool(found)

    def version(self) -> tuple[int, int]:
        """Differs from an earlier answer if anything was written since, here or elsewhere. Cheap enough to poll."""
        return self._db.execute("PRAGMA data_version").fetchone()[0], self._writes

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
