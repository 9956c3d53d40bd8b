"""Steady load over kept-alive connections by a client that keeps to RFC 9112, counting what goes wrong."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.chunks import DONE
from tests.support.client import chat_body, request_bytes
from tests.support.net import LOOPBACK

if TYPE_CHECKING:
    from tests.support.gateway import Gateway


@dataclass
class Tally:
    """`stale`: a kept-alive connection that was closed, unannounced, before the first byte of an answer."""

    whole: int = 0
    streamed: int = 0
    connections: int = 0
    refused: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Load:
    """`connections` callers; every other one asks for streams. Each asks again as soon as it has its answer."""

    def __init__(self, gateway: Gateway, *, connections: int, whole: str, streamed: str) -> None:
        self._gateway = gateway
        self._count = connections
        self._bodies = (chat_body(whole), chat_body(streamed, stream=True))
        self.tally = Tally()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Tally:
        self._tasks = [asyncio.create_task(self._call(number % 2 == 1)) for number in range(self._count)]
        return self.tally

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _call(self, is_stream: bool) -> None:
        data = request_bytes(self._gateway, self._bodies[is_stream])
        while not self._stop.is_set():
            try:
                reader, writer = await asyncio.open_connection(LOOPBACK, self._gateway.port)
            except OSError as error:
                self.tally.refused.append(repr(error))
                await asyncio.sleep(0.01)
                continue
            self.tally.connections += 1
            await self._use(reader, writer, data, is_stream=is_stream)
            writer.close()

    async def _use(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, *, is_stream: bool
    ) -> None:
        """Ask over one connection until one side wants to close it."""
        is_first = True
        while not self._stop.is_set():
            head = b""
            try:
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                keep = await self._answer(reader, head.lower(), is_stream=is_stream)
            except (OSError, asyncio.IncompleteReadError) as error:
                partial = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
                is_stale = not head and not partial and not is_first
                (self.tally.stale if is_stale else self.tally.broken).append(f"{error!r} after {head!r}")
                return
            if not keep:
                return
            is_first = False

    async def _answer(self, reader: asyncio.StreamReader, head: bytes, *, is_stream: bool) -> bool:
        """Read and judge one answer; whether the connection may be used again."""
        body = b""
        if b"transfer-encoding: chunked" in head:
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        is_good = head.startswith(b"http/1.1 200") and (body.endswith(DONE) if is_stream else b'"choices"' in body)
        if not is_good:
            self.tally.broken.append(f"{head!r} {body[-300:]!r}")
        elif is_stream:
            self.tally.streamed += 1
        else:
            self.tally.whole += 1
        return b"connection: close" not in head
