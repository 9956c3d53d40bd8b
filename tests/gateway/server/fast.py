"""Gateways whose plain requests go in few calls, and upstreams that answer those."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from tests.gateway.server.raw import Client, Response, Running, until
from tests.support import hostile
from tests.support.app import settings
from tests.support.chunks import DONE, completion, delta, finish
from tests.support.gateway import KEY
from tests.support.upstream import Peer
from tollhouse.gateway import create_app
from tollhouse.gateway.server.server import HttpServer
from tollhouse.middlewares.stores.ledger import LedgerFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RANDOM = re.compile(rb"req_[0-9a-f]{32}")
OTHER_KEY = "sk-th-otherotherot-" + "o" * 48
PRICES = {"openai/*": {"input": 1, "output": 2}}
HIS, HERS = "kim.doe@example.com", "pat@example.org"
TOKEN = "ghp_" + "x7Kq2mZr9TfV4bNc8WsY1dLh6PgJ3aRe5UoB"


async def _third(peer: Peer) -> None:
    """`third@name@argument`: good answers to a model's first two requests, and `name`'s to those that follow."""
    if len(peer.log.of(peer.seen.model)) < 3:
        await hostile.fine(peer)
        return
    name, _, peer.argument = peer.argument.partition("@")
    await SCRIPTS[name](peer)


async def _unasked(peer: Peer) -> None:
    """A stream, whatever was asked for."""
    await peer.stream_head()
    await peer.chunk(delta("x"))
    await peer.chunk(finish() + DONE)
    await peer.end()


async def _unpaid(peer: Peer) -> None:
    """A good answer that says nothing of its tokens."""
    answer = orjson.loads(completion())
    del answer["usage"]
    await peer.answer(orjson.dumps(answer))


async def _unwritten(peer: Peer) -> None:
    """A good answer that says it has no tokens."""
    answer = orjson.loads(completion("something all the same"))
    answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}
    await peer.answer(orjson.dumps(answer))


async def _dear(peer: Peer) -> None:
    """A good answer, with far more tokens than were asked for."""
    answer = orjson.loads(completion())
    answer["usage"] = {"prompt_tokens": 10, "completion_tokens": 90_000, "total_tokens": 90_010}
    await peer.answer(orjson.dumps(answer))


async def _created(peer: Peer) -> None:
    await peer.answer(completion(), status="201 Created")


async def _talkative(peer: Peer) -> None:
    """A good answer with headers that are not passed on, and some that are."""
    await peer.answer(completion(), "openai-processing-ms: 7", "set-cookie: a=b", "x-request-id: theirs")


async def _echo(peer: Peer) -> None:
    """What was said last."""
    await peer.answer(completion(peer.seen.json["messages"][-1]["content"]))


async def _personal(peer: Peer) -> None:
    await peer.answer(completion(f"{peer.seen.json['messages'][-1]['content']} or {HERS}, not {HIS}"))


async def _secretive(peer: Peer) -> None:
    await peer.answer(completion(f"use {TOKEN}"))


OWN = {
    "echo": _echo,
    "personal": _personal,
    "secretive": _secretive,
    "unasked": _unasked,
    "unpaid": _unpaid,
    "unwritten": _unwritten,
    "dear": _dear,
    "created": _created,
    "talkative": _talkative,
}
SCRIPTS = hostile.SCRIPTS | OWN | {"third": _third}


class Gateway:
    """On a server of its own. `lines`: the access log."""

    def __init__(self, running: Running, app: Any, lines: list[bytes], folder: Path) -> None:
        self.running = running
        self.app = app
        self.lines = lines
        self.folder = folder

    async def ask(self, body: dict[str, Any], **headers: str) -> Response:
        return await self.running.ask(request(body, **headers))

    async def learn(self, name: str) -> None:
        """The first may have to open a connection, and the second shows the way to those that follow."""
        for _ in range(2):
            assert (await self.ask(chat(name))).status == 200

    async def metrics(self) -> list[str]:
        """What counts, but not how long it took."""
        head = f"GET /metrics HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()
        text = (await self.running.ask(head)).body.decode()
        is_time = re.compile(r"_bucket\{|_sum\{|^#|process_|python_|/metrics")
        lines = (line.rpartition(" ") for line in text.splitlines() if not is_time.search(line))
        return sorted(f"{sample} {float(value):.9f}" for sample, _, value in lines)


@asynccontextmanager
async def gateway(folder: Path, *, is_fast: bool = True, **sections: Any) -> AsyncIterator[Gateway]:
    folder.mkdir(exist_ok=True)
    lines: list[bytes] = []
    app = create_app(settings(folder, **sections), write_log=lines.append)
    sock = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(app, sock)
    running = Running(server, sock.getsockname()[1], asyncio.create_task(server.serve()))
    await until(lambda: app.state.started.is_set() and server.direct is not None)
    assert server.fast is not None
    if not is_fast:
        server.fast = None
    try:
        yield Gateway(running, app, lines, folder)
    finally:
        for client in running.clients:
            client.close()
        server.finish()
        await asyncio.wait({running.task}, timeout=5)


def request(body: dict[str, Any], *, path: str = "/v1/chat/completions", key: str = KEY, **headers: str) -> bytes:
    data = orjson.dumps(body)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\ncontent-length: {len(data)}\r\n{more}\r\n"
    )
    return head.encode() + data


async def hanging(running: Gateway, number: int) -> list[Client]:
    """Once the ways to both models are known: so many clients whose answers do not come."""
    await running.learn("fine")
    await running.learn("third@hang")
    clients = [await running.running.connect() for _ in range(number)]
    for index, client in enumerate(clients):
        client.send(request(chat("third@hang")))
        await until(lambda n=index + 1: running.app.state.lifecycle.in_flight == n)
    return clients


async def served_again(running: Gateway, clients: list[Client]) -> None:
    for client in clients:
        client.reset()
    await until(lambda: not running.app.state.lifecycle.in_flight)
    assert (await running.ask(chat("fine"))).status == 200


def chat(name: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": "hi"}], **more}


def ledger(folder: Path) -> list[dict[str, Any]]:
    """Once the gateway has ended: its records by request, without those columns that differ each time."""
    file = LedgerFile(folder / "state" / "ledger.db")
    rows = file.records(10_000)
    file.close()
    kept = [{name: value for name, value in row.items() if name not in {"at_ms", "hold", "seq", "id"}} for row in rows]
    for row in kept:
        row["request"] = RANDOM.sub(b"", row["request"].encode())
    return sorted(kept, key=lambda row: (row["request"], row["model"], row["status"]))
