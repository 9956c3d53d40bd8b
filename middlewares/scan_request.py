"""Request bodies of any media type: read under a cap, scanned, and handed on in place of what came."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import orjson

from tollhouse.middlewares.body import BodyStage, replayed_as
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.guard import LONG
from tollhouse.middlewares.media import Media, passes

if TYPE_CHECKING:
    from collections.abc import Collection

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import Guard

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 1000


class RequestReader(BodyStage):
    """Reads bodies, has the guard look at them, and replays what may pass."""

    def __init__(self, guard: Guard, *, max_bytes: int, unscanned: Collection[str]) -> None:
        super().__init__(max_bytes=max_bytes)
        self._guard = guard  # for exchanges that the policy has given none
        self._unscanned = unscanned

    async def check(self, exchange: Exchange) -> None:
        """Raises Refusal for what must not pass, and for what cannot be scanned."""
        guard = exchange.guard or self._guard
        if not guard.reads_requests or not _has_body(exchange):
            guard.arm(exchange)
            return
        media = Media.of(exchange.headers.get(b"content-type"))
        _refuse_encoded(exchange)
        if exchange.view is None:
            if exchange.kind is None and not media.is_scanned and media.name != _FORM:
                if not passes(media, self._unscanned):
                    msg = f"{media.name or 'this media type'} cannot be scanned, and is not let through unscanned"
                    raise BadRequest(msg, status=415, code="unscannable_content", retry=False)
                guard.arm(exchange)
                return
            await self._read(exchange, exchange.kind or "")
        if len(exchange.body) > LONG:
            await asyncio.get_running_loop().run_in_executor(None, _scan, guard, exchange, media)
        else:
            _scan(guard, exchange, media)
        replayed_as(exchange, exchange.body)

    def _accept(self, exchange: Exchange, kind: str, body: bytes) -> None:
        if kind:
            super()._accept(exchange, kind, body)
        else:
            exchange.body = body


def _scan(guard: Guard, exchange: Exchange, media: Media) -> None:
    if exchange.view is not None:
        exchange.view = guard.check_view(exchange, exchange.view)
        exchange.body = exchange.view.body
    elif not exchange.body:
        guard.arm(exchange)
    elif media.is_json:
        try:
            exchange.body = guard.check_json(exchange, exchange.body)
        except ValueError:
            msg = "the body is not JSON, or nested too deep, so it could not be scanned"
            raise BadRequest(msg, code="invalid_json") from None
    elif media.name == _FORM:
        exchange.body = _form(guard, exchange, media)
    else:
        exchange.body = media.encode(_text(guard, exchange, media.decode(exchange.body)))


def _text(guard: Guard, exchange: Exchange, text: str) -> str:
    """Text is scanned as the one string of a JSON text, and as what it holds if it looks like JSON itself."""
    passed: str = orjson.loads(guard.check_json(exchange, orjson.dumps(text)))
    return passed


def _form(guard: Guard, exchange: Exchange, media: Media) -> bytes:
    body = exchange.body
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            encoding=media.charset,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        msg = "the form cannot be read, so it could not be scanned"
        raise BadRequest(msg, code="invalid_form") from None
    given = orjson.dumps(fields)
    passed = guard.check_json(exchange, given)
    return (
        body
        if passed == given
        else urlencode([tuple(pair) for pair in orjson.loads(passed)], encoding=media.charset).encode()
    )


def _has_body(exchange: Exchange) -> bool:
    headers = exchange.headers
    if exchange.view is not None or b"transfer-encoding" in headers:
        return True
    length = headers.get(b"content-length")
    # Later versions of HTTP frame bodies without either header.
    return length != b"0" if length is not None else not str(exchange.scope.get("http_version", "1.1")).startswith("1")


def _refuse_encoded(exchange: Exchange) -> None:
    encodings = [value for name, value in exchange.scope["headers"] if name == b"content-encoding"]
    if any(value.lower() != b"identity" for value in encodings):
        msg = "a body with a Content-Encoding cannot be scanned: send it as it is"
        raise BadRequest(msg, status=415, code="unsupported_content_encoding", retry=False)
