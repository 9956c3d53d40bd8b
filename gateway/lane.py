"""The lane: every HTTP request runs through the chain of stages here, then to its handler.

Hot routes are looked up by path and method and served at once; everything else goes on to Starlette's router. Both
have passed the same stages, so they behave alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tollhouse.gateway.errors import refusal_of
from tollhouse.gateway.lifecycle import CLOSE, Lifecycle
from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.exchange import GONE_CODE, SCOPE_KEY, Exchange, raised
from tollhouse.middlewares.quota_errors import RateLimited
from tollhouse.middlewares.stage import Stage
from tollhouse.providers.errors import UpstreamError

if TYPE_CHECKING:
    from tollhouse.gateway.fastpath import FastPath
    from tollhouse.gateway.shedding import Shed
    from tollhouse.middlewares.exchange import Connection
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Exchange], Awaitable[None]]
# Told that an exchange was answered; or what is to be awaited for that.
Ended = Callable[[Exchange, Awaitable[None] | None], None]
Starter = Callable[[Exchange, Ended], Awaitable[None] | None]
logger = logging.getLogger("tollhouse.gateway")


class Lane:
    """ASGI middleware that is the whole chain. `hot` maps a path to the kind of its body; all of them are POST.

    `start` is the handler of those whose server lets them be served without a task: it calls what it is given once it
    has answered, or returns what is to be awaited for that. `paths` are the routes that are their own template,
    `templates` has those of the other endpoints. `fast` is asked first where the server can, and `shed`
    before that while there is no time.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        stages: Sequence[Stage],
        hot: Mapping[str, str],
        handler: Handler,
        start: Starter,
        lifecycle: Lifecycle,
        paths: Collection[str],
        templates: Mapping[object, str],
        fast: FastPath | None = None,
        shed: Shed | None = None,
    ) -> None:
        self.app = app
        self._enter = tuple(stage.enter for stage in stages)
        # What to call once so many stages were entered, innermost first; most have nothing to do on the way back.
        leaving = [stage.leave for stage in stages if type(stage).leave is not Stage.leave]
        counts = [sum(type(one).leave is not Stage.leave for one in stages[:n]) for n in range(len(stages) + 1)]
        self._leave = [tuple(reversed(leaving[:count])) for count in counts]
        self._hot = hot
        self._handler = handler
        self._start = start
        self._lifecycle = lifecycle
        self._paths = paths
        self._templates = templates
        self.shed = shed
        self.fast = fast
        if fast is not None:
            fast.lane = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await self._walk(self.begun(scope, receive, send))

    def direct(self, scope: Scope, connection: Connection) -> Awaitable[None] | Literal[False] | None:
        """Serve a hot request in the present call and in those of its upstream's answer: no task, while nothing waits.

        Returns what is to be awaited instead as soon as anything has to be waited for, and False for other requests.
        """
        if scope["path"] not in self._hot or scope["method"] != "POST":
            return False
        exchange = self.begun(scope, connection.receive, connection.send)
        exchange.connection = connection
        if connection.waited_ns:
            exchange.started_ns -= connection.waited_ns
            exchange.upstream_ns = connection.waited_ns
        entered = 0
        try:
            for enter in self._enter:
                entered += 1
                pending = enter(exchange)
                if pending is not None:
                    return self._walk(exchange, entered, pending)
            pending = self._start(exchange, self.ended)
            if pending is None and self.fast is not None:
                self.fast.learn(exchange)
        except BaseException as error:  # noqa: BLE001 - of a panic as well, a task makes the best
            pending = raised(error)
        return None if pending is None else self._walk(exchange, entered, pending, is_handled=True)

    def begun(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
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
        return exchange

    async def _walk(
        self, exchange: Exchange, entered: int = 0, pending: Awaitable[None] | None = None, *, is_handled: bool = False
    ) -> None:
        """From after so many stages on, of which the last is still `pending`; is_handled: so is the handler."""
        try:
            if pending is not None:
                await pending
            if is_handled:
                return
            for enter in self._enter[entered:]:
                entered += 1
                pending = enter(exchange)
                if pending is not None:
                    await pending
            if exchange.kind is not None:
                await self._handler(exchange)
            else:
                scope = exchange.scope
                try:
                    await self.app(scope, exchange.receive, exchange.send)
                finally:
                    exchange.route = self._templates.get(scope.get("endpoint"), exchange.route)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            exchange.error_code = GONE_CODE
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the stages leave
            await self._refuse(error, exchange)
            # Its frames hold the request and the upstream's answer, and one of them holds the error.
            error.__traceback__ = error.__context__ = None
        finally:
            self._left(exchange, entered)

    async def _refuse(self, error: Exception, exchange: Exchange) -> None:
        if self.fast is not None and isinstance(error, RateLimited) and error.passes:
            self.fast.limit(exchange)
        refusal = _refusal(error, exchange)
        guard = exchange.answer_guard
        if guard is not None:  # a message may quote the name of a model, and a caller may name one by a secret
            refusal.message = guard.text(refusal.message)
        await exchange.refuse(refusal)

    def _left(self, exchange: Exchange, entered: int) -> None:
        self._lifecycle.in_flight -= 1
        for leave in self._leave[entered]:
            leave(exchange)
        del exchange.scope[SCOPE_KEY]  # scope and exchange name each other: free both now, not at some later collection

    def ended(self, exchange: Exchange, rest: Awaitable[None] | None) -> None:
        """What was started directly is over, or has a `rest` that is to be awaited."""
        connection = exchange.connection
        assert connection is not None
        if rest is not None:
            connection.carry(self._walk(exchange, len(self._enter), rest, is_handled=True))
            return
        try:
            self._left(exchange, len(self._enter))
        finally:
            connection.end()


def _refusal(error: Exception, exchange: Exchange) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UpstreamError):
        return refusal_of(error)
    # The message of an exception can quote a prompt; its type and place cannot.
    logger.error("unexpected %s in %s", type(error).__name__, exchange.route, exc_info=error)
    return Refusal("the gateway failed to handle this request", code="internal_error")
