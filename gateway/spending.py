"""Tells the budget service what its tenants have spent: the rows of the ledger, each at least once.

The ledger is the buffer, and how far it was told stands in the same file; so nothing is written for this on a request's
way, and what a crash has left to be charged in full, or corrected later, is told as well. One process of those that
share a state folder tells for all of them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from tollhouse.gateway.delivery import Batch, Delivery
from tollhouse.gateway.delivery_metrics import DeliveryMetrics
from tollhouse.middlewares.stores.ledger import LedgerFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from tollhouse.gateway.neighbours.collector import Collector
    from tollhouse.middlewares.metrics import MetricsStage

T = TypeVar("T")
EVERY_S = 1.0
_READER = "told:budget"


class Spending:
    """collector: the budget service. drain: brings what has been settled into the ledger."""

    def __init__(
        self,
        ledger: Path,
        collector: Collector,
        *,
        default_tenant: str,
        drain: Callable[[], Awaitable[None]],
        metrics: MetricsStage,
        registry: CollectorRegistry,
    ) -> None:
        self._drain = drain
        self._rows = _Rows(ledger, default_tenant)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spending")
        self.delivery = Delivery("spending", collector.deliver, self._rows, run=self._run, every_s=EVERY_S)
        told = DeliveryMetrics("gateway_spending", "Charges", self.delivery, registry=registry)
        metrics.before_flush.append(told.flush)

    async def open(self) -> None:
        """What is charged from now on is told. Raises OSError or sqlite3.Error."""
        await self._run(self._rows.open)
        self.delivery.open()

    async def close(self) -> None:
        """Tell what is left if the service takes it at once; the next process tells the rest."""
        await self._drain()
        await self.delivery.close()
        await self._run(self._rows.close)
        self._thread.shutdown(wait=False)

    async def _run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)


class _Rows:
    """A `Source`: rows of the ledger that came to anything, for the one process that has the lock."""

    def __init__(self, path: Path, default_tenant: str) -> None:
        self._path = path
        self._default_tenant = default_tenant
        self._file: LedgerFile | None = None
        self._lock = -1
        self._is_ours = False
        self._told = 0

    def open(self) -> None:
        self._file = LedgerFile(self._path)
        self._file.follow(_READER)
        self._lock = os.open(f"{self._path}.spending", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def batch(self, most: int, most_bytes: int) -> Batch | None:
        file = self._opened()
        if not self._is_ours:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            self._is_ours = True
            self._told = int(_of(file.last, _READER) or 0)
        rows = _of(file.charged, self._told, most)
        told: list[bytes] = []
        size = 0
        for row in rows:
            line = self._line(file.id, row)
            size += len(line)
            if told and size > most_bytes:
                break
            told.append(line)
        if not told:
            return None
        first, last = rows[0]["id"], rows[len(told) - 1]["id"]
        return Batch(told, f"{file.id}:{first}-{last}", len(told), last)

    def delivered(self, batch: Batch) -> None:
        assert isinstance(batch.mark, int)
        _of(self._opened().mark, _READER, batch.mark)
        self._told = batch.mark

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._lock >= 0:
            os.close(self._lock)

    def _opened(self) -> LedgerFile:
        assert self._file is not None
        return self._file

    def _line(self, ledger: str, row: dict[str, Any]) -> bytes:
        tenant = row.pop("tenant") or row["team"] or self._default_tenant
        return orjson.dumps(row | {"id": f"{ledger}:{row['id']}", "tenant": tenant})


def _of(ask: Callable[..., T], *what: object) -> T:
    """An answer of the file, whose errors are those of a disk."""
    try:
        return ask(*what)
    except sqlite3.Error as error:
        raise OSError(0, f"the ledger: {type(error).__name__}") from None
