"""Who may come to serve a model: fallbacks, theirs, and what ends that."""

from __future__ import annotations

import pytest

from tollhouse.config.settings import Fallback
from tollhouse.gateway.planning import Planner
from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.errors import Forbidden
from tollhouse.providers.causes import EVERY
from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.router import Router, Target
from tollhouse.providers.timeouts import Timeouts

UPSTREAM = EchoUpstream(timeouts=Timeouts())
NAMES = ("a", "b", "c", "d", "e", "f", "g", "x/*")


def _planner(*rules, most=5):
    """rules: (model, its fallbacks[, causes])."""
    fallbacks = [Fallback(model, tuple(to), frozenset(*causes or (EVERY,))) for model, to, *causes in rules]
    return Planner(Router(Target(name, "p", "*", UPSTREAM) for name in NAMES), fallbacks=fallbacks, max_fallbacks=most)


def _legs(planner, name, principal=None):
    return [(leg.of, leg.model) for leg in planner.plan(name, principal, name).backups]


@pytest.mark.parametrize(
    ("rules", "legs"),
    [
        ([("a", "b")], [("a", "b")]),
        ([("a", "b"), ("b", "c")], [("a", "b"), ("b", "c")]),
        ([("a", "bd"), ("b", "c")], [("a", "b"), ("b", "c"), ("a", "d")]),
        ([("a", "b"), ("b", "a")], [("a", "b")]),
        ([("a", "b"), ("b", "c"), ("c", "ba")], [("a", "b"), ("b", "c")]),
        ([("a", "a")], []),
        # Reached twice, it is followed once.
        ([("a", "bc"), ("b", "c"), ("c", "d")], [("a", "b"), ("b", "c"), ("c", "d"), ("a", "c")]),
        ([("*", "b")], [("a", "b")]),
        ([("a", "b"), ("*", "c")], [("a", "b"), ("b", "c")]),
    ],
)
def test_fallbacks_are_followed_and_circles_end(rules, legs):
    assert _legs(_planner(*rules), "a") == legs


@pytest.mark.parametrize(("most", "found"), [(0, ""), (1, "b"), (3, "bcd"), (9, "bcdefg")])
def test_no_more_models_than_wanted(most, found):
    chain = list(zip("abcdef", "bcdefg", strict=True))
    assert "".join(leg.model for leg in _planner(*chain, most=most).plan("a", None, "a").backups) == found
    fan = _planner(("a", "bcdefg"), most=most)
    assert "".join(leg.model for leg in fan.plan("a", None, "a").backups) == found


def test_many_that_lead_to_each_other_make_a_plan_all_the_same():
    everybody = "abcdefg"
    planner = _planner(*((name, everybody) for name in everybody), most=9)
    models = [leg.model for leg in planner.plan("a", None, "a").backups]
    assert set(models) == set("bcdefg")
    assert len(models) < 50


def test_rules_of_a_pattern_are_for_what_it_serves():
    assert _legs(_planner(("x/*", "b")), "x/1") == [("x/1", "b")]


def test_what_a_key_may_not_use_ends_the_way_there():
    planner = _planner(("a", "bd"), ("b", "c"))
    principal = Principal("k", models=("a", "c", "d"))
    assert _legs(planner, "a", principal) == [("a", "d")]
    with pytest.raises(Forbidden, match="may not use the model 'b'"):
        planner.plan("b", principal, "b")


def test_causes_are_those_between_two_models():
    planner = _planner(("a", "b", {"timeout"}), ("b", "c", {"rate_limit"}), ("a", "b", {"auth"}))
    legs = planner.plan("a", None, "a").backups
    assert [sorted(leg.causes) for leg in legs] == [["auth", "timeout"], ["rate_limit"]]


def test_requests_that_are_alike_share_a_plan():
    planner = _planner(("a", "b"))
    assert planner.plan("a", None, "a") is planner.plan("a", Principal("k"), "smart")
    assert planner.plan("a", None, "a") is not planner.plan("a", Principal("k", models=("a",)), "a")
