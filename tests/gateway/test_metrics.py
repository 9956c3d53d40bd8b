"""What a scrape says of traffic; the stage alone is tested beside its source."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import hostile
from tests.support.app import App, running_app
from tests.support.client import CHAT, chat_body
from tests.support.gateway import KEY, MASTER_KEY, NARROW_KEY, model
from tests.support.upstream import ScriptedUpstream

LABELS = {"route", "status", "model", "provider", "kind", "le", "deployment", "cause", "from", "to", "won"}
LABELS |= {"decision", "store", "version", "what"}


@pytest.fixture
async def app(tmp_path):
    with ScriptedUpstream(hostile.SCRIPTS) as upstream:
        models = [model("up/*", upstream.base_url), model("bad", upstream.base_url, upstream="vllm/status@500")]
        async with running_app(tmp_path, model_list=models) as running:
            yield running


async def _families(app: App):
    response = await app.send("/metrics", key=None)
    assert (response.header("content-type") or "").startswith("text/plain")
    return list(text_string_to_metric_families(response.body.decode()))


async def _traffic(app: App) -> None:
    for key in (KEY, NARROW_KEY, MASTER_KEY, "sk-wrong", None):
        for stream in (False, True):
            await app.chat("tollhouse/echo", stream=stream, key=key)
            await app.chat("up/fine", stream=stream, key=key)
            await app.chat("bad", stream=stream, key=key)
            await app.chat(f"no-such-{stream}", key=key)
        await app.send(f"/somewhere/{key}", key=key)
        await app.send(f"/v1/models/{key}", key=key)


async def test_all_names_have_the_prefix_and_no_label_is_a_callers(app):
    await _traffic(app)
    families = await _families(app)
    assert {family.name for family in families} == {
        "gateway_requests",
        "gateway_request_duration_seconds",
        "gateway_overhead_seconds",
        "gateway_tokens",
        "gateway_requests_in_flight",
        "gateway_upstream_errors",
        "gateway_upstream_malformed_events",
        "gateway_breaker_state",
        "gateway_fallbacks",
        "gateway_retries",
        "gateway_hedges",
        "gateway_scan_findings",
        "gateway_quota_denied",
        "gateway_shed_requests",
        "gateway_quota_store_unavailable",
        "gateway_quota_store_up",
        "gateway_cost_usd",
        "gateway_unpriced_requests",
        "gateway_budget_excess_usd",
        "gateway_build_info",
        "gateway_fail_open",
        "gateway_guard_duration_seconds",
        "gateway_guard_runs",
        "gateway_store_up",
        "gateway_upstream_in_flight",
        "gateway_upstream_queue",
    }
    assert all(family.documentation for family in families)
    values: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            assert set(sample.labels) <= LABELS
            for name, value in sample.labels.items():
                values.setdefault(name, set()).add(value)
    assert values["model"] == {"", "tollhouse/echo", "up/*", "bad"}
    assert values["provider"] == {"", "tollhouse", "openai", "vllm"}
    assert values["route"] == {"/v1/chat/completions", "/v1/models/{model:path}", "unmatched"}
    assert values["status"] == {"200", "401", "403", "404", "500"}
    everything = str(values)
    for key in ("wide", "narrow", "master", "abcdefghijkl", "sk-"):
        assert key not in everything


async def test_requests_and_tokens_are_counted(app):
    for _ in range(3):
        await app.chat("tollhouse/echo", content="one two three")
    await app.chat("up/fine", stream=True)
    await app.chat("up/fine")
    await app.chat("tollhouse/echo", key=None)
    route = "/v1/chat/completions"
    requests = "gateway_requests_total"
    echo = {"model": "tollhouse/echo", "provider": "tollhouse"}
    assert await app.metric(requests, route=route, status="200", **echo) == 3
    assert await app.metric(requests, status="200", model="up/*", provider="openai") == 2
    assert await app.metric(requests, route=route, status="401", model="", provider="") == 1
    assert await app.metric("gateway_tokens_total", kind="prompt", **echo) == 9
    assert await app.metric("gateway_tokens_total", kind="completion", **echo) == 9
    assert await app.metric("gateway_tokens_total", kind="prompt", model="up/*") == 14
    assert await app.metric("gateway_request_duration_seconds_count", route=route) == 6
    assert await app.metric("gateway_overhead_seconds_count", route=route) == 5
    assert await app.metric("gateway_upstream_errors_total") == 0


async def test_upstream_errors_are_counted_by_kind(app):
    for _ in range(2):
        await app.chat("bad")
    await app.chat("up/close-at-once")
    errors = "gateway_upstream_errors_total"
    assert await app.metric(errors, model="bad", provider="vllm", kind="http_500") == 6, "each is tried again twice"
    assert await app.metric(errors, model="up/*", provider="openai") == 1
    assert await app.metric("gateway_requests_total", status="502", model="up/*") == 1


async def test_what_is_under_way_is_told(app):
    assert await app.metric("gateway_requests_in_flight") == 1, "the scrape itself"
    clients = [app.client(CHAT, body=chat_body("up/ticking@20", stream=True)) for _ in range(3)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    for client in clients:
        await asyncio.wait_for(client.received.wait(), 5)
    assert await app.metric("gateway_requests_in_flight") == 4
    for client in clients:
        client.disconnect()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert await app.metric("gateway_requests_in_flight") == 1
    assert await app.metric("gateway_requests_total", model="up/*", status="200") == 3


async def test_two_apps_in_one_process_count_apart(app, tmp_path):
    await app.chat("tollhouse/echo")
    async with running_app(tmp_path / "other") as other:
        assert await other.metric("gateway_requests_total", model="tollhouse/echo") == 0
    assert await app.metric("gateway_requests_total", model="tollhouse/echo") == 1
