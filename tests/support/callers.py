"""Concurrent callers of a gateway that may go away at any moment, and come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.support.client import chat_body, request_bytes
from tests.support.net import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gateway import Gateway

RETRY_S = 0.01
Asked = tuple[str, str, bool]  # key, model, stream


async def call(gateway: Gateway, model: str, *, key: str, stream: bool = False, max_tokens: int = 20) -> int:
    """One request on a connection of its own: the status, or 0 when the answer was cut short or none came."""
    body = chat_body(model, stream=stream, max_tokens=max_tokens)
    data = request_bytes(gateway, body, key=key, headers={"connection": "close"})
    writer = None
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, gateway.port)
        writer.write(data)
        answer = await reader.read()
    except OSError:
        return 0
    finally:
        if writer is not None:
            writer.close()
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


class Callers:
    """`count` of them ask again and again for what `next_request` says. `seen` counts statuses."""

    def __init__(self, gateway: Gateway, next_request: Callable[[], Asked], *, count: int) -> None:
        self._gateway = gateway
        self._next = next_request
        self._count = count
        self._stop = False
        self._tasks: list[asyncio.Task[None]] = []
        self.seen: Counter[int] = Counter()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _run(self) -> None:
        while not self._stop:
            key, model, stream = self._next()
            status = await call(self._gateway, model, key=key, stream=stream)
            self.seen[status] += 1
            if status != 200:
                await asyncio.sleep(RETRY_S)
