"""Many at once: no budget is overspent, nobody is refused for money that is neither spent nor reserved (B1, L1, L7)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.proofs.length import IS_LONG, rounds
from tests.support.audit import check, statement, usage
from tests.support.books import READ, WRITTEN, booked
from tests.support.callers import call
from tests.support.client import chat_body, request_bytes
from tests.support.gateway import KEY, Gateway, echo_only, running_gateway
from tests.support.redis import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.books import Books

TOKENS = 16  # the bound and the least of an admission are the same then
COST = 3 * READ + TOKENS * WRITTEN
FITTING = rounds(200, 5000, variable="QUOTA_FITTING")  # requests that the budget is enough for
CAP = FITTING * COST
MODEL = f"answer@{TOKENS}"
RPM = 100
KEYS = [{"name": "wide", "key": KEY}]
# (nodes, seconds from the first request to the last)
LOOPS = [(1, 1), (1, 50), (3, 1), (3, 50)] if IS_LONG else [(1, 1), (1, 5), (3, 1), (3, 5)]


class Asked(NamedTuple):
    """A request and its answer, on the clock of `time.monotonic`."""

    start: float
    end: float
    status: int


@contextlib.contextmanager
def nodes(count: int, config: dict[str, object]) -> Iterator[list[Gateway]]:
    """One with the embedded store, or several on one Redis."""
    with contextlib.ExitStack() as stack:
        if count > 1:
            config = config | {
                "store": stack.enter_context(running_redis()).url,
                "redis": {"op_timeout_s": 5, "connect_timeout_s": 5},
            }
        yield [stack.enter_context(running_gateway(config)) for _ in range(count)]


def bound(gateway: Gateway) -> int:
    """Nano-USD that a request reserves: a token per byte of its body, and 256 around it."""
    body = request_bytes(gateway, chat_body(MODEL, max_tokens=TOKENS)).partition(b"\r\n\r\n")[2]
    return (len(body) + 256) * READ + TOKENS * WRITTEN


async def spend(gateways: list[Gateway], most: int) -> list[Asked]:
    """Eight times more callers than fit ask until everything is spent."""
    seen: list[Asked] = []
    spent = 0

    async def caller(number: int) -> None:
        nonlocal spent
        gateway = gateways[number % len(gateways)]
        while spent <= CAP - most:
            start = time.monotonic()
            status = await call(gateway, MODEL, key=KEY, max_tokens=TOKENS, stream=bool(number % 2))
            seen.append(Asked(start, time.monotonic(), status))
            spent += COST if status == 200 else 0
            if status != 200:
                await asyncio.sleep(0.02)

    await asyncio.gather(*(caller(number) for number in range(8 * max(8, min(CAP // most, 32)))))
    return seen


def unexplained(seen: list[Asked], most: int, *, slack_s: float) -> list[Asked]:
    """Refusals at a moment when what was spent and what was reserved left enough.

    slack_s: how long a node may take to tell the others that a request has ended.
    """
    starts = sorted(asked.start for asked in seen if asked.status == 200)
    ends = sorted(asked.end for asked in seen if asked.status == 200)
    found = []
    for refused in seen:
        if refused.status == 429:
            spent = bisect_left(ends, refused.end) * COST
            held = (bisect_left(starts, refused.end) - bisect_right(ends, refused.start - slack_s)) * most
            if spent + held <= CAP - most:
                found.append(refused)
    return found


@pytest.mark.parametrize("count", [1, 3])
async def test_a_budget_is_spent_to_its_end_and_never_beyond(count: int, books: Books, figure: Any) -> None:
    budget = {"usd": f"{CAP / 10**9:.9f}"}
    with nodes(count, booked(books, keys=KEYS, budget=budget)) as gateways:
        most = bound(gateways[0])
        seen = await spend(gateways, most)
        statuses = Counter(asked.status for asked in seen)
        assert set(statuses) <= {200, 429}, statuses
        assert unexplained(seen, most, slack_s=0.0 if count == 1 else 0.5) == []
        # At rest, one after the other: whoever still fits is let through, and nobody else.
        while (status := await call(gateways[-1], MODEL, key=KEY, max_tokens=TOKENS)) == 200:
            statuses[200] += 1
        assert status == 429
        assert books.owed == statuses[200] * COST <= CAP
        assert CAP - books.owed < most
        state = gateways[0].folder / "state"
        for gateway in gateways:
            gateway.stop()
        if count == 1:
            check(statement(state), books, caps={"global:all:usd:total": CAP}, shown=usage(state))
    figure(nodes=count, answered=statuses[200], refused=statuses[429], owed=books.owed, cap=CAP)


@pytest.mark.parametrize(("count", "seconds"), LOOPS)
async def test_a_hundred_a_minute_are_a_hundred_however_long_they_take(count: int, seconds: int, figure: Any) -> None:
    with nodes(count, echo_only(keys=[{"name": "wide", "key": KEY, "limits": {"rpm": RPM}}])) as gateways:
        asked = RPM + RPM // 2
        statuses: list[int] = []
        tasks = []
        start = time.monotonic()
        for number in range(asked):
            await asyncio.sleep(max(0.0, start + seconds * number / (asked - 1) - time.monotonic()))
            tasks.append(asyncio.create_task(call(gateways[number % count], "tollhouse/echo", key=KEY)))
        statuses = await asyncio.gather(*tasks)
        took = time.monotonic() - start
        assert took < 60, "the machine is too slow for this to say anything"
        assert Counter(statuses) == {200: RPM, 429: asked - RPM}
        # Those that were asked one after the other were answered in that order: first all the answers, then the 429s.
        if seconds > 1:
            assert statuses == [200] * RPM + [429] * (asked - RPM)
    figure(nodes=count, seconds=f"{took:.1f}", answered=statuses.count(200), refused=statuses.count(429))
