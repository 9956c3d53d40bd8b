"""Quotas in Redis without its round trip: far from every limit, a node admits from what it has leased of each.

Redis never counts what is leased as free, so nothing can be overspent, over any number of nodes; near an edge there is
nothing to lease, and Redis decides each request. A node that is gone is charged with all that it had.
"""

from __future__ import annotations

import secrets
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from tollhouse.middlewares.stores.leased.lease import Lease
from tollhouse.middlewares.stores.leased.reaper import expire_leases
from tollhouse.middlewares.stores.leased.renewal import Renewal
from tollhouse.middlewares.stores.leased.slices import Bound, LeasedPlan, LocalHold
from tollhouse.middlewares.stores.quota import (
    LIMIT,
    MAX_EXPIRY_MS,
    Admitted,
    Denied,
    check_admission,
    check_settlement,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from tollhouse.middlewares.stores.quota import Admission, Meter
    from tollhouse.middlewares.stores.redis import Hold, Ledger, RedisQuota

MAX_LINES = 100_000  # of the ledger that wait to be told; then nothing is given away here


class LeasedQuota:
    """A `RedisQuota` of which this node has a part to give away. For one event loop.

    lease_s: after so long without a word a node counts as gone. every_s: how often is told what was used, at most the
    time that a kill -9 of this process can lose of the ledger's details (never of what is charged).
    `admit`, `settle` and `release` answer at once where the lease is enough, else with what is to be awaited; both
    sorts of answers are those of `RedisQuota`. Of what a local answer says of the meters, `remaining` leaves out what
    other nodes have leased, and both numbers are as old as the last report.
    """

    def __init__(self, store: RedisQuota, *, lease_s: float = 10.0, every_s: float = 0.05) -> None:
        if not 10 * every_s <= lease_s <= 60:
            raise ValueError("lease_s is from ten times every_s to 60")
        self._store = store
        self._keys = store._keys  # noqa: SLF001 - two parts of one store
        self._lease_s = lease_s
        self._numbers = count(1)
        self._renewal = Renewal(store._caller, self._keys, self._new_lease, every_s=every_s)  # noqa: SLF001
        self.local = 0  # admissions that asked nobody

    def __repr__(self) -> str:
        return f"LeasedQuota({self._store!r})"

    @property
    def available(self) -> bool:
        """Whether the next call can be expected to be answered."""
        return self._store.available or monotonic() < self._renewal.lease.deadline

    @property
    def unsent(self) -> int:
        """Ends of holds that the store has not been told yet."""
        return self._store.unsent + sum(len(lease.lines) for lease in (*self._renewal.old, self._renewal.lease))

    @property
    def counters(self) -> Any:
        """Of the calls to Redis."""
        return self._store.counters

    async def open(self) -> None:
        """As RedisQuota.open."""
        await self._store.open()
        self._renewal.start()

    async def close(self) -> None:
        """Give back what is leased, tell what has not been told, if that is possible at once, and disconnect."""
        await self._renewal.stop()
        await self._store.close()

    async def flush(self) -> None:
        """Tell everything now. Raises StoreUnavailable."""
        await self._renewal.tell()

    def plan(self, meters: Iterable[Meter]) -> LeasedPlan:
        """Meters to be charged together, in the order in which they are to be asked. Raises ValueError."""
        through = self._store.plan(meters)
        return LeasedPlan(through.meters, through)

    def admit(
        self,
        plan: LeasedPlan,
        *,
        tokens: int = 0,
        want: int = 0,
        minimum: int = 0,
        expires_in_ms: int,
        meta: bytes = b"",
    ) -> Admission | Awaitable[Admission]:
        """Take 1 or `tokens` from its buckets, a place, and up to `want` but no less than `minimum` from its budgets.

        Raises StoreUnavailable, or what it answers does.
        """
        if not (0 <= tokens < LIMIT and 0 <= minimum <= want < LIMIT and 0 < expires_in_ms <= MAX_EXPIRY_MS):
            check_admission(tokens, want, minimum, expires_in_ms)
        now = monotonic()
        lease = self._renewal.lease
        bound = plan.bound
        if bound is None or bound.lease is not lease:
            bound = plan.bound = Bound(lease, plan.meters, self._keys)
        if now >= lease.deadline or not _suffices(bound, tokens, want, now) or len(lease.lines) >= MAX_LINES:
            return self._through(plan, bound, tokens, want, minimum, expires_in_ms, meta)
        for each in bound.requests:
            each.have -= 1
            each.spent += 1
            each.taken += 1
        for each in bound.tokens:
            each.have -= tokens
            each.spent += tokens
            each.taken += tokens
        for each in bound.places:
            each.have -= 1
            each.held += 1
            each.taken += 1
        for each in bound.budgets:
            each.have -= want
            each.held += want
            each.taken += want
        granted = want
        self.local += 1
        hold = LocalHold(bound, next(self._numbers), granted, tokens, meta, now + expires_in_ms / 1000)
        lease.holds.add(hold)
        store_ms, then = lease.clock
        meters = tuple([(each.left + each.have, each.reset) for each in bound.slices])
        return Admitted(hold, granted, store_ms + int((now - then) * 1000), meters)

    def settle(
        self, hold: LocalHold | Hold, *, amount: int, tokens: int = 0, entry: bytes = b""
    ) -> str | Awaitable[str]:
        """What the request came to. As RedisQuota.settle; of a local hold it is told soon, and surely charged."""
        if type(hold) is not LocalHold:
            return self._store.settle(hold, amount=amount, tokens=tokens, entry=entry)  # type: ignore[arg-type]
        if not (0 <= amount < LIMIT and 0 <= tokens < LIMIT):
            check_settlement(amount, tokens)
        outcome = hold.settle(amount, tokens, entry)
        if outcome == "late":
            self._renewal.keep(hold.bound.lease)
        return outcome

    def release(self, hold: LocalHold | Hold) -> str | Awaitable[str]:
        """Give everything back: only where the upstream has surely not been asked. As RedisQuota.release."""
        return hold.release() if isinstance(hold, LocalHold) else self._store.release(hold)

    async def expire_due(self, limit: int = 100) -> int:
        """Charge up to `limit` holds and leases whose time is over, of whichever node; how many.

        Raises StoreUnavailable.
        """
        leases = await expire_leases(self._store._caller, self._keys, limit)  # noqa: SLF001
        return leases + await self._store.expire_due(limit)

    def ledger(self, reader: str) -> Ledger:
        """As RedisQuota.ledger. What a lease is charged with has no entry: who used it is not known."""
        return self._store.ledger(reader)

    async def _through(
        self, plan: LeasedPlan, bound: Bound, tokens: int, want: int, minimum: int, expires_in_ms: int, meta: bytes
    ) -> Admission:
        """Let Redis decide, and lease for those that follow."""
        self._missed(bound, tokens, want)
        for _ in range(2):
            found = await self._store.admit(
                plan.through, tokens=tokens, want=want, minimum=minimum, expires_in_ms=expires_in_ms, meta=meta
            )
            if not isinstance(found, Denied) or bound.slices[found.index].out <= 0:
                break
            # What is refused may be here.
            for each in bound.slices:
                each.limit, each.taken, each.recent = 0, 0, 0.0
            await self._renewal.tell()
        return found

    def _missed(self, bound: Bound, tokens: int, want: int) -> None:
        active = bound.lease.active
        for each in bound.requests:
            each.miss(1)
        for each in bound.tokens:
            each.miss(tokens)
        for each in bound.places:
            each.miss(1)
        for each in bound.budgets:
            each.miss(want)
        for each in bound.slices:
            active[each] = None
        self._renewal.wake()

    def _new_lease(self) -> Lease:
        name = f"{self._store._node_id}.{secrets.token_urlsafe(12)}"  # noqa: SLF001
        return Lease(name, self._keys, lasts_ms=int(self._lease_s * 1000), margin_s=self._lease_s / 5)


def _suffices(bound: Bound, tokens: int, want: int, now: float) -> bool:
    """Whether every slice has enough."""
    for each in bound.requests:
        if each.have < 1:
            return False
    for each in bound.tokens:
        if each.have < tokens:
            return False
    for each in bound.places:
        if each.have < 1:
            return False
    for each in bound.budgets:  # noqa: SIM110 - a generator costs as much as all of this
        if each.have < want or now >= each.until:
            return False
    return True
