"""Whole requests: through the app as any ASGI server runs it, and over sockets by the server and to an upstream.

Client, gateway and upstream share the loop; what the first and the last cost is little and always the same.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.gateways.entry import EVERYTHING, LIMITS, MODEL, PASS, Setup
from bench.gateways.tollhouse import config
from bench.hot import exchanges, texts
from bench.hot.piece import Piece
from tollhouse.config.loader import load_mapping
from tollhouse.gateway import create_app
from tollhouse.gateway.server.server import HttpServer

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from bench.hot.piece import Block, Prepare
    from tollhouse.middlewares.types import Message

HOST = "127.0.0.1"
LIMIT = 1 << 20
MODES = (PASS, LIMITS, EVERYTHING)
KINDS = ("whole", "stream")
# Everything that plain requests may have: no policy, no receipts.
SCANNED = "scanned"
# The same, of a key whose limit has refused it before.
REFUSED = "refused"
PASSED = 3  # requests; after two the way is known
RULES = [{"id": "everybody", "effect": "allow", "tenants": ["bench"]}]


def app(mode: str, folder: Path, upstream: int | None) -> Starlette:
    """The gateway in a mode, in front of a port, or of the built-in model."""
    file = config(Setup("hot", upstream or 9, folder, folder, EVERYTHING if mode in {SCANNED, REFUSED} else mode))
    if mode == REFUSED:
        file["keys"][0]["limits"] = {"rpm": PASSED}
    if upstream is None:
        file["model_list"] = [{"model_name": MODEL, "litellm_params": {"model": "tollhouse/echo"}}]
    if mode == EVERYTHING:
        policy = folder / "policy.yaml"
        policy.write_text(yaml.safe_dump({"policy": 1, "version": "v1", "rules": RULES}))
        file |= {"policy": {"file": str(policy), "require_signature": False}, "receipts": {}}
    if "scan" in file:
        file["scan"] = {**file["scan"], "pseudonym_key": "0" * 64}
    settings = load_mapping(file, {"LLM_GATEWAY_STATE_DIR": str(folder / "state")})
    lines: list[bytes] = []

    def write(line: bytes) -> None:
        lines[:] = [line]

    return create_app(settings, write_log=write if mode == EVERYTHING else None)


@asynccontextmanager
async def _through_app(mode: str, *, stream: bool) -> AsyncIterator[Prepare]:
    body = texts.body(stream=stream)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    with tempfile.TemporaryDirectory() as folder:
        gateway = app(mode, Path(folder), None)

        def prepare(units: int) -> Block:
            scopes = [exchanges.scope(body) for _ in range(units)]

            async def run() -> None:
                for scope in scopes:
                    await gateway(scope, receive, send)
                    assert sent[0]["status"] == 200
                    sent.clear()

            return run

        async with gateway.router.lifespan_context(gateway):
            yield prepare


class _Provider(asyncio.Protocol):
    """Answers every request that has come with the same bytes, written beforehand."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._seen = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self._seen = b""
            self.transport.write(self._answer)


class _Client(asyncio.Protocol):
    """Sends a request when the answer to the one before has come."""

    def __init__(self, status: int) -> None:
        self.transport: Any = None
        self._status = b"HTTP/1.1 %d" % status
        self._left = 0
        self._seen = b""
        self.done: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: bytes, times: int) -> asyncio.Future[None]:
        self._request, self._left = request, times
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not _is_complete(self._seen):
            return
        assert self._seen.startswith(self._status), self._seen[:200]
        self._seen = b""
        self._left -= 1
        if self._left:
            self.transport.write(self._request)
        else:
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:
            self.done.set_exception(exc or ConnectionResetError("the gateway closed the connection"))


def _is_complete(seen: bytes) -> bool:
    head, end, body = seen.partition(b"\r\n\r\n")
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    if not end:
        return False
    return len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")


@asynccontextmanager
async def _over_sockets(mode: str, *, stream: bool) -> AsyncIterator[Prepare]:
    loop = asyncio.get_running_loop()
    answer = texts.whole_stream(64) if stream else texts.whole_answer()
    request = exchanges.wire(texts.body(stream=stream))
    provider = await loop.create_server(lambda: _Provider(answer), HOST, 0)
    with tempfile.TemporaryDirectory() as folder, socket.create_server((HOST, 0)) as listening:
        gateway = app(mode, Path(folder), provider.sockets[0].getsockname()[1])
        server = HttpServer(gateway, listening)
        serving = loop.create_task(server.serve())
        await gateway.state.started.wait()
        if mode == REFUSED:
            _, first = await loop.create_connection(partial(_Client, 200), *listening.getsockname())
            await first.send(request, PASSED)
        status = 429 if mode == REFUSED else 200
        _, client = await loop.create_connection(partial(_Client, status), *listening.getsockname())

        def prepare(units: int) -> Block:
            return partial(client.send, request, units)

        yield prepare
        client.transport.close()
        server.finish()
        await serving
        provider.close()


PIECES: list[Piece] = [
    *(
        Piece(f"app: {mode}, {kind}", partial(_through_app, mode, stream=kind == "stream"), 5)
        for mode in MODES
        for kind in KINDS
    ),
    *(
        Piece(f"sockets: {mode}, {kind}", partial(_over_sockets, mode, stream=kind == "stream"), 2, blocks=8)
        for mode in MODES
        for kind in KINDS
    ),
    Piece(f"sockets: {SCANNED}, whole", partial(_over_sockets, SCANNED, stream=False), 2, blocks=8),
    Piece(f"sockets: {REFUSED}", partial(_over_sockets, REFUSED, stream=False), 2, blocks=8),
]
