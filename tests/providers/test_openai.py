"""What one deployment's requests look like on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping

import pytest

from tollhouse._native import END, FAULT, RequestView
from tollhouse.providers.ask import Ask
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import Origin

KEY = "sk-secret-of-the-deployment"


@contextlib.asynccontextmanager
async def _listening(host: str = "127.0.0.1"):
    """A server that answers each request with {}; yields its port and what it was sent."""
    got: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                got.append(head + await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)


def _upstream(port: int, *, host: str = "127.0.0.1", base_path: str = "/v1", **options) -> OpenAIUpstream:
    origin = Origin(name="openai", host=host, port=port, tls=None, deadlines=Deadlines())
    return OpenAIUpstream(origin=origin, base_path=base_path, timeouts=Timeouts(), **options)


BODIES = {
    "chat": b'{"model":"m","messages":[{"role":"user","content":"a"}]}',
    "completions": b'{"model":"m","prompt":"a"}',
    "embeddings": b'{"model":"m","input":"a"}',
    "responses": b'{"model":"m","input":"a"}',
}


async def _send(upstream: OpenAIUpstream, kind: str = "chat", *, headers: Mapping[bytes, bytes] | None = None) -> None:
    view = RequestView.parse(BODIES[kind], kind)
    call = upstream.start(Ask(kind=kind, view=view, model="m", request_id="r-1", headers=headers))
    if call.opening is not None:
        await call.opening
    assert await asyncio.wait_for(call.wait(END | FAULT, asyncio.get_running_loop()), 5)
    assert call.take() == b"{}"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("chat", "/v1/chat/completions"),
        ("completions", "/v1/completions"),
        ("embeddings", "/v1/embeddings"),
        ("responses", "/v1/responses"),
    ],
)
async def test_the_head_says_what_it_must_and_no_more(kind, path):
    async with _listening() as (port, got):
        upstream = _upstream(port, api_key=KEY)
        await _send(upstream, kind, headers={b"traceparent": b"00-a", b"cookie": b"c"})
        head, _, body = got[0].partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == f"POST {path} HTTP/1.1"
        fields = dict(line.split(": ", 1) for line in lines)
        assert len(fields) == len(lines)
        assert fields.pop("user-agent", "tollhouse").startswith("tollhouse")
        fields.pop("accept", None)
        assert fields == {
            "host": f"127.0.0.1:{port}",
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "accept-encoding": "identity",
            "x-request-id": "r-1",
            "traceparent": "00-a",
            "content-length": str(len(BODIES[kind])),
        }
        assert body == BODIES[kind]
        upstream.origin.close()


async def test_azure_has_a_header_and_a_query_of_its_own():
    async with _listening() as (port, got):
        upstream = _upstream(
            port, api_key=KEY, key_header="api-key", query="?api-version=preview", base_path="/openai/v1"
        )
        await _send(upstream)
        assert got[0].startswith(b"POST /openai/v1/chat/completions?api-version=preview HTTP/1.1\r\n")
        assert b"\r\napi-key: sk-secret-of-the-deployment\r\n" in got[0]
        assert b"authorization" not in got[0]
        upstream.origin.close()


async def test_without_a_key_no_credential_is_sent():
    async with _listening() as (port, got):
        upstream = _upstream(port)
        await _send(upstream)
        assert b"authorization" not in got[0]
        upstream.origin.close()


async def test_an_ipv6_host_is_bracketed():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with _listening("::1") as (port, got):
        upstream = _upstream(port, host="::1")
        await _send(upstream)
        assert f"\r\nhost: [::1]:{port}\r\n".encode() in got[0]
        upstream.origin.close()


@pytest.mark.parametrize("port", [80, 443])
def test_a_default_port_is_not_in_the_host_header(port):
    head = _upstream(port, host="api.example")._heads["chat"]
    assert b"\r\nhost: api.example\r\n" in head


@pytest.mark.parametrize("key", ["", " ", "sk-a\r\nx-evil: 1", "sk-ä", " sk", "sk\x00", "sk\n"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key):
    with pytest.raises(ValueError, match="no header can carry") as caught:
        _upstream(1, api_key=key)
    assert "evil" not in str(caught.value)


def test_a_repr_shows_where_and_not_with_what():
    shown = repr(_upstream(8000, api_key=KEY))
    assert shown == "OpenAIUpstream(openai, 127.0.0.1:8000)"
