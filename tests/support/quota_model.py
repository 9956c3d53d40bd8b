"""What a store of quotas is to do, written down as plainly as possible: whole numbers, dicts, no cleverness.

Every store is run beside it. The clock is an argument; ids of holds are given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from tollhouse.middlewares.stores.quota import HALF, Admitted, Bucket, Budget, Denied, Meter, Parallel, Stale


@dataclass
class BucketState:
    level: int
    rem: int
    last: int


@dataclass
class Hold:
    state: str  # open, settled, released, expired
    expiry: int
    grant: int
    tokens: int
    plan: tuple[Meter, ...]


class Charge(NamedTuple):
    """A line of the ledger."""

    hold: str
    status: str
    cost: int
    budgets: tuple[tuple[str, int], ...]


@dataclass
class QuotaModel:
    buckets: dict[str, BucketState] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    posted: dict[tuple[str, int], int] = field(default_factory=dict)
    reserved: dict[tuple[str, int], int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    ledger: list[Charge] = field(default_factory=list)

    # The operations

    def admit(
        self,
        hold: str,
        plan: tuple[Meter, ...],
        now: int,
        *,
        tokens: int = 0,
        want: int = 0,
        minimum: int = 0,
        expires_in_ms: int = 1000,
    ) -> Admitted | Denied | Stale | None:
        """None: the hold has ended already."""
        known = self.holds.get(hold)
        if known is not None:
            if known.state != "open":
                return None
            return Admitted(hold, known.grant, now, tuple(self._shown(meter, now) for meter in plan))
        for meter in plan:
            if isinstance(meter, Budget) and (now < meter.start_ms or (meter.end_ms and now >= meter.end_ms)):
                return Stale(now)
        for index, meter in enumerate(plan):
            denied = self._refusal(index, meter, now, tokens=tokens, want=want, minimum=minimum)
            if denied is not None:
                return denied
        grant = min([want, *(max(0, self._left(meter)) for meter in plan if isinstance(meter, Budget))])
        for meter in plan:
            if isinstance(meter, Bucket):
                self.refill(meter, now).level -= cost(meter, tokens)
            elif isinstance(meter, Parallel):
                self.used[meter.name] = self.used.get(meter.name, 0) + 1
            else:
                self._add(meter, reserved=grant)
        self.holds[hold] = Hold("open", now + expires_in_ms, grant, tokens, plan)
        return Admitted(hold, grant, now, tuple(self._shown(meter, now) for meter in plan))

    def settle(
        self, hold: str, plan: tuple[Meter, ...], now: int, *, amount: int, tokens: int = 0, known_only: bool = False
    ) -> str:
        known = self.holds.get(hold)
        if known is None:
            if not known_only:
                self.holds[hold] = Hold("settled", 0, 0, 0, plan)
                self._charge(hold, "unknown", amount, plan)
            return "unknown"
        if known.state == "open":
            known.state = "settled"
            self._free(known, posted=amount)
            for meter in plan:
                if isinstance(meter, Bucket) and meter.unit == "tokens":
                    self._give(meter, now, known.tokens - tokens)
            self.ledger.append(Charge(hold, "settled", amount, budgets_of(plan)))
            return "settled"
        if known.state == "expired":
            known.state = "settled"
            self._charge(hold, "late", amount - known.grant, plan)
            return "late"
        return "duplicate"

    def release(self, hold: str, plan: tuple[Meter, ...], now: int, *, cancel: bool = False) -> str:
        known = self.holds.get(hold)
        if known is None:
            if cancel:
                self.holds[hold] = Hold("released", 0, 0, 0, plan)
            return "unknown"
        if known.state != "open":
            return "duplicate"
        known.state = "released"
        self._free(known, posted=0)
        for meter in plan:
            if isinstance(meter, Bucket):
                self._give(meter, now, cost(meter, known.tokens))
        return "released"

    def expire(self, hold: str, now: int) -> str:
        known = self.holds.get(hold)
        if known is None:
            return "unknown"
        if known.state != "open":
            return "duplicate"
        if now < known.expiry:
            return "early"
        known.state = "expired"
        self._free(known, posted=known.grant)
        self.ledger.append(Charge(hold, "estimated", known.grant, budgets_of(known.plan)))
        return "expired"

    def check(self) -> None:
        """What must hold at any time, counted anew from the holds and the ledger."""
        for key, reserved in self.reserved.items():
            open_ = [hold for hold in self.holds.values() if hold.state == "open" and key in budgets_of(hold.plan)]
            assert reserved == sum(hold.grant for hold in open_)
            assert self.posted.get(key, 0) == sum(line.cost for line in self.ledger if key in line.budgets)
        for name, used in self.used.items():
            open_ = [hold for hold in self.holds.values() if hold.state == "open"]
            assert used == sum(name in {meter.name for meter in hold.plan} for hold in open_)

    # The meters

    def refill(self, meter: Bucket, now: int) -> BucketState:
        """The bucket at `now`, kept."""
        state = self.buckets[meter.name] = self._refilled(meter, now)
        return state

    def _refilled(self, meter: Bucket, now: int) -> BucketState:
        amount, period = meter.rate
        known = self.buckets.get(meter.name, BucketState(meter.capacity, 0, now))
        now = max(now, known.last)
        level = max(min(known.level, meter.capacity), -(HALF // period))
        if meter.refill == "interval":
            periods = (now - known.last) // period
            level = min(meter.capacity, level + periods * amount)
            last = known.last if not periods else now if level == meter.capacity else known.last + periods * period
            return BucketState(level, 0, last)
        exact = level + Fraction(known.rem % period, period) + Fraction((now - known.last) * amount, period)
        if exact >= meter.capacity:
            return BucketState(meter.capacity, 0, now)
        return BucketState(int(exact // 1), int(exact % 1 * period), now)

    def _wait(self, meter: Bucket, state: BucketState, goal: int, now: int) -> int:
        amount, period = meter.rate
        if state.level >= goal:
            return 0
        if meter.refill == "interval":
            return state.last + ceil(Fraction(goal - state.level, amount)) * period - max(now, state.last)
        return ceil((goal - state.level - Fraction(state.rem, period)) * period / amount)

    def _give(self, meter: Bucket, now: int, count: int) -> None:
        state = self.refill(meter, now)
        state.level = max(state.level + count, -(HALF // meter.rate[1]))
        if state.level >= meter.capacity:
            state.level, state.rem = meter.capacity, 0

    def _left(self, meter: Budget) -> int:
        key = (meter.name, meter.start_ms)
        return meter.cap - self.posted.get(key, 0) - self.reserved.get(key, 0)

    def _add(self, meter: Budget, *, posted: int = 0, reserved: int = 0) -> None:
        key = (meter.name, meter.start_ms)
        self.posted[key] = self.posted.get(key, 0) + posted
        self.reserved[key] = self.reserved.get(key, 0) + reserved

    def _free(self, hold: Hold, *, posted: int) -> None:
        for meter in hold.plan:
            if isinstance(meter, Budget):
                self._add(meter, posted=posted, reserved=-hold.grant)
            elif isinstance(meter, Parallel):
                self.used[meter.name] -= 1

    def _charge(self, hold: str, status: str, amount: int, plan: tuple[Meter, ...]) -> None:
        for meter in plan:
            if isinstance(meter, Budget):
                self._add(meter, posted=amount)
        self.ledger.append(Charge(hold, status, amount, budgets_of(plan)))

    def _refusal(self, index: int, meter: Meter, now: int, *, tokens: int, want: int, minimum: int) -> Denied | None:
        if isinstance(meter, Bucket):
            state, needed = self._refilled(meter, now), cost(meter, tokens)
            if state.level >= needed:
                return None
            wait = self._wait(meter, state, needed, now) if needed <= meter.capacity else None
            return Denied(index, wait, state.level)
        if isinstance(meter, Parallel):
            free = meter.capacity - self.used.get(meter.name, 0)
            return Denied(index, None, free) if free <= 0 else None
        left = self._left(meter)
        if min(want, max(0, left)) >= minimum:
            return None
        return Denied(index, meter.end_ms - now if meter.end_ms else None, left)

    def _shown(self, meter: Meter, now: int) -> tuple[int, int]:
        if isinstance(meter, Bucket):
            state = self._refilled(meter, now)
            return state.level, self._wait(meter, state, meter.capacity, now)
        if isinstance(meter, Parallel):
            return meter.capacity - self.used.get(meter.name, 0), 0
        return self._left(meter), meter.end_ms - now if meter.end_ms else 0


def cost(meter: Bucket, tokens: int) -> int:
    return tokens if meter.unit == "tokens" else 1


def budgets_of(plan: tuple[Meter, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((meter.name, meter.start_ms) for meter in plan if isinstance(meter, Budget))
