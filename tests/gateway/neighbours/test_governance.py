from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from tests.gateway.passthrough.provider import FORM, form
from tests.support.app import App, running_app
from tests.support.gateway import KEYS
from tollhouse.config.neighbour_settings import ServiceSettings
from tollhouse.gateway.neighbours.client import Client
from tollhouse.gateway.neighbours.governance import GovernanceStage, Rules
from tollhouse.gateway.neighbours.metrics import NeighbourMetrics
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.exchange import Exchange
from tollhouse.middlewares.guard import Guard
from tollhouse.providers.deadlines import Deadlines

if TYPE_CHECKING:
    from tests.support.services import Street

ECHO = "tollhouse/echo"
METRICS = NeighbourMetrics(registry=CollectorRegistry())
MAIL = "write to kim@example.com"


async def echoed(app: App, text: str = MAIL, key: str = "demo-token") -> tuple[int, str]:
    body = {"model": ECHO, "messages": [{"role": "user", "content": text}]}
    answer = await app.post(body, key=key)
    found = orjson.loads(answer.body)
    return answer.status, found["choices"][0]["message"]["content"] if answer.status == 200 else found["error"]["code"]


def sections(services: Street, **more: Any) -> dict[str, Any]:
    given = services.sections("iam", "data_governance", timeout_s=5, ttl_s=60)
    return given | more


async def test_the_tenants_rules_decide_what_becomes_of_findings(tmp_path, services: Street):
    known = services.world.classifications
    known["blue"] = {"classification": "restricted", "request": {"pii": "block"}}
    known["green"] = {"classification": "public", "request": {"pii": "allow"}}
    services.world.tokens |= {"t-blue": {"sub": "b", "tenant": "blue"}, "t-green": {"sub": "g", "team": "green"}}
    async with running_app(tmp_path, **sections(services)) as app:
        assert await echoed(app) == (200, "write to <EMAIL_ADDRESS>")
        assert await echoed(app, key="t-blue") == (400, "content_policy_violation")
        assert await echoed(app, key="t-green") == (200, MAIL)
        assert await echoed(app) == (200, "write to <EMAIL_ADDRESS>")
        assert services.asked("data_governance") == 3
        answer = await app.post({"model": ECHO, "messages": [{"role": "user", "content": "hi"}]}, key="t-green")
        assert dict(answer.headers)[b"x-gateway-reasons"] == b"data=public"


async def test_rules_of_a_type_win_over_those_of_its_family(tmp_path, services: Street):
    services.world.classifications["acme"] = {
        "classification": "internal",
        "request": {"pii": "redact", "types": {"EMAIL_ADDRESS": "flag"}},
        "response": {"pii": "redact", "types": {"IP_ADDRESS": "block"}},
    }
    async with running_app(tmp_path, **sections(services)) as app:
        # The echo says it again, and answers have rules of their own.
        assert await echoed(app) == (200, "write to <EMAIL_ADDRESS>")
        services.world.classifications["acme"].pop("response")
    async with running_app(tmp_path, **sections(services)) as app:
        assert await echoed(app) == (200, MAIL)


async def test_neither_side_can_loosen_the_other(tmp_path, services: Street):
    services.world.classifications["acme"] = {
        "classification": "public",
        "request": {"pii": "allow", "secrets": "block"},
    }
    own = {"request": {"pii": "redact", "secrets": "flag"}}
    async with running_app(tmp_path, **sections(services, scan=own)) as app:
        assert await echoed(app) == (200, "write to <EMAIL_ADDRESS>")
        token = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
        assert await echoed(app, f"use {token}") == (400, "content_policy_violation")


async def test_a_tenant_that_the_service_does_not_know_is_refused_by_name(tmp_path, services: Street):
    services.world.tokens["t"] = {"sub": "x", "tenant": "nobody"}
    async with running_app(tmp_path, **sections(services)) as app:
        assert await echoed(app, key="t") == (403, "tenant_unknown")
        assert await app.metric("gateway_neighbour_breaker_state", service="data_governance") == 0


async def test_callers_without_tenant_and_team_are_the_default_tenant(tmp_path, services: Street):
    given = sections(services, keys=KEYS)
    given["neighbours"]["default_tenant"] = "house"
    services.world.classifications = {"house": {"classification": "x", "request": {"pii": "block"}}}
    async with running_app(tmp_path, **given) as app:
        assert await echoed(app, key=KEYS[0]["key"]) == (400, "content_policy_violation")


async def test_equal_answers_share_their_scanners(tmp_path, services: Street):
    tenants = [f"tenant-{i}" for i in range(5)]
    rules = {"classification": "x", "request": {"pii": "redact"}}
    services.world.classifications |= dict.fromkeys(tenants, rules)
    services.world.tokens |= {f"t-{name}": {"sub": name, "tenant": name} for name in tenants}
    async with running_app(tmp_path, **sections(services)) as app:
        await asyncio.gather(*(echoed(app, key=f"t-{name}") for name in tenants))
        stage: GovernanceStage = app.asgi.state.neighbours.governance
        assert len(stage._guards) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"classification": "x"},
        {"classification": "x", "request": {"pii": "maybe"}},
        {"classification": "x", "request": {"pii": ["block"]}},
        {"classification": "x", "request": []},
        {"classification": "x", "request": {"rules": {"a": "allow"}}},
        {"classification": "x", "request": {"types": ["EMAIL_ADDRESS"]}},
        {"classification": "x", "request": {"types": {"NO_SUCH_TYPE": "block"}}},
        {"classification": "x", "request": {"pii": "allow"}, "tenant": "another"},
        {"classification": "not a name", "request": {"pii": "allow"}},
    ],
)
async def test_an_answer_that_cannot_be_used_lets_nothing_pass(tmp_path, services: Street, answer):
    services.world.controls["data-governance"].mode = "slow"  # and so is not held to its contract
    services.world.controls["data-governance"].delay_s = 0.0
    services.world.classifications["acme"] = answer
    async with running_app(tmp_path, **sections(services)) as app:
        assert await echoed(app) == (503, "policy_unavailable")


async def test_what_is_passed_through_is_scanned_by_the_tenants_rules_too(tmp_path, services: Street):
    services.world.classifications["acme"] = {"classification": "restricted", "request": {"pii": "block"}}
    async with running_app(tmp_path, **sections(services)) as app:
        sent = form(("purpose", MAIL.encode()), ("file", b"{}", "a.jsonl"))
        answer = await app.post(sent, path="/v1/files", key="demo-token", headers=FORM.items())
        assert (answer.status, orjson.loads(answer.body)["error"]["code"]) == (400, "content_policy_violation")


async def test_whoever_else_decides_on_the_guard_cannot_loosen_it():
    """A policy may say what scans a request, before the tenant is known or after."""
    plan = orjson.dumps({"request": {"pii": "block"}})
    usual = Guard(request={"pii": "redact"}, response=None)
    stage = GovernanceStage(
        Client(ServiceSettings(name="data_governance", variable="X"), deadlines=Deadlines(), metrics=METRICS),
        ServiceSettings(name="data_governance", variable="X"),
        guard=usual,
        default_tenant="default",
        went_on=print,
    )
    exchange = Exchange({"headers": []}, None, None)  # type: ignore[arg-type]
    assert exchange.guard is None
    stage._apply(exchange, Rules("internal", plan))
    assert exchange.reasons == ("data=internal",)
    lax = Guard(request={"pii": "allow"}, response=None)
    for wanted in (None, usual, lax, None):
        exchange.guard = wanted
        holding = exchange.guard
        assert holding is not None
        with pytest.raises(BadRequest):
            holding.check_json(exchange, orjson.dumps([MAIL]))
    assert len(stage._guards) == 2
