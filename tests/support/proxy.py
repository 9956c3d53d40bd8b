"""A TCP proxy that misbehaves on order: it stalls, delays, or cuts after so many bytes in either direction."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tests.support.net import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Proxy:
    """Between clients and `target_port`. What is set holds for open and new connections."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.accepted = 0
        self.delay_s = 0.0
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._left: dict[str, int | None] = {"up": None, "down": None}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self._flows.set()
        self.cut()
        await self._server.wait_closed()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self) -> None:
        """Bytes that come in stay here; connections are accepted."""
        self._flows.clear()

    def flow(self) -> None:
        """Undo everything."""
        self._left = {"up": None, "down": None}
        self._refuses = False
        self.delay_s = 0.0
        self._flows.set()

    def cut(self) -> None:
        """Reset all connections now."""
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset all connections, now and as soon as they come."""
        self._refuses = True
        self.cut()

    def cut_after(self, direction: str, count: int) -> None:
        """`up` (to the server) or `down`: pass that many bytes on, in all, then reset the connection, once."""
        self._left[direction] = count

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refuses:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        pumps = (self._pump("up", reader, up_writer), self._pump("down", up_reader, writer))
        with contextlib.suppress(OSError):
            await asyncio.gather(*pumps)
        self._writers -= pair

    async def _pump(self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                left = self._left[direction]
                if left is not None and len(data) >= left:
                    self._left[direction] = None
                    writer.write(data[:left])
                    await writer.drain()
                    await asyncio.sleep(0.01)  # what was let through has to arrive before the reset overtakes it
                    self.cut()
                    return
                if left is not None:
                    self._left[direction] = left - len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def running_proxy(target_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target_port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
