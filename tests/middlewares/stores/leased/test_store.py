"""What a node that leases does, point by point, on a real server."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import asynccontextmanager

import pytest

from tests.middlewares.stores.redis.conftest import until
from tollhouse.middlewares.stores.leased import LeasedQuota
from tollhouse.middlewares.stores.leased.slices import LocalHold
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Denied, Parallel, Stale, StoreUnavailable
from tollhouse.middlewares.stores.redis import RedisQuota

HOUR = 3_600_000
LARGE = Bucket("r", 100_000, 100_000, HOUR)
TOKENS = Bucket("t", 10_000_000, 10_000_000, HOUR, unit="tokens")
PLACES = Parallel("p", 10_000)
LIFE = Budget("life", 10**9, 0)
PLAN = [LARGE, TOKENS, PLACES, LIFE]


@asynccontextmanager
async def leasing(url, **options):
    redis = {"op_timeout_s": 5.0, "connect_timeout_s": 5.0, "upkeep_every_s": 3600.0}
    own = {name: options.pop(name) for name in ("lease_s", "every_s") if name in options}
    quota = LeasedQuota(RedisQuota(url, **redis | options), **own)
    await quota.open()
    try:
        yield quota
    finally:
        await quota.close()


async def done(answer):
    return await answer if inspect.isawaitable(answer) else answer


async def ask(quota, plan, **numbers):
    return await done(quota.admit(plan, **{"expires_in_ms": HOUR} | numbers))


async def local(quota, plan, **numbers):
    """An admission from the lease, which the ones before it have asked for."""
    for _ in range(100):
        found = await ask(quota, plan, **numbers)
        assert isinstance(found, Admitted)
        if isinstance(found.hold, LocalHold):
            return found
        await quota.release(found.hold)
        await quota.flush()
    pytest.fail("nothing was leased")


def state(server, name):
    return {key.decode(): int(value) for key, value in server.ask("HGETALL", "{tollhouse}:m:" + name).items()}


async def test_far_from_every_limit_an_answer_comes_at_once_and_is_accounted_for(server):
    async with leasing(server.url) as quota:
        plan = quota.plan(PLAN)
        found = await local(quota, plan, tokens=50, want=1000, minimum=1)
        assert found.granted == 1000
        assert quota.settle(found.hold, amount=600, tokens=20, entry=b"one") == "settled"
        assert quota.settle(found.hold, amount=600, tokens=20) == "duplicate"
        assert quota.release(found.hold) == "duplicate"
        released = await local(quota, plan, tokens=50, want=1000)
        assert quota.release(released.hold) == "released"
        assert quota.release(released.hold) == "duplicate"
        assert state(server, "life:0")["reserved"] > 0
        assert state(server, "r")["leased"] > 0
        await quota.flush()
        [line] = [line async for line in quota.ledger("test").entries()]
        assert line[1:] == (found.hold.id, "settled", 600, (("life", 0),), b"one")
    # Everything that was not used has been given back.
    assert state(server, "life:0") == {"posted": 600, "reserved": 0}
    assert state(server, "p") == {}
    assert state(server, "r")["level"] >= 99_999
    assert "leased" not in state(server, "r")
    assert state(server, "t")["level"] >= 9_999_980
    assert server.ask("ZCARD", "{tollhouse}:leases") == 0


async def test_a_small_limit_is_never_leased(server):
    minute = Bucket("rpm", 100, 100, 60_000, refill="interval")
    async with leasing(server.url) as one, leasing(server.url, node_id="other") as two:
        plans = [(quota, quota.plan([minute])) for quota in (one, two)]
        for number in range(100):
            quota, plan = plans[number % 2]
            found = await ask(quota, plan)
            assert isinstance(found, Admitted)
            await done(quota.settle(found.hold, amount=0))
            if number % 10 == 0:
                await quota.flush()
        for quota, plan in plans:
            assert isinstance(await ask(quota, plan), Denied)


async def test_what_one_node_has_is_not_refused_to_it(server):
    bucket = Bucket("r", 2000, 1, HOUR)
    async with leasing(server.url) as quota:
        plan = quota.plan([bucket])
        admitted = 0
        while isinstance(found := await ask(quota, plan), Admitted):
            await done(quota.settle(found.hold, amount=0))
            admitted += 1
            if admitted % 100 == 0:
                await quota.flush()
        assert admitted == 2000
        assert quota.local > 500


async def test_near_the_edge_everything_is_given_back(server):
    budget = Budget("edge", 100_000, 0)
    async with leasing(server.url) as one, leasing(server.url, node_id="other") as two:
        held = await local(one, one.plan([budget]), want=100)
        assert state(server, "edge:0")["reserved"] > 100
        plan = two.plan([budget])
        spender = await ask(two, plan, want=98_000)
        await done(two.settle(spender.hold, amount=spender.granted))
        await until(lambda: state(server, "edge:0")["reserved"] == 100, what="only what is held is reserved")
        assert one.settle(held.hold, amount=40) == "settled"
        await one.flush()
        assert state(server, "edge:0") == {"posted": spender.granted + 40, "reserved": 0}


async def test_a_window_that_is_over_is_stale_and_is_settled_where_it_was_reserved(server):
    now = int(time.time() * 1000)
    short = Budget("b", 10**9, now - 1000, now + 400)
    async with leasing(server.url) as quota:
        plan = quota.plan([short])
        found = await local(quota, plan, want=1000)
        await until(lambda: time.time() * 1000 >= short.end_ms, what="the window is over")
        assert isinstance(await ask(quota, plan, want=1000), Stale)
        assert quota.settle(found.hold, amount=700) == "settled"
    assert state(server, f"b:{short.start_ms}") == {"posted": 700, "reserved": 0}


async def test_a_hold_that_nobody_ends_is_charged_in_full_and_corrected_later(server):
    async with leasing(server.url) as quota:
        plan = quota.plan([PLACES, LIFE])
        found = await local(quota, plan, want=1000)
        late = await ask(quota, plan, want=1000, expires_in_ms=1, meta=b"who")
        assert isinstance(late.hold, LocalHold)
        lines = []
        for _ in range(1000):
            lines = [line async for line in quota.ledger("test").entries()]
            if lines:
                break
            await asyncio.sleep(0.01)
        assert [line[1:] for line in lines] == [(late.hold.id, "estimated", 1000, (("life", 0),), b"who")]
        assert quota.settle(late.hold, amount=300, entry=b"real") == "late"
        assert quota.settle(late.hold, amount=300) == "duplicate"
        quota.settle(found.hold, amount=1)
        await quota.flush()
        assert state(server, "life:0")["posted"] == 301


async def test_a_node_that_comes_back_late_corrects_what_was_charged(server):
    async with leasing(server.url, lease_s=0.5, every_s=0.02) as quota:
        plan = quota.plan([PLACES, LIFE])
        found = await local(quota, plan, want=1000)
        # It does not get to renew its lease: the loop stands still.
        time.sleep(0.8)
        through = await ask(quota, plan, want=1000)
        assert not isinstance(through.hold, LocalHold)
        await quota.release(through.hold)
        async with leasing(server.url, node_id="other") as other:
            # Whoever is first, the late report or the reaper, the sums are the same.
            await other.expire_due()
        quota.settle(found.hold, amount=400)
        await quota.flush()
        await quota.flush()
        lines = [line async for line in quota.ledger("test").entries()]
    assert sum(line.cost for line in lines) == 400
    assert state(server, "life:0") == {"posted": 400, "reserved": 0}
    assert state(server, "p") == {}


async def spend_until_unavailable(quota, plan):
    """How many were admitted and settled."""
    for answers in range(200):
        try:
            found = await ask(quota, plan, want=10)
        except StoreUnavailable:
            return answers
        assert quota.settle(found.hold, amount=5) == "settled"
        await asyncio.sleep(0.05)
    return pytest.fail("it went on without the store")


async def test_while_the_server_is_away_the_lease_is_used_until_its_deadline(server):
    async with leasing(server.url, lease_s=1.0, every_s=0.02, op_timeout_s=0.05) as quota:
        plan = quota.plan([LIFE])
        await local(quota, plan, want=1000)
        server.pause()
        try:
            answers = await spend_until_unavailable(quota, plan)
            assert answers > 3
        finally:
            server.resume()
        await until(lambda: quota.available, what="the server is found again")
        await until(lambda: quota.unsent == 0, what="what was kept is told")
        lines = [line async for line in quota.ledger("test").entries()]
        # Each is told once, though the report was repeated; an admission that may have come late is cancelled.
        settled = [line for line in lines if line.status == "settled"]
        assert len(settled) == answers
        assert len({line.hold for line in settled}) == answers


def test_a_lease_is_neither_short_nor_long():
    for lease_s in (0.1, 61):
        with pytest.raises(ValueError, match="lease_s"):
            LeasedQuota(RedisQuota("redis://127.0.0.1"), lease_s=lease_s)
