"""Servers that die, hang, refuse or answer slowly: nothing hangs or is charged twice, and it works again by itself."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from tests.middlewares.stores.redis.conftest import opened, until
from tests.support.net import LOOPBACK, free_port
from tests.support.proxy import running_proxy
from tests.support.redis import running_redis
from tollhouse.middlewares.stores.quota import Admitted, Budget, Parallel, StoreUnavailable
from tollhouse.middlewares.stores.redis import RedisQuota

HOUR = 3_600_000
LIFE = Budget("life", 10**9, 0)
QUICK = {"op_timeout_s": 0.1, "connect_timeout_s": 0.25, "upkeep_every_s": 0.02}
# Twice the timeout of a command is promised; the rest is for a machine that does other things as well.
BOUND_S = 0.2 + 0.4


def state(server, name):
    return {key.decode(): int(value) for key, value in server.ask("HGETALL", "{tollhouse}:m:" + name).items()}


@pytest.fixture
def own_server():
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


async def refused(store, plan, *kinds):
    """An admission that fails in time; how it failed."""
    started = time.perf_counter()
    with pytest.raises(StoreUnavailable) as raised:
        await store.admit(plan, want=10, expires_in_ms=HOUR)
    assert time.perf_counter() - started < BOUND_S
    assert raised.value.kind in kinds, (raised.value.kind, raised.value)
    return raised.value


async def works(store, plan):
    """Whether a request can be admitted and settled now."""
    try:
        found = await store.admit(plan, want=10, expires_in_ms=HOUR)
        assert isinstance(found, Admitted)
        await store.settle(found.hold, amount=1)
    except StoreUnavailable:
        return False
    return True


async def recovers(store, plan, *, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not (store.available and not store.unsent and await works(store, plan)):
        assert time.monotonic() < deadline, "the store did not recover"
        await asyncio.sleep(0.01)


async def balanced(store, server, name="life:0"):
    """No hold is open, and the counter is what the ledger says."""
    await until(lambda: not store.unsent and not server.ask("ZCARD", "{tollhouse}:x"), what="all holds ended")
    lines = [line async for line in store.ledger("test").entries()]
    assert state(server, name) == {"posted": sum(line.cost for line in lines), "reserved": 0}
    ended = [line.hold for line in lines]
    assert len(set(ended)) == len(ended)


def changes(caplog):
    return [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "tollhouse.store"]


async def test_a_server_that_was_killed_and_came_back(own_server, caplog):
    caplog.set_level(logging.INFO)
    async with opened(own_server.url, **QUICK) as store:
        plan = store.plan([LIFE])
        assert await works(store, plan)
        held = await store.admit(plan, want=10, expires_in_ms=HOUR)
        own_server.kill()
        for _ in range(20):
            await refused(store, plan, "lost", "connect")
        with pytest.raises(StoreUnavailable):
            await store.settle(held.hold, amount=3)
        assert not store.available
        assert store.unsent >= 1
        own_server.start()
        await recovers(store, plan)
        await balanced(store, own_server)
    assert changes(caplog) == ["the quota store is unavailable", "the quota store is available again"]


async def test_a_server_that_is_not_there_at_first(caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    async with opened(f"redis://{LOOPBACK}:{port}", **QUICK) as store:
        assert not store.available
        plan = store.plan([LIFE])
        await refused(store, plan, "connect")
        with running_redis() as server:
            store._link._topology.target = RedisQuota(server.url)._target
            await recovers(store, plan)
    assert changes(caplog)[:2] == ["the quota store is unavailable", "the quota store is available again"]


async def test_a_server_that_stands_still(own_server, caplog):
    async with opened(own_server.url, **QUICK) as store:
        plan = store.plan([LIFE, Parallel("p", 10**6)])
        assert await works(store, plan)
        own_server.pause()
        started = time.perf_counter()
        found = await asyncio.gather(
            *(store.admit(plan, want=10, expires_in_ms=HOUR) for _ in range(50)), return_exceptions=True
        )
        assert time.perf_counter() - started < BOUND_S
        assert {type(error).__mro__[1] for error in found} == {StoreUnavailable}
        await until(lambda: not store.available, what="it is noticed")
        for _ in range(10):
            await refused(store, plan, "timeout", "connect")
        own_server.resume()
        await recovers(store, plan)
        # The admissions that it had in its buffers took effect, or not; all of them were given back.
        await balanced(store, own_server)
        assert state(own_server, "p") == {}


async def test_a_settlement_that_got_no_answer_is_charged_once(own_server):
    async with running_proxy(own_server.port) as proxy, opened(proxy.url, **QUICK) as store:
        plan = store.plan([LIFE])
        for cut in (1, 3, 7):
            held = await store.admit(plan, want=100, expires_in_ms=HOUR)
            proxy.cut_after("down", cut)  # done, but its answer is lost
            assert await store.settle(held.hold, amount=60) == "duplicate"
            held = await store.admit(plan, want=100, expires_in_ms=HOUR)
            proxy.cut_after("up", cut)  # never arrives as a whole
            assert await store.settle(held.hold, amount=60) == "settled"
        assert state(own_server, "life:0") == {"posted": 360, "reserved": 0}
        await balanced(store, own_server)


async def test_an_admission_that_got_no_answer_takes_once(own_server):
    async with running_proxy(own_server.port) as proxy, opened(proxy.url, **QUICK) as store:
        plan = store.plan([LIFE, Parallel("p", 10)])
        for direction in ("down", "up") * 3:
            proxy.cut_after(direction, 5)
            held = await store.admit(plan, want=100, minimum=100, expires_in_ms=HOUR)
            assert isinstance(held, Admitted)
            assert state(own_server, "life:0")["reserved"] == 100
            assert state(own_server, "p") == {"used": 1}
            assert await store.release(held.hold) == "released"


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_wherever_a_connection_is_cut_the_books_balance(own_server, direction):
    async with running_proxy(own_server.port) as proxy, opened(proxy.url, **QUICK) as store:
        plan = store.plan([LIFE, Parallel("p", 10**6)])

        async def request(i):
            try:
                held = await store.admit(plan, want=100, expires_in_ms=HOUR)
                await store.settle(held.hold, amount=i % 100)
            except StoreUnavailable:
                return 0
            return 1

        for count in range(1, 1200, 37):
            proxy.cut_after(direction, count)
            done = await asyncio.gather(*(request(i) for i in range(8)))
            assert sum(done) >= 0
        proxy.flow()
        await recovers(store, plan)
        await balanced(store, own_server)
        assert state(own_server, "p") == {}


async def test_a_network_that_swallows_everything(own_server):
    async with running_proxy(own_server.port) as proxy, opened(proxy.url, **QUICK) as store:
        plan = store.plan([LIFE])
        assert await works(store, plan)
        proxy.stall()
        for _ in range(5):
            await refused(store, plan, "timeout", "connect", "lost")
        proxy.flow()
        await recovers(store, plan)
        await balanced(store, own_server)


async def test_a_server_that_is_slow_but_not_too_slow(own_server):
    async with running_proxy(own_server.port) as proxy, opened(proxy.url, **QUICK | {"op_timeout_s": 0.4}) as store:
        plan = store.plan([LIFE])
        proxy.delay_s = 0.03
        assert await works(store, plan)
        assert store.counters.errors == {}
        assert proxy.accepted == 1


async def test_a_server_that_is_always_too_slow_hangs_nobody(own_server):
    async with running_proxy(own_server.port) as proxy, opened(proxy.url, **QUICK) as store:
        plan = store.plan([LIFE])
        proxy.delay_s = 0.2
        for _ in range(5):
            await refused(store, plan, "timeout", "connect", "lost")
        proxy.flow()
        await recovers(store, plan)
        await balanced(store, own_server)


async def test_a_loop_that_stood_still_does_not_blame_the_server(own_server):
    async with opened(own_server.url, op_timeout_s=0.1) as store:
        plan = store.plan([LIFE])
        for _ in range(3):
            task = asyncio.create_task(store.admit(plan, want=1, expires_in_ms=HOUR))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.25)
            assert isinstance(await task, Admitted)
        assert store.counters.errors == {}


async def test_a_master_that_became_a_replica(own_server, caplog):
    caplog.set_level(logging.INFO)
    async with opened(own_server.url, **QUICK) as store:
        plan = store.plan([LIFE])
        assert await works(store, plan)
        own_server.ask("REPLICAOF", LOOPBACK, str(free_port()))
        for _ in range(5):
            await refused(store, plan, "readonly", "replica", "masterdown")
        own_server.ask("REPLICAOF", "NO", "ONE")
        await recovers(store, plan)
        await balanced(store, own_server)
    assert len(changes(caplog)) == 2


async def test_a_server_without_memory_admits_nobody_but_lets_holds_end(own_server, caplog):
    caplog.set_level(logging.INFO)
    async with opened(own_server.url, **QUICK) as store:
        plan = store.plan([LIFE])
        held = await store.admit(plan, want=10, expires_in_ms=HOUR)
        own_server.ask("CONFIG", "SET", "maxmemory", "1mb")
        for _ in range(5):
            await refused(store, plan, "oom")
        assert not store.available
        assert await store.settle(held.hold, amount=4) == "settled"
        assert state(own_server, "life:0") == {"posted": 4, "reserved": 0}
        own_server.ask("CONFIG", "SET", "maxmemory", "0")
        await recovers(store, plan)
        await balanced(store, own_server)
    assert changes(caplog) == ["the quota store is unavailable", "the quota store is available again"]


async def test_a_server_that_wants_more_replicas_than_it_has(own_server):
    async with opened(own_server.url, **QUICK) as store:
        plan = store.plan([LIFE])
        own_server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        await refused(store, plan, "noreplicas")
        own_server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        await recovers(store, plan)


async def test_a_server_that_is_still_loading():
    with running_redis() as server:
        async with opened(server.url, **QUICK) as store:
            plan = store.plan([LIFE])
            assert await works(store, plan)
            server.ask("DEBUG", "POPULATE", "10000")
            server.ask("SAVE")
            server.kill()
            # A second for all of it.
            server.options += ["--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"]
            server.start(wait=False)
            seen: set[str] = set()
            deadline = time.monotonic() + 10
            while "loading" not in seen:
                assert time.monotonic() < deadline, seen
                await asyncio.sleep(0.005)
                seen.add((await refused(store, plan, "lost", "connect", "loading", "timeout")).kind)
            server.wait_ready()
            await recovers(store, plan)
            await balanced(store, server)


async def test_a_user_that_was_removed(own_server):
    async with opened(own_server.url, **QUICK) as store:
        plan = store.plan([LIFE])
        assert await works(store, plan)
        own_server.ask("CONFIG", "SET", "requirepass", "later")
        with own_server.client(password="later") as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
            await asyncio.sleep(0.05)
            error = await refused(store, plan, "noauth", "lost", "connect")
            assert "later" not in str(error)
            client.execute_command("CONFIG", "SET", "requirepass", "")
        await recovers(store, plan)


async def test_what_is_not_redis_is_noticed():
    async def serve(reader, writer):
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with opened(f"redis://{LOOPBACK}:{port}", **QUICK) as store:
        await refused(store, store.plan([LIFE]), "protocol", "lost")
    server.close()
    await server.wait_closed()


async def test_closing_tells_what_is_left(own_server):
    async with (
        running_proxy(own_server.port) as proxy,
        opened(proxy.url, **QUICK | {"upkeep_every_s": 3600.0}) as store,
    ):
        plan = store.plan([LIFE])
        held = await store.admit(plan, want=10, expires_in_ms=HOUR)
        proxy.refuse()
        with pytest.raises(StoreUnavailable):
            await store.settle(held.hold, amount=5)
        proxy.flow()
        await until(lambda: store.available, what="it is back")
        assert state(own_server, "life:0") == {"posted": 0, "reserved": 10}
    assert state(own_server, "life:0") == {"posted": 5, "reserved": 0}


async def test_a_closed_store_says_so(own_server):
    async with opened(own_server.url) as store:
        plan = store.plan([LIFE])
    await refused(store, plan, "closed")
    await store.close()
