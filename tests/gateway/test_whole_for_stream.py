"""Upstreams that answer a request for a stream with a whole body: the caller gets a stream all the same.

Every stream has been held to its grammar by the time a test reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support import anthropic_scripts, hostile
from tests.support.app import App, running_app
from tests.support.chunks import USAGE, completion
from tests.support.client import events_of, text_of
from tests.support.gateway import MASTER_KEY, model
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.upstream import Peer

CHAT, COMPLETIONS, MESSAGES, RESPONSES = (
    f"/v1/{name}" for name in ("chat/completions", "completions", "messages", "responses")
)
HELLO = [{"role": "user", "content": "hello"}]
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    COMPLETIONS: {"prompt": "hello"},
    MESSAGES: {"messages": HELLO, "max_tokens": 100},
    RESPONSES: {"input": "hello"},
}
RESPONSE = {
    "id": "resp_theirs",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "error": None,
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "fine", "annotations": [], "logprobs": []}],
        }
    ],
    "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
}


async def _whole(peer: Peer) -> None:
    """A whole answer in the dialect of the path, whatever `stream` says; `whole@0.3` after so many seconds."""
    await peer.pause(float(peer.argument or 0))
    path = peer.seen.path.partition("?")[0]
    if path.endswith("/messages"):
        await peer.answer(orjson.dumps(anthropic_scripts.message("claude")))
    elif path.endswith("/responses"):
        await peer.answer(orjson.dumps(RESPONSE))
    elif path.endswith("/chat/completions"):
        await peer.answer(completion())
    else:
        choice = {"index": 0, "text": "fine", "logprobs": None, "finish_reason": "stop"}
        answer = {"id": "cmpl", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
        await peer.answer(orjson.dumps(answer | {"usage": USAGE}))


async def _error(peer: Peer) -> None:
    """An error object with a status of success."""
    await peer.answer(b'{"error":{"message":"no GPU is free","code":503}}')


async def _other(peer: Peer) -> None:
    """JSON that is no answer."""
    await peer.answer(b'{"hello":"world"}')


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    scripts = hostile.SCRIPTS | {"whole": _whole, "error": _error, "other": _other}
    with ScriptedUpstream(scripts) as running:
        yield running


@pytest.fixture
async def app(upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[App]:
    base = upstream.base_url
    listed = [
        model("openai", base, upstream="openai/whole"),
        model("vllm", base, upstream="vllm/whole"),
        model("claude", base, upstream="anthropic/whole", api_key="sk-ant"),
        model("slow", base, upstream="openai/whole@0.3"),
        *[model("pair", base, upstream=f"openai/{name}") for name in ("error", "whole")],
        *[model("odd", base, upstream=f"openai/{name}") for name in ("other", "whole")],
        model("error", base, upstream="openai/error"),
        model("other", base, upstream="openai/other"),
    ]
    prices = {f"{provider}/*": {"input": 1, "output": 2} for provider in ("openai", "vllm", "anthropic")}
    async with running_app(tmp_path, model_list=listed, prices=prices, upstream={"keepalive_s": 0.1}) as running:
        yield running


async def _streamed(app: App, path: str, name: str, **more: Any) -> Any:
    response = await app.post({"model": name, "stream": True} | ASKED[path] | more, path=path)
    assert response.status == 200, response.body
    assert (response.header("content-type") or "").startswith("text/event-stream")
    assert response.header("cache-control") == "no-cache"
    return response


async def _spent(app: App) -> list[tuple[Any, ...]]:
    rows = (await app.send("/admin/usage?by=status", key=MASTER_KEY)).json["data"]
    return [(row["status"], row["requests"], row["input"], row["output"], float(row["cost_usd"])) for row in rows]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES, RESPONSES])
@pytest.mark.parametrize("name", ["openai", "vllm", "claude"])
async def test_a_whole_answer_is_told_as_a_stream_in_every_dialect(app: App, path: str, name: str) -> None:
    body = (await _streamed(app, path, name)).body.decode()
    assert ("wörld" if name == "claude" else "fine") in body
    assert body.count("wörld" if name == "claude" else "fine") >= 1


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MESSAGES, RESPONSES])
@pytest.mark.parametrize("name", ["openai", "claude"])
async def test_it_costs_what_the_whole_answer_costs(app: App, path: str, name: str) -> None:
    await app.post({"model": name} | ASKED[path], path=path)
    [(_, _, *once)] = await _spent(app)
    await _streamed(app, path, name)
    [(status, requests, *twice)] = await _spent(app)
    assert (status, requests) == ("complete", 2)
    assert twice == pytest.approx([amount * 2 for amount in once])
    assert twice[-1] > 0


async def test_its_usage_is_told_only_if_asked_for(app: App) -> None:
    assert b"usage" not in (await _streamed(app, CHAT, "openai")).body
    asked = await _streamed(app, CHAT, "openai", stream_options={"include_usage": True})
    *_, last, done = events_of(asked.body)
    assert (orjson.loads(last)["choices"], orjson.loads(last)["usage"]) == ([], USAGE)
    assert "x_gateway_cost_usd" in orjson.loads(last)
    assert done == b"[DONE]"


async def test_a_stream_that_had_begun_with_a_keepalive_goes_on(app: App) -> None:
    body = (await _streamed(app, CHAT, "slow")).body
    assert body.startswith(b": ping\n\n")
    assert text_of(events_of(body)) == "fine"


async def test_an_error_with_a_status_of_success_is_an_error(app: App) -> None:
    for path in (CHAT, MESSAGES, RESPONSES):
        refused = await app.post({"model": "error", "stream": True} | ASKED[path], path=path)
        assert (refused.status, refused.json["error"]["message"]) == (503, "no GPU is free")
    for _ in range(2):  # whose turn is first alternates
        assert text_of(events_of((await _streamed(app, CHAT, "pair")).body)) == "fine"


async def test_json_that_is_no_answer_is_a_bad_gateway(app: App) -> None:
    for path in (CHAT, COMPLETIONS, MESSAGES, RESPONSES):
        assert (await app.post({"model": "other", "stream": True} | ASKED[path], path=path)).status == 502
    for _ in range(2):
        assert text_of(events_of((await _streamed(app, CHAT, "odd")).body)) == "fine"


async def test_without_a_stream_it_passes_byte_for_byte(app: App) -> None:
    assert (await app.post({"model": "openai"} | ASKED[CHAT])).body == completion()
