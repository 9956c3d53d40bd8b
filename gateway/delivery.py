"""Tells receipts to the service that collects them (ERIS): in order, each at least once, again until it has said yes.

A batch ends with the signed head of its chain (docs/contracts/eris.yaml); its key names chain, first and last record.
Only an answer that says how many were accepted counts as yes. What a process left behind is told by the next one that
finds its chain free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.gateway.neighbours.away import Away, Rejected
from tollhouse.middlewares.stores import chain as chains
from tollhouse.middlewares.stores.chain import Chain, ChainBusy, ChainCut
from tollhouse.middlewares.tasks import ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tollhouse.gateway.neighbours.eris import Eris
    from tollhouse.middlewares.stores.chain import Position

BATCH = 500
BATCH_BYTES = 512 * 1024
GATHER_S = 0.1  # between batches: each costs a sync
BASE_S = 0.1
MOST_WAIT_S = 10.0
DOWN_AFTER = 3  # failures in a row
ORPHANS_S = 5.0
LAST_TRY_S = 1.0
logger = logging.getLogger("tollhouse.receipts")


@dataclass(frozen=True, slots=True)
class _Batch:
    """told: JSON of its records, and of the head of the chain at its end."""

    chain: Chain
    position: Position
    told: list[bytes]
    key: str


class Delivery:
    """Of one process. run: does what may wait for the disk elsewhere. head: signs where a chain was at a position."""

    def __init__(
        self,
        eris: Eris,
        own: Chain,
        root: Path,
        *,
        run: Callable[..., Awaitable[Any]],
        head: Callable[[Chain, Position], dict[str, Any]],
        keep_bytes: int | None = None,
    ) -> None:
        self._eris = eris
        self._open: _Batch | None = None  # told, and nobody has said that it is kept
        self._is_rejected = False  # the last one
        self._own = own
        self._root = root
        self._run = run
        self._head = head
        self._keep_bytes = keep_bytes
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0  # in a row
        self._failing_since: float | None = None
        self._looked_at = 0.0
        self.delivered = 0
        self.failed = 0

    @property
    def lag_s(self) -> float:
        """For how long nothing has arrived that should have."""
        return 0.0 if self._failing_since is None else monotonic() - self._failing_since

    @property
    def is_up(self) -> bool:
        return self._failures < DOWN_AFTER

    def open(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._deliver())

    def wake(self) -> None:
        """There is more."""
        self._more.set()

    async def close(self) -> None:
        """Tell the rest if the service takes it at once."""
        await ended(self._task)
        if self.is_up:
            with contextlib.suppress(TimeoutError, Away, OSError):
                async with asyncio.timeout(LAST_TRY_S):
                    while await self._send(self._own):
                        """And the next."""

    async def _deliver(self) -> None:
        while True:
            self._more.clear()
            try:
                while await self._send(self._own):
                    self._succeeded()
                if monotonic() - self._looked_at >= ORPHANS_S:
                    await self._adopt()
            except Exception as error:  # noqa: BLE001 - whatever it is, what was not told is told again
                self._note(error)
                await asyncio.sleep(self._pause())
                continue
            await asyncio.sleep(GATHER_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ORPHANS_S):
                    await self._more.wait()

    async def _send(self, chain: Chain) -> bool:
        """One batch; False: there is none. Raises Away or OSError.

        A batch that may have arrived is told again as it was, byte for byte: its key is that of these bytes.
        """
        batch = self._open
        if batch is None or batch.chain is not chain:
            batch = await self._batch(chain, 1 if self._is_rejected else BATCH)
        if batch is None:
            return False
        self._open = batch
        try:
            await self._eris.deliver(batch.told, batch.key)
        except Rejected:
            # Nothing of it is kept, and the same again would not be: smaller ones may be.
            self._open, self._is_rejected = None, True
            raise
        self._open, self._is_rejected = None, False
        await self._run(lambda: self._delivered(chain, batch.position))
        self.delivered += len(batch.told) - 1
        return True

    async def _batch(self, chain: Chain, most: int) -> _Batch | None:
        lines, position = await self._run(lambda: _durable(chain, most))
        if not lines:
            return None
        head = await self._run(lambda: self._head(chain, position))
        first = position.seq - len(lines) + 1
        told = [*lines, orjson.dumps({"type": "head", **head})]
        return _Batch(chain, position, told, f"{chain.id}:{first}-{position.seq}")

    def _delivered(self, chain: Chain, position: Position) -> None:
        chain.mark_delivered(position)
        if self._keep_bytes is not None:
            chain.trim(self._keep_bytes, lambda gone: orjson.dumps(self._head(chain, gone)))

    async def _adopt(self) -> None:
        """Tell what is left in chains that no process has."""
        self._looked_at = monotonic()
        for folder in await self._run(lambda: chains.chains(self._root)):
            if folder == self._own.folder:
                continue
            try:
                orphan = await self._run(lambda folder=folder: Chain(folder))
            except (ChainBusy, ChainCut, ValueError):
                continue
            try:
                while await self._send(orphan):
                    self._succeeded()
            finally:
                await self._run(orphan.close)

    def _succeeded(self) -> None:
        if self._failing_since is not None and not self.is_up:
            logger.info("receipts are delivered again")
        self._failures, self._failing_since = 0, None

    def _note(self, error: Exception) -> None:
        self.failed += 1
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = monotonic()
        if self._failures == DOWN_AFTER:
            why = str(error) if isinstance(error, Away) else type(error).__name__
            logger.error("receipts are not delivered, and wait on disk: %s", why)

    def _pause(self) -> float:
        """Full jitter: processes that failed together do not come back together."""
        return random.uniform(0, min(MOST_WAIT_S, BASE_S * 2 ** min(self._failures, 10)))  # noqa: S311 - no secret


def _durable(chain: Chain, most: int) -> tuple[list[bytes], Position]:
    """Lines that were not delivered. What others are told must not be lost here: its numbers would be used again."""
    lines, position = chain.read(most, BATCH_BYTES)
    if lines:
        chain.sync()
    return lines, position
