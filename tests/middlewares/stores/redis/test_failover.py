"""Servers that took over and lack the last writes are told them again before anybody is admitted."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.middlewares.stores.redis.conftest import opened, until
from tests.support.net import LOOPBACK, free_port, wait_until
from tests.support.proxy import running_proxy
from tests.support.redis import running_redis
from tollhouse.middlewares.stores.quota import Admitted, Budget, Parallel, StoreUnavailable

HOUR = 3_600_000
LIFE = Budget("life", 10**6, 0)
PLACES = Parallel("p", 1000)
QUICK = {"op_timeout_s": 0.2, "connect_timeout_s": 0.5, "upkeep_every_s": 0.02, "fence_s": 0.05}


def state(server, name):
    return {key.decode(): int(value) for key, value in server.ask("HGETALL", "{tollhouse}:m:" + name).items()}


async def pair(store, plan, amount):
    held = await store.admit(plan, want=100, expires_in_ms=HOUR)
    assert await store.settle(held.hold, amount=amount, entry=b"e") == "settled"


async def lines(store):
    return [line async for line in store.ledger("test").entries()]


async def back(store, connects=1):
    await until(lambda: store.available and store.counters.connects > connects, what="the store is back")


async def test_a_server_that_forgot_everything_is_told_what_happened_lately(caplog):
    with running_redis() as server:
        async with opened(server.url, **QUICK) as store:
            plan = store.plan([LIFE, PLACES])
            open_ = [await store.admit(plan, want=100, expires_in_ms=HOUR, meta=b"m") for _ in range(3)]
            for amount in (10, 20, 30):
                await pair(store, plan, amount)
            released = await store.admit(plan, want=100, expires_in_ms=HOUR)
            await store.release(released.hold)
            before = {name: state(server, name) for name in ("life:0", "p")}
            assert before == {"life:0": {"posted": 60, "reserved": 300}, "p": {"used": 3}}
            server.kill()
            server.start()
            await back(store)
            assert {name: state(server, name) for name in before} == before
            assert sorted(line.cost for line in await lines(store)) == [10, 20, 30]
            assert server.ask("ZCARD", "{tollhouse}:x") == 3
            for held in open_:
                assert await store.settle(held.hold, amount=1) == "settled"
            assert state(server, "life:0") == {"posted": 63, "reserved": 0}
            assert state(server, "p") == {}
    assert "was told again" in caplog.text


async def test_a_restored_hold_expires_like_any_other():
    with running_redis() as server:
        async with opened(server.url, **QUICK) as store:
            await store.admit(store.plan([LIFE, PLACES]), want=100, expires_in_ms=1500, meta=b"who")
            server.kill()
            server.start()
            await back(store)
            assert state(server, "life:0") == {"posted": 0, "reserved": 100}
            await until(lambda: state(server, "life:0") == {"posted": 100, "reserved": 0}, what="it expired")
            [line] = await lines(store)
            assert (line.status, line.cost, line.entry) == ("estimated", 100, b"who")


async def test_a_server_that_kept_everything_is_charged_nothing_twice():
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server.url, **QUICK) as store:
            plan = store.plan([LIFE, PLACES])
            await store.admit(plan, want=100, expires_in_ms=HOUR)
            for amount in (10, 20):
                await pair(store, plan, amount)
            server.kill()
            server.start()
            await back(store)
            assert state(server, "life:0") == {"posted": 30, "reserved": 100}
            assert len(await lines(store)) == 2
            assert store._memory.restored == 0


async def test_after_a_long_outage_nothing_is_charged_that_may_have_been_forgotten():
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server.url, **QUICK | {"upkeep_every_s": 3600.0}) as store:
            plan = store.plan([LIFE])
            await pair(store, plan, 10)
            held = await store.admit(plan, want=100, expires_in_ms=HOUR)
            dump = server.ask("DUMP", "{tollhouse}:h:" + held.hold.id)
            await store.settle(held.hold, amount=20)
            memory = store._memory.ended
            for _ in range(len(memory)):
                memory.append(memory.popleft()._replace(at=0.0))
            # The first has been forgotten meanwhile, the end of the second was lost.
            for key in server.ask("KEYS", "{tollhouse}:h:*"):
                server.ask("DEL", key)
            server.ask("RESTORE", "{tollhouse}:h:" + held.hold.id, 0, dump)
            server.ask("HSET", "{tollhouse}:m:life:0", "posted", 10, "reserved", 100)
            server.kill()
            server.start()
            await back(store)
            assert state(server, "life:0") == {"posted": 30, "reserved": 0}


async def test_a_replica_that_was_behind_gets_what_it_lacks_from_all_nodes():
    with running_redis() as old, running_redis("--replicaof", LOOPBACK, str(old.port)) as new:
        wait_until(lambda: new.ask("ROLE")[3] == b"connected", what="the replica follows")
        async with (
            running_proxy(old.port) as proxy,
            opened(proxy.url, node_id="a", **QUICK) as a,
            opened(proxy.url, node_id="b", **QUICK) as b,
        ):
            plans = {store: store.plan([LIFE, PLACES]) for store in (a, b)}
            for store, plan in plans.items():
                await pair(store, plan, 1)
            wait_until(lambda: state(new, "life:0").get("posted") == 2, what="replicated")
            new.ask("REPLICAOF", LOOPBACK, str(free_port()))
            for store, plan in plans.items():  # these the replica never sees
                await asyncio.gather(*(pair(store, plan, amount) for amount in range(50)))
                await store.admit(plan, want=100, expires_in_ms=HOUR)
            expected = {"posted": 2 + 2 * sum(range(50)), "reserved": 200}
            assert state(old, "life:0") == expected
            old.kill()
            new.ask("REPLICAOF", "NO", "ONE")
            assert state(new, "life:0")["posted"] < expected["posted"]
            proxy.target_port = new.port
            proxy.cut()
            for store in plans:
                await back(store)
            assert state(new, "life:0") == expected
            assert sum(line.cost for line in await lines(a)) == expected["posted"]
            assert len({line.hold for line in await lines(a)}) == 102


async def test_an_admission_waits_for_replicas():
    with running_redis() as master, running_redis("--replicaof", LOOPBACK, str(master.port)) as replica:
        wait_until(lambda: replica.ask("ROLE")[3] == b"connected", what="the replica follows")
        async with opened(master.url, wait_replicas=1, **QUICK) as store:
            plan = store.plan([LIFE])
            found = await asyncio.gather(*(store.admit(plan, want=1, expires_in_ms=HOUR) for _ in range(20)))
            assert all(isinstance(each, Admitted) for each in found)
            assert state(replica, "life:0")["reserved"] == 20
            replica.pause()
            with pytest.raises(StoreUnavailable, match="too few replicas") as raised:
                await store.admit(plan, want=1, expires_in_ms=HOUR)
            assert raised.value.kind == "replicas"
            replica.resume()
            await until(lambda: not store.unsent, what="it was given back")
            assert state(master, "life:0")["reserved"] == 20

            async def admitted():
                with contextlib.suppress(StoreUnavailable):
                    return isinstance(await store.admit(plan, want=1, expires_in_ms=HOUR), Admitted)
                return False

            async with asyncio.timeout(10):
                while not await admitted():
                    await asyncio.sleep(0.01)
