"""Errors after the head of a stream: one event in the caller's dialect, of the type that says what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support import anthropic_scripts, hostile
from tests.support.app import running_app
from tests.support.chunks import delta, event
from tests.support.client import events_of
from tests.support.gateway import model
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.upstream import Peer

HELLO = [{"role": "user", "content": "hello"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 10_000},
    "/v1/messages": {"messages": HELLO, "max_tokens": 10_000},
    "/v1/responses": {"input": "hello", "max_output_tokens": 10_000},
}
ALICE = "sk-alice-0000000000"


async def _refuse(peer: Peer) -> None:
    """`refuse@429`: that status, after a silence."""
    await peer.pause(0.3)
    fault = {"error": {"message": "not now", "type": "server_error", "code": None}}
    await peer.answer(orjson.dumps(fault), status=f"{peer.argument} No")


async def _give_up(peer: Peer) -> None:
    """`give-up@429`: a stream whose first event, after a silence, is an error of that status."""
    await peer.stream_head()
    await peer.pause(0.3)
    await peer.chunk(event({"error": {"message": "not now", "code": int(peer.argument)}}))
    await peer.end()


async def _endless(peer: Peer) -> None:
    """Words without end."""
    await peer.stream_head()
    while not peer.gone:
        await peer.chunk(delta("word " * 20))


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripts = hostile.SCRIPTS | anthropic_scripts.SCRIPTS
    with ScriptedUpstream(scripts | {"refuse": _refuse, "give-up": _give_up, "endless": _endless}) as running:
        yield running


async def _last(folder: Path, server: ScriptedUpstream, path: str, *names: str, **sections: Any) -> dict[str, Any]:
    """The last event of a stream that must begin with a success and end with an error."""
    listed = [model("m", server.base_url, upstream=name) for name in names]
    keys = [{"name": "alice", "key": ALICE, "budget": {"usd": "0.001"}}]
    async with running_app(folder, model_list=listed, keys=keys, **sections) as app:
        response = await app.post({"model": "m", "stream": True} | ASKED[path], path=path, key=ALICE)
    assert response.status == 200, response.body
    assert b"[DONE]" not in response.body
    assert b"message_stop" not in response.body
    assert b"response.completed" not in response.body
    last: dict[str, Any] = orjson.loads(events_of(response.body)[-1])
    return last


PAID = {"vllm/*": {"input": 1, "output": 2}, "openai/*": {"input": 1, "output": 2}}


async def test_a_budget_that_is_spent_in_mid_stream_has_the_type_of_a_refusal_by_budget(tmp_path, upstream):
    """As in front of the stream: 429, which is rate_limit_error for Anthropic's clients."""
    told = [await _last(tmp_path / str(n), upstream, path, "vllm/endless", prices=PAID) for n, path in enumerate(ASKED)]
    chat, message, response = told
    assert chat["error"]["code"] == "budget_exceeded"
    assert message["error"]["type"] == "rate_limit_error"
    assert response["type"] == "response.failed"
    assert response["response"]["error"]["code"] == "insufficient_quota"


FREE = {"vllm/*": {"input": 0, "output": 0}, "openai/*": {"input": 0, "output": 0}}
SLOW = {"keepalive_s": 0.1}


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        ("refuse@429", "rate_limit_error", "rate_limit_exceeded"),
        ("refuse@503", "api_error", "server_is_overloaded"),
        ("give-up@429", "rate_limit_error", "rate_limit_exceeded"),
        ("give-up@529", "overloaded_error", "server_is_overloaded"),
    ],
)
async def test_when_all_refuse_after_a_keepalive_the_error_is_an_event_of_the_dialect(
    tmp_path, upstream, behaviour, kind, code
):
    names = [f"vllm/{behaviour}"] * 2
    sections = {"upstream": SLOW, "prices": FREE, "router_settings": {"num_retries": 0}}
    message = await _last(tmp_path / "m", upstream, "/v1/messages", *names, **sections)
    assert (message["type"], message["error"]) == ("error", {"type": kind, "message": "not now"})
    response = await _last(tmp_path / "r", upstream, "/v1/responses", *names, **sections)
    assert response["type"] == "response.failed"
    assert response["response"]["error"] == {"code": code, "message": "not now"}
    chat = await _last(tmp_path / "c", upstream, "/v1/chat/completions", *names, **sections)
    assert chat["error"]["message"] == "not now"


async def test_responses_that_pass_fail_after_a_keepalive_with_a_flat_error(tmp_path, upstream):
    last = await _last(tmp_path, upstream, "/v1/responses", "openai/refuse@503", upstream=SLOW, prices=FREE)
    assert (last["type"], last["message"]) == ("error", "not now")
