"""What is passed through meets failures as conversations do: breakers, retries, fallbacks, holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.passthrough.provider import ALICE, FORM, Provider, form
from tests.support.app import App, running_app
from tests.support.audit import records, statement
from tests.support.client import checked_error
from tests.support.failing import SCRIPTS, models
from tests.support.gateway import KEY
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.asgi import Response

IMAGES = "/v1/images/generations"


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCRIPTS) as running:
        yield running


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


async def _draw(app: App, model: str = "a") -> Response:
    return await app.post({"model": model, "prompt": "a cat"}, path=IMAGES)


@pytest.mark.parametrize(
    "behaviour", ["status@500", "status@429", "status@401", "closed-port", "close-at-once", "hang"]
)
async def test_a_fallback_serves_what_failed(tmp_path: Path, upstream: ScriptedUpstream, behaviour: str) -> None:
    entries = models(upstream, a=behaviour, b="fine")
    section = {"fallbacks": [{"a": ["b"]}], "num_retries": 0}
    soon = {"idle_s": 0.2}
    async with running_app(tmp_path, model_list=entries, router_settings=section, upstream=soon) as app:
        response = await _draw(app)
        assert (response.status, response.header("x-gateway-model")) == (200, "b")
        assert await app.metric("gateway_fallbacks_total", **{"from": "a", "to": "b"}) == 1


async def test_a_fallback_is_for_its_cause(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    entries = models(upstream, a="status@500", b="fine")
    rule = {"primary": "a", "backup": "b", "condition": "timeout"}
    async with running_app(tmp_path, model_list=entries, fallbacks=[rule]) as app:
        assert (await _draw(app)).status == 500
        assert not upstream.log.of("fine")


async def test_at_most_so_many_are_asked(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    entries = models(upstream, a=["status@500"] * 3, b=["status@503"] * 3)
    section = {"fallbacks": [{"a": ["b"]}]}
    async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
        assert (await _draw(app)).status == 500
        assert len(upstream.log.requests) == 3


async def test_a_passing_failure_is_tried_again(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with running_app(tmp_path, model_list=models(upstream, a="once@500")) as app:
        assert (await _draw(app)).status == 200
        assert len(upstream.log.requests) == 2
        assert await app.metric("gateway_retries_total", model="a", cause="server_error") == 1


async def test_who_fails_often_is_left_alone_by_conversations_as_well(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    entries = models(upstream, a=["status@500", "fine"])
    section = {"cooldown_time": 60, "allowed_fails": 2}
    async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
        for _ in range(8):
            assert (await _draw(app)).status == 200
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 2
        for _ in range(3):
            assert (await app.chat("a")).status == 200
        assert len(upstream.log.of("status@500")) == 3


async def test_a_rate_limit_is_passed_on_and_heeded(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    entries = models(upstream, a="later@30", b=["later@31", "fine"])
    async with running_app(tmp_path, model_list=entries) as app:
        refused = await _draw(app)
        assert (refused.status, refused.header("retry-after")) == (429, "30")
        for _ in range(4):
            await _draw(app, "b")
        assert await app.metric("gateway_breaker_state", deployment="b@openai") == 2
        assert await app.metric("gateway_breaker_state", deployment="b@vllm") == 0


async def test_a_server_without_the_endpoint_may_well_converse(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    entries = models(upstream, a=["status@404", "fine"])
    async with running_app(tmp_path, model_list=entries) as app:
        for _ in range(4):
            assert (await _draw(app)).header("x-gateway-provider") == "vllm"
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 0


async def test_sound_that_breaks_off_counts_as_a_failure(tmp_path: Path, provider: Provider) -> None:
    section = {"allowed_fails": 0, "cooldown_time": 60}
    async with running_app(tmp_path, **provider.config(router_settings=section)) as app:
        client = app.client("/v1/audio/speech", key=ALICE, body={"model": "draws", "input": "cut-off"})
        assert not (await client.run()).complete
        assert await app.metric("gateway_breaker_state", deployment="draws@openai") == 2


async def test_a_lost_attempt_has_a_record_of_its_own(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    entries = models(upstream, a=["close-at-once", "fine"])
    async with running_app(tmp_path, model_list=entries) as app:
        assert (await _draw(app)).status == 200
    found = records(tmp_path / "state")
    assert sorted(record["status"] for record in found) == ["attempt", "complete"]
    assert len({record["request"] for record in found}) == 1


async def test_what_is_kept_is_made_once(tmp_path: Path, provider: Provider) -> None:
    async with running_app(tmp_path, **provider.config()) as app:
        body = form(("purpose", b"batch"), ("file", b"down-please", "in.jsonl"))
        response = await app.post(body, path="/v1/files", key=ALICE, headers=list(FORM.items()))
        assert response.status == 500
        checked_error(response.body)
        assert len(provider.log.requests) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_client_that_goes_between_two_targets_leaves_nothing_behind(
    tmp_path: Path, upstream: ScriptedUpstream, reserving: Callable[..., None], moment: str
) -> None:
    entries = models(upstream, a="close-at-once", b="hang")
    keys: list[dict[str, Any]] = [{"name": "wide", "key": KEY, "budget": {"usd": 1}}]
    prices = {"openai/*": {"input": 1, "output": 2}}
    sections = {"model_list": entries, "keys": keys, "prices": prices}
    async with running_app(tmp_path, **sections, fallbacks=[{"primary": "a", "backup": "b"}]) as app:
        client = app.client("/v1/rerank", body={"model": "a", "query": "x", "documents": ["y"]})

        async def gone() -> None:
            client.disconnect()
            await asyncio.sleep(30)

        reserving(gone if moment == "before" else None)
        task = asyncio.create_task(client.run())
        if moment == "after":
            async with asyncio.timeout(5):
                while not upstream.log.of("hang"):
                    await asyncio.sleep(0.005)
            client.disconnect()
        await asyncio.wait_for(task, 5)
        assert client.response.status == 0
        assert not app.asgi.state.lifecycle.calls
    state = statement(tmp_path / "state")
    statuses = sorted(record["status"] for record in state.records)
    assert statuses == (["incomplete"] if moment == "before" else ["attempt", "incomplete"])
    assert len(upstream.log.of("hang")) == len(statuses) - 1
    assert (state.open_holds, set(state.reserved.values())) == (0, {0})
    assert sum(state.posted.values()) == state.total > 0


async def test_a_session_stays_with_one_deployment(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with running_app(tmp_path, model_list=models(upstream, a=["fine"] * 3)) as app:

        async def provider(*headers: tuple[bytes, bytes]) -> str | None:
            body = {"model": "a", "prompt": "a cat"}
            return (await app.post(body, path=IMAGES, headers=headers)).header("x-gateway-provider")

        assert len({await provider((b"x-session-id", b"s")) for _ in range(4)}) == 1
        assert len({await provider() for _ in range(3)}) == 3
