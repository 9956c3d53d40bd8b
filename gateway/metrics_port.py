"""Metrics on an address of their own, for scrapers that are not to reach anything else."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

READ_S = 5.0
MOST = 16 * 1024  # bytes of a request's head
logger = logging.getLogger("tollhouse.gateway")


class MetricsPort:
    """Answers `GET /metrics` and closes. All workers share the port, and any of them tells of all."""

    def __init__(self, address: tuple[str, int], registry: Callable[[], CollectorRegistry]) -> None:
        self._address = address
        self._registry = registry
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """An address that cannot be had is logged: metrics are at /metrics, too."""
        host, port = self._address
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MOST, reuse_port=True)
        except OSError as error:
            logger.warning("metrics cannot be served at %s:%d: %s", host, port, error.strerror or type(error).__name__)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.partition(b"\r\n")[0]))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        method, _, rest = line.partition(b" ")
        if method != b"GET" or rest.partition(b" ")[0].partition(b"?")[0] != b"/metrics":
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        body = await asyncio.get_running_loop().run_in_executor(None, lambda: generate_latest(self._registry()))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {CONTENT_TYPE_LATEST}\r\ncontent-length: {len(body)}\r\n"
        return head.encode() + b"connection: close\r\n\r\n" + body
