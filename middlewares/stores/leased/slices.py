"""What this node may give away of each meter without asking, and what became of it.

A unit that Redis has leased to this node is in one of these places, always:

    out == have + held + spent          and, while a report is under way, what that says was used or is given back

`have` may be given away; `held` is in open holds (places and money); `spent` has been used and is yet to be told.
`have` is below 0 where something came to more than was taken for it. All numbers are whole.
"""

from __future__ import annotations

from math import exp, inf
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.quota import Bucket, Budget, Meter, Parallel
from tollhouse.middlewares.stores.redis.plan import Keys, Plan, pack_meter
from tollhouse.middlewares.stores.redis.wire import bulk

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.leased.lease import Lease

MEMORY_S = 1.0  # how long ago use counts for what is wanted
AHEAD = 2  # times what was used in that time
FIRST = 4  # admissions' worth to begin with
LEAST = 16  # admissions' worth; a smaller share is not worth having: near its edge, a meter is decided by Redis alone
ASK_AGAIN_S = 0.5  # where nothing is to be had
_SETTLED, _LATE, _ESTIMATED = map(bulk, (b"settled", b"late", b"estimated"))
_NOTHING = 0.1  # of one admission: what has been used so long ago that none is wanted


class Slice:
    """Of one meter.

    `left`, `reset`, `limit`: what nobody has, the time until it is full, and what we may have, as of the last answer.
    `until`: from then on (time.monotonic) its window is over and nothing of it is to be given away.
    """

    __slots__ = (
        "asked_at",
        "back",
        "have",
        "held",
        "is_bucket",
        "key",
        "largest",
        "left",
        "limit",
        "out",
        "packed",
        "recent",
        "reset",
        "round",
        "seen_at",
        "spent",
        "taken",
        "until",
        "window_end",
    )

    def __init__(self, meter: Meter, key: bytes) -> None:
        self.key = key
        self.packed = pack_meter(meter)
        self.is_bucket = isinstance(meter, Bucket)
        self.window_end = meter.end_ms if isinstance(meter, Budget) else 0
        self.until = 0.0 if self.window_end else inf
        self.have = self.held = self.spent = self.out = 0
        self.back = 0  # put back after it had been told as used
        self.taken = self.largest = 0  # by admissions since the last report; by one of them
        self.recent = 0.0
        self.left = self.reset = self.limit = 0
        self.seen_at = self.asked_at = 0.0
        self.round = 0

    def give_back(self, count: int) -> None:
        """A bucket's units that an admission took and did not need."""
        here = min(count, self.spent)
        self.spent -= here
        self.have += here
        # The rest was told as used: only Redis knows how much of it still fits.
        self.back += count - here

    def miss(self, cost: int) -> None:
        """An admission was decided by Redis, for want of enough here."""
        self.taken += cost
        self.largest = max(self.largest, cost)

    def wanted(self, now: float) -> int:
        """How much to have, by what was used lately."""
        self.recent = self.recent * exp((self.seen_at - now) / MEMORY_S) + self.taken
        self.seen_at, self.taken = now, 0
        if self.recent <= _NOTHING * self.largest:
            self.recent, self.largest = 0.0, 0
            return 0
        return max(int(AHEAD * self.recent), FIRST * self.largest)

    def goal(self, now: float, held: int) -> int:
        """How much of this meter is to be out after the next report, which says that `held` must be."""
        wanted = self.wanted(now)
        if now >= self.until > 0:
            return held
        if self.have > self.limit:
            return held + min(wanted, self.limit)
        if self.have < wanted:
            if self.limit or now >= self.asked_at + ASK_AGAIN_S:
                self.asked_at = now
                return held + wanted
            return held + max(0, self.have)
        return held + (wanted if self.have > 2 * wanted else self.have)

    @property
    def is_idle(self) -> bool:
        return not (self.out or self.spent or self.back or self.held or self.recent or self.taken)


class Bound:
    """The slices of a plan, by what an admission takes from them. Belongs to one lease."""

    __slots__ = ("budgets", "lease", "places", "requests", "slices", "tokens")

    def __init__(self, lease: Lease, meters: tuple[Meter, ...], keys: Keys) -> None:
        self.lease = lease
        self.slices = [lease.slice(meter, keys.meter(meter)) for meter in meters]
        pairs = list(zip(self.slices, meters, strict=True))
        self.requests = [each for each, meter in pairs if isinstance(meter, Bucket) and meter.unit == "requests"]
        self.tokens = [each for each, meter in pairs if isinstance(meter, Bucket) and meter.unit == "tokens"]
        self.places = [each for each, meter in pairs if isinstance(meter, Parallel)]
        self.budgets = [each for each, meter in pairs if isinstance(meter, Budget)]


class LeasedPlan:
    """Meters that are charged together."""

    __slots__ = ("bound", "meters", "through")

    def __init__(self, meters: tuple[Meter, ...], through: Plan) -> None:
        self.meters = meters
        self.through = through  # as Redis is asked
        self.bound: Bound | None = None

    def __repr__(self) -> str:
        return f"LeasedPlan({', '.join(meter.name for meter in self.meters)})"


class LocalHold:
    """What an admission of this node has taken, until it is settled or released."""

    __slots__ = ("bound", "expires_at", "granted", "meta", "number", "state", "tokens")

    def __init__(self, bound: Bound, number: int, granted: int, tokens: int, meta: bytes, expires_at: float) -> None:
        self.bound = bound
        self.number = number
        self.granted = granted
        self.tokens = tokens
        self.meta = meta
        self.expires_at = expires_at  # time.monotonic
        self.state = "open"

    @property
    def id(self) -> str:
        """Its name in the ledger."""
        return f"{self.bound.lease.name}.{self.number:x}"

    def settle(self, amount: int, tokens: int, entry: bytes) -> str:
        """As the store's settle."""
        bound, granted = self.bound, self.granted
        if self.state == "open":
            for each in bound.tokens:
                unused = self.tokens - tokens
                if unused > 0:
                    each.give_back(unused)
                else:
                    each.have += unused
                    each.spent -= unused
            for each in bound.places:
                each.have += 1
                each.held -= 1
            for each in bound.budgets:
                each.have += granted - amount
                each.held -= granted
                each.spent += amount
            self._end(_SETTLED, amount, entry)
            return "settled"
        if self.state == "expired":
            for each in bound.budgets:
                each.have += granted - amount
                each.spent += amount - granted
            self._end(_LATE, amount - granted, entry)
            return "late"
        return "duplicate"

    def release(self) -> str:
        """As the store's release."""
        if self.state != "open":
            return "duplicate"
        bound, granted = self.bound, self.granted
        for each in bound.requests:
            each.give_back(1)
        for each in bound.tokens:
            each.give_back(self.tokens)
        for each in bound.places:
            each.have += 1
            each.held -= 1
        for each in bound.budgets:
            each.have += granted
            each.held -= granted
        self.state = "released"
        bound.lease.holds.discard(self)
        return "released"

    def expire(self) -> None:
        """Nobody has ended it: it is charged in full."""
        bound, granted = self.bound, self.granted
        for each in bound.places:
            each.have += 1
            each.held -= 1
        for each in bound.budgets:
            each.held -= granted
            each.spent += granted
        self._end(_ESTIMATED, granted, self.meta)
        self.state = "expired"

    def _end(self, status: bytes, cost: int, entry: bytes) -> None:
        """Its line goes to the ledger with the next report."""
        lease = self.bound.lease
        self.state = "ended"
        lease.holds.discard(self)
        lease.lines.append((self, status, cost, entry))
