"""A lease of this node: its slices, what is to be told of them, and what Redis said.

Reports are numbered and told one after the other; one without an answer is told again as it was. Once the lease has
expired, everything that was out has been charged, and what is told after that corrects it.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from tollhouse.middlewares.stores.leased.slices import LEAST, Bound, LocalHold, Slice
from tollhouse.middlewares.stores.quota import LIMIT
from tollhouse.middlewares.stores.redis.scripts import digest
from tollhouse.middlewares.stores.redis.wire import bulk

if TYPE_CHECKING:
    from tollhouse.middlewares.stores.quota import Meter
    from tollhouse.middlewares.stores.redis.plan import Keys

MAX_LINES = 500  # of the ledger in one report
MAX_METERS = 200  # in one report, and those of its last line
OPEN, EXPIRED, MISSING = 1, 2, 3
_HEADER = Struct("<2Q").pack
_TOLD = Struct("<q4Q").pack


# Of the ledger: hold, status (as an argument), cost, entry. No class, for there is one per request.
Line = tuple[LocalHold, bytes, int, bytes]


class Told(NamedTuple):
    """What a report says of a slice."""

    slice: Slice
    used: int  # spent, of a budget as of a bucket
    back: int
    held: int
    goal: int
    least: int


class Report(NamedTuple):
    """On its way. `sent_at`: when it was tried first (time.monotonic)."""

    call: bytes
    told: list[Told]
    sent_at: float


class Lease:
    """`deadline`: nothing is given away from then on (time.monotonic), well before Redis lets the lease expire."""

    def __init__(self, name: str, keys: Keys, *, lasts_ms: int, margin_s: float) -> None:
        self.name = name
        self.deadline = 0.0
        self.slices: dict[bytes, Slice] = {}
        self.active: dict[Slice, None] = {}
        self.lines: deque[Line] = deque()
        self.holds: set[LocalHold] = set()
        self.is_over = False  # it expired, or is being given back; nothing more is taken
        self.has_expired = False
        self.report: Report | None = None
        self.told_at = 0.0
        self.clock = (0, 0.0)  # the store's, and ours when that was asked for
        self._fixed = b"".join(map(bulk, (keys.lease + name.encode(), keys.leases, keys.ledger)))
        self._lasts_ms = lasts_ms
        self._lasts_s = lasts_ms / 1000 - margin_s
        self._number = 0
        self._round = 0
        self._prefix = name.encode() + b"."

    @property
    def is_done(self) -> bool:
        """Nothing is out, nothing is to be told."""
        return self.is_over and not (self.holds or self.lines or self.report or self.active)

    def slice(self, meter: Meter, key: bytes) -> Slice:
        found = self.slices.get(key)
        if found is None:
            found = self.slices[key] = Slice(meter, key)
        return found

    def begin_round(self) -> None:
        """Each slice is told once in a round."""
        self._round += 1

    def next_report(self, now: float) -> Report | None:
        """What is to be told now; None if that is nothing. To be asked again once it was `answered`."""
        if self.report is not None:
            return self.report
        lines, costs = self._lines()
        told = [self._telling(each, cost, now) for each, cost in costs.items()]
        for each in list(self.active):
            if len(told) >= MAX_METERS:
                break
            if each.round == self._round or each in costs:
                continue
            found = self._telling(each, None, now)
            if found.used or found.back or found.goal != each.out:
                told.append(found)
            elif each.is_idle:
                del self.active[each]
        if not told and not lines and not self._needs_renewal(now):
            return None
        for each, used, back, _, goal, _ in told:
            each.have -= max(0, each.out - used - goal)
            each.spent -= used
            each.back -= back
        self._number += 1
        self.report = Report(self._written(told, lines), told, now)
        return self.report

    def answered(self, reply: list[int]) -> None:
        """What Redis said to the report."""
        report, self.report = self.report, None
        assert report is not None
        if reply[0] == EXPIRED:
            for each, _, _, held, _, _ in report.told:
                # Of what was written without knowing, we cannot say what is charged now: it is told once more.
                each.out = held if self.has_expired else -1
            self.is_over = self.has_expired = True
            self.deadline = 0.0
            for each in self.slices.values():
                each.have = 0
                each.taken, each.recent = 0, 0.0
                if each.out or each.held or each.spent:
                    self.active[each] = None
            return
        assert reply[0] == OPEN
        self.told_at = report.sent_at
        self.clock = reply[1], report.sent_at
        for i, told in enumerate(report.told):
            each = told.slice
            each.out, each.left, each.reset, each.limit = reply[4 * i + 2 : 4 * i + 6]
            each.have = each.out - each.held - each.spent
            if each.window_end:
                # The store's clock was read after ours, and what it told is less than a millisecond behind: the window
                # is not over before that. The rest of it is Redis' to decide.
                each.until = report.sent_at + (each.window_end - reply[1] - 1) / 1000
        if not self.is_over:
            self.deadline = report.sent_at + self._lasts_s

    def _needs_renewal(self, now: float) -> bool:
        return not self.has_expired and now > self.told_at + self._lasts_s / 4 and any(each.out for each in self.active)

    def _lines(self) -> tuple[list[Line], dict[Slice, int]]:
        """The oldest lines, and what they come to for each budget."""
        lines: list[Line] = []
        costs: dict[Slice, int] = {}
        while self.lines and len(lines) < MAX_LINES and len(costs) < MAX_METERS:
            line = self.lines.popleft()
            lines.append(line)
            for each in line[0].bound.budgets:
                costs[each] = costs.get(each, 0) + line[2]
        return lines, costs

    def _telling(self, each: Slice, cost: int | None, now: float) -> Told:
        each.round = self._round
        used = each.spent if each.is_bucket else cost or 0
        held = 0 if each.is_bucket else each.held + each.spent - used
        if self.is_over:
            goal, each.recent, each.taken = held, 0.0, 0
        else:
            goal = min(each.goal(now, held), LIMIT - 1)
        return Told(each, used, each.back, held, goal, min(LEAST * each.largest, LIMIT - 1))

    def _written(self, told: list[Told], lines: list[Line]) -> bytes:
        indices = {each.slice: (i + 1).to_bytes(2, "little") for i, each in enumerate(told)}
        named: dict[Bound, bytes] = {}
        prefix = self._prefix
        words = []
        for hold, status, cost, entry in lines:
            budgets = named.get(hold.bound)
            if budgets is None:
                budgets = named[hold.bound] = bulk(b"".join([indices[each] for each in hold.bound.budgets]))
            name = b"%b%x" % (prefix, hold.number)
            amount = b"%d" % cost
            words.append(
                b"$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n"
                % (len(name), name, status, len(amount), amount, budgets, len(entry), entry)
            )
        numbers = b"".join(
            [
                _TOLD(each.used if each.slice.is_bucket else 0, each.back, each.held, each.goal, each.least)
                for each in told
            ]
        )
        packed = b"".join([each.slice.packed for each in told])
        return frame(
            self._fixed,
            [each.slice.key for each in told],
            packed,
            b"report",
            self._number,
            self._lasts_ms,
            numbers,
            words,
        )


def frame(
    fixed: bytes,
    meters: list[bytes],
    packed: bytes,
    verb: bytes,
    number: int,
    lasts_ms: int,
    numbers: bytes,
    lines: list[bytes],
) -> bytes:
    """A call of lease.lua; `fixed` and `lines` are written as arguments already, five to a line."""
    count = 3 + len(meters)
    head = b"*%d\r\n$7\r\nEVALSHA\r\n" % (7 + count + 5 * len(lines))
    words = [bulk(digest("lease")), bulk(b"%d" % count), fixed, *map(bulk, meters), bulk(packed), bulk(verb)]
    return b"".join([head, *words, bulk(_HEADER(number, lasts_ms)), bulk(numbers), *lines])
