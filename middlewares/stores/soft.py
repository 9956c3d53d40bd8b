"""Soft budgets: while the shared store is away, each process may spend a slice of its own, and tells of it later."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.quota import Admitted, Budget, Meter, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from tollhouse.middlewares.stores.quota import Admission
    from tollhouse.middlewares.stores.redis.store import RedisQuota

SLICE = (
    20  # a process may spend one part in so many of a budget's cap, per window, over all times that the store is away
)


class Plan(NamedTuple):
    """The same meters at both places; the caps of budgets are smaller here."""

    shared: Any
    local: Any


class LocalHold(NamedTuple):
    plan: Plan
    hold: Any


class SoftQuota:
    """Asks `store`, and where that cannot answer decides here. For plans whose budgets are all soft.

    Limits are counted for this process alone meanwhile. Everything that is spent here is charged to the store's budgets
    as soon as it is back, and has its record in the ledger.
    """

    def __init__(self, store: RedisQuota, *, parts: int = SLICE) -> None:
        self._store = store
        self._parts = parts
        self._local = EmbeddedQuota(keeps_charges=False)
        self.admitted_alone = 0

    def plan(self, meters: Iterable[Meter]) -> Plan:
        """Raises ValueError for meters that cannot be charged together."""
        given = tuple(meters)
        smaller = [
            replace(meter, cap=meter.cap // self._parts) if isinstance(meter, Budget) else meter for meter in given
        ]
        return Plan(self._store.plan(given), self._local.plan(smaller))

    async def admit(self, plan: Plan, **asked: Any) -> Admission:
        """As the store does, and without it from this process's slice."""
        try:
            return await self._store.admit(plan.shared, **asked)
        except StoreUnavailable:
            self._local.expire_due()
            answer = self._local.admit(plan.local, **asked)
            if not isinstance(answer, Admitted):
                return answer
            self.admitted_alone += 1
            return answer._replace(hold=LocalHold(plan, answer.hold))

    def settle(self, hold: Any, *, amount: int, tokens: int = 0, entry: bytes = b"") -> Awaitable[str]:
        """Where it was admitted. Raises StoreUnavailable as the store does, which tells it again by itself."""
        if not isinstance(hold, LocalHold):
            return self._store.settle(hold, amount=amount, tokens=tokens, entry=entry)
        self._local.settle(hold.hold, amount=amount, tokens=tokens)
        return self._store.charge(hold.plan.shared, amount=amount, entry=entry)

    def release(self, hold: Any) -> Awaitable[str]:
        if not isinstance(hold, LocalHold):
            return self._store.release(hold)
        released: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        released.set_result(self._local.release(hold.hold))
        return released
