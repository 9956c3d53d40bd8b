"""PolicyMiddleware in somebody else's application, over real sockets: FastAPI and Litestar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.middlewares.test_quota_hosts import CHAT, HOSTS, KINDS, SEEN, STREAM, Stack
from tests.support.served import served
from tollhouse._native import PriceTable
from tollhouse.config import price_table
from tollhouse.middlewares.auth import AuthMiddleware, Principal
from tollhouse.middlewares.policy import Caps, PolicyMiddleware, Rule
from tollhouse.middlewares.scan import ScanMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

ACME, OTHER = "sk-th-aaaaaaaaaaaa-1", "sk-th-bbbbbbbbbbbb-2"
KEYS = {ACME: Principal(id="k1", team="acme"), OTHER: Principal(id="k2", team="other")}
EMAIL = "kim.doe@example.com"
TOOL = {"type": "function", "function": {"name": "search"}}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Callable[..., Any]:
    SEEN.clear()

    def make(*rules: Rule, **options: Any) -> Any:
        stack = [
            (AuthMiddleware, {"keys": KEYS}),
            (PolicyMiddleware, {"rules": rules, "version": "v7", "kinds": KINDS} | options),
        ]
        return served(HOSTS[request.param](stack))

    return make


def _chat(model: str = "m", text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]} | more


def _as(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_tenants_routes_models_and_tools_are_refused_unless_a_rule_allows_them(host):
    rule = Rule(id="acme", tenants=("acme",), routes=(CHAT,), models=("m", "x*"), tools=("search",))
    cases: list[tuple[str, str, dict[str, Any], int, str]] = [
        (ACME, CHAT, _chat(), 200, ""),
        (ACME, CHAT, _chat("x9", tools=[TOOL]), 200, ""),
        (ACME, CHAT, _chat("other"), 403, "policy_denied"),
        (ACME, STREAM, _chat(), 403, "policy_denied"),
        (OTHER, CHAT, _chat(), 403, "policy_denied"),
        (ACME, CHAT, _chat(tools=[TOOL, {"type": "web_search"}]), 403, "tool_not_allowed"),
        (ACME, CHAT, _chat(functions=[{"name": "run"}]), 403, "tool_not_allowed"),
        (ACME, "/note", {}, 403, "policy_denied"),
    ]
    with host(rule) as client:
        for key, path, body, status, code in cases:
            answer = client.post(path, json=body, headers=_as(key))
            assert (answer.status_code, answer.headers["x-gateway-policy"]) == (status, "v7"), (path, body)
            if status == 403:
                assert answer.json()["error"]["code"] == code
                assert answer.headers["x-gateway-decision"] == "BLOCKED"
                assert "search" not in answer.text
    assert len(SEEN) == 2


def test_a_deny_that_comes_first_wins(host):
    with host(Rule(id="no", effect="deny", models=("m",)), Rule(id="all")) as client:
        refused = client.post(CHAT, json=_chat(), headers=_as(ACME))
        assert (refused.status_code, refused.headers["x-gateway-reasons"]) == (403, "rule=no")
        assert client.post(CHAT, json=_chat("n"), headers=_as(ACME)).status_code == 200


def test_more_tokens_than_the_cap_are_lowered_or_refused(host):
    lower = Rule(id="low", models=("m",), caps=Caps(max_tokens=50))
    refuse = Rule(id="strict", models=("s",), caps=Caps(max_tokens=50, refuse=True))
    with host(lower, refuse) as client:
        for asked, left in ((9, 9), (50, 50), (51, 50), (None, 50)):
            more: dict[str, Any] = {} if asked is None else {"max_tokens": asked}
            assert client.post(CHAT, json=_chat(**more), headers=_as(ACME)).status_code == 200
            assert SEEN[-1]["max_tokens"] == left
        assert client.post(CHAT, json=_chat("s", max_tokens=50), headers=_as(ACME)).status_code == 200
        refused = client.post(CHAT, json=_chat("s", max_tokens=51), headers=_as(ACME))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "policy_cap_exceeded")


def test_what_may_cost_more_than_the_cap_is_lowered_and_what_has_no_price_is_refused(host):
    table = PriceTable(price_table.table(), {"x/*": {"input": 1_000_000_000, "output": 2_000_000_000}})
    prices = {"prices": lambda model: table.find("x", model) if model != "unpriced" else None}
    with host(Rule(id="cheap", caps=Caps(max_cost=1_000_000)), **prices) as client:
        assert client.post(CHAT, json=_chat(max_tokens=10_000), headers=_as(ACME)).status_code == 200
        # A thousand nano-USD for a token that is read, two thousand for one that is written.
        assert 100 < SEEN[-1]["max_tokens"] < 500
        assert client.post(CHAT, json=_chat("unpriced"), headers=_as(ACME)).json()["error"]["code"] == "model_unpriced"
        long = client.post(CHAT, json=_chat(text="word " * 2000), headers=_as(ACME))
        assert (long.status_code, long.json()["error"]["code"]) == (403, "policy_cap_exceeded")


def test_rules_say_what_is_done_about_findings(host):
    redacts = Rule(id="r", models=("m",), request={"pii": "redact"}, caps=Caps(max_tokens=50))
    blocks = Rule(id="b", models=("b",), request={"types": {"EMAIL_ADDRESS": "block"}})
    with host(redacts, blocks, Rule(id="n")) as client:
        text = f"write to {EMAIL}"
        assert client.post(CHAT, json=_chat(text=text, max_tokens=99), headers=_as(ACME)).status_code == 200
        # Both what was found and what was capped.
        assert SEEN[-1]["messages"][0]["content"] == "write to <EMAIL_ADDRESS>"
        assert SEEN[-1]["max_tokens"] == 50
        refused = client.post(CHAT, json=_chat("b", text), headers=_as(ACME))
        assert refused.json()["error"]["code"] == "content_policy_violation"
        assert client.post(CHAT, json=_chat("n", text), headers=_as(ACME)).status_code == 200
        assert SEEN[-1]["messages"][0]["content"] == text


def test_headers_of_a_rule_go_with_its_answers(host):
    rule = Rule(id="r", headers=(("x-data-class", "internal"),))
    with host(rule) as client:
        for path in (CHAT, STREAM):
            answer = client.post(path, json=_chat(), headers=_as(ACME))
            assert answer.headers["x-data-class"] == "internal"
            assert answer.headers["x-gateway-reasons"] == "rule=r"


def test_a_shadow_decides_nothing_and_is_heard(host):
    said: list[tuple[str, str, str]] = []
    shadow = [Rule(id="strict", models=("m",), caps=Caps(max_tokens=5))]
    with host(Rule(id="all"), shadow=shadow, count=lambda *one: said.append(one)) as client:
        for body in (_chat(max_tokens=9), _chat(max_tokens=5), _chat("n"), _chat(tools=[TOOL], max_tokens=1)):
            client.post(CHAT, json=body, headers=_as(ACME))
    shadows = [(decision, rule) for kind, decision, rule in said if kind == "shadow"]
    assert shadows == [
        ("TRANSFORMED", "rule=strict"),
        ("ALLOWED", "rule=strict"),
        ("BLOCKED", "no-rule"),
        ("BLOCKED", "rule=strict"),
    ]
    assert [decision for kind, decision, _ in said if kind == "policy"] == ["ALLOWED"] * 3 + ["BLOCKED"]


def test_receipts_cannot_be_asked_for_where_there_are_none():
    with pytest.raises(ValueError, match="receipts"):
        PolicyMiddleware(HOSTS["fastapi"]([]), rules=[Rule(id="r", needs_receipt=True)])


def test_a_budget_outside_of_a_scan_is_not_undone_by_it():
    """What one middleware lowered in the body, one further in kept as it had parsed it."""
    stack: Stack = [
        (PolicyMiddleware, {"rules": [Rule(id="r", caps=Caps(max_tokens=7))], "kinds": KINDS}),
        (ScanMiddleware, {"kinds": KINDS}),
    ]
    SEEN.clear()
    with served(HOSTS["fastapi"](stack)) as client:
        assert client.post(CHAT, json=_chat(max_tokens=99)).status_code == 200
    assert SEEN[-1]["max_tokens"] == 7
