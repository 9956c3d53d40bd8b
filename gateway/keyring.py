"""All keys that open this gateway: the master key, those of the configuration, and those of the key store.

The store's keys are held in memory, so a request asks no database; a poll twice a second picks up what other
processes wrote, so a revocation holds everywhere within a second. Only what has changed is read, as there may be a
million keys. A store that cannot be read for five seconds opens nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.errors import Unavailable
from tollhouse.middlewares.stores.keys import KeyRecord, KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tollhouse.config.settings import Settings

T = TypeVar("T")
POLL_S = 0.5
STALE_S = 5.0
logger = logging.getLogger("tollhouse.keys")


class KeyRing:
    """Looks principals up by digest; see `Keys` in the auth middleware."""

    def __init__(self, settings: Settings) -> None:
        self._configured = {
            key.digest: Principal(id=key.name, name=key.name, team=key.team, user=key.user, models=key.models)
            for key in settings.keys
        }
        if settings.master_key is not None:
            digest = sha256(settings.master_key.reveal().encode()).digest()
            self._configured[digest] = Principal(id="master", name="master", admin=True)
        self._path = Path(settings.state_dir) / "tollhouse.db"
        self._store: KeyStore | None = None
        self._stored: dict[bytes, Principal] = {}
        self._read_at = 0.0
        self._version: tuple[int, int] | None = None
        self._revision: int | None = None  # of the store's last change that is in `_stored`
        self._poller: asyncio.Task[None] | None = None
        # SQLite may wait for a disk or a lock; the loop must not.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-store")

    def find(self, digest: bytes) -> Principal | None:
        principal = self._configured.get(digest)
        if principal is not None:
            return principal
        if not self.healthy:
            msg = "the key store cannot be read"
            raise Unavailable(msg, code="key_store_unavailable")
        return self._stored.get(digest)

    @property
    def healthy(self) -> bool:
        """Whether the store was read recently enough to answer for it."""
        return monotonic() - self._read_at < STALE_S

    async def open(self) -> None:
        """Open the store, read it, and keep reading. Raises OSError or sqlite3.Error when that is not possible."""
        try:
            await self.run(self._read)
        except (OSError, sqlite3.Error) as error:
            logger.error("the key store %s cannot be used: %s", self._path, error)  # noqa: TRY400
            raise
        self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
        await self.run(self._close_store)
        self._thread.shutdown(wait=False)

    async def create(self, *, name: str, team: str | None, models: tuple[str, ...] | None) -> tuple[KeyRecord, str]:
        """A new key, usable at once; the second value is the key itself, shown this one time."""
        return await self._change(lambda store: store.create(name=name, team=team, models=models))

    async def revoke(self, public: str) -> bool:
        """Whether there was such a key; it opens nothing from now on."""
        return await self._change(lambda store: store.revoke(public))

    async def records(
        self, made: Callable[[Sequence[KeyRecord]], T], *, after: str | None = None, limit: int = -1
    ) -> T:
        """What `made`, in the store's thread, makes of these keys; revoked ones are among them. As KeyStore.list."""
        return await self._answered(lambda: made(self._open_store().list(after=after, limit=limit)))

    async def run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    async def _change(self, job: Callable[[KeyStore], T]) -> T:
        def changed() -> T:
            result = job(self._open_store())
            self._read()
            return result

        return await self._answered(changed)

    async def _answered(self, job: Callable[[], T]) -> T:
        """The answer to a request; a store that cannot be used is a 503 and no defect of the gateway."""
        try:
            return await self.run(job)
        except (OSError, sqlite3.Error) as error:
            msg = "the key store cannot be used"
            raise Unavailable(msg, code="key_store_unavailable") from error

    async def _poll(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.run(self._read)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next poll tries again
                if not failed:
                    logger.error("the key store cannot be read: %s", type(error).__name__)  # noqa: TRY400
                failed = True
            else:
                if failed:
                    logger.info("the key store can be read again")
                failed = False

    def _open_store(self) -> KeyStore:
        if self._store is None:
            self._store = KeyStore(self._path)
        return self._store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read(self) -> None:
        store = self._open_store()
        version = store.version()
        if version != self._version:
            if self._revision is None:
                # What is written meanwhile may be among them, and is read once more.
                revision = store.revision()
                self._stored = _principals(store.active())
            else:
                revision, changed = store.changed(self._revision)
                for digest, record in changed.items():
                    if record is None or record.revoked_at is not None:
                        self._stored.pop(digest, None)
                    else:
                        self._stored[digest] = _principal(record, {})
            self._revision = revision
            self._version = version
        self._read_at = monotonic()


def _principals(records: Iterable[KeyRecord]) -> dict[bytes, Principal]:
    """By digest. Teams and lists of models that keys have in common are kept once."""
    once: dict[object, Any] = {}
    return {record.digest: _principal(record, once) for record in records}


def _principal(record: KeyRecord, once: dict[object, Any]) -> Principal:
    return Principal(
        id=record.public,
        name=record.name,
        team=once.setdefault(record.team, record.team),
        models=once.setdefault(record.models, record.models),
        expires_at=record.expires_at,
    )
