"""kill -9 at any moment: nothing that an upstream has billed is forgotten, nothing is charged twice (B5, B13)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.proofs.length import IS_LONG, rounds
from tests.support.audit import check, statement, usage, wait_recorded
from tests.support.books import booked
from tests.support.callers import Callers
from tests.support.gateway import KEY, Gateway, start_gateway
from tests.support.net import process_tree, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.books import Bill, Books

ROUNDS = rounds(5, 200, variable="QUOTA_KILLS")
POINTS = ("any time", "arrived", "begun", "finished", "just finished")
CALLERS = 16
SMALL = "sk-th-smallbudget0-" + "s" * 48
MODELS = ("answer@9", "slow@12", "silent@7", "cut@8", "hang@4", "mute@6", "unfinished@5", "refuse@429", "refuse@500")
EXPIRY_S = 3.0
CAPS = {"key:wide:usd:total": 5 * 10**9, "key:small:usd:1d": 4 * 10**6, "global:all:usd:month": 10 * 10**9}


def configuration(books: Books) -> dict[str, object]:
    return booked(
        books,
        keys=[
            {"name": "wide", "key": KEY, "budget": {"usd": "5"}},
            {"name": "small", "key": SMALL, "budget": {"usd": "0.004", "window": "1d"}},
        ],
        budget={"usd": "10", "window": "month"},
        upstream={"total_s": EXPIRY_S - 1, "idle_s": 1},
        drain_s=0.5,
        hold_margin_s=0.5,
    )


class Killer:
    """Ends a gateway at a point of its upstream's work, in the upstream's thread."""

    def __init__(self, gateway: Gateway, chance: random.Random) -> None:
        self.point = chance.choice(POINTS)
        self._pids = process_tree(gateway.pid)[::-1]
        self._countdown = chance.randint(1, 60)
        self._delay_s = chance.uniform(0, 0.004) if self.point == "just finished" else 0.0
        self._lock = threading.Lock()
        self._after_s = chance.uniform(0.01, 0.5)

    def watch(self, bill: Bill) -> None:
        if bill.phase != self.point.removeprefix("just "):
            return
        self._countdown -= 1
        if self._countdown == 0:
            if self._delay_s:
                threading.Timer(self._delay_s, self.kill).start()
            else:
                self.kill()

    def kill(self) -> None:
        with self._lock:
            pids, self._pids = self._pids, []
        kill_all(pids)

    async def wait(self, gateway: Gateway) -> None:
        if self.point == "any time":
            await asyncio.sleep(self._after_s)
            self.kill()
        deadline = time.monotonic() + 10
        while gateway.process.poll() is None:
            if time.monotonic() > deadline:  # the point was not reached
                self.kill()
            await asyncio.sleep(0.005)


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def started(books: Books, folder: Path) -> AsyncIterator[Gateway]:
    """Nothing of it is left behind, however the block ends."""
    gateway = start_gateway(configuration(books), folder=folder)
    try:
        await asyncio.to_thread(wait_until, gateway.is_ready, what="the gateway is ready", timeout_s=20)
        yield gateway
    finally:
        if gateway.process.poll() is None:
            kill_all(process_tree(gateway.pid)[::-1])
            gateway.wait()


async def test_whatever_is_under_way_when_it_is_killed_is_charged_once(
    books: Books, tmp_path: Path, figure: Any
) -> None:
    seed = int(os.environ.get("QUOTA_SEED") or time.time_ns() % 10**9)
    print("seed", seed)
    chance = random.Random(seed)
    points: Counter[str] = Counter()
    statuses: Counter[int] = Counter()

    def next_request() -> tuple[str, str, bool]:
        return chance.choice((KEY, KEY, SMALL)), chance.choice(MODELS), chance.random() < 0.6

    for _ in range(ROUNDS):
        async with started(books, tmp_path) as gateway:
            killer = Killer(gateway, chance)
            points[killer.point] += 1
            async with Callers(gateway, next_request, count=CALLERS) as callers:
                books.watch = killer.watch
                await killer.wait(gateway)
                books.watch = lambda _: None
            statuses += callers.seen
            assert "Traceback" not in gateway.output, gateway.output[-3000:]
    async with started(books, tmp_path) as gateway:
        await asyncio.to_thread(wait_recorded, tmp_path / "state", books)
        await asyncio.sleep(EXPIRY_S + 1.5)  # those expire too that no upstream has heard of
        gateway.stop()
    found = statement(tmp_path / "state")
    shown = usage(tmp_path / "state")
    check(found, books, caps=CAPS, shown=shown)
    assert statuses[200] > ROUNDS
    if IS_LONG:
        assert statuses[429] > ROUNDS
    figure(
        kills=ROUNDS,
        points=dict(points),
        bills=len(books.bills),
        records=len(found.records),
        expired=sum(record["status"] == "estimated" and not record["provider"] for record in found.records),
        owed=books.owed,
        posted=found.total,
        statuses=dict(statuses),
    )
