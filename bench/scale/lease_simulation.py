"""Nodes that share one budget by leases, step by step: how much lies in leases, and who is refused while it does.

The nodes' side is the product's own (`Slice` decides what a node wants and gives back), with a clock that is told; the
store's side is what lease.lua does with a budget, in Python. `bench.scale.lease_check` drives real nodes on a real
Redis through the same story.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from tollhouse.middlewares.stores.leased.slices import LEAST, Slice
from tollhouse.middlewares.stores.quota import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

# As in lease.lua: of what is left, divided among the nodes, a node may have one part in so many.
SHARE = 8


@dataclass(frozen=True)
class Story:
    """`nodes` spend a budget of `cap` units: `rate` requests a second in all, each of which reserves `want` and comes
    to `cost` after `takes_s`. Each node reports every `every_s`.
    """

    nodes: int
    cap: int
    rate: float
    want: int = 4000
    cost: int = 3000
    takes_s: float = 1.0
    every_s: float = 0.05
    after_s: float = 2.0  # that it goes on when the budget is spent
    seed: int = 1


@dataclass
class Outcome:
    """Counts of requests; shares of the cap."""

    asked: int = 0
    local: int = 0  # admitted without asking the store
    through: int = 0  # admitted by the store
    refused: int = 0
    phantom: int = 0  # of those: refused while leases that nobody used had enough for it
    reports: int = 0
    most_leased: float = 0.0  # unused, in leases, at most
    first_refused_at: float = 1.0  # share of the cap that was spent or held then
    unspent: float = 0.0  # at the end
    overspent: int = 0

    @property
    def local_share(self) -> float:
        return self.local / max(1, self.local + self.through)


class Shared:
    """A budget in the store, as lease.lua and admit.lua have it."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.posted = 0
        self.reserved = 0  # holds of requests that the store decided, and what nodes have out
        self.holders: set[int] = set()

    @property
    def left(self) -> int:
        return self.cap - self.posted - self.reserved

    def admit(self, want: int) -> bool:
        if self.left < want:
            return False
        self.reserved += want
        return True

    def settle(self, want: int, cost: int) -> None:
        self.reserved -= want
        self.posted += cost

    def report(self, node: int, out: int, cost: int, held: int, goal: int, least: int) -> tuple[int, int, int]:
        """What is out after it, what is left, and what this node may have."""
        nodes = len(self.holders) + (node not in self.holders)
        self.posted += cost
        self.reserved -= out
        after = max(held, min(out - cost, goal))
        left = self.cap - self.posted - max(0, self.reserved) - after
        has = after - held
        limit = (left + has) // (SHARE * nodes) if left + has > 0 else 0
        if limit < least:
            limit = 0
        more = max(0, min(goal - after, limit - has, left))
        after += more
        self.reserved += after
        (self.holders.add if after else self.holders.discard)(node)
        return after, left - more, limit


class Node:
    """One that gives away from its lease; a slice of the product's, and what goes around it."""

    def __init__(self, number: int, meter: Budget, shared: Shared) -> None:
        self.number = number
        self.slice = Slice(meter, b"usd")
        self.slice.until = inf
        self.costs = 0  # lines that were not told
        self._shared = shared

    def takes(self, want: int) -> bool:
        """Whether it is admitted here."""
        each = self.slice
        if each.have < want:
            return False
        each.have -= want
        each.held += want
        each.taken += want
        return True

    def settles(self, want: int, cost: int) -> None:
        each = self.slice
        each.have += want - cost
        each.held -= want
        each.spent += cost
        self.costs += cost

    def reports(self, now: float) -> None:
        """As Lease.next_report and Lease.answered, in one step: the answer is there before anything else happens."""
        each = self.slice
        goal = each.goal(now, each.held + each.spent - self.costs)
        if not self.costs and goal == each.out:
            return
        held = each.held + each.spent - self.costs
        each.out, each.left, each.limit = self._shared.report(
            self.number, each.out, self.costs, held, goal, LEAST * each.largest
        )
        each.spent -= self.costs
        self.costs = 0
        each.have = each.out - each.held - each.spent


class Play:
    """A story, event by event."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.found = Outcome()
        self.shared = Shared(story.cap)
        self.nodes = [Node(number, Budget("usd", story.cap, 0), self.shared) for number in range(story.nodes)]
        self._chance = random.Random(story.seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0

    def run(self) -> Outcome:
        """Until the budget is spent and some time more."""
        story, found = self.story, self.found
        for node in self.nodes:
            self._at(self._chance.random() * story.every_s, partial(self._report, node))
        self._at(0.0, self._arrive)
        self._at(0.0, self._look)
        end = inf
        while self._events and self._events[0][0] <= end:
            now, _, act = heapq.heappop(self._events)
            act(now)
            if end == inf and found.refused:
                end = now + story.after_s + story.takes_s
        found.unspent = (story.cap - self.shared.posted) / story.cap
        found.overspent = max(0, self.shared.posted - story.cap)
        return found

    @property
    def unused(self) -> int:
        """In leases."""
        return sum(max(0, node.slice.have) for node in self.nodes)

    def _at(self, when: float, act: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, act))

    def _arrive(self, now: float) -> None:
        story, found = self.story, self.found
        self._at(now + self._chance.expovariate(story.rate), self._arrive)
        node = self.nodes[self._chance.randrange(len(self.nodes))]
        found.asked += 1
        if node.takes(story.want):
            found.local += 1
            self._at(now + story.takes_s, lambda _: node.settles(story.want, story.cost))
        elif self._through(node, now):
            found.through += 1
            self._at(now + story.takes_s, lambda _: self.shared.settle(story.want, story.cost))
        else:
            found.refused += 1
            unused = self.unused
            found.first_refused_at = min(found.first_refused_at, 1 - (self.shared.left + unused) / story.cap)
            found.phantom += unused >= story.want

    def _through(self, node: Node, now: float) -> bool:
        """As LeasedQuota._through."""
        want = self.story.want
        node.slice.miss(want)
        if self.shared.admit(want):
            return True
        if node.slice.out <= 0:
            return False
        # What is refused may be here.
        node.slice.limit = node.slice.taken = 0
        node.slice.recent = 0.0
        node.reports(now)
        return self.shared.admit(want)

    def _report(self, node: Node, now: float) -> None:
        self.found.reports += 1
        node.reports(now)
        self._at(now + self.story.every_s, partial(self._report, node))

    def _look(self, now: float) -> None:
        story, found = self.story, self.found
        self._at(now + story.every_s, self._look)
        found.most_leased = max(found.most_leased, self.unused / story.cap)


def play(story: Story) -> Outcome:
    """The story as it is calculated."""
    return Play(story).run()
