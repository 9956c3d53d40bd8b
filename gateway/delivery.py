"""Tells a service what is kept for it: in order, each at least once, again until it has said yes.

What is kept survives the process, and what was told but not confirmed is told again as it was, byte for byte. How it is
kept and what counts as yes is the business of a `Source` and of `tell`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from tollhouse.gateway.neighbours.away import Away, Rejected
from tollhouse.middlewares.tasks import ended

BATCH = 500
BATCH_BYTES = 512 * 1024
GATHER_S = 0.1  # between batches: each costs a sync
BASE_S = 0.1
MOST_WAIT_S = 10.0
DOWN_AFTER = 3  # failures in a row
ORPHANS_S = 5.0
LAST_TRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """told: JSON of its records. key: names it, the same at each try. count: how many of them are new."""

    told: Sequence[bytes]
    key: str
    count: int
    mark: object  # the source's own: up to where this goes


class Source(Protocol):
    """What is to be told, in order. Its methods run outside the event loop and may raise OSError."""

    def batch(self, most: int, most_bytes: int) -> Batch | None:
        """What comes next, safe from a loss of power; None: nothing at the moment."""

    def delivered(self, batch: Batch) -> None:
        """It has arrived."""

    def close(self) -> None: ...


class Delivery:
    """Of one process.

    what: "receipts", for the log. tell: takes a batch and its key, and raises Away until it has arrived. run: does what
    may wait for the disk elsewhere. orphans: sources that other processes left behind, each opened when it is asked
    for; one that cannot be used is left out. every_s: how often to look by itself; None: as often as for orphans.
    """

    def __init__(
        self,
        what: str,
        tell: Callable[[Sequence[bytes], str], Awaitable[None]],
        own: Source,
        *,
        run: Callable[..., Awaitable[Any]],
        orphans: Callable[[], Iterator[Source]] = lambda: iter(()),
        every_s: float | None = None,
    ) -> None:
        self._what = what
        self._tell = tell
        self._open: tuple[Source, Batch] | None = None  # told, and nobody has said that it is kept
        self._is_rejected = False  # the last one
        self._own = own
        self._run = run
        self._orphans = orphans
        self._every_s = every_s
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0  # in a row
        self._failing_since: float | None = None
        self._looked_at = 0.0
        self._logger = logging.getLogger(f"tollhouse.{what}")
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
            self._succeeded()  # nothing is left, so nothing is late
            await asyncio.sleep(GATHER_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s or ORPHANS_S):
                    await self._more.wait()

    async def _send(self, source: Source) -> bool:
        """One batch; False: there is none. Raises Away or OSError.

        A batch that may have arrived is told again as it was, byte for byte: its key is that of these bytes.
        """
        batch = self._open[1] if self._open is not None and self._open[0] is source else None
        if batch is None:
            most = 1 if self._is_rejected else BATCH
            batch = await self._run(lambda: source.batch(most, BATCH_BYTES))
        if batch is None:
            return False
        self._open = source, batch
        try:
            await self._tell(batch.told, batch.key)
        except Rejected:
            # Nothing of it is kept, and the same again would not be: smaller ones may be.
            self._open, self._is_rejected = None, True
            raise
        self._open, self._is_rejected = None, False
        await self._run(lambda: source.delivered(batch))
        self.delivered += batch.count
        return True

    async def _adopt(self) -> None:
        """Tell what is left in sources that no process has. A bad disk under one of them stops neither the others nor
        what is decided here.
        """
        self._looked_at = monotonic()
        orphans = self._orphans()
        while (orphan := await self._run(lambda: next(orphans, None))) is not None:
            try:
                while await self._send(orphan):
                    self._succeeded()
            except OSError as error:
                why = error.strerror or type(error).__name__
                self._logger.warning("what another process left of the %s cannot be read: %s", self._what, why)
            finally:
                await self._run(orphan.close)

    def _succeeded(self) -> None:
        if self._failing_since is not None and not self.is_up:
            self._logger.info("%s are delivered again", self._what)
        self._failures, self._failing_since = 0, None

    def _note(self, error: Exception) -> None:
        self.failed += 1
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = monotonic()
        if self._failures == DOWN_AFTER:
            why = str(error) if isinstance(error, Away) else type(error).__name__
            self._logger.error("%s are not delivered, and wait on disk: %s", self._what, why)

    def _pause(self) -> float:
        """Full jitter: processes that failed together do not come back together."""
        return random.uniform(0, min(MOST_WAIT_S, BASE_S * 2 ** min(self._failures, 10)))  # noqa: S311 - no secret
