from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.rulebook import NO_RULE, Policy, Rule

NAMES = ["", "a", "ab", "abc", "b"]
PATTERNS = st.lists(st.sampled_from(["*", "a", "a*", "ab*", "b", "abc"]), min_size=1, max_size=2).map(tuple)
RULES = st.lists(
    st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["allow", "deny"]),
            "tenants": PATTERNS,
            "keys": PATTERNS,
            "users": PATTERNS,
            "routes": PATTERNS,
            "models": PATTERNS,
            "tools": PATTERNS,
        }
    ),
    max_size=5,
)
WORDS = st.sampled_from(NAMES)
CALLS = st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=20)


def fits(patterns: tuple[str, ...], name: str) -> bool:
    """As docs/policy.md says it."""
    return any(p == "*" or (p[:-1] and p[-1] == "*" and name.startswith(p[:-1])) or (p == name != "") for p in patterns)


@given(RULES, CALLS)
def test_the_first_rule_that_fits_decides_whatever_was_asked_before(rules: list[dict[str, Any]], calls: Any) -> None:
    book = [Rule(id=f"r{i}", **fields) for i, fields in enumerate(rules)]
    policy = Policy(book, version="v")
    for team, key, user, route, model, tool in calls:
        asked = {"tenants": team, "keys": key, "users": user, "routes": route, "models": model}
        expected = next(
            (rule for rule in book if all(fits(getattr(rule, name), value) for name, value in asked.items())), None
        )
        principal = Principal(id=key, team=team or None, user=user or None)
        verdict = policy.verdict(principal, route, model)
        assert verdict.rule is expected
        assert verdict.is_allowed == (expected is not None and expected.effect == "allow")
        assert verdict is policy.verdict(principal, route, model)
        may_offer = expected is not None and fits(expected.tools, tool)
        assert (verdict.refused_tool([tool]) is None) == may_offer


def test_without_a_rule_nothing_is_allowed() -> None:
    verdict = Policy([], version="v").verdict(None, "/x", "m")
    assert (verdict.is_allowed, verdict.why) == (False, NO_RULE)
    assert verdict.refused_tool(["t"]) == "t"


def test_callers_without_a_key_or_team_fit_only_where_all_do() -> None:
    policy = Policy([Rule(id="r", tenants=("acme",)), Rule(id="s", keys=("k*",))], version="v")
    assert policy.verdict(None, "/x", "m").rule is None
    assert policy.verdict(Principal(id="z"), "/x", "m").rule is None


def test_a_request_is_served_by_models_of_its_own_rule_only() -> None:
    policy = Policy([Rule(id="small", models=("mini*",)), Rule(id="large")], version="v")
    verdict = policy.verdict(None, "/x", "mini-1")
    assert verdict.allows("mini-2")
    assert not verdict.allows("grand")


def test_verdicts_are_few_however_many_callers_and_models_there_are() -> None:
    prepared: list[Any] = []
    policy = Policy([Rule(id="r", models=("a*",))], version="v", prepare=prepared.append)
    for i in range(200):
        policy.verdict(Principal(id=f"k{i}", team=f"t{i}"), "/x", f"a{i}")
    assert len(prepared) == 1


def test_a_rule_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="neither allow nor deny"):
        Rule(id="r", effect="permit")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="twice"):
        Policy([Rule(id="r"), Rule(id="r")], version="v")
