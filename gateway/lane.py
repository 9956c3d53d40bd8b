"""The lane: every HTTP request runs through the chain of stages here, then to its handler.

Hot routes are looked up by path and method and served at once; everything else goes on to Starlette's router. Both
have passed the same stages, so they behave alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tollhouse.gateway.errors import refusal_of
from tollhouse.gateway.lifecycle import CLOSE, Lifecycle
from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.exchange import SCOPE_KEY, Exchange
from tollhouse.middlewares.stage import Stage
from tollhouse.providers.errors import UpstreamError

if TYPE_CHECKING:
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Exchange], Awaitable[None]]
logger = logging.getLogger("tollhouse.gateway")


class Lane:
    """ASGI middleware that is the whole chain. `hot` maps a path to the kind of its body; all of them are POST.

    `paths` are the routes that are their own template, `templates` has those of the other endpoints.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        stages: Sequence[Stage],
        hot: Mapping[str, str],
        handler: Handler,
        lifecycle: Lifecycle,
        paths: Collection[str],
        templates: Mapping[object, str],
    ) -> None:
        self.app = app
        self._enter = tuple(stage.enter for stage in stages)
        # What to call once so many stages were entered, innermost first; most have nothing to do on the way back.
        leaving = [stage.leave for stage in stages if type(stage).leave is not Stage.leave]
        counts = [sum(type(one).leave is not Stage.leave for one in stages[:n]) for n in range(len(stages) + 1)]
        self._leave = [tuple(reversed(leaving[:count])) for count in counts]
        self._hot = hot
        self._handler = handler
        self._lifecycle = lifecycle
        self._paths = paths
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901, PLR0912 - a script
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = scope[SCOPE_KEY] = Exchange(scope, receive, send)
        lifecycle = self._lifecycle
        lifecycle.in_flight += 1
        if lifecycle.draining:
            exchange.response_headers.append(CLOSE)
        path = scope["path"]
        if path in self._hot and scope["method"] == "POST":
            exchange.kind = self._hot[path]
            exchange.route = path
        elif path in self._paths:
            exchange.route = path
        entered = 0
        try:
            for enter in self._enter:
                entered += 1
                pending = enter(exchange)
                if pending is not None:
                    await pending
            if exchange.kind is not None:
                await self._handler(exchange)
            else:
                try:
                    await self.app(scope, exchange.receive, exchange.send)
                finally:
                    exchange.route = self._templates.get(scope.get("endpoint"), exchange.route)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            exchange.error_code = "client_disconnected"
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the stages leave
            await exchange.refuse(_refusal(error, exchange))
            # Its frames hold the request and the upstream's answer, and one of them holds the error.
            error.__traceback__ = error.__context__ = None
        finally:
            lifecycle.in_flight -= 1
            for leave in self._leave[entered]:
                leave(exchange)
            del scope[SCOPE_KEY]  # scope and exchange name each other: free both now, not at some later collection


def _refusal(error: Exception, exchange: Exchange) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UpstreamError):
        return refusal_of(error)
    # The message of an exception can quote a prompt; its type and place cannot.
    logger.error("unexpected %s in %s", type(error).__name__, exchange.route, exc_info=error)
    return Refusal("the gateway failed to handle this request", code="internal_error")
