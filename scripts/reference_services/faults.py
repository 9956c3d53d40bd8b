"""What a service does instead of answering, as its control says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Mode = Literal["ok", "hang", "slow", "error", "garbage", "lie", "cut", "mute"]
MODES: tuple[str, ...] = get_args(Mode)


@dataclass
class Control:
    """hang: no answer. slow: one after delay_s. error: 500. garbage: no JSON. lie: JSON of another shape. cut: half an
    answer. mute: the work is done, and nobody is told.

    Health is answered as ever, unless covers_health is set.
    """

    mode: str = "ok"
    delay_s: float = 0.2
    covers_health: bool = False
    requests: int = 0


class Faulty:
    """An app that does what its control says."""

    def __init__(self, app: ASGIApp, control: Callable[[], Control]) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        control = self._control()
        if scope["type"] != "http" or (scope["path"].endswith("/health") and not control.covers_health):
            await self._app(scope, receive, send)
            return
        control.requests += 1
        if control.mode == "hang":
            await _until_gone(receive)
        elif control.mode == "mute":
            await self._app(scope, receive, _nobody)
            await _until_gone(receive)
        elif control.mode == "cut":
            headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"active": tr', "more_body": True})
            await _until_gone(receive, 0.05)
        elif control.mode in {"error", "garbage", "lie"}:
            await _WRONG[control.mode]()(scope, receive, send)
        else:
            if control.mode == "slow":
                await asyncio.sleep(control.delay_s)
            await self._app(scope, receive, send)


_WRONG: dict[str, Callable[[], Response]] = {
    "error": lambda: JSONResponse({"error": "on purpose"}, status_code=500),
    "garbage": lambda: Response(b'{"active": true, "allo', media_type="application/json"),
    "lie": lambda: JSONResponse({"active": "yes", "tenant": "someone-else", "allowed": 1, "accepted": -1}),
}


async def _nobody(message: Message) -> None:
    """Takes an answer that is sent to nobody."""


async def _until_gone(receive: Receive, timeout_s: float = 30.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
