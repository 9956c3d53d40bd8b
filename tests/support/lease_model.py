"""What a store does that also leases, as plainly as possible: beside `quota_model.py`, of which it is a part."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from tests.support.quota_model import BucketState, Charge, QuotaModel
from tollhouse.middlewares.stores.quota import HALF, Bucket, Budget, Meter, Parallel

SHARE = 8


class Told(NamedTuple):
    """What a report says of one meter."""

    meter: Meter
    used: int = 0
    back: int = 0
    held: int = 0
    goal: int = 0
    least: int = 0


class Spent(NamedTuple):
    """A line of a report; `budgets` are indices into what it tells."""

    hold: str
    cost: int
    budgets: tuple[int, ...]


@dataclass
class Lease:
    state: str = "open"
    number: int = 0
    expiry: int = 0  # 0: nothing is out
    outs: dict[Meter, int] = field(default_factory=dict)


def key_of(meter: Meter) -> str:
    return f"{meter.name}:{meter.start_ms}" if isinstance(meter, Budget) else meter.name


@dataclass
class LeaseModel(QuotaModel):
    leases: dict[str, Lease] = field(default_factory=dict)

    def report(
        self, name: str, number: int, told: list[Told], lines: list[Spent], now: int, *, lasts_ms: int
    ) -> list[int]:
        """The answer of lease.lua."""
        lease = self.leases.setdefault(name, Lease("open" if number == 1 else "expired"))
        repeated = number <= lease.number
        if lease.state == "expired":
            if not repeated:
                self._correct(name, lease, number, told, lines, now)
            return [2, now]
        if number > lease.number + 1:
            return [3, lease.number]
        nodes = sum(other.expiry > 0 for other in self.leases.values()) + (lease.expiry == 0)
        answer = [1, now]
        if not repeated:
            lease.number = number
            for line in lines:
                self._post(line, [each.meter for each in told])
        for i, each in enumerate(told):
            out = self._out(lease, each.meter)
            if repeated:
                told_again = Told(each.meter, held=min(each.held, out), goal=out, least=each.least)
                answer += self._tell(lease, told_again, out, nodes, now, dry=True)
            else:
                cost = sum(line.cost for line in lines if i in line.budgets)
                answer += self._tell(lease, each, out - each.used - cost, nodes, now)
        if not repeated:
            lease.expiry = now + lasts_ms if any(lease.outs.values()) else 0
        return answer

    def expire_lease(self, name: str, now: int) -> str:
        lease = self.leases[name]
        if lease.state != "open" or not lease.expiry:
            return "duplicate"
        if now < lease.expiry:
            return "early"
        for meter, out in list(lease.outs.items()):
            if isinstance(meter, Budget):
                self._add(meter, posted=out, reserved=-out)
                self.ledger.append(Charge("", "estimated", out, ((meter.name, meter.start_ms),)))
            elif isinstance(meter, Parallel):
                self.used[meter.name] -= out
                del lease.outs[meter]
            else:
                self.refill(meter, now)
        lease.state, lease.expiry = "expired", 0
        return "expired"

    def leased(self, key: str) -> int:
        """By the open leases."""
        return sum(self._all(lease).get(key, 0) for lease in self.leases.values() if lease.state == "open")

    def check(self) -> None:
        for name, start in self.posted:
            key = (name, start)
            lines = sum(line.cost for line in self.ledger if key in line.budgets)
            held = sum(
                hold.grant
                for hold in self.holds.values()
                if hold.state == "open" and any(key_of(meter) == f"{name}:{start}" for meter in hold.plan)
            )
            assert self.posted[key] == lines
            assert self.reserved.get(key, 0) == held + self.leased(f"{name}:{start}")
        for name, used in self.used.items():
            held = sum(
                name in {meter.name for meter in hold.plan} for hold in self.holds.values() if hold.state == "open"
            )
            assert used == held + self.leased(name)

    def _all(self, lease: Lease) -> dict[str, int]:
        return {key_of(meter): out for meter, out in lease.outs.items()}

    def _out(self, lease: Lease, meter: Meter) -> int:
        return self._all(lease).get(key_of(meter), 0)

    def _set_out(self, lease: Lease, meter: Meter, out: int) -> None:
        for other in [other for other in lease.outs if key_of(other) == key_of(meter)]:
            del lease.outs[other]
        if out:
            lease.outs[meter] = out

    def _post(self, line: Spent, meters: list[Meter]) -> None:
        budgets = tuple(meter for meter in (meters[i] for i in line.budgets) if isinstance(meter, Budget))
        for meter in budgets:
            self._add(meter, posted=line.cost)
        self.ledger.append(
            Charge(line.hold, "settled", line.cost, tuple((meter.name, meter.start_ms) for meter in budgets))
        )

    def _tell(self, lease: Lease, told: Told, left_over: int, nodes: int, now: int, *, dry: bool = False) -> list[int]:
        meter, _, back, held, goal, least = told
        before = self._out(lease, meter)
        after = max(held, min(left_over, goal))
        closed = False
        if isinstance(meter, Bucket):
            state = self._refilled(meter, now)
            free = state.level + left_over - after
        elif isinstance(meter, Parallel):
            free = meter.capacity - (self.used.get(meter.name, 0) - before) - after
        else:
            free = self._left(meter) + before - after
            closed = now < meter.start_ms or (meter.end_ms > 0 and now >= meter.end_ms)
        limit = max(0, free + after - held) // (SHARE * nodes)
        limit = 0 if limit < least else limit
        more = max(0, min(goal - after, limit - (after - held), free))
        if closed:
            more = limit = 0
        after += more
        if not dry:
            self._set_out(lease, meter, after)
        if isinstance(meter, Bucket):
            level = max(free - more + back, -(HALF // meter.rate[1]))
            full = meter.capacity - self.leased(meter.name)
            new = BucketState(min(level, full), 0 if level >= full else state.rem, state.last)
            if not dry:
                self.buckets[meter.name] = new
            return [after, new.level, self._wait(meter, new, meter.capacity, now), limit]
        if isinstance(meter, Parallel):
            if not dry:
                self.used[meter.name] = self.used.get(meter.name, 0) - before + after
            return [after, free - more, 0, limit]
        if not dry:
            self._add(meter, reserved=after - before)
        return [after, free - more, max(0, meter.end_ms - now) if meter.end_ms else 0, limit]

    def _correct(self, name: str, lease: Lease, number: int, told: list[Told], lines: list[Spent], now: int) -> None:
        lease.number = number
        for line in lines:
            self._post(line, [each.meter for each in told])
        for i, each in enumerate(told):
            meter, out = each.meter, self._out(lease, each.meter)
            if isinstance(meter, Budget):
                cost = sum(line.cost for line in lines if i in line.budgets)
                after = max(each.held, min(out - cost, each.goal))
                self._add(meter, posted=after - out)
                if after != out:
                    budget = ((meter.name, meter.start_ms),)
                    self.ledger.append(Charge("", "late", after - out, budget))
                self._set_out(lease, meter, after)
            elif isinstance(meter, Bucket):
                state = self.refill(meter, now)
                state.level = max(state.level + min(0, out - each.used), -(HALF // meter.rate[1]))
                if state.level >= meter.capacity - self.leased(meter.name):
                    state.rem = 0
                self._set_out(lease, meter, max(0, out - each.used))
            else:
                self._set_out(lease, meter, 0)

    def _refilled(self, meter: Bucket, now: int) -> BucketState:
        """Up to what is not leased."""
        amount, period = meter.rate
        full = meter.capacity - self.leased(meter.name)
        known = self.buckets.get(meter.name, BucketState(full, 0, now))
        now = max(now, known.last)
        level = min(full, max(known.level, -(HALF // period)))
        if meter.refill == "interval":
            periods = (now - known.last) // period
            level = min(full, level + periods * amount)
            last = known.last if not periods else now if level == full else known.last + periods * period
            return BucketState(level, 0, last)
        exact = level + Fraction(known.rem % period, period) + Fraction((now - known.last) * amount, period)
        if exact >= full:
            return BucketState(full, 0, now)
        return BucketState(int(exact // 1), int(exact % 1 * period), now)

    def _give(self, meter: Bucket, now: int, count: int) -> None:
        state = self.refill(meter, now)
        state.level = max(state.level + count, -(HALF // meter.rate[1]))
        full = meter.capacity - self.leased(meter.name)
        if state.level >= full:
            state.level, state.rem = full, 0
