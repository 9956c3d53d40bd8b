from __future__ import annotations

import itertools

import pytest

from tollhouse import Scanner
from tollhouse.middlewares.stricter import stricter

ORDER = ("allow", "flag", "pseudonymise", "redact", "block")
TEXT = "kim@example.com from 8.8.8.8 uses " + "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
POLICIES = [
    {},
    {"pii": "allow"},
    {"pii": "block", "types": {"EMAIL_ADDRESS": "allow"}},
    {"pii": "flag", "types": {"EMAIL_ADDRESS": "block", "IP_ADDRESS": "redact"}},
    {"secrets": "block", "rules": {"github-token": "flag"}},
    {"pii": "pseudonymise", "secrets": "allow"},
]


def actions(policy: dict[str, object]) -> dict[str, str]:
    """By rule, what a scanner does about what is in the text."""
    return {finding.rule: finding.action for finding in Scanner(policy).scan(TEXT).findings}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(POLICIES, 2)))
def test_every_finding_has_the_stricter_action_of_both(one, other):
    ours, theirs = actions(one), actions(other)
    both = actions(stricter(one, other))
    assert actions(stricter(other, one)) == both
    assert both.keys() == ours.keys() | theirs.keys()
    for rule, action in both.items():
        assert action == max(ours.get(rule, "allow"), theirs.get(rule, "allow"), key=ORDER.index), rule


def test_a_policy_that_the_scanner_would_not_take_is_refused():
    for one, other in (({}, {"types": {"NO_SUCH": "block"}}), ({"rules": {"no-such": "block"}}, {})):
        with pytest.raises(ValueError, match=r"(?i)no.such"):
            stricter(one, other)
