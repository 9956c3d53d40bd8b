"""In which order the deployments of a group are asked. Every strategy falls back on turns by weight."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tollhouse.providers.router import Target

EXPLORED = 0.05  # of the requests of a group go by turns, to see how the others do


class Strategy(Protocol):
    """One per group."""

    def order(self, targets: Sequence[Target], now: float, *, stream: bool) -> list[Target]:
        """All of `targets` (at least one), the one to ask first at the beginning."""


class Weighted:
    """Turns, interleaved by weight: 2:1 is taken as A B A, not A A B. The rest follows in the group's order."""

    def __init__(self) -> None:
        self._credit: dict[Target, int] = {}

    def order(self, targets: Sequence[Target], now: float, *, stream: bool) -> list[Target]:
        credit = self._credit
        total = turn = 0
        most: int | None = None
        for index, target in enumerate(targets):
            weight = target.weight
            total += weight
            has = credit[target] = credit.get(target, 0) + weight
            if most is None or has > most:
                most, turn = has, index
        credit[targets[turn]] -= total
        return [*targets[turn:], *targets[:turn]]


class LeastBusy:
    """Whoever has the fewest requests under way, for its weight."""

    def __init__(self) -> None:
        self._turns = Weighted()

    def order(self, targets: Sequence[Target], now: float, *, stream: bool) -> list[Target]:
        turns = self._turns.order(targets, now, stream=stream)
        turns.sort(key=lambda target: target.load.in_flight / target.weight)
        return turns


class LowestLatency:
    """Whoever began (a stream) or finished (a whole answer) soonest of late.

    chance: a number from 0 to 1; below `EXPLORED` the turn decides.
    """

    def __init__(self, *, chance: Callable[[], float] = random.random) -> None:
        self._turns = Weighted()
        self._chance = chance

    def order(self, targets: Sequence[Target], now: float, *, stream: bool) -> list[Target]:
        turns = self._turns.order(targets, now, stream=stream)
        if self._chance() >= EXPLORED:
            turns.sort(key=lambda t: (t.load.first if stream else t.load.whole).estimate(now))
        return turns


class Cheapest:
    """Whoever costs least; cost: of a target, in any unit, None where it has no price and comes last."""

    def __init__(self, cost: Callable[[Target], int | None]) -> None:
        self._turns = Weighted()
        self._cost = cost

    def order(self, targets: Sequence[Target], now: float, *, stream: bool) -> list[Target]:
        turns = self._turns.order(targets, now, stream=stream)
        costs = {target: self._cost(target) for target in turns}
        turns.sort(key=lambda target: (costs[target] is None, costs[target] or 0))
        return turns


class LeastUsed:
    """Whoever had the fewest tokens, then requests, in its current minute."""

    def __init__(self) -> None:
        self._turns = Weighted()

    def order(self, targets: Sequence[Target], now: float, *, stream: bool) -> list[Target]:
        turns = self._turns.order(targets, now, stream=stream)
        turns.sort(key=lambda target: (0, 0) if target.usage is None else target.usage.used(now))
        return turns


def make(name: str, *, cost: Callable[[Target], int | None]) -> Callable[[], Strategy]:
    """Makes strategies of this name: "weighted", "least-busy", "least-used", "lowest-latency", "cost".

    Raises KeyError.
    """
    known: dict[str, Callable[[], Strategy]] = {
        "weighted": Weighted,
        "least-busy": LeastBusy,
        "least-used": LeastUsed,
        "lowest-latency": LowestLatency,
        "cost": lambda: Cheapest(cost),
    }
    return known[name]
