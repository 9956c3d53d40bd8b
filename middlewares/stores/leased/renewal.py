"""What a node does for its leases in the background: tell what was used, take more, renew, give back."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.leased.lease import MISSING, Lease
from tollhouse.middlewares.stores.leased.reaper import expire_leases
from tollhouse.middlewares.stores.quota import StoreUnavailable
from tollhouse.middlewares.tasks import ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.middlewares.stores.redis.caller import Caller
    from tollhouse.middlewares.stores.redis.plan import Keys

logger = logging.getLogger("tollhouse.store")
REAP_EVERY_S = 2.0
EXPIRE_EVERY_S = 1.0
MAX_SLICES = 50_000  # of one lease: with the next, meters of windows that are over are forgotten
LAST_TRY_S = 1.0
MAX_REPORTS = 64  # before others get their turn
FRESH_AFTER = 8  # reports full of lines, a slice may want more again


class Renewal:
    """`lease` is the one to give away from; `old` ones have still something to tell. A task between start and stop."""

    def __init__(self, caller: Caller, keys: Keys, make: Callable[[], Lease], *, every_s: float) -> None:
        self.lease = make()
        self.old: list[Lease] = []
        self._caller = caller
        self._keys = keys
        self._make = make
        self._every_s = every_s
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._reap_at = 0.0
        self._expire_at = 0.0

    def start(self) -> None:
        self.lease = self._make()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="quota leases")

    async def stop(self) -> None:
        """Give back and tell everything, if the store is there."""
        if self._task is None:
            return
        await ended(self._task)
        self._retire()
        try:
            async with asyncio.timeout(LAST_TRY_S):
                await self.tell()
                while any(lease.lines for lease in self.old):
                    await self.tell()
        except (StoreUnavailable, TimeoutError):
            logger.warning("what was leased could not be given back to the quota store: it is charged in full")

    def wake(self) -> None:
        """There is something to ask for."""
        self._wake.set()

    def keep(self, lease: Lease) -> None:
        """Of a lease that may be gone from here, for holds that have expired do not keep it, there is more to tell."""
        if lease is not self.lease and lease not in self.old:
            self.old.append(lease)
        self.wake()

    async def tell(self) -> None:
        """Report, and ask for what is wanted. Raises StoreUnavailable; then the report is repeated, as it was."""
        async with self._lock:
            leases = [*self.old, self.lease]
            for lease in leases:
                for number in range(MAX_REPORTS):
                    if number % FRESH_AFTER == 0:
                        lease.begin_round()
                    report = lease.next_report(monotonic())
                    if report is None:
                        break
                    reply = await self._caller.insist((report.call,), None, None)
                    assert isinstance(reply, list)
                    if reply[0] == MISSING:
                        # Redis has lost a report. What it knows of the lease is charged once that expires.
                        lease.deadline, lease.is_over = 0.0, True
                        break
                    lease.answered(reply)  # type: ignore[arg-type]
            if self.lease.is_over or len(self.lease.slices) > MAX_SLICES:
                self._retire()
            self.old = [lease for lease in self.old if not lease.is_done]

    def _retire(self) -> None:
        self.lease.is_over = True
        self.lease.deadline = 0.0
        self.old.append(self.lease)
        self.lease = self._make()

    @property
    def _is_idle(self) -> bool:
        lease = self.lease
        return not (self.old or lease.active or lease.lines or lease.holds or lease.report)

    async def _run(self) -> None:
        while True:
            if self._is_idle:
                with suppress(TimeoutError):
                    async with asyncio.timeout(REAP_EVERY_S):
                        await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(self._every_s)
            try:
                await self._once()
            except StoreUnavailable:
                continue  # counted and said already
            except Exception:
                logger.exception("looking after leases failed")

    async def _once(self) -> None:
        now = monotonic()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            for lease in (*self.old, self.lease):
                for hold in [hold for hold in lease.holds if hold.expires_at <= now]:
                    hold.expire()
        await self.tell()
        if now >= self._reap_at:
            # Nodes that were started together must not go on together.
            self._reap_at = now + REAP_EVERY_S * random.uniform(0.7, 1.3)  # noqa: S311 - no secret
            await expire_leases(self._caller, self._keys)
