"""`python -m bench.transports`: CPU of upstream clients alone, over TCP and TLS, on the same loop and the same mock.

What is measured is this process: 32 coroutines that send a chat of 1 KB and read the whole answer, or one stream of 64
chunks that come at once. aiohttp is installed beside the environment, for this comparison only.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from bench import environments, loads, targets
from bench.loads import body
from bench.processes import free_port
from bench.run import SCENARIOS
from tollhouse._native import END, FAULT, ResponseReader
from tollhouse.providers.call import SETTLED, Call
from tollhouse.providers.deadlines import Deadlines
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Ask = Callable[[bytes], Awaitable[int]]

AT_ONCE = 32
REQUESTS = 6_400
ROUNDS = 3
ALTERNATIVES = ["aiohttp==3.14.4", "httpx==0.28.1"]


@asynccontextmanager
async def own(port: int, tls: ssl.SSLContext | None) -> AsyncIterator[Ask]:
    origin = Origin(
        name="mock", host="localhost", port=port, tls=None if tls is None else lambda: tls, deadlines=Deadlines()
    )

    async def ask(content: bytes) -> int:
        call = Call(ResponseReader("chat"), Timeouts())
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(content)
        opening = origin.start(call, head, content, stream=False)
        if opening is not None:
            await opening
        await call.wait(SETTLED, asyncio.get_running_loop())
        assert call.flags & END, call.cause() if call.flags & FAULT else "?"
        return len(call.take())

    yield ask
    origin.close()


@asynccontextmanager
async def aiohttp(port: int, tls: ssl.SSLContext | None) -> AsyncIterator[Ask]:
    import aiohttp  # noqa: PLC0415 - an alternative, not a dependency

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=tls or False))
    url = f"http{'s' if tls else ''}://localhost:{port}/v1/chat/completions"

    async def ask(content: bytes) -> int:
        async with session.post(url, data=content) as response:
            return len(await response.read())

    async with session:
        yield ask


@asynccontextmanager
async def httpx(port: int, tls: ssl.SSLContext | None) -> AsyncIterator[Ask]:
    import httpx  # noqa: PLC0415 - an alternative, not a dependency

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx.AsyncClient(verify=tls or False, limits=limits)
    url = f"http{'s' if tls else ''}://localhost:{port}/v1/chat/completions"

    async def ask(content: bytes) -> int:
        return len((await client.post(url, content=content)).content)

    async with client:
        yield ask


async def measure(ask: Ask, content: bytes, requests: int) -> float:
    """CPU in microseconds per request, connections warm."""

    async def some(count: int) -> None:
        for _ in range(count):
            assert await ask(content) > 0

    await asyncio.gather(*(some(5) for _ in range(AT_ONCE)))
    started = time.process_time()
    await asyncio.gather(*(some(requests // AT_ONCE) for _ in range(AT_ONCE)))
    return (time.process_time() - started) / requests * 1e6


async def compare(ports: dict[str, int], certificate: Path) -> dict[str, dict[str, float]]:
    trust = ssl.create_default_context(cafile=str(certificate))
    whole, stream = body(SCENARIOS[1]), body(next(s for s in SCENARIOS if s.unit == "stream"))
    found: dict[str, dict[str, list[float]]] = {}
    for make in (own, aiohttp, httpx):
        for wire, context in (("TCP", None), ("TLS", trust)):
            async with make(ports[wire], context) as ask:
                for kind, content, requests in (("request", whole, REQUESTS), ("stream", stream, REQUESTS // 4)):
                    cell = found.setdefault(make.__name__, {}).setdefault(f"{wire} {kind}", [])
                    cell += [await measure(ask, content, requests) for _ in range(ROUNDS)]
    return {name: {cell: statistics.median(all_) for cell, all_ in cells.items()} for name, cells in found.items()}


def table(found: dict[str, dict[str, Any]]) -> str:
    columns = list(next(iter(found.values())))
    lines = ["| CPU us | " + " | ".join(columns) + " |", "|---" + "|--:" * len(columns) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{cells[c]:.0f}" for c in columns) + " |" for name, cells in found.items()]
    return "\n".join(lines)


def main() -> None:
    alternatives = environments.target(targets.CACHE / "alternatives", ALTERNATIVES)
    sys.path.append(str(alternatives))
    loads.build()
    certificate, tls_port = targets.WORK / "mock.pem", free_port()
    with (
        loads.mock(targets.WORK, tls_port=tls_port, certificate=certificate) as mock,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        ports = {"TCP": mock.port, "TLS": tls_port}
        found = runner.run(compare(ports, certificate))
    (targets.WORK / "transports.json").write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
