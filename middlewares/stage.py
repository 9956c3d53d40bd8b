"""A middleware is a stage (its core, free of ASGI) and a shell that fits any ASGI app.

The gateway runs a list of stages itself (gateway/chain.py); alone, each is wrapped in the shell below.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.exchange import Exchange, exchange_for

if TYPE_CHECKING:
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send


class Stage:
    """What a middleware does before and after a request."""

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Decide on a request; raises Refusal to end it. An awaitable is awaited before the next stage."""

    def leave(self, exchange: Exchange) -> None:
        """The response has ended, however it did. Called for every stage that was entered. Must not raise."""


class StageMiddleware:
    """Pure ASGI shell around one stage. Scope types other than "http" pass through."""

    def __init__(self, app: ASGIApp, stage: Stage) -> None:
        self.app = app
        self.stage = stage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, send = exchange_for(scope, receive, send)
        try:
            pending = self.stage.enter(exchange)
            if pending is not None:
                await pending
        except Refusal as refusal:
            await exchange.refuse(refusal, send)
        else:
            # A stage that has read the body leaves a `receive` that replays it.
            await self.app(scope, exchange.receive, send)
        finally:
            self.stage.leave(exchange)
