"""Personal data, secrets and attacks: found in requests and in answers, and redacted, pseudonymised or refused.

The gateway runs the stage; `ScanMiddleware` does the same for any ASGI app, with bodies of any shape.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.exchange import Exchange, exchange_for, route_path
from tollhouse.middlewares.guard import DEFAULT, LONG, Count, Guard, Policy, Rules
from tollhouse.middlewares.scan_answer import Answering
from tollhouse.middlewares.scan_request import RequestReader
from tollhouse.middlewares.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping

    from tollhouse._native import RequestView
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send

__all__ = ["Guard", "ScanMiddleware", "ScanStage"]

KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
}


class ScanStage(Stage):
    """Scans exchanges whose body has been parsed; the answer is scanned by whoever sends it (`answer_guard`).

    guard: for exchanges that have been given none of their own.
    """

    def __init__(self, guard: Guard | None) -> None:
        self._guard = guard

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        view = exchange.view
        guard = exchange.guard or self._guard
        if view is None or guard is None:
            return None
        if len(view.body) > LONG:
            return _aside(guard, exchange, view)
        _replace(exchange, guard.check_view(exchange, view))
        return None

    def leave(self, exchange: Exchange) -> None:
        exchange.answer_guard = None


async def _aside(guard: Guard, exchange: Exchange, view: RequestView) -> None:
    loop = asyncio.get_running_loop()
    _replace(exchange, await loop.run_in_executor(None, guard.check_view, exchange, view))


def _replace(exchange: Exchange, view: RequestView) -> None:
    exchange.view = view
    exchange.body = view.body


class ScanMiddleware:
    """Scans the requests and answers of any ASGI app; fails closed.

    request, response: what is done, e.g. {"pii": "redact", "secrets": "block", "types": {"EMAIL_ADDRESS": "allow"}};
    None switches a direction off. What a policy does not name: pii redact, secrets redact, and injection block in
    requests, allow in answers. rules: as `tollhouse.Scanner` takes them.
    kinds: paths whose bodies are those of model APIs, with the API: "chat", "completions", "embeddings", "responses",
    "messages". All others may have any shape.
    unscanned: media types that pass as they are, e.g. {"image/*", "multipart/form-data"}. JSON, text, forms and event
    streams are scanned; everything else is refused (415, or 500 for an answer) unless it is named here.
    paths: only these and what is below them; by default all.
    count: told of every finding: type, "request" or "response", action, how many.

    Answers are held until they are complete, except event streams. WebSockets are not scanned.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        request: Policy | None = DEFAULT,
        response: Policy | None = DEFAULT,
        rules: Rules | None = None,
        kinds: Mapping[str, str] = KINDS,
        unscanned: Collection[str] = (),
        paths: Collection[str] | None = None,
        max_bytes: int = 10 * 1024 * 1024,
        max_answer_bytes: int = 64 * 1024 * 1024,
        pseudonym_key: str | bytes | None = None,
        count: Count | None = None,
    ) -> None:
        self.app = app
        self._guard = Guard(request=request, response=response, rules=rules, pseudonym_key=pseudonym_key, count=count)
        self._kinds = dict(kinds)
        self._unscanned = frozenset(name.lower() for name in unscanned)
        self._paths = None if paths is None else tuple(path.rstrip("/") for path in paths)
        self._reader = RequestReader(self._guard, max_bytes=max_bytes, unscanned=self._unscanned)
        self._max_answer_bytes = max_answer_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_scanned(route_path(scope)):
            await self.app(scope, receive, send)
            return
        exchange, send = exchange_for(scope, receive, send)
        if scope["method"] == "POST" and exchange.kind is None:
            exchange.kind = self._kinds.get(route_path(scope))
        try:
            await self._reader.check(exchange)
        except Refusal as refusal:
            await exchange.refuse(refusal, send)
            return
        guard = exchange.guard or self._guard
        answering = Answering(
            exchange, send, headers=guard.headers, unscanned=self._unscanned, max_bytes=self._max_answer_bytes
        )
        answering.prepare(scope)
        try:
            await self.app(scope, exchange.receive, answering)
        except Exception as error:
            # The answer was ended here; the app was told by an OSError, of which frameworks make errors of their own.
            if not answering.stopped:
                raise
            error.__traceback__ = error.__context__ = None
        finally:
            answering.close()

    def _is_scanned(self, path: str) -> bool:
        paths = self._paths
        return paths is None or any(path == prefix or path.startswith(f"{prefix}/") for prefix in paths)
