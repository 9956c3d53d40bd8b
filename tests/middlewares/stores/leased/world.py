"""Nodes that lease from a real Redis, one step at a time, by clocks that are set; what is true after each step."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from tests.middlewares.stores.redis.test_model import START
from tests.middlewares.stores.redis.test_processes import most_above_rate
from tests.support.redis import running_redis
from tests.support.redis_clock import settable_clock
from tollhouse.middlewares.stores.leased import LeasedQuota, reaper
from tollhouse.middlewares.stores.leased.slices import LocalHold
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Parallel, Stale, StoreUnavailable
from tollhouse.middlewares.stores.redis import RedisQuota
from tollhouse.middlewares.stores.redis import reaper as redis_reaper

HOUR = 3_600_000
LEASE_S = 10.0
REQUESTS = Bucket("r", 300, 100, 1000)
STRICT = Bucket("i", 400, 400, 2000, refill="interval")
TOKENS = Bucket("t", 20_000, 5000, 1000, unit="tokens")
PLACES = Parallel("p", 200)
CAP = 40_000
LIFE = Budget("life", CAP, 0)
ADMISSIONS: dict[str, Any] = {
    "which": st.sampled_from([0, 1]),
    "count": st.sampled_from([1, 20, 60]),
    "kind": st.sampled_from(["r", "i", "both"]),
    "tokens": st.sampled_from([0, 10, 100]),
    "want": st.sampled_from([20, 100]),
    "expires": st.sampled_from([HOUR, HOUR, 3000]),
}


def window(now: int) -> Budget:
    start = now // 5000 * 5000
    return Budget("window", CAP // 2, start, start + 5000)


class Time:
    """What the nodes' clocks show; they began with the store's."""

    now_s = 0.0


class Unreliable:
    """A way to Redis on which the call or its answer is lost, if `loses` says so."""

    def __init__(self, caller):
        self._caller = caller
        self.loses = ""

    async def insist(self, parts, connection, reply):
        if self.loses == "call":
            raise StoreUnavailable("lost", kind="test")
        found = await self._caller.insist(parts, connection, reply)
        if self.loses == "answer":
            raise StoreUnavailable("lost", kind="test")
        return found


class Node:
    def __init__(self, world, number):
        self.world = world
        self.store = RedisQuota(
            world.server.url, node_id=f"n{number}", op_timeout_s=5, connect_timeout_s=5, upkeep_every_s=3600
        )
        self.quota = LeasedQuota(self.store, lease_s=LEASE_S)
        world.run(self.store.open())
        self.way = Unreliable(self.store._caller)
        self.renewal = cast("Any", self.quota._renewal)
        self.renewal._caller = self.way
        self.holds: list[tuple[Any, int]] = []

    def leases(self):
        return [*self.renewal.old, self.renewal.lease]


class World(RuleBasedStateMachine):
    server: Any
    clock: Any
    client: Any
    loop: Any

    @initialize()
    def begin(self):
        self.client.flushall()
        self.clock.set(START)
        Time.now_s = 1000.0
        self.number = 0
        self.nodes = [self.new_node(), self.new_node()]
        self.billed: dict[str, int] = {}
        self.times: dict[str, list[int]] = {"r": [], "i": []}
        self.crashed = False

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def new_node(self):
        self.number += 1
        return Node(self, self.number)

    async def done(self, answer):
        return await answer if inspect.isawaitable(answer) else answer

    @rule(ms=st.sampled_from([1, 10, 50, 100, 500, 1000, 2000, 7000, 11_000]))
    def wait(self, ms):
        self.clock.set(self.clock.now + ms)
        Time.now_s += ms / 1000

    @rule(**ADMISSIONS)
    def admit_of_a_lease(self, which, count, **admission):
        """The first asks for it."""
        self.admit(which, 1, **admission)
        self.tell(which, "")
        self.admit(which, count, **admission)

    @rule(**ADMISSIONS)
    def admit(self, which, count, kind, tokens, want, expires):
        node = self.nodes[which]
        now = self.clock.now
        meters: Any = {"r": [REQUESTS], "i": [STRICT, PLACES], "both": [REQUESTS, STRICT]}[kind]
        plan = node.quota.plan([*meters, TOKENS, LIFE, window(now)])
        for _ in range(count):
            asked = node.quota.admit(plan, tokens=tokens, want=want, minimum=min(want, 1), expires_in_ms=expires)
            try:
                found = self.run(self.done(asked))
            except StoreUnavailable:
                continue
            assert not isinstance(found, Stale)
            if isinstance(found, Admitted):
                assert found.now_ms == now or isinstance(found.hold, LocalHold)
                node.holds.append((found, tokens))
                for meter in plan.meters:
                    if meter.name in self.times:
                        self.times[meter.name].append(now)

    @rule(which=st.sampled_from([0, 1]), part=st.sampled_from([0, 1, 2]), count=st.integers(1, 60))
    def settle(self, which, part, count):
        node = self.nodes[which]
        for _ in range(min(count, len(node.holds))):
            found, tokens = node.holds.pop(0)
            amount = found.granted * part // 2
            budgets = [meter.name for meter in self.meters(found.hold)]
            for name in budgets:
                self.billed[name] = self.billed.get(name, 0) + amount
            self.run(self.done(node.quota.settle(found.hold, amount=amount, tokens=tokens * part // 2, entry=b"e")))

    def meters(self, hold):
        if isinstance(hold, LocalHold):
            keys = [each.key.decode().removeprefix("{tollhouse}:m:") for each in hold.bound.budgets]
        else:
            budgets = [meter for meter in hold.plan.meters if isinstance(meter, Budget)]
            keys = [f"{meter.name}:{meter.start_ms}" for meter in budgets]
        return [type("Named", (), {"name": key}) for key in keys]

    @rule(which=st.sampled_from([0, 1]), loses=st.sampled_from(["call", "answer"]))
    def tell_in_vain(self, which, loses):
        self.tell(which, loses)
        self.tell(which, "")

    @rule(which=st.sampled_from([0, 1]), loses=st.sampled_from(["", "", "", "", "call", "answer"]))
    def tell(self, which, loses):
        node = self.nodes[which]
        node.way.loses = loses
        for lease in node.leases():
            for hold in [hold for hold in lease.holds if hold.expires_at <= Time.now_s]:
                hold.expire()
        try:
            self.run(node.renewal.tell())
        except StoreUnavailable:
            assert loses
        finally:
            node.way.loses = ""

    @rule(which=st.sampled_from([0, 1]))
    def stand_still(self, which):
        """Longer than its lease and its short holds last."""
        self.wait(11_000)
        self.expire_all_that_is_due()
        for _ in range(3):
            self.tell(which, "")

    @rule()
    def expire_all_that_is_due(self):
        self.run(self.expire_due(self.nodes[0].store))

    async def expire_due(self, through):
        # The scripts know what is due by the clock that is set.
        caller, keys = through._caller, through._keys
        for lease in self.client.zrange("{tollhouse}:leases", 0, -1):
            await reaper._expire(caller, keys, lease)
        for hold in self.client.zrange("{tollhouse}:x", 0, -1):
            await redis_reaper._expire(caller, keys, hold, self.client.get(hold))

    @rule(which=st.sampled_from([0, 1]), left=st.sampled_from([0, 1]), is_spared=st.sampled_from([True] * 5 + [False]))
    def crash(self, which, left, is_spared):
        if is_spared:
            return
        node, self.nodes[which] = self.nodes[which], self.new_node()
        self.crashed = True
        # Everything that was sent has been worked for, and nobody knows.
        for found, _ in node.holds[left:]:
            for meter in self.meters(found.hold):
                self.billed[meter.name] = self.billed.get(meter.name, 0) + found.granted
        node.store._outbox._waiting.clear()
        self.run(node.store.close())

    def numbers(self, key):
        return {name.decode(): int(value) for name, value in self.client.hgetall("{tollhouse}:m:" + key).items()}

    def caps(self):
        for key in self.client.keys("{tollhouse}:m:*:*"):
            name = key.decode().removeprefix("{tollhouse}:m:")
            yield name, CAP if name.startswith("life") else CAP // 2

    @invariant()
    def nothing_is_exceeded(self):
        if not hasattr(self, "nodes"):
            return
        costs = self.ledger()
        for name, cap in self.caps():
            found = self.numbers(name)
            assert found["posted"] + found["reserved"] <= cap
            assert self.billed.get(name, 0) <= cap
            assert found["posted"] == costs.get(name, 0)
        for bucket in (REQUESTS, STRICT):
            times = self.times[bucket.name]
            most = bucket.capacity * (2 if bucket is STRICT else 1)
            assert most_above_rate(times, Fraction(bucket.amount, bucket.period_ms)) <= most
        for node in self.nodes:
            for lease in node.leases():
                if lease.has_expired:
                    continue
                inflight: dict[Any, int] = {}
                for each, used, _, _, goal, _ in lease.report.told if lease.report else []:
                    inflight[each] = used + max(0, each.out - used - goal)
                for each in lease.slices.values():
                    assert each.out == each.have + each.held + each.spent + inflight.get(each, 0)
        assert self.numbers("p").get("used", 0) <= PLACES.capacity
        for bucket in (REQUESTS, STRICT, TOKENS):
            found = self.numbers(bucket.name)
            assert found.get("level", 0) + found.get("leased", 0) <= bucket.capacity

    def ledger(self):
        costs: dict[str, int] = {}

        async def read():
            async for line in self.nodes[0].store.ledger("test").entries():
                for name, start in line.budgets:
                    costs[f"{name}:{start}"] = costs.get(f"{name}:{start}", 0) + line.cost

        self.run(read())
        return costs

    def teardown(self):
        if not hasattr(self, "nodes"):
            return
        try:
            self.everything_comes_to_rest()
        finally:
            self.close()

    def close(self):
        for node in self.nodes:
            self.run(node.store.close())

    def everything_comes_to_rest(self):
        for which, node in enumerate(self.nodes):
            self.settle(which, 1, len(node.holds))
            node.renewal._retire()
            self.run(node.renewal.tell())
        for ms in (11_000, HOUR + 1):
            self.clock.set(self.clock.now + ms)
            self.expire_all_that_is_due()
        for node in 2 * self.nodes:
            self.run(node.renewal.tell())
        costs = self.ledger()
        for name, _ in self.caps():
            found = self.numbers(name)
            assert found["reserved"] == 0
            assert found["posted"] == costs.get(name, 0)
            billed = self.billed.get(name, 0)
            assert found["posted"] >= billed if self.crashed else found["posted"] == billed
        assert self.numbers("p") == {}
        assert all("leased" not in self.numbers(name) for name in "rit")
        assert self.client.zcard("{tollhouse}:leases") == 0
        for node in self.nodes:
            assert not node.renewal.old


@contextmanager
def worlds():
    """A world on a server of its own; it may begin as often as one likes."""
    with running_redis() as server, settable_clock(server) as clock, server.client() as client:
        loop = asyncio.new_event_loop()
        try:
            yield type(
                "WorldOfThisServer", (World,), {"server": server, "clock": clock, "client": client, "loop": loop}
            )
        finally:
            loop.close()
