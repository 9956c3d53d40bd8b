"""Several processes that lease from one server, one of them killed in the middle: nothing is exceeded or miscounted.

QUOTA_PROCESSES and QUOTA_OPERATIONS make it as long as wanted.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import time
from fractions import Fraction
from typing import Any

import pytest

from tests.middlewares.stores.redis.conftest import opened, until
from tests.middlewares.stores.redis.test_processes import most_above_rate
from tollhouse.middlewares.stores.leased import LeasedQuota
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Parallel
from tollhouse.middlewares.stores.redis import RedisQuota

PROCESSES = int(os.environ.get("QUOTA_PROCESSES", "4"))
OPERATIONS = int(os.environ.get("QUOTA_OPERATIONS", "8000"))
HOUR = 3_600_000
LEASE_S = 2.0
CONTINUOUS = Bucket("r", 2000, 3000, 1000)
STRICT = Bucket("i", 1500, 1500, 700, refill="interval")
PLACES = Parallel("p", 4000)
CAP = 500 * OPERATIONS // 2
BUDGET = Budget("usd", CAP, 0)
AT_ONCE = 8


async def done(answer):
    return await answer if inspect.isawaitable(answer) else answer


def work(url: str, number: int, operations: int, told) -> None:
    """One node: sends (when it was admitted, granted, billed) of each request before it is billed."""

    async def client(quota, plan, i):
        for n in range(operations // AT_ONCE):
            found = await done(quota.admit(plan, want=500, minimum=500, expires_in_ms=HOUR))
            if n % 16 == i:
                await asyncio.sleep(0)
            if not isinstance(found, Admitted):
                await asyncio.sleep(0.001)
                continue
            amount = 500 - n % 3
            told.send((int(time.time() * 1000), amount))
            await done(quota.settle(found.hold, amount=amount))

    async def run():
        store = RedisQuota(url, node_id=f"n{number}", op_timeout_s=5.0, connect_timeout_s=5.0)
        quota = LeasedQuota(store, lease_s=LEASE_S)
        await quota.open()
        plan = quota.plan([CONTINUOUS if number % 2 else STRICT, PLACES, BUDGET])
        await asyncio.gather(*(client(quota, plan, i) for i in range(AT_ONCE)))
        await quota.close()
        return quota.local

    told.send(asyncio.run(run()))


@pytest.mark.parametrize("is_killed", [False, True], ids=["all close", "one is killed"])
async def test_no_limit_is_exceeded_and_nothing_is_miscounted(server, is_killed):
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe(duplex=False)
        # The one that is killed has too much to do to end before.
        operations = OPERATIONS // PROCESSES * (1000 if is_killed and not number else 1)
        worker = context.Process(target=work, args=(server.url, number, operations, theirs))
        worker.start()
        theirs.close()
        pipes.append(ours)
        workers.append(worker)

    def read(which: int) -> list[Any]:
        found = []
        while True:
            try:
                found.append(pipes[which].recv())
            except EOFError:
                return found
            if is_killed and not which and len(found) == 200:
                workers[0].kill()

    seen = await asyncio.gather(*(asyncio.to_thread(read, which) for which in range(PROCESSES)))
    for worker in workers:
        await asyncio.to_thread(worker.join)
    assert [worker.exitcode for worker in workers] == [-9 if is_killed else 0] + [0] * (PROCESSES - 1)
    local = sum(each.pop() for each in seen[is_killed:])
    requests = [[each for each in node if type(each) is tuple] for node in seen]
    # How many depends on how busy the machine is.
    assert local > 0
    continuous = sorted(at for each in requests[1::2] for at, _ in each)
    interval = sorted(at for each in requests[0::2] for at, _ in each)
    # Told a little later than they were admitted, by a clock in whole milliseconds.
    slack = 20
    rate = Fraction(CONTINUOUS.amount, CONTINUOUS.period_ms)
    assert most_above_rate(continuous, rate) <= CONTINUOUS.capacity + slack * rate
    assert most_above_rate(interval, Fraction(STRICT.amount, STRICT.period_ms)) <= 2 * STRICT.capacity
    billed = sum(amount for each in requests for _, amount in each)
    async with opened(server.url) as store:
        quota = LeasedQuota(store)
        if is_killed:
            await until(lambda: _is_over(server), what="its lease is over")
            await quota.expire_due()
        # Holds that were decided by Redis and were open when it was killed.
        held = 500 * server.ask("ZCARD", "{tollhouse}:x")
        lines = [line async for line in store.ledger("test").entries()]
    assert int(server.ask("HGET", "{tollhouse}:m:usd:0", "reserved")) == held
    posted = int(server.ask("HGET", "{tollhouse}:m:usd:0", "posted"))
    assert posted == sum(line.cost for line in lines) <= CAP
    assert billed <= CAP
    assert posted + held >= billed if is_killed else posted == billed
    assert server.ask("ZCARD", "{tollhouse}:leases") == 0
    assert server.ask("HGET", "{tollhouse}:m:r", "leased") is None
    assert server.ask("HGET", "{tollhouse}:m:i", "leased") is None
    used = server.ask("HGET", "{tollhouse}:m:p", "used")
    assert int(used or 0) * 500 == held


def _is_over(server) -> bool:
    due = server.ask("ZRANGE", "{tollhouse}:leases", 0, -1, "WITHSCORES")
    return all(float(score) < time.time() * 1000 for score in due[1::2])
