"""The gateway's app in this process, driven through ASGI: what needs no sockets in front and no second process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette

from tests.support.asgi import Client, Lifespan, Response, http_scope
from tests.support.client import CHAT, chat_body, checked_error, checked_messages_error
from tests.support.gateway import KEY, KEYS, MASTER_KEY
from tests.support.grammar.watch import Watch
from tollhouse.config.loader import load_mapping
from tollhouse.config.settings import Settings
from tollhouse.gateway import create_app

ADMIN_KEY = "sk-admin-of-the-tests"
Headers = Iterable[tuple[bytes, bytes]]


@dataclass
class App:
    """A started app. Every answer is checked for what all of them must have."""

    asgi: Starlette
    lines: list[bytes] = field(default_factory=list)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The access log."""
        return [orjson.loads(line) for line in self.lines]

    def client(
        self, path: str, *, method: str = "POST", key: str | None = KEY, headers: Headers = (), body: Any = b""
    ) -> Client:
        """A request that is not sent yet; `body` is bytes, chunks of bytes, or a value that is sent as JSON."""
        given = list(headers)
        if key is not None:
            given.append((b"authorization", b"Bearer " + key.encode()))
        if isinstance(body, dict):
            body = orjson.dumps(body)
        return Client(
            self.asgi, http_scope(path, method=method, headers=given), [body] if type(body) is bytes else body
        )

    async def send(
        self, path: str, *, method: str = "GET", key: str | None = KEY, headers: Headers = (), body: Any = b""
    ) -> Response:
        client = self.client(path, method=method, key=key, headers=headers, body=body)
        return checked(await client.run(), path, body)

    async def post(self, body: Any, *, path: str = CHAT, key: str | None = KEY, headers: Headers = ()) -> Response:
        return await self.send(path, method="POST", key=key, headers=headers, body=body)

    async def chat(
        self, model: str, *, stream: bool = False, key: str | None = KEY, headers: Headers = (), **more: Any
    ) -> Response:
        return await self.post(chat_body(model, stream=stream, **more), key=key, headers=headers)

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of this name that have these labels."""
        total = 0.0
        for line in (await self.send("/metrics")).body.decode().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
                total += float(value)
        return total


def checked(response: Response, path: str, body: Any = b"") -> Response:
    """Complete, with one request id, an error in the shape of its route, a stream in its dialect's grammar."""
    assert response.complete, response
    assert response.header("x-request-id"), (path, response)
    if response.status >= 400 and "ready" not in path and "readiness" not in path:
        assert response.header("content-type") == "application/json", response
        if path.startswith("/v1/messages"):
            checked_messages_error(response.body)
        else:
            checked_error(response.body)
    sent = orjson.dumps(body) if isinstance(body, dict) else body if isinstance(body, bytes) else b""
    watch = Watch(path, sent, response.status, {name.decode(): value.decode() for name, value in response.headers})
    watch.feed(response.body)
    watch.close(complete=True)
    return response


def settings(folder: Path, **sections: Any) -> Settings:
    """Two keys, a master key, an admin key and the built-in model, plus whatever sections are given."""
    general = {"master_key": MASTER_KEY, "admin_key": ADMIN_KEY}
    given = {"keys": KEYS, "general_settings": general} | sections
    return load_mapping(given, {"LLM_GATEWAY_STATE_DIR": str(folder / "state")})


@contextlib.asynccontextmanager
async def running_app(folder: Path, **sections: Any) -> AsyncIterator[App]:
    """The app between its start and its end."""
    lines: list[bytes] = []
    asgi = create_app(settings(folder, **sections), write_log=lines.append)
    async with Lifespan(asgi):
        yield App(asgi, lines)
    await asyncio.sleep(0)  # connections that were closed at the end need a turn of the loop for it
