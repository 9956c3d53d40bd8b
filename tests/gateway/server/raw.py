"""A server on a real socket, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tollhouse.gateway.server.protocol import HttpConnection
from tollhouse.gateway.server.server import HttpServer

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
EVENTS = [(b"content-type", b"text/event-stream")]


def get(path: str, *, version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nhost: a\r\n\r\n".encode()


def post(body: bytes, *, path: str = "/") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known == name]
        assert len(values) < 2, self.headers
        return values[0] if values else None


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self, *, head_only: bool = False) -> Response:
        """The next response; IncompleteReadError when it is cut short."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        got = Response(int(first.split(" ")[1]), headers)
        if head_only or got.status < 200 or got.status in {204, 304}:
            return got
        length = got.header("content-length")
        if got.header("transfer-encoding") == "chunked":
            assert length is None
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                got.body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        elif length is not None:
            got.body = await self.reader.readexactly(int(length))
        else:
            got.body = await self.reader.read()
        return got

    async def rest(self) -> bytes:
        """Until the server closes."""
        return await self.reader.read()

    async def gone(self) -> bool:
        """The server closes without a word, or resets."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class Running:
    server: HttpServer
    port: int
    task: asyncio.Task[None]
    clients: list[Client] = field(default_factory=list)

    async def connect(self, *, receive_buffer: int | None = None) -> Client:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        # With the smallest of limits a client that does not ask stops reading soon.
        reader, writer = await asyncio.open_connection(sock=sock, limit=16384)
        client = Client(reader, writer)
        self.clients.append(client)
        return client

    async def answered(self) -> Client:
        """One whose connection has had an answer, and is kept."""
        client = await self.connect()
        client.send(GET)
        await client.response()
        return client

    async def ask(self, data: bytes) -> Response:
        """On a connection of its own."""
        client = await self.connect()
        client.send(data)
        return await client.response()


def with_lifespan(app, log: list[str] | None = None):
    async def wrapped(scope, receive, send):
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            if log is not None:
                log.append(step)
            await send({"type": f"lifespan.{step}.complete"})

    return wrapped


@asynccontextmanager
async def serving(app, *, log: list[str] | None = None, **options):
    sock = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(with_lifespan(app, log), sock, **{"tick_s": 0.01, **options})
    running = Running(server, sock.getsockname()[1], asyncio.create_task(server.serve()))
    try:
        await asyncio.sleep(0)
        yield running
    finally:
        for client in running.clients:
            client.close()
        if not running.task.done():
            server.abandon()
        await asyncio.wait({running.task}, timeout=30)


async def narrow(running: Running) -> tuple[Client, HttpConnection]:
    """A client and its connection, on which little fits that the client has not read."""
    others = set(running.server._connections)
    client = await running.connect(receive_buffer=4096)
    client.send(GET)
    await client.response()
    (connection,) = running.server._connections - others
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return client, connection


async def until(condition) -> None:
    """Wait for what happens in the same loop."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def ask_and_leave(client: Client, request: bytes, condition) -> None:
    """The client sends a request, and goes without a word as soon as the server has come so far."""
    client.send(request)
    await until(condition)
    client.reset()


async def start(send, headers=(), status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def piece(send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def answer(send, body: bytes = b"", *, status: int = 200, headers=()) -> None:
    await start(send, headers, status)
    await send({"type": "http.response.body", "body": body})  # more_body may be left out


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope, receive, send) -> None:
    await answer(send, scope["path"].encode() + b"|" + await body_of(receive))
