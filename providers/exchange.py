"""One small request and its whole answer: to where credentials come from, or receipts go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse._native import FAULT, ResponseReader
from tollhouse.providers.call import SETTLED, Call
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import StaleConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tollhouse.providers.transport import Origin

FORM = ("content-type", "application/x-www-form-urlencoded")
_MOST = 64 * 1024
_TIMEOUTS = Timeouts(connect_s=2.0, first_event_s=10.0, idle_s=10.0, total_s=15.0, keepalive_s=0.0)


async def exchanged(
    origin: Origin,
    method: str,
    path: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    timeouts: Timeouts = _TIMEOUTS,
) -> tuple[int, bytes]:
    """Status and body; asked once more where a kept connection had gone. Raises UpstreamError."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    length = f"content-length: {len(body)}\r\n" if method != "GET" else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {origin.authority}\r\naccept-encoding: identity\r\n{lines}{length}\r\n"
    ).encode("ascii")
    for is_last in (False, True):
        call = Call(ResponseReader("raw", max_body=_MOST), timeouts)
        try:
            opening = origin.start(call, head, body, stream=False)
            if opening is not None:
                await opening
            await call.wait(SETTLED, asyncio.get_running_loop())
        finally:
            call.close()
        if not call.flags & FAULT:
            break
        error = call.cause()
        if is_last or not isinstance(error, StaleConnection):
            raise error
    return call.reader.status, call.take()
