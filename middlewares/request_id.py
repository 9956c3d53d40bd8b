"""Every request has an id: the caller's own if it is a sane one, else a new one; always echoed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tollhouse._native import new_id
from tollhouse.middlewares.errors import MESSAGES_KINDS
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp

# Anything else could forge log lines or grow without bound; such an id is replaced, not refused.
_SANE = re.compile(rb"[A-Za-z0-9._:\-]{1,128}").fullmatch


class RequestIdStage(Stage):
    def __init__(self, *, header: bytes = b"x-request-id") -> None:
        self._header = header

    def enter(self, exchange: Exchange) -> None:
        given = exchange.headers.get(self._header)
        if given is None or _SANE(given) is None:
            exchange.request_id = new_id()
            exchange.response_headers.append((self._header, exchange.request_id.encode()))
        else:
            exchange.request_id = given.decode()
            exchange.response_headers.append((self._header, given))
        if exchange.kind in MESSAGES_KINDS:
            # Where Anthropic's clients look for it.
            exchange.response_headers.append((b"request-id", exchange.request_id.encode()))


class RequestIdMiddleware(StageMiddleware):
    """Accepts, validates or makes `x-request-id` and echoes it in the response."""

    def __init__(self, app: ASGIApp, *, header: str = "x-request-id") -> None:
        super().__init__(app, RequestIdStage(header=header.lower().encode()))
