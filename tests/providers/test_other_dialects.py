"""What requests to providers with dialects of their own look like on the wire: paths, credentials, nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.providers.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock
from tests.support.providers.server import Answer, Asked, Provider, as_json
from tollhouse._native import END, FAULT, RequestView
from tollhouse.providers.ask import Ask
from tollhouse.providers.aws import AwsKeys
from tollhouse.providers.errors import UpstreamCannot
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.gemini import model_path
from tollhouse.providers.identities import AwsAccess
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.providers.router import Upstream

KEY = "the-key-of-the-deployment"
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    "messages": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]},
    "responses": {"model": "m", "input": "hello"},
    "completions": {"model": "m", "prompt": "hello"},
    "embeddings": {"model": "m", "input": "hello"},
}


class _Listening(Provider):
    """Answers everything with an error, which nobody translates."""

    def answer(self, asked: Asked) -> Answer:
        return as_json({"error": {"message": "no"}}, 400)


@pytest.fixture
def server() -> Iterator[_Listening]:
    with _Listening() as listening:
        yield listening


async def _ask(upstream: Upstream, model: str = "m", kind: str = "chat", *, stream: bool = False) -> None:
    view = RequestView.parse(orjson.dumps(BODIES[kind] | {"stream": stream}), kind)
    headers = {b"traceparent": b"00-a", b"cookie": b"c", b"openai-beta": b"b", b"authorization": b"Bearer caller"}
    call = upstream.start(Ask(kind=kind, view=view, model=model, stream=stream, request_id="r-1", headers=headers))
    if call.opening is not None:
        await call.opening
    assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
    assert call.reader.status
    upstream.origin.close()  # type: ignore[attr-defined] # of all but the built-in model


def _made(provider: str, base: str, **options: Any) -> Upstream:
    return UpstreamFactory().make(provider, api_base=base, timeouts=Timeouts(), **options)


async def test_gemini_has_its_key_in_a_header_of_its_own(server):
    upstream = _made("gemini", f"{server.url}/v1beta", api_key=KEY)
    for kind in ("chat", "messages", "responses"):
        await _ask(upstream, "gemini-2.5-pro", kind)
        assert server.last.path == "/v1beta/models/gemini-2.5-pro:generateContent"
    await _ask(upstream, "gemini-2.5-pro", stream=True)
    assert server.last.path == "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    headers = server.last.headers
    assert headers.pop("user-agent").startswith("tollhouse")
    assert headers == {
        "host": server.url.removeprefix("http://"),
        "x-goog-api-key": KEY,
        "accept-encoding": "identity",
        "content-type": "application/json",
        "x-request-id": "r-1",
        "traceparent": "00-a",
        "content-length": str(len(server.last.body)),
    }
    assert server.last.json == {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


async def test_embeddings_of_gemini_go_to_its_openai_dialect_with_one_key(server):
    await _ask(_made("gemini", f"{server.url}/v1beta", api_key=KEY), "gemini-embedding-001", "embeddings")
    assert server.last.path == "/v1beta/openai/embeddings"
    assert server.last.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in server.last.headers
    assert server.last.json["model"] == "gemini-embedding-001"


async def test_vertex_takes_an_access_token(server):
    base = f"{server.url}/v1/projects/p/locations/l/publishers/google"
    upstream = _made("vertex_ai", base, api_key=KEY, bearer=True)
    await _ask(upstream, "gemini-2.5-pro")
    assert server.last.path == "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent"
    assert server.last.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in server.last.headers


def test_a_base_of_googles_openai_dialect_is_spoken_to_in_that():
    assert "OpenAIUpstream" in repr(_made("gemini", "https://x.example/v1beta/openai", api_key=KEY))
    assert "OpenAIUpstream" in repr(_made("ollama", "http://x.example/v1"))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("../../v1/admin", "models/..%2F..%2Fv1%2Fadmin"),
        ("tunedModels/../x", "tunedModels/..%2Fx"),
        ("a?key=b#c", "models/a%3Fkey%3Db%23c"),
        ("a\r\nx: y", "models/a%0D%0Ax%3A%20y"),
        ("w\u00f6rld", "models/w%C3%B6rld"),
    ],
)
def test_a_model_is_one_step_of_a_path_whatever_it_is_called(model, path):
    assert model_path(model) == path


@pytest.mark.parametrize("token", [None, "a/session+token=="])
async def test_bedrock_is_signed_as_the_manual_says(token):
    keys = AwsAccess(AwsKeys(ACCESS_KEY, SECRET_KEY, token), REGION)
    with Bedrock(token=token) as server:
        upstream = _made("bedrock", server.url, aws=keys)
        for model in ("anthropic.claude-3-haiku-20240307-v1:0", "arn:aws:bedrock:eu-west-1:1:inference-profile/a.b"):
            for stream in (False, True):
                view = RequestView.parse(orjson.dumps(BODIES["chat"]), "chat")
                call = upstream.start(Ask(kind="chat", view=view, model=model, stream=stream, request_id="r-1"))
                if call.opening is not None:
                    await call.opening
                assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
                assert call.reader.status == 200, call.take()
                assert server.model(server.last) == model
                assert call.hidden == (token or "").encode()
        upstream.origin.close()  # type: ignore[attr-defined]
        assert SECRET_KEY not in repr(keys)
        assert token is None or token not in repr(keys)


async def test_bedrock_takes_a_bearer_token(server):
    keys = AwsAccess(AwsKeys(ACCESS_KEY, SECRET_KEY), REGION)
    await _ask(_made("bedrock", server.url, api_key=KEY, aws=keys), "amazon.nova-pro-v1:0")
    assert server.last.path == "/model/amazon.nova-pro-v1%3A0/converse"
    assert server.last.headers["authorization"] == f"Bearer {KEY}"
    assert "x-amz-date" not in server.last.headers


async def test_ollama_is_asked_in_its_own_dialect_and_for_the_rest_in_openais(server):
    upstream = _made("ollama", server.url)
    await _ask(upstream, "llama3.2")
    assert server.last.path == "/api/chat"
    assert server.last.json["stream"] is False
    assert "authorization" not in server.last.headers
    for kind in ("completions", "embeddings"):
        await _ask(upstream, "m", kind)
        assert server.last.path == f"/v1/{kind}"
        assert server.last.json == BODIES[kind] | {"stream": False}
    await _ask(_made("ollama", f"{server.url}/behind", api_key=KEY), "llama3.2")
    assert server.last.path == "/behind/api/chat"
    assert server.last.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("chat", "chat/completions"),
        ("messages", "chat/completions"),
        ("responses", "chat/completions"),
        ("completions", "completions"),
        ("embeddings", "embeddings"),
    ],
)
async def test_classic_azure_has_a_path_per_deployment(server, kind, path):
    upstream = _made("azure", f"{server.url}/openai", api_key=KEY, api_version="2024-10-21")
    await _ask(upstream, "my gpt/4", kind)
    assert server.last.path == f"/openai/deployments/my%20gpt%2F4/{path}?api-version=2024-10-21"
    assert server.last.headers["api-key"] == KEY
    assert "authorization" not in server.last.headers


async def test_classic_azure_takes_a_token_of_entra(server):
    await _ask(_made("azure", f"{server.url}/openai", api_key=KEY, api_version="2024-10-21", bearer=True), "gpt")
    assert server.last.headers["authorization"] == f"Bearer {KEY}"
    assert "api-key" not in server.last.headers


@pytest.mark.parametrize("provider", ["gemini", "bedrock", "ollama"])
async def test_what_cannot_be_told_is_refused_and_named(provider):
    upstream = _made(provider, "http://127.0.0.1:1")
    unanswered = {
        "role": "assistant",
        "tool_calls": [{"id": "call_7", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = orjson.dumps({"model": "m", "messages": [unanswered]})
    with pytest.raises(UpstreamCannot, match="call_7") as caught:
        upstream.start(Ask(kind="chat", view=RequestView.parse(body, "chat"), model="m"))
    assert caught.value.param == "messages"
