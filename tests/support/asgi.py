"""Drives ASGI apps through queues, as a server does: streams stay streams, and a disconnect is a message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

Message = dict[str, Any]


def http_scope(
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = (),
    host: bytes | None = b"gateway.test",
) -> Message:
    """A scope as Granian makes it; `host` None leaves the header out."""
    given = list(headers)
    if host is not None:
        given.insert(0, (b"host", host))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.partition("?")[0].encode(),
        "query_string": path.partition("?")[2].encode(),
        "root_path": "",
        "headers": given,
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 50000),
        "state": {},
    }


@dataclass
class Response:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        """The only value of a header; None when absent."""
        found = [value.decode() for key, value in self.headers if key.lower() == name.encode()]
        assert len(found) <= 1, f"{name} is repeated: {found}"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Client:
    """One request to an app, message by message."""

    def __init__(self, app: Any, scope: Message, body: Iterable[bytes] = (b"",), *, ends: bool = True) -> None:
        self._app = app
        self.scope = scope
        self.response = Response()
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.received = asyncio.Event()
        chunks = list(body)
        for i, chunk in enumerate(chunks):
            more = not ends or i + 1 < len(chunks)
            self._inbox.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    def disconnect(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Message) -> None:
        response = self.response
        if message["type"] == "http.response.start":
            assert not response.status, "a response starts once"
            response.status = message["status"]
            response.headers = list(message.get("headers", ()))
        else:
            assert response.status, "a body needs a start"
            assert not response.complete, "nothing comes after the end"
            if message.get("body"):
                response.chunks.append(bytes(message["body"]))
            response.complete = not message.get("more_body", False)
        self.received.set()

    async def run(self) -> Response:
        await self._app(self.scope, self._inbox.get, self._send)
        return self.response


async def request(
    app: Any,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes | Iterable[bytes] = b"",
    host: bytes | None = b"gateway.test",
) -> Response:
    """A whole request and its whole response."""
    chunks = [body] if isinstance(body, bytes) else body
    return await Client(app, http_scope(path, method=method, headers=headers, host=host), chunks).run()


class Lifespan:
    """`async with Lifespan(app):` runs the app's startup and shutdown around a block."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        scope: Message = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._task = asyncio.create_task(self._app(scope, self._inbox.get, self._outbox.put))
        await self._step("lifespan.startup")

    async def __aexit__(self, *_: object) -> None:
        await self._step("lifespan.shutdown")
        assert self._task is not None
        await self._task

    async def _step(self, name: str) -> None:
        await self._inbox.put({"type": name})
        answer = await asyncio.wait_for(self._outbox.get(), 10)
        assert answer["type"] == f"{name}.complete", answer
