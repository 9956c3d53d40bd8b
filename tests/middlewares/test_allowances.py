import pytest

from tollhouse.middlewares.allowances import Allowance, Allowances, BudgetRule, charged
from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.stores.quota import Bucket, Budget, Parallel

NOW = 1_800_000_000_000
EVERYBODY = Allowance("key", "", rpm=7)
ALL = [
    Allowance(
        "key", "alice", rpm=10, tpm=1000, parallel=2, budgets=(BudgetRule(50, "1d"), BudgetRule(90, "month", "soft"))
    ),
    Allowance("user", "u", rpm=20),
    Allowance("team", "t", tpm=5000, refill="continuous"),
    Allowance("model", "m", parallel=9),
    Allowance("global", "all", rpm=600),
]


def _found(principal, model, allowances=ALL):
    return [(one.level, one.id) for one in Allowances(allowances).of(principal, model)]


def test_all_levels_that_a_request_belongs_to_apply_in_their_order():
    alice = Principal(id="alice", team="t", user="u")
    assert _found(alice, "m") == [("key", "alice"), ("user", "u"), ("team", "t"), ("model", "m"), ("global", "all")]
    assert _found(Principal(id="bob"), "other") == [("global", "all")]
    assert _found(None, "m") == [("model", "m"), ("global", "all")]


def test_a_key_without_an_allowance_of_its_own_has_everybodys_under_its_own_name():
    assert _found(Principal(id="bob"), "x", [*ALL, EVERYBODY])[0] == ("key", "bob")
    assert _found(None, "x", [EVERYBODY]) == [("key", "anonymous")]
    found = Allowances([*ALL, EVERYBODY]).of(Principal(id="alice"), "x")
    assert found[0].rpm == 10


def test_each_limit_and_budget_is_a_meter_with_a_name_of_its_own():
    about = charged(ALL[:1], NOW)
    requests, tokens, parallel, daily, monthly = about.meters
    assert requests == Bucket("key:alice:requests", 10, 10, 60_000, "interval", "requests")
    assert tokens == Bucket("key:alice:tokens", 1000, 1000, 60_000, "interval", "tokens")
    assert parallel == Parallel("key:alice:parallel", 2)
    assert isinstance(daily, Budget)
    assert isinstance(monthly, Budget)
    assert (daily.name, daily.cap, daily.end_ms - daily.start_ms) == ("key:alice:usd:1d", 50, 86_400_000)
    assert daily.start_ms <= NOW < daily.end_ms
    assert (about.requests, about.tokens, about.has_budget, about.has_hard) == ((0,), (1,), True, True)
    assert [label.what for label in about.labels] == ["requests", "tokens", "parallel", "budget", "budget"]


def test_only_a_hard_budget_is_one_that_must_hold():
    soft = Allowance("team", "t", budgets=(BudgetRule(1, "total", "soft"),))
    assert (charged([soft], NOW).has_budget, charged([soft], NOW).has_hard) == (True, False)
    assert not charged(ALL[1:2], NOW).has_budget


def test_two_of_one_name_and_what_cannot_be_counted_are_refused_at_once():
    with pytest.raises(ValueError, match="two allowances of the key 'alice'"):
        Allowances([ALL[0], ALL[0]])
    with pytest.raises(ValueError, match="key:x:requests"):
        Allowances([Allowance("key", "x", rpm=1 << 50, refill="continuous")])
    with pytest.raises(ValueError, match="not 'week'"):
        Allowances([Allowance("key", "x", budgets=(BudgetRule(1, "week"),))])


def test_nothing_that_is_limited_is_nothing():
    assert not Allowances()
    assert Allowances([EVERYBODY])
