"""A second target is asked while the first is slow, and who answers first is taken. An option, as it costs twice."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from tollhouse.gateway.attempt import Attempt
    from tollhouse.gateway.request import Request
    from tollhouse.providers.causes import Failure

KEPT = 200  # latest times to an answer, by group and way of answering
LEAST = 20  # below which nobody knows what is usual


class Hedging:
    """After how long. percentile: of the latest times to an answer, else after_s; models: labels, None for all."""

    def __init__(
        self, *, after_s: float | None = None, percentile: int | None = None, models: Collection[str] | None = None
    ) -> None:
        self._after_s = after_s
        self._percentile = percentile
        self._models = models
        self._latest: dict[tuple[str, bool], tuple[deque[float], list[float]]] = {}

    def after_s(self, attempt: Attempt) -> float | None:
        """Seconds without an answer after which another target is asked; None: never."""
        exchange = attempt.exchange
        if exchange.kind is None:
            return None  # an image or a file is not asked for twice
        plan = exchange.plan
        label = plan.first.group.label
        if len(plan.first.group.targets) < 2 or (self._models is not None and label not in self._models):
            return None
        if self._percentile is None:
            return self._after_s
        known = self._latest.get((label, exchange.stream))
        if known is None or len(known[1]) < LEAST:
            return None
        return known[1][min(len(known[1]) - 1, len(known[1]) * self._percentile // 100)]

    def observe(self, attempt: Attempt, seconds: float) -> None:
        if self._percentile is None:
            return
        key = attempt.leg.group.label, attempt.exchange.stream
        latest, ordered = self._latest.setdefault(key, (deque(), []))
        if len(latest) >= KEPT:
            ordered.remove(latest.popleft())
        latest.append(seconds)
        insort(ordered, seconds)


async def race(request: Request, first: Attempt, after_s: float) -> tuple[Attempt, Failure | None]:  # noqa: C901 - a script
    """The attempt to go on with, and what is wrong with it. The other one is given up, and accounted for."""
    loop = asyncio.get_running_loop()
    exchange = first.exchange
    waited_ns, begun_ns = exchange.upstream_ns, perf_counter_ns()
    running: dict[asyncio.Task[Failure | None], Attempt] = {loop.create_task(first.run(request.keep_alive)): first}
    hold: Any = None
    second: Attempt | None = None
    winner = first
    failure: Failure | None = None
    try:
        done, _ = await asyncio.wait(running, timeout=after_s)
        if not done:
            hold, second = await request.beside(first)
            if second is not None:
                if any(task.done() for task in running):  # the store takes its time, too
                    second.leave()
                    request.account(second, hold)
                    second = None
                else:
                    running[loop.create_task(second.run(_silently))] = second
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        while True:
            task = next(iter(done))
            winner, failure = running.pop(task), task.result()
            if failure is None or not running:
                break
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        winner = first  # as whoever asked for this has it: the other one is to be left and accounted for here
        raise
    finally:
        for task in running:
            task.cancel()
        if second is not None:
            # Before anything is waited for: whoever wants this to end may say so twice.
            loser = second if winner is first else first
            loser.leave()
            request.account(loser, hold)
        # Both were waited for at the same time.
        exchange.upstream_ns = waited_ns + perf_counter_ns() - begun_ns
        if running:
            await asyncio.wait(running)
    if second is not None and failure is None:
        request.hedged(is_won=winner is second)
    return winner, failure


async def _silently() -> None:
    """The first attempt's signs of life are enough."""
