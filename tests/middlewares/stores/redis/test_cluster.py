"""A cluster of six processes: our slot moves back and forth, and masters die."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.middlewares.stores.redis.conftest import opened, until
from tests.support.net import LOOPBACK
from tests.support.redis import running_cluster
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Parallel, StoreUnavailable

HOUR = 3_600_000
QUICK = {"op_timeout_s": 0.2, "connect_timeout_s": 0.5, "upkeep_every_s": 0.05}
KEY = "{tollhouse}:x"


class Cluster:
    def __init__(self, servers):
        self.servers = servers
        self.slot = servers[0].ask("CLUSTER", "KEYSLOT", KEY)

    def id(self, server):
        return server.ask("CLUSTER", "MYID").decode()

    def masters(self):
        return [server for server in self.servers if server.process and server.ask("ROLE")[0] == b"master"]

    def owner(self):
        for server in self.masters():
            if server.ask("CLUSTER", "COUNTKEYSINSLOT", self.slot):
                return server
        raise AssertionError("nobody has the keys")

    async def move(self, source, target, *, pause_s):
        """The slot goes from one master to another, a key at a time."""
        masters = self.masters()

        async def ask(server, *words):
            return await asyncio.to_thread(server.ask, *words)

        await ask(target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.id(source))
        await ask(source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.id(target))
        await asyncio.sleep(pause_s)
        while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", self.slot, 20):
            await ask(source, "MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *keys)
            await asyncio.sleep(pause_s)
        for server in (target, source, *masters):
            await ask(server, "CLUSTER", "SETSLOT", self.slot, "NODE", self.id(target))


@pytest.fixture(scope="module")
def cluster():
    with running_cluster() as servers:
        yield Cluster(servers)


def fields(server, name):
    found = server.ask("HGETALL", "{tollhouse}:m:" + name)
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {key.decode(): int(value) for key, value in pairs}


async def test_a_cluster_behind_an_ordinary_url_is_noticed(cluster):
    for server in cluster.servers:  # whichever of its nodes is named, replicas too
        async with opened(server.url) as store:
            held = await store.admit(store.plan([Bucket("first", 100, 1, HOUR)]), expires_in_ms=HOUR)
            assert isinstance(held, Admitted)
            assert await store.release(held.hold) == "released"


async def test_nothing_is_lost_or_charged_twice_while_the_slot_moves(cluster):
    cap = 2_000_000
    meters = [Budget("usd", cap, 0), Parallel("p", 10), Bucket("r", 10**6, 1, HOUR)]
    grants, open_now, most, refusals, ends = 0, 0, 0, 0, 0
    moving = True

    async def client(store, plan):
        nonlocal grants, open_now, most, refusals, ends
        while moving:
            try:
                held = await store.admit(plan, want=1000, minimum=1000, expires_in_ms=HOUR)
            except StoreUnavailable:
                refusals += 1
                continue
            if not isinstance(held, Admitted):
                await asyncio.sleep(0.001)
                continue
            grants += held.granted
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.002)
            open_now -= 1
            with contextlib.suppress(StoreUnavailable):  # the store tells it later
                await store.settle(held.hold, amount=900)
                ends += 1

    masters = cluster.masters()
    async with (
        opened(masters[0].url, node_id="one", **QUICK) as one,
        opened(masters[1].url, node_id="two", **QUICK) as two,
    ):
        clients = [asyncio.create_task(client(store, store.plan(meters))) for store in (one, two) for _ in range(8)]
        await until(lambda: ends > 20, what="the first requests")
        for pause_s in (0.0, 0.005, 0.02, 0.002):
            source = cluster.owner()
            target = next(server for server in masters if server is not source)
            before = ends
            await cluster.move(source, target, pause_s=pause_s)
            await until(lambda before=before: ends > before + 20, what="requests are admitted again")
        moving = False
        await asyncio.gather(*clients)
        for store in (one, two):
            await until(lambda store=store: not store.unsent, what="every hold has ended", timeout_s=20)
            assert store.available
        owner = cluster.owner()
        lines = [line async for line in one.ledger("test").entries()]
        posted = fields(owner, "usd:0")
    assert posted == {"posted": sum(line.cost for line in lines), "reserved": 0}
    assert posted["posted"] <= cap
    assert grants // 1000 == len({line.hold for line in lines}) == len(lines)
    assert most <= 10
    assert owner.ask("ZCARD", KEY) == 0
    assert fields(owner, "p") == {}
    assert fields(owner, "r")["level"] >= 10**6 - len(lines) - refusals


async def test_a_replica_takes_over_when_the_master_dies(cluster):
    owner = cluster.owner()
    others = [server for server in cluster.servers if server is not owner]
    async with opened(others[0].url, **QUICK) as store:
        plan = store.plan([Budget("after", 10**6, 0)])

        async def works():
            with contextlib.suppress(StoreUnavailable):
                held = await store.admit(plan, want=10, expires_in_ms=HOUR)
                return await store.settle(held.hold, amount=1) == "settled"
            return False

        assert await works()
        owner.kill()
        async with asyncio.timeout(30):
            while not await works():
                await asyncio.sleep(0.02)
        assert store.available
