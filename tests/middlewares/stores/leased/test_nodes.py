"""Nodes that lease, one step at a time, with reports and answers that are lost, crashes, and leases that expire.

Whatever happens: no more is billed than a cap allows, counter and ledger agree, buckets and places are never exceeded.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.middlewares.stores.leased.world import HOUR, Time, worlds
from tollhouse.middlewares.stores.leased import lease, renewal, slices, store
from tollhouse.middlewares.stores.leased.slices import LocalHold

EXAMPLES = int(os.environ.get("QUOTA_EXAMPLES", "30"))


@pytest.fixture
def small(monkeypatch):
    """A clock that is set, and leases where little is left."""
    monkeypatch.setattr(slices, "LEAST", 1)
    monkeypatch.setattr(lease, "LEAST", 1)
    for module in (store, renewal):
        monkeypatch.setattr(module, "monotonic", lambda: Time.now_s)


@pytest.mark.usefixtures("small")
def test_nothing_is_exceeded_or_miscounted_whatever_is_lost():
    options = settings(
        max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    with worlds() as machine:
        run_state_machine_as_test(machine, settings=options)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("part", [0, 1, 2, 3])
@pytest.mark.parametrize("is_given_back", [False, True], ids=["expired", "given back"])
def test_what_is_settled_after_its_lease_is_gone_corrects_what_was_charged(is_given_back, part):
    with worlds() as machine:
        world = machine()
        world.begin()
        try:
            settle_when_its_lease_is_gone(world, is_given_back, part)
            world.everything_comes_to_rest()
        finally:
            world.close()


def settle_when_its_lease_is_gone(world, is_given_back, part):
    node = world.nodes[0]
    admit = {"which": 0, "count": 1, "kind": "r", "tokens": 0, "want": 100}
    world.admit(**admit, expires=HOUR)  # asks Redis, and so for a lease
    world.settle(which=0, part=2, count=1)
    world.tell(which=0, loses="")
    world.admit(**admit, expires=3000)
    [(found, _)] = node.holds
    assert isinstance(found.hold, LocalHold)
    if is_given_back:
        node.renewal._retire()
    world.wait(7000 if is_given_back else 11_000)
    world.expire_all_that_is_due()
    for _ in range(3):
        world.tell(which=0, loses="")
    assert found.hold.bound.lease not in node.leases()
    assert world.numbers("life:0") == {"posted": 200, "reserved": 0}
    world.settle(which=0, part=part, count=1)
    assert node.quota.unsent == 1
    world.tell(which=0, loses="")
    assert node.quota.unsent == 0
    assert world.numbers("life:0") == {"posted": 100 + 50 * part, "reserved": 0}
