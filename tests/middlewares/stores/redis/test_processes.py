"""Several processes and one server: nothing is admitted above a limit, over any interval of the server's clock.

QUOTA_PROCESSES and QUOTA_OPERATIONS make it as long as wanted (8 and 1000000 have been run).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from fractions import Fraction

from tests.middlewares.stores.redis.conftest import opened
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Parallel

PROCESSES = int(os.environ.get("QUOTA_PROCESSES", "3"))
OPERATIONS = int(os.environ.get("QUOTA_OPERATIONS", "3000"))
HOUR = 3_600_000
BUCKET = Bucket("r", 50, 700, 1000)
STRICT = Bucket("i", 60, 60, 150, refill="interval")
PLACES = Parallel("p", 12)
CAP = 500 * OPERATIONS // 4
BUDGET = Budget("usd", CAP, 0)
AT_ONCE = 16


def work(url: str, number: int, operations: int, told) -> None:
    """One node. Tells when each admission was, by the server's clock, and what it spent."""

    async def client(store, plan, seen, i):
        for n in range(operations // AT_ONCE):
            found = await store.admit(plan, want=500 + i, minimum=1, expires_in_ms=HOUR)
            if not isinstance(found, Admitted):
                await asyncio.sleep(0.001)
                continue
            seen.append((found.now_ms, found.granted))
            assert all(remaining >= 0 for remaining, _ in found.meters)
            # When the budget is nearly spent, less is granted than that.
            await store.settle(found.hold, amount=max(0, found.granted - n % 3))

    async def run():
        seen: list[tuple[int, int]] = []
        async with opened(url, node_id=f"n{number}") as store:
            plan = store.plan([BUCKET if number % 2 else STRICT, PLACES, BUDGET])
            await asyncio.gather(*(client(store, plan, seen, i) for i in range(AT_ONCE)))
        return seen

    told.send(asyncio.run(run()))


def most_above_rate(times: list[int], rate: Fraction) -> Fraction:
    """The largest excess of a count over rate times duration, over all intervals from one admission to another."""
    lowest, most = Fraction(0), Fraction(0)
    for count, at in enumerate(times):
        level = count - rate * (at - times[0])
        lowest = min(lowest, level)
        most = max(most, level - lowest + 1)
    return most


async def test_no_limit_is_exceeded(server):
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe()
        worker = context.Process(target=work, args=(server.url, number, OPERATIONS // PROCESSES, theirs))
        worker.start()
        pipes.append(ours)
        workers.append(worker)
    seen = [await asyncio.to_thread(pipe.recv) for pipe in pipes]
    for worker in workers:
        await asyncio.to_thread(worker.join)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    continuous = sorted(at for each in seen[1::2] for at, _ in each)
    interval = sorted(at for each in seen[0::2] for at, _ in each)
    assert len(continuous) > 100
    assert most_above_rate(continuous, Fraction(BUCKET.amount, BUCKET.period_ms)) <= BUCKET.capacity
    assert most_above_rate(interval, Fraction(STRICT.amount, STRICT.period_ms)) <= 2 * STRICT.capacity
    async with opened(server.url) as store:
        lines = [line async for line in store.ledger("test").entries()]
    assert server.ask("HGET", "{tollhouse}:m:usd:0", "reserved") == b"0"
    posted = int(server.ask("HGET", "{tollhouse}:m:usd:0", "posted"))
    assert posted == sum(line.cost for line in lines) <= CAP
    assert len({line.hold for line in lines}) == len(lines)
    assert server.ask("ZCARD", "{tollhouse}:x") == 0
    assert server.ask("EXISTS", "{tollhouse}:m:p") == 0
