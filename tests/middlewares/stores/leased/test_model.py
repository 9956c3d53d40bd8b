"""lease.lua beside the model, mixed with admissions and settlements that are decided by Redis."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from tests.middlewares.stores.redis.test_model import METERS, Machine, Side, _charges
from tests.support.lease_model import LeaseModel, Spent, Told, key_of
from tests.support.redis import running_redis
from tests.support.redis_clock import settable_clock
from tollhouse.middlewares.stores.leased.lease import _TOLD, frame
from tollhouse.middlewares.stores.leased.reaper import _expire
from tollhouse.middlewares.stores.quota import Bucket, Budget
from tollhouse.middlewares.stores.redis.plan import Keys, pack_meter
from tollhouse.middlewares.stores.redis.wire import bulk

EXAMPLES = int(os.environ.get("QUOTA_EXAMPLES", "30"))
KEYS = Keys("tollhouse")
NAMES = ["one", "two"]
SOME = st.lists(st.sampled_from(METERS), min_size=0, max_size=5, unique_by=lambda meter: meter.name)
COUNTS = st.sampled_from([0, 0, 1, 2, 7, 100, 900])


@pytest.fixture(scope="module")
def side():
    with running_redis() as server, settable_clock(server) as clock:
        side = Side(server, clock)
        yield side
        side.close_store()
        side.client.close()
        side.loop.close()


def call(name: str, number: int, lasts_ms: int, told: list[Told], lines: list[Spent]) -> bytes:
    fixed = b"".join(map(bulk, (KEYS.lease + name.encode(), KEYS.leases, KEYS.ledger)))
    words = []
    for line in lines:
        indices = b"".join((i + 1).to_bytes(2, "little") for i in line.budgets)
        words.append(b"".join(map(bulk, (line.hold.encode(), b"settled", b"%d" % line.cost, indices, b"entry"))))
    return frame(
        fixed,
        [KEYS.meter(each.meter) for each in told],
        b"".join(pack_meter(each.meter) for each in told),
        b"report",
        number,
        lasts_ms,
        b"".join(_TOLD(*each[1:]) for each in told),
        words,
    )


class LeasingMachine(Machine):
    side: Side
    model: Any

    @initialize()
    def begin(self):
        super().begin()
        self.model = LeaseModel()
        self.calls: dict[str, list[Any]] = {name: [] for name in NAMES}

    @rule(
        name=st.sampled_from(NAMES),
        meters=SOME,
        lasts_ms=st.sampled_from([1, 700, 5000]),
        data=st.data(),
        skipped=st.sampled_from([0] * 9 + [1]),
    )
    def report(self, name, meters, lasts_ms, data, skipped):
        told, lines = [], []
        for i, meter in enumerate(meters):
            is_bucket = isinstance(meter, Bucket)
            held = 0 if is_bucket else data.draw(COUNTS)
            used, back = (data.draw(COUNTS), data.draw(COUNTS)) if is_bucket else (0, 0)
            told.append(Told(meter, used, back, held, held + data.draw(COUNTS), data.draw(COUNTS)))
            if isinstance(meter, Budget):
                lines += [Spent(f"local-{i}", data.draw(COUNTS) - data.draw(COUNTS) // 10, (i,))]
        budgets = tuple(i for i, meter in enumerate(meters) if isinstance(meter, Budget))
        lines.append(Spent("all", data.draw(COUNTS), budgets))
        known = self.model.leases.get(name)
        number = (known.number if known else 0) + 1 + skipped
        self.calls[name].append((number, lasts_ms, told, lines))
        self.tell(name, *self.calls[name][-1])

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def tell_again(self, name, data):
        if self.calls[name]:
            self.tell(name, *data.draw(st.sampled_from(self.calls[name])))

    @rule(name=st.sampled_from(NAMES))
    def expire_a_lease(self, name):
        if name in self.model.leases:
            done = self.side.run(_expire(self.side.store._caller, KEYS, KEYS.lease + name.encode()))
            assert done == (self.model.expire_lease(name, self.now) == "expired")

    def tell(self, name, number, lasts_ms, told, lines):
        found = self.side.run(self.side.store._caller.insist((call(name, number, lasts_ms, told, lines),), None, None))
        assert found == self.model.report(name, number, told, lines, self.now, lasts_ms=lasts_ms)

    @invariant()
    def the_same_state(self):
        if not hasattr(self, "calls"):
            return
        side, model = self.side, self.model
        self.same_meters(model.leased)
        for name, lease in model.leases.items():
            found = side.client.hgetall("{tollhouse}:l:" + name)
            assert int(found.pop(b"number", 0)) == lease.number
            assert found.pop(b"state", b"o") == (b"o" if lease.state == "open" else b"x")
            outs = {key.decode().removeprefix("{tollhouse}:m:"): int(out[32:]) for key, out in found.items()}
            assert outs == {key_of(meter): out for meter, out in lease.outs.items()}
            expiry = side.client.zscore("{tollhouse}:leases", "{tollhouse}:l:" + name)
            assert (expiry or 0) == lease.expiry
        lines = side.run(_charges(side.store))
        named = [line._replace(hold="" if re.match(r"(one|two)\.", line.hold) else line.hold) for line in lines]
        # What one report corrects comes behind its lines, as it does here; what expires, in any order.
        assert sorted(named) == sorted(model.ledger)


def test_leases_are_what_the_model_says(side):
    machine = type("MachineOfThisServer", (LeasingMachine,), {"side": side})
    options = settings(
        max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=options)
