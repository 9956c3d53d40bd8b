"""The wall clock is set back and ahead by hours at work: buckets give nothing extra, holds stay, budgets change their
window as the clock says, and no window is spent twice (L2, B12)."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.proofs.length import rounds
from tests.support.audit import check, statement, wait_recorded
from tests.support.books import READ, WRITTEN, booked
from tests.support.callers import Callers
from tests.support.client import chat_body, post
from tests.support.faketime import WallClock
from tests.support.gateway import KEY, Gateway, start_gateway
from tests.support.net import process_tree, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.books import Books

JUMPS = rounds(12, 150, variable="QUOTA_JUMPS")
HOUR_S = 3600
COST = 3 * READ + 16 * WRITTEN
CAP = 30 * COST


def started(books: Books, folder: Path, clock: WallClock, **sections: Any) -> Gateway:
    gateway = start_gateway(booked(books, **sections), folder=folder, env=clock.env)
    wait_until(gateway.is_ready, what="the gateway is ready")
    return gateway


def ask(gateway: Gateway) -> int:
    return post(gateway, chat_body("answer@16", max_tokens=16)).status


def wait_told(gateway: Gateway, clock: WallClock) -> None:
    """The clock of the gateway's log is the one that was set."""

    def is_told() -> bool:
        gateway.get("/health/ready")
        lines = gateway.log_lines
        return bool(lines) and abs(lines[-1]["ts"] - time.time() - clock.offset_s) < 60

    wait_until(is_told, what="the gateway's clock is set")


def test_a_bucket_gives_nothing_extra(books: Books, tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    keys = [{"name": "wide", "key": KEY, "limits": {"rpm": 5}}]
    start = time.monotonic()
    gateway = started(books, tmp_path, clock, keys=keys)
    try:
        assert [ask(gateway) for _ in range(6)] == [200] * 5 + [429]
        for offset_s in (5 * HOUR_S, -5 * HOUR_S, 0, 48 * HOUR_S):
            clock.set(offset_s)
            wait_told(gateway, clock)
            assert ask(gateway) == 429
    finally:
        gateway.stop()
    # Neither does a clock that was set back while nothing ran.
    clock.set(0)
    gateway = started(books, tmp_path, clock, keys=keys)
    try:
        assert ask(gateway) == 429
    finally:
        gateway.stop()
    assert time.monotonic() - start < 50, "the machine is too slow for this to say anything"


def test_every_window_is_spent_once(books: Books, tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    budget = {"usd": f"{CAP / 10**9:.9f}", "window": "1h"}
    gateway = started(books, tmp_path, clock, keys=[{"name": "wide", "key": KEY}], budget=budget)
    spent = []
    try:
        for offset_s in (0, HOUR_S, 0, -HOUR_S, HOUR_S, 24 * HOUR_S, 0):
            clock.set(offset_s)
            wait_told(gateway, clock)
            answered = 0
            while ask(gateway) == 200:
                answered += 1
            spent.append(answered)
    finally:
        gateway.stop()
    full = spent[0]
    assert full > 10
    # Where an hour ends in the middle of this, what was spent is another window's.
    if len({int(seen.at - time.monotonic() + time.time()) // HOUR_S for seen in books.log.requests}) == 1:
        assert spent == [full, full, 0, full, 0, full, 0]
    found = statement(tmp_path / "state")
    assert found.total == books.owed
    assert all(posted <= CAP for posted in found.windows.values())


async def test_under_load_nothing_expires_and_nothing_is_spent_twice(books: Books, tmp_path: Path, figure: Any) -> None:
    clock = WallClock(tmp_path)
    chance = random.Random(5)
    cap = 4000 * COST
    budget = [{"usd": f"{cap / 10**9:.9f}", "window": "1h"}, {"usd": "100", "window": "month"}]
    limits = {"rpm": 10**6, "tpm": 10**9, "parallel": 16, "refill": "continuous"}
    gateway = started(books, tmp_path, clock, keys=[{"name": "wide", "key": KEY}], budget=budget, limits=limits)
    try:
        async with Callers(
            gateway, lambda: (KEY, chance.choice(("answer@9", "slow@12")), chance.random() < 0.5), count=8
        ) as callers:
            for _ in range(JUMPS):
                clock.set(chance.choice((-3, -2, -1, 0, 1, 2, 3)) * HOUR_S + chance.randint(-1800, 1800))
                before = len(books.bills)
                await asyncio.to_thread(wait_until, lambda seen=before: len(books.bills) > seen + 10, what="load")
        await asyncio.to_thread(wait_recorded, tmp_path / "state", books)
        assert len(process_tree(gateway.pid)) == 2
    finally:
        gateway.stop()
    found = statement(tmp_path / "state")
    check(found, books, caps={"global:all:usd:1h": 8 * cap, "global:all:usd:month": 100 * 10**9})
    hours = {start: posted for (name, start), posted in found.windows.items() if name.endswith(":1h")}
    assert all(posted <= cap for posted in hours.values())
    assert sum(hours.values()) == found.total == books.owed
    assert set(callers.seen) <= {200, 429}
    assert Counter(record["status"] for record in found.records) == {"complete": len(books.bills)}
    figure(jumps=JUMPS, answered=callers.seen[200], windows=len(hours), owed=books.owed, posted=found.total)
