"""Policies in the gateway: every way to a model passes one, and what it decided is told wherever something is told."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.passthrough.provider import ALICE
from tests.gateway.test_every_route import BODIES, COUNTED, REACHING, Everything, ask, config, own
from tests.support import hostile
from tests.support.app import App, running_app
from tests.support.chunks import completion
from tests.support.client import chat_body, post
from tests.support.gateway import KEY, NARROW_KEY, echo_only, model, running_gateway
from tests.support.net import wait_until
from tests.support.policies import ANYTHING, section, signer, written
from tests.support.upstream import Peer, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.asgi import Response

EMAIL = "kim.doe@example.com"
KEYS = [{"name": "wide", "key": KEY, "team": "acme"}, {"name": "narrow", "key": NARROW_KEY, "team": "other"}]
ASKED = sorted({*REACHING, *COUNTED})


async def _fine(peer: Peer) -> None:
    await peer.answer(completion())


async def _says(peer: Peer) -> None:
    await peer.answer(completion(f"ask {EMAIL}"))


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(hostile.SCRIPTS | {"fine": _fine, "says": _says, "gpt-4o-mini": _fine}) as running:
        yield running


@pytest.fixture
def provider() -> Iterator[Everything]:
    with Everything() as running:
        yield running


def _models(upstream: ScriptedUpstream, *names: str, script: str = "fine") -> list[dict[str, Any]]:
    return [model(name, upstream.base_url, upstream=f"openai/{script}") for name in names]


async def test_every_route_that_reaches_a_provider_asks_the_policy(provider: Everything, tmp_path: Path) -> None:
    elsewhere = {"id": "elsewhere", "effect": "allow", "routes": ["/v1/none"]}
    async with running_app(tmp_path, **config(provider), policy=section(tmp_path, elsewhere)) as app:
        await own(app)
        for method, path in ASKED:
            refused = await _ask(app, method, path)
            assert (refused.status, refused.header("x-gateway-decision")) == (403, "BLOCKED"), (path, refused)
            assert refused.header("x-gateway-policy") == "v1"
    assert not provider.log.requests


async def test_every_route_is_allowed_by_its_template(provider: Everything, tmp_path: Path) -> None:
    paths = sorted({path for _, path in REACHING})
    rules = [{"id": f"r{i}", "effect": "allow", "routes": [path]} for i, path in enumerate(paths)]
    async with running_app(tmp_path, **config(provider), policy=section(tmp_path, *rules)) as app:
        for method, path in sorted(REACHING):
            await own(app)
            answer = await _ask(app, method, path)
            reasons = (answer.header("x-gateway-reasons") or "").split(", ")
            assert (answer.status, reasons[0]) == (200, f"rule=r{paths.index(path)}"), path


async def _ask(app: App, method: str, path: str) -> Response:
    if (method, path) in COUNTED:
        return await app.post(BODIES["POST", "/v1/messages"], path=path, key=ALICE)
    return await ask(app, method, path)


async def test_forms_name_their_model_to_the_policy_too(provider: Everything, tmp_path: Path) -> None:
    rule = {"id": "others", "effect": "allow", "models": ["writes"]}
    async with running_app(tmp_path, **config(provider), policy=section(tmp_path, rule)) as app:
        refused = await ask(app, "POST", "/v1/images/edits")
        assert refused.status == 403
    assert not provider.log.requests


async def test_a_tenant_gets_its_models_and_sees_no_others(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    rule = {"id": "acme", "effect": "allow", "tenants": ["acme"], "models": ["large"]}
    sections = {"keys": KEYS, "model_list": _models(upstream, "large", "small"), "policy": section(tmp_path, rule)}
    async with running_app(tmp_path, **sections) as app:
        assert (await app.chat("large")).status == 200
        refused = await app.chat("small")
        assert (refused.status, refused.json["error"]["code"]) == (403, "policy_denied")
        assert (await app.chat("large", key=NARROW_KEY)).status == 403
        for key, seen in ((KEY, {"large"}), (NARROW_KEY, set())):
            assert {one["id"] for one in (await app.send("/v1/models", key=key)).json["data"]} == seen
            assert (await app.send("/v1/models/small", key=key)).status == 404


async def test_nothing_leads_around_a_rule(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Aliases are what they mean; headers, fallbacks and escalations stay within the rule that decided."""
    strict = {"id": "large", "effect": "allow", "models": ["large"], "caps": {"max_tokens": 5}}
    free = {"id": "small", "effect": "allow", "models": ["small", "broken"]}
    sections = {
        "model_list": [
            *_models(upstream, "large", "small"),
            *_models(upstream, "broken", script="status@500"),
        ],
        "router_settings": {"model_group_alias": {"smart": "large"}},
        "routes": {
            "openai": [{"models": ["large"], "condition": {"header": "X-Go", "value": "large"}}],
        },
        "litellm_settings": {"fallbacks": [{"broken": ["large", "small"]}]},
        "routing": {"escalations": [{"model": "small", "over_prompt_tokens": 100, "to": "large"}]},
        "policy": section(tmp_path, strict, free),
    }
    async with running_app(tmp_path, **sections) as app:
        alias = await app.chat("smart")
        assert (alias.status, alias.header("x-gateway-reasons")) == (200, "rule=large, max_tokens-lowered")
        moved = await app.chat("small", headers=[(b"x-go", b"large")])
        assert (moved.status, moved.json["error"]["code"]) == (403, "policy_denied")
        fallen = await app.chat("broken")
        assert (fallen.status, fallen.header("x-gateway-model")) == (200, "small")
        long = await app.chat("small", messages=[{"role": "user", "content": "word " * 400}])
        assert (long.status, long.header("x-gateway-model")) == (200, "small")


async def test_what_is_over_a_cap_is_lowered_for_the_upstream_and_that_is_told(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    rule = {"id": "r", "effect": "allow", "caps": {"max_tokens": 50}}
    sections = {"model_list": _models(upstream, "m"), "policy": section(tmp_path, rule)}
    async with running_app(tmp_path, **sections) as app:
        for asked, told, decision in ((40, 40, "ALLOWED"), (4000, 50, "TRANSFORMED")):
            answer = await app.chat("m", max_tokens=asked)
            assert (answer.status, answer.header("x-gateway-decision")) == (200, decision)
            assert upstream.log.requests[-1].json["max_tokens"] == told
        assert app.log[-1]["reasons"] == "rule=r, max_tokens-lowered"


async def test_an_upstream_is_told_the_bound_that_was_held_against_a_cap(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    models = _models(upstream, "m")
    models[0]["litellm_params"]["model"] = "openai/nobody-knows-its-price"
    rule = {"id": "r", "effect": "allow", "caps": {"max_tokens": 8000}}
    async with running_app(tmp_path, model_list=models, policy=section(tmp_path, rule)) as app:
        await app.chat("m")
        sent = upstream.log.requests[-1].json
        assert (sent.get("max_completion_tokens") or sent.get("max_tokens")) == 4096


async def test_a_cap_on_cost_holds_with_and_without_a_budget(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    rule = {"id": "r", "effect": "allow", "caps": {"max_cost_usd": "0.001"}}
    for keys in ([{"name": "k", "key": KEY}], [{"name": "k", "key": KEY, "budget": {"usd": "1"}}]):
        models = _models(upstream, "m", "unpriced", script="gpt-4o-mini")
        models[1]["litellm_params"]["model"] = "openai/nobody-knows-its-price"
        sections: dict[str, Any] = {
            "keys": keys,
            "model_list": models,
            "prices": {"openai/gpt-4o-mini": {"input": 1, "output": 2}},
            "policy": section(tmp_path, rule),
        }
        async with running_app(tmp_path, **sections) as app:
            answer = await app.chat("m", max_tokens=100_000)
            assert answer.header("x-gateway-decision") == "TRANSFORMED"
            # Two dollars a million: 500 tokens for a tenth of a cent, less what the prompt may take.
            assert 300 < upstream.log.requests[-1].json["max_tokens"] < 500
            refused = await app.chat("unpriced")
            assert (refused.status, refused.json["error"]["code"]) == (403, "model_unpriced")
            dear = await app.chat("m", messages=[{"role": "user", "content": "word " * 5000}])
            assert (dear.status, dear.json["error"]["code"]) == (403, "policy_cap_exceeded")
            assert dear.header("x-gateway-decision") == "BLOCKED"


async def test_a_rules_actions_are_laid_over_those_of_the_scan(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    lenient = {
        "id": "lenient",
        "effect": "allow",
        "tenants": ["acme"],
        "findings": {"request": {"types": {"EMAIL_ADDRESS": "allow"}}, "response": {"pii": "block"}},
    }
    sections = {
        "keys": KEYS,
        "model_list": [*_models(upstream, "m"), *_models(upstream, "says", script="says")],
        "scan": {"request": {"pii": "redact", "secrets": "block"}},
        "policy": section(tmp_path, lenient, ANYTHING),
    }
    text = f"mail {EMAIL}"
    async with running_app(tmp_path, **sections) as app:
        for key, decision, passed in ((KEY, "ALLOWED", text), (NARROW_KEY, "TRANSFORMED", "mail <EMAIL_ADDRESS>")):
            answer = await app.chat("m", key=key, content=text)
            assert answer.header("x-gateway-decision") == decision
            assert upstream.log.requests[-1].json["messages"][0]["content"] == passed
            assert "policy;ran" in (answer.header("x-gateway-guards") or "")
        assert "EMAIL_ADDRESS=redact" in str(answer.headers)
        # Only the rule looks at answers.
        assert (await app.chat("says", key=NARROW_KEY)).status == 200
        assert (await app.chat("says", key=KEY)).json["error"]["code"] == "content_policy_violation"


async def test_scanning_for_one_rule_needs_no_section_of_its_own(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    strict = {"id": "s", "effect": "allow", "tenants": ["acme"], "findings": {"request": {"pii": "block"}}}
    sections = {"keys": KEYS, "model_list": _models(upstream, "m"), "policy": section(tmp_path, strict, ANYTHING)}
    async with running_app(tmp_path, **sections) as app:
        blocked = await app.chat("m", content=EMAIL)
        assert (blocked.status, blocked.header("x-gateway-decision")) == (400, "BLOCKED")
        passed = await app.chat("m", content=EMAIL, key=NARROW_KEY)
        assert "scan;skipped=off" in (passed.header("x-gateway-guards") or "")
        speech = await app.post({"model": "m", "query": EMAIL, "documents": ["a"]}, path="/v1/rerank")
        assert (speech.status, speech.header("x-gateway-decision")) == (400, "BLOCKED")


async def test_what_a_shadow_would_have_done_stands_in_log_and_metrics_only(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    shadow = [{"id": "none", "effect": "deny"}]
    sections = {"model_list": _models(upstream, "m"), "policy": section(tmp_path, ANYTHING, shadow=shadow)}
    async with running_app(tmp_path, **sections) as app:
        answer = await app.chat("m")
        assert (answer.status, answer.header("x-gateway-decision")) == (200, "ALLOWED")
        assert not any(b"v2" in value for _, value in answer.headers)
        line = app.log[-1]
        assert (line["policy"], line["decision"], line["shadow"]) == ("v1", "ALLOWED", "v2 BLOCKED rule=none")
        counted = {"kind": "shadow", "decision": "BLOCKED", "rule": "rule=none"}
        assert await app.metric("gateway_policy_decisions_total", **counted) == 1


async def test_no_receipt_no_request_where_a_rule_wants_one(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    rule = {"id": "r", "effect": "allow", "obligations": {"receipt": True}}
    sections = {"model_list": _models(upstream, "m"), "policy": section(tmp_path, rule)}
    async with running_app(tmp_path, **sections) as app:
        refused = await app.chat("m")
        assert (refused.status, refused.json["error"]["code"]) == (503, "receipts_unavailable")
    assert not upstream.log.requests


async def test_tools_are_for_rules_that_name_them(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    rule = {"id": "r", "effect": "allow", "tools": ["search_*"]}
    sections = {"model_list": _models(upstream, "m"), "policy": section(tmp_path, rule)}
    tools = [{"type": "function", "function": {"name": name}} for name in ("search_web", "search_mail")]
    async with running_app(tmp_path, **sections) as app:
        assert (await app.chat("m", tools=tools)).status == 200
        for extra in ({"tools": [*tools, {"type": "function", "function": {"name": "delete"}}]}, {"plugins": [1]}):
            refused = await app.chat("m", **extra)
            assert (refused.status, refused.json["error"]["code"]) == (403, "tool_not_allowed")
            assert "delete" not in refused.json["error"]["message"]


def test_a_policy_that_is_not_signed_never_takes_effect_and_the_running_one_stays(tmp_path: Path) -> None:
    given = section(tmp_path, ANYTHING)
    body = chat_body("tollhouse/echo")
    # Not 0: that may cut a connection that an old worker has accepted and not read.
    with running_gateway(echo_only(policy=given, linger_s=0.3)) as gateway:
        assert post(gateway, body).headers["x-gateway-policy"] == "v1"
        written(tmp_path, {"id": "none", "effect": "deny"}, version="v2")
        gateway.signal(signal.SIGHUP)
        wait_until(lambda: "is not valid" in gateway.output, what="the supervisor refuses it")
        assert "policy.file: " in gateway.output
        assert post(gateway, body).headers["x-gateway-policy"] == "v1"
        path = tmp_path / "policy.yaml"
        path.with_name("policy.yaml.sig").write_text(signer(tmp_path).sign(b"tollhouse policy v1\n", path.read_bytes()))
        gateway.signal(signal.SIGHUP)
        # Until the last of the old workers has gone, both decide.
        wait_until(lambda: post(gateway, body).status == 403, what="the new policy decides")
