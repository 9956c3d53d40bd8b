"""The store beside the model: the same operations at the same times must give the same answers and the same state."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.quota_model import BucketState, Charge, QuotaModel
from tests.support.redis import running_redis
from tests.support.redis_clock import settable_clock
from tollhouse.middlewares.stores.quota import HALF, LIMIT, Admitted, Bucket, Budget, Denied, Parallel, StoreUnavailable
from tollhouse.middlewares.stores.redis import RedisQuota
from tollhouse.middlewares.stores.redis.plan import VERBS, Hold

EXAMPLES = int(os.environ.get("QUOTA_EXAMPLES", "30"))
START = int(time.time() * 1000)  # keys expire by the server's own clock, so the tests' clock is never far behind it
HOUR = 3_600_000
CONTINUOUS = [Bucket("c", 5, 3, 1000), Bucket("c", 4, 7, 1000), Bucket("tc", 1000, 77, 950, unit="tokens")]
INTERVAL = [
    Bucket("i", 5, 5, 700, refill="interval"),
    Bucket("i", 7, 3, 900, refill="interval"),
    Bucket("ti", 900, 250, 1000, refill="interval", unit="tokens"),
]
PARALLEL = [Parallel("p", 3), Parallel("p", 2), Parallel("p2", 1)]
BUDGETS = [
    Budget("b", 10_000, START, START + 5000),
    Budget("b", 10_000, START + 5000, START + 10_000),
    Budget("b", 7_000, START + 10_000, START + HOUR),
    Budget("life", 20_000, 0),
    Budget("life", 15_000, 0),
]
METERS = CONTINUOUS + INTERVAL + PARALLEL + BUDGETS
PLANS = st.lists(st.sampled_from(METERS), min_size=1, max_size=6, unique_by=lambda meter: meter.name).map(tuple)


class Side:
    """A store with a loop of its own, and its server."""

    def __init__(self, server, clock):
        self.server = server
        self.clock = clock
        self.client = server.client()
        self.loop = asyncio.new_event_loop()
        self.store: Any = None

    def reset(self):
        self.close_store()
        self.client.flushall()
        self.clock.set(START)
        self.store = RedisQuota(self.server.url, op_timeout_s=5, connect_timeout_s=5, upkeep_every_s=3600)
        self.run(self.store.open())

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def close_store(self):
        if self.store is not None:
            self.run(self.store.close())

    def finish(self, hold, verb):
        return self.run(self.store._finish(hold, verb, (b"\0" * 16, b"\r\n$0\r\n\r\n")))

    def numbers(self, key):
        return {name.decode(): int(value) for name, value in self.client.hgetall("{tollhouse}:m:" + key).items()}


@pytest.fixture(scope="module")
def side():
    with running_redis() as server, settable_clock(server) as clock:
        side = Side(server, clock)
        yield side
        side.close_store()
        side.client.close()
        side.loop.close()


class Machine(RuleBasedStateMachine):
    side: Side

    @initialize()
    def begin(self):
        self.side.reset()
        self.model = QuotaModel()
        self.holds = {}
        self.unknown = 0

    @property
    def now(self):
        return self.side.clock.now

    @rule(ms=st.sampled_from([0, 1, 2, 13, 100, 333, 699, 700, 950, 1000, 1001, 2500, 5000, 60_000, -1, -500]))
    def wait(self, ms):
        self.side.clock.set(max(START, self.now + ms))

    @rule(
        plan=PLANS,
        tokens=st.sampled_from([0, 1, 50, 250, 900, 1000, 1001]),
        want=st.sampled_from([0, 1, 100, 4000, 25_000]),
        minimum=st.sampled_from([0, 1, 100, 4000]),
        expires=st.sampled_from([1, 500, 3000, HOUR]),
    )
    def admit(self, plan, tokens, want, minimum, expires):
        minimum = min(want, minimum)
        numbers = {"tokens": tokens, "want": want, "minimum": minimum, "expires_in_ms": expires}
        found = self.side.run(self.side.store.admit(self.side.store.plan(plan), **numbers))
        name = found.hold.id if isinstance(found, Admitted) else "refused"
        expected = self.model.admit(name, plan, self.now, **numbers)
        if isinstance(found, Admitted):
            assert isinstance(expected, Admitted), expected
            assert found[1:] == expected[1:]
            self.holds[name] = (found.hold, plan, numbers)
        else:
            assert found == expected

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def admit_again(self, data):
        hold, plan, numbers = self.pick(data)
        store = self.side.store
        store._next_key, keep = lambda: hold.key, store._next_key
        expected = self.model.admit(hold.id, plan, self.now, **numbers)
        try:
            found = self.side.run(store.admit(hold.plan, **numbers))
        except StoreUnavailable as error:
            found = None if error.kind == "finished" else error
        finally:
            store._next_key = keep
        if isinstance(found, Admitted):
            assert isinstance(expected, Admitted)
            assert found[1:] == expected[1:]
        else:
            assert found == expected

    @precondition(lambda self: self.holds)
    @rule(
        data=st.data(),
        amount=st.sampled_from([0, 1, 99, 4000, 5000, 30_000]),
        tokens=st.sampled_from([0, 1, 50, 300, 1000, 5000]),
        known_only=st.booleans(),
    )
    def settle(self, data, amount, tokens, known_only):
        hold, plan, _ = self.pick(data)
        expected = self.model.settle(hold.id, plan, self.now, amount=amount, tokens=tokens, known_only=known_only)
        if known_only:
            tail = (b"".join(n.to_bytes(8, "little") for n in (amount, tokens)), b"\r\n$0\r\n\r\n")
            assert self.side.run(self.side.store._finish(hold, "resettle", tail)) == expected
        else:
            assert self.side.run(self.side.store.settle(hold, amount=amount, tokens=tokens)) == expected

    @rule(plan=PLANS, amount=st.sampled_from([0, 1, 4000]), verb=st.sampled_from(["settle", *VERBS]))
    def end_an_unknown_hold(self, plan, amount, verb):
        self.unknown += 1
        key = b"{tollhouse}:h:lost-%d" % self.unknown
        hold = Hold(b"$%d\r\n%b\r\n" % (len(key), key), self.side.store.plan(plan), 0)
        if verb == "settle":
            assert self.side.run(self.side.store.settle(hold, amount=amount)) == "unknown"
            self.model.settle(hold.id, plan, self.now, amount=amount)
        else:
            assert self.side.finish(hold, verb) == "unknown"
            if verb == "cancel":
                self.model.release(hold.id, plan, self.now, cancel=True)
        self.holds[hold.id] = (hold, plan, {"expires_in_ms": 1})

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), verb=st.sampled_from(["release", "cancel", "expire"]))
    def end(self, data, verb):
        hold, plan, _ = self.pick(data)
        if verb == "expire":
            expected = self.model.expire(hold.id, self.now)
        else:
            expected = self.model.release(hold.id, plan, self.now, cancel=verb == "cancel")
        assert self.side.finish(hold, verb) == expected

    def pick(self, data):
        return self.holds[data.draw(st.sampled_from(sorted(self.holds)))]

    def same_meters(self, leased=lambda name: 0):
        """`leased`: how much of a bucket nodes have, by its name."""
        side, model = self.side, self.model
        model.check()
        for name, bucket in model.buckets.items():
            found = side.numbers(name)
            assert found.pop("expires") > self.now
            assert found.pop("leased", 0) == leased(name)
            assert found == vars(bucket), name
        for name, used in model.used.items():
            assert side.numbers(name).get("used", 0) == used
        for (name, start), posted in model.posted.items():
            expected = {"posted": posted, "reserved": model.reserved.get((name, start), 0)}
            assert {"posted": 0, "reserved": 0} | side.numbers(f"{name}:{start}") == expected

    @invariant()
    def the_same_state(self):
        if not hasattr(self, "model"):
            return
        side, model = self.side, self.model
        self.same_meters()
        open_ = {f"{{tollhouse}}:h:{hold}" for hold, known in model.holds.items() if known.state == "open"}
        assert {key.decode() for key in side.client.zrange("{tollhouse}:x", 0, -1)} == open_
        assert side.run(_charges(side.store)) == model.ledger


async def _charges(store):
    return [
        Charge(entry.hold, entry.status, entry.cost, entry.budgets) async for entry in store.ledger("reader").entries()
    ]


def test_the_store_does_what_the_model_does(side):
    # A class per run: hypothesis makes the machine itself.
    machine = type("MachineOfThisServer", (Machine,), {"side": side})
    options = settings(
        max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=options)


@st.composite
def _any_bucket(draw):
    period = draw(st.one_of(st.integers(1, 100_000), st.integers(1, HALF)))
    if draw(st.booleans()):
        amount = draw(st.one_of(st.integers(1, 1000), st.integers(1, LIMIT - 1)))
        most = HALF // period * amount
        capacity = draw(st.integers(1, min(most, HALF)))
        return Bucket("any", capacity, amount, period, refill="interval", unit="tokens")
    capacity = draw(st.integers(1, HALF // period))
    return Bucket(
        "any", capacity, draw(st.one_of(st.integers(1, 1000), st.integers(1, LIMIT - 1))), period, unit="tokens"
    )


@settings(max_examples=10 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    bucket=_any_bucket(),
    share=st.floats(-1, 1),
    rem=st.integers(0, HALF),
    passed=st.one_of(st.integers(-10, 100_000), st.integers(0, 1 << 51)),
    tokens=st.one_of(st.integers(0, 100), st.integers(0, LIMIT - 1)),
)
def test_refill_is_exact_up_to_the_largest_numbers(side, bucket, share, rem, passed, tokens):
    if side.store is None:
        side.reset()
    period = bucket.rate[1]
    level = max(int(share * bucket.capacity), -(HALF // period))
    state = BucketState(level, rem % period, START)
    model = QuotaModel(buckets={"any": state})
    side.clock.set(START + passed)
    key = "{tollhouse}:m:any"
    side.client.delete(key)
    side.client.hset(key, mapping=vars(state))
    found = side.run(side.store.admit(side.store.plan([bucket]), tokens=tokens, expires_in_ms=1))
    expected = model.admit("one", (bucket,), START + passed, tokens=tokens, expires_in_ms=1)
    assert expected is not None
    assert type(found) is type(expected)
    assert found[-3:] == expected[-3:]
    if isinstance(found, Denied):
        assert side.numbers("any") == vars(state)
    elif side.numbers("any"):  # else it was full at a time that is past for the server
        assert {**side.numbers("any"), "expires": 0} == {**vars(model.buckets["any"]), "expires": 0}
