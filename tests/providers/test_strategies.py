from __future__ import annotations

from collections import Counter

import pytest

from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.load import DECAY_S, Latency
from tollhouse.providers.router import Target
from tollhouse.providers.strategies import EXPLORED, Cheapest, LeastBusy, LowestLatency, Weighted, make
from tollhouse.providers.timeouts import Timeouts

UPSTREAM = EchoUpstream(timeouts=Timeouts())


def _target(provider, weight=1):
    return Target(name="m", provider=provider, model="m", upstream=UPSTREAM, weight=weight, id=provider)


def _first(strategy, targets, *, now=0.0, stream=False):
    return strategy.order(targets, now, stream=stream)[0].provider


def test_turns_are_interleaved_by_weight():
    targets = [_target("a", 5), _target("b", 1), _target("c", 1)]
    strategy = Weighted()
    assert "".join(_first(strategy, targets) for _ in range(7)) == "aabacaa"


def test_turns_go_on_while_one_is_away():
    a, b, c = _target("a"), _target("b"), _target("c")
    strategy = Weighted()
    seen = Counter(_first(strategy, targets) for _ in range(10) for targets in ([a, b, c], [a, c]))
    assert seen["a"] + seen["c"] >= 16
    assert seen["b"] >= 3


def test_large_weights_cost_nothing():
    targets = [_target("a", 3_000_000), _target("b", 1_000_000)]
    strategy = Weighted()
    assert Counter(_first(strategy, targets) for _ in range(400)) == {"a": 300, "b": 100}


def test_the_least_busy_for_its_weight_is_asked():
    a, b = _target("a", 2), _target("b", 1)
    strategy = LeastBusy()
    a.load.in_flight, b.load.in_flight = 3, 1
    assert _first(strategy, [a, b]) == "b"
    b.load.in_flight = 2
    assert _first(strategy, [a, b]) == "a"


@pytest.mark.parametrize("stream", [True, False])
def test_the_fastest_of_late_is_asked(stream):
    a, b = _target("a"), _target("b")
    strategy = LowestLatency(chance=lambda: 1.0)
    for target, first, whole in ((a, 0.1, 9.0), (b, 0.2, 3.0)):
        target.load.first.observe(0, first)
        target.load.whole.observe(0, whole)
    assert {_first(strategy, [a, b], stream=stream) for _ in range(4)} == {"a" if stream else "b"}


def test_who_was_never_asked_is_asked_first():
    a, b = _target("a"), _target("b")
    a.load.whole.observe(0, 0.01)
    assert _first(LowestLatency(chance=lambda: 1.0), [a, b]) == "b"


def test_now_and_then_another_one_is_tried():
    a, b = _target("a"), _target("b")
    a.load.whole.observe(0, 0.1)
    b.load.whole.observe(0, 5.0)
    strategy = LowestLatency(chance=lambda: EXPLORED / 2)
    assert Counter(_first(strategy, [a, b]) for _ in range(10)) == {"a": 5, "b": 5}


def test_the_cheapest_is_asked_and_the_unpriced_last():
    targets = [_target("dear"), _target("unknown"), _target("cheap"), _target("free")]
    strategy = Cheapest(lambda t: {"dear": 9, "unknown": None, "cheap": 1, "free": 0}[t.provider])
    assert [t.provider for t in strategy.order(targets, 0, stream=False)] == ["free", "cheap", "dear", "unknown"]


def test_names():
    kinds = {"weighted": Weighted, "least-busy": LeastBusy, "lowest-latency": LowestLatency, "cost": Cheapest}
    assert {name: type(make(name, cost=lambda _: 0)()) for name in kinds} == kinds
    with pytest.raises(KeyError):
        make("random", cost=lambda _: 0)


def test_an_estimate_follows_and_fades():
    latency = Latency()
    assert latency.estimate(0) == 0
    latency.observe(0, 1.0)
    assert latency.estimate(0) == 1.0
    assert latency.estimate(DECAY_S) == pytest.approx(0.368, abs=0.001)
    for at in range(200):
        latency.observe(at, 3.0)
    assert latency.estimate(199) == pytest.approx(3.0, rel=0.01)


def test_a_burst_of_answers_moves_an_estimate_though_no_time_passes():
    latency = Latency()
    latency.observe(0, 1.0)
    for _ in range(50):
        latency.observe(0, 2.0)
    assert latency.estimate(0) == pytest.approx(2.0, rel=0.01)
