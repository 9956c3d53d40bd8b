"""Limits, budgets and the ledger of this configuration: which store, and when it is opened, handed over and closed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tollhouse.gateway.ledger import LedgerKeeper
from tollhouse.middlewares.allowances import Allowance, Allowances, BudgetRule
from tollhouse.middlewares.quota import HANDOVER_S, QuotaStage, Tally
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.ledger import Charge, UsageRow
from tollhouse.middlewares.stores.quota import MAX_EXPIRY_MS, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.config.settings import Settings
    from tollhouse.gateway.pricing import Pricing
    from tollhouse.middlewares.stores.leased import LeasedQuota
    from tollhouse.middlewares.stores.redis.store import RedisQuota
    from tollhouse.middlewares.stores.soft import SoftQuota

LEDGER = "ledger.db"
_SLOTS = 64
TAKEN_AT_ONCE = 4096  # by the ledger's thread alone, in one transaction: some milliseconds
READ_AT_ONCE = 500  # what the loop reads at once takes it less than a millisecond


class Quota:
    """`stage` goes into the chain; the rest is for whoever starts and stops the gateway."""

    def __init__(self, settings: Settings, pricing: Pricing) -> None:
        self._settings = settings
        self._folder = Path(settings.state_dir)
        allowances = [*settings.allowances, *([settings.key_default] if settings.key_default else [])]
        self.allowances = Allowances(_allowance(one) for one in allowances)
        self.tally = Tally()
        self._embedded: EmbeddedQuota | None = None
        self._redis: RedisQuota | None = None
        self._leased: LeasedQuota | None = None
        self._soft: SoftQuota | None = None
        if settings.store == "embedded":
            self._embedded = EmbeddedQuota(self._folder / "quota", slots=1 if self.allowances else _SLOTS)
        else:
            from tollhouse.middlewares.stores.leased import LeasedQuota  # noqa: PLC0415 - only where it is used
            from tollhouse.middlewares.stores.redis.store import RedisQuota  # noqa: PLC0415
            from tollhouse.middlewares.stores.soft import SoftQuota  # noqa: PLC0415

            self._redis = RedisQuota(
                settings.store,
                prefix=settings.redis.prefix,
                connect_timeout_s=settings.redis.connect_timeout_s,
                op_timeout_s=settings.redis.op_timeout_s,
                wait_replicas=settings.redis.wait_replicas,
                node_id=f"{socket.gethostname()[:40]}-{os.getpid()}",
            )
            self._soft = SoftQuota(self._redis)
            if settings.redis.leases:
                self._leased = LeasedQuota(self._redis)
        self.ledger = self._folder / LEDGER
        self._keeper = LedgerKeeper(self.ledger)
        self._source: _RedisSource | None = None
        self._starting: asyncio.Task[None] | None = None
        longest = max([settings.timeouts.total_s, *(d.timeouts.total_s for d in settings.deployments)])
        longest = min(longest * _attempts(settings), MAX_EXPIRY_MS / 2000)
        self.stage = QuotaStage(
            self._embedded or self._leased or self._redis,  # type: ignore[arg-type]
            self.allowances,
            pricing.quote,
            expires_in_ms=int((longest + settings.drain_s + settings.hold_margin_s) * 1000),
            price_version=pricing.version,
            tally=self.tally,
            soft=self._soft,
            # It lingers first, with the store, and admits what still comes to it.
            handover_s=settings.linger_s + HANDOVER_S,
        )

    @property
    def embedded(self) -> EmbeddedQuota | None:
        """The store, if it is in this process."""
        return self._embedded

    @property
    def healthy(self) -> bool:
        """Whether the store is expected to answer. One that is about to be handed over is."""
        shared = self._leased or self._redis
        return shared is None or shared.available

    @property
    def admitted_alone(self) -> int:
        """Requests that this process has admitted on soft budgets without the shared store."""
        return 0 if self._soft is None else self._soft.admitted_alone

    async def open(self) -> None:
        """Raises OSError, ValueError, sqlite3.Error or StoreUnsuitable for a store or ledger that cannot be used."""
        await self._keeper.open()
        if self._redis is not None:
            await (self._leased or self._redis).open()
            lock = self._folder / f"{LEDGER}.lock"
            name = f"redis:{self._settings.redis.prefix}"
            self._source = _RedisSource(self._redis, name, reader=socket.gethostname(), lock=lock)
            await self._keeper.start(self._source)
        elif self._embedded is not None:
            await self._embedded.open(self._last)
            starting = self._start(self._embedded)
            if self._embedded.available:
                await starting
            else:
                self._starting = asyncio.create_task(starting)

    async def _start(self, store: EmbeddedQuota) -> None:
        await store.opened()
        await self._keeper.start(_EmbeddedSource(store))

    async def _last(self, slot: int) -> int:
        return int(await self._keeper.position(_source(slot)) or 0)

    @property
    def hands_over(self) -> bool:
        """Whether one process at a time has the store."""
        return self._embedded is not None and bool(self.allowances)

    async def hand_over(self) -> None:
        """No request will be admitted any more: another process may have the store. Only where it `hands_over`."""
        assert self._embedded is not None
        await self._drain()
        self._embedded.hand_over()

    async def close(self) -> None:
        """Everything that has ended is in the ledger when this returns, if the store can be reached."""
        await self.stage.settled()
        if self._starting is not None:
            self._starting.cancel()
        if self._embedded is not None:
            await self._embedded.regain()
        if self._leased is not None:
            with contextlib.suppress(StoreUnavailable):
                await self._leased.flush()
        await self._drain()
        await self._keeper.close()
        if self._embedded is not None:
            await self._embedded.close()
        if self._source is not None:
            self._source.close()
        shared = self._leased or self._redis
        if shared is not None:
            await shared.close()

    async def usage(self, by: Sequence[str], since_ms: int | None, until_ms: int | None) -> list[UsageRow]:
        """Sums of the ledger. Raises ValueError for a group that it does not know."""
        return await self._keeper.ask(lambda file: file.usage(by, since_ms=since_ms, until_ms=until_ms))

    async def drain(self) -> None:
        """What has ended so far is in the ledger, if the store can be reached."""
        await self.stage.settled()
        await self._drain()

    async def _drain(self) -> None:
        try:
            await self._keeper.drain()
        except Exception:  # noqa: BLE001 - the store keeps what is not in the ledger
            return


def _attempts(settings: Settings) -> int:
    """How many targets a request may wait for, one after the other."""
    if settings.routing.fallbacks:
        return settings.routing.max_attempts
    names = Counter(deployment.model_name for deployment in settings.deployments)
    return min(settings.routing.max_attempts, max(names.values(), default=1))


def _source(slot: int) -> str:
    return f"embedded:{slot}"


class _EmbeddedSource:
    def __init__(self, store: EmbeddedQuota) -> None:
        self._store = store

    def may_have_more(self) -> bool:
        return bool(self._store.charges(1))

    async def bring(self, ledger: LedgerKeeper) -> bool:
        records = self._store.records
        if records is None:
            return False
        name = _source(self._store.slot)
        return await ledger.run(lambda file: file.append_from(name, records, TAKEN_AT_ONCE)) == TAKEN_AT_ONCE


class _RedisSource:
    """One of the processes that share a ledger reads for all of them: the one that has the lock."""

    def __init__(self, store: RedisQuota, name: str, *, reader: str, lock: Path) -> None:
        self._name = name
        self._ledger = store.ledger(reader)
        self._lock = lock.open("a")
        self._position: str | None = None  # once the lock is ours, nobody else goes further

    def may_have_more(self) -> bool:
        return True

    async def bring(self, ledger: LedgerKeeper) -> bool:
        if self._position is None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._position = await ledger.position(self._name) or "0-0"
        charges = [
            Charge(entry.id, entry.status, entry.hold, entry.cost, int(entry.id.partition("-")[0]), entry.entry)
            for entry in await self._ledger.read(self._position, READ_AT_ONCE)
        ]
        if not charges:
            return False
        await ledger.run(lambda file: file.append(self._name, charges))
        self._position = str(charges[-1].position)
        await self._ledger.stored(self._position)
        return True

    def close(self) -> None:
        """The next one may."""
        self._lock.close()


def _allowance(given: Any) -> Allowance:
    return Allowance(
        level=given.level,
        id=given.id,
        rpm=given.rpm,
        tpm=given.tpm,
        parallel=given.parallel,
        refill=given.refill,
        budgets=tuple(BudgetRule(b.cap, b.window, b.mode, b.time_zone) for b in given.budgets),
    )
