"""Health checks over real sockets, and what readiness makes of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import hostile
from tests.support.app import running_app
from tests.support.gateway import model
from tests.support.net import free_port
from tests.support.providers.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock
from tests.support.upstream import ScriptedUpstream


@pytest.fixture
def upstream():
    with ScriptedUpstream(hostile.SCRIPTS | {"": _checked}) as running:
        yield running


async def _checked(peer):
    """A GET has no body, so no model."""
    status = "200 OK" if peer.log.of("bad") == [] else "503 Bad"
    await peer.answer(b"{}", status=status)


def _checks(**more):
    return {"health_checks": {"interval": 0.05, "timeout": 0.5, "unhealthy_threshold": 2} | more}


async def _until(check):
    for _ in range(300):
        if await check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


async def _ready(app):
    return (await app.send("/health/ready", key=None)).status == 200


async def test_a_check_asks_the_given_path_with_the_deployments_key(tmp_path, upstream):
    entries = [model("m", upstream.base_url), model("n", upstream.base_url)]
    async with running_app(tmp_path, model_list=entries, **_checks(endpoint="/health")):
        await _until(lambda: _is(upstream.log.of("")))
        seen = upstream.log.of("")[0]
        assert seen.head.startswith(b"GET /health HTTP/1.1\r\n")
        assert seen.headers["authorization"] == "Bearer sk-up"


async def test_without_a_path_the_models_are_asked_for(tmp_path, upstream):
    async with running_app(tmp_path, model_list=[model("m", upstream.base_url)], **_checks()):
        await _until(lambda: _is(upstream.log.of("")))
        assert upstream.log.of("")[0].head.startswith(b"GET /v1/models HTTP/1.1\r\n")


async def _is(value):
    return bool(value)


async def test_who_is_found_down_is_not_asked_until_it_is_up_again(tmp_path, upstream):
    entries = [
        model("m", f"http://127.0.0.1:{free_port()}/v1", upstream="vllm/fine"),
        model("m", upstream.base_url, upstream="openai/fine"),
    ]
    async with running_app(tmp_path, model_list=entries, **_checks()) as app:
        await _until(lambda: _state(app, "m@vllm", 2))
        assert await _state(app, "m@openai", 0)
        for _ in range(4):
            assert (await app.chat("m")).header("x-gateway-provider") == "openai"
        assert await app.metric("gateway_upstream_errors_total") == 0
        upstream.log.requests.append(type("Seen", (), {"model": "bad"})())
        await _until(lambda: _state(app, "m@openai", 2))
        upstream.log.requests.clear()
        await _until(lambda: _state(app, "m@openai", 0))


async def _state(app, deployment, state):
    return await app.metric("gateway_breaker_state", deployment=deployment) == state


async def test_it_is_ready_once_every_model_has_a_healthy_backend_if_that_is_required(tmp_path, upstream):
    port = free_port()
    entries = [model("m", upstream.base_url), model("n", f"http://127.0.0.1:{port}/v1")]
    async with running_app(tmp_path, model_list=entries, **_checks(require_backend_healthy=True)) as app:
        await _until(lambda: _is(upstream.log.of("")))
        response = await app.send("/health/ready", key=None)
        assert (response.status, response.json["failing"]) in [
            (503, ["backend of n"]),
            (503, ["backend of m", "backend of n"]),
        ]
        assert (await app.send("/health", key=None)).status == 200
    entries = entries[:1]
    async with running_app(tmp_path, model_list=entries, **_checks(require_backend_healthy=True)) as app:
        await _until(lambda: _ready(app))
    async with running_app(tmp_path, model_list=entries[:1], **_checks()) as app:
        assert await _ready(app)


async def test_metrics_have_a_port_of_their_own_if_that_is_wanted(tmp_path):
    port = free_port()
    logging = {"prometheus": {"enabled": True, "host": "127.0.0.1", "port": port}}
    async with running_app(tmp_path, logging=logging) as app:
        await app.chat("tollhouse/echo")
        for path, status in ((b"/metrics", b"200 OK"), (b"/v1/models", b"404 Not Found")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            await writer.wait_closed()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert (b"gateway_requests_total" in answer) == (path == b"/metrics")


async def test_a_cloud_that_does_not_know_the_gateway_is_down(tmp_path):
    with Bedrock() as bedrock:
        right = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        for keys, is_ready in ((right, True), (right | {"aws_secret_access_key": "wrong"}, False)):
            params = {"model": "bedrock/amazon.nova-pro-v1:0", "api_base": bedrock.url, "aws_region_name": REGION}
            entries = [{"model_name": "m", "litellm_params": params | keys}]
            bedrock.asked.clear()
            async with running_app(tmp_path, model_list=entries, **_checks(require_backend_healthy=True)) as app:
                await _until(lambda: _is(len(bedrock.asked) > 1))
                assert await _ready(app) is is_ready
            assert {asked.body for asked in bedrock.asked} == {b"{}"}
