from __future__ import annotations

from collections import Counter

import pytest

from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.router import Router, Target
from tollhouse.providers.timeouts import Timeouts

UPSTREAM = EchoUpstream(timeouts=Timeouts())


def _target(name, model="*", provider="p", weight=1):
    return Target(name=name, provider=provider, model=model, upstream=UPSTREAM, weight=weight)


ROUTER = Router([_target("gpt-4o"), _target("openai/*"), _target("openai/o*"), _target("alias", "real"), _target("*")])


@pytest.mark.parametrize(
    ("model", "label", "upstream_model"),
    [
        ("gpt-4o", "gpt-4o", "gpt-4o"),
        ("openai/gpt-5", "openai/*", "gpt-5"),
        ("openai/o4", "openai/o*", "4"),
        ("alias", "alias", "real"),
        ("anything", "*", "anything"),
        ("openai/", "*", "openai/"),
    ],
)
def test_exact_names_come_first_then_the_longest_pattern(model, label, upstream_model):
    group = ROUTER.resolve(model)
    assert group is not None
    assert group.label == label
    assert group.upstream_model(group.targets[0], model) == upstream_model


def test_what_nothing_fits_is_not_found():
    assert Router([_target("a"), _target("b/*")]).resolve("c") is None
    assert Router([_target("b/*")]).resolve("b/") is None


def test_only_concrete_names_are_listed():
    assert ROUTER.models() == [("alias", "alias", "p"), ("gpt-4o", "gpt-4o", "p")]


def test_turns_go_by_weight_and_the_rest_follows_as_fallback():
    group = Router([_target("m", provider="a", weight=3), _target("m", provider="b")]).resolve("m")
    assert group is not None
    orders = [[t.provider for t in group.order(0.0)] for _ in range(8)]
    assert Counter(order[0] for order in orders) == {"a": 6, "b": 2}
    assert all(sorted(order) == ["a", "b"] for order in orders)


def test_a_pattern_may_stand_for_a_part_of_the_upstream_name():
    target = _target("fast/*", "org/gpt-*")
    group = Router([target]).resolve("fast/4o")
    assert group is not None
    assert group.upstream_model(target, "fast/4o") == "org/gpt-4o"
