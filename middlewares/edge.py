"""What the server in front of the app lets through and should not: Host, body encodings (RFC 9112, RFC 9110)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp


class EdgeStage(Stage):
    """Refuses requests that two parties could read differently."""

    def enter(self, exchange: Exchange) -> None:
        headers = exchange.headers
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.lower() != b"identity":
            msg = "Content-Encoding is not accepted on requests: send the body as it is"
            raise BadRequest(msg, status=415, code="unsupported_content_encoding")
        repeated = exchange.has_repeated_headers
        # An empty Host is also what Granian puts where there was none.
        has_host = headers.get(b"host") and not (repeated and _count(exchange, b"host") > 1)
        if not has_host and exchange.scope.get("http_version", "1.1") == "1.1":
            msg = "a request needs exactly one Host header, and not an empty one"
            raise BadRequest(msg, code="invalid_host")
        if b"content-length" in headers and (
            b"transfer-encoding" in headers or (repeated and _count(exchange, b"content-length") > 1)
        ):
            msg = "a request has either one Content-Length or Transfer-Encoding, not both"
            raise BadRequest(msg, code="ambiguous_length")
        if repeated and _count(exchange, b"content-encoding") > 1:
            msg = "a request has at most one Content-Encoding"
            raise BadRequest(msg, status=415, code="unsupported_content_encoding")


def _count(exchange: Exchange, name: bytes) -> int:
    return sum(key == name for key, _ in exchange.scope["headers"])


class EdgeMiddleware(StageMiddleware):
    """Refuses missing or repeated Host (400), ambiguous body lengths (400) and encoded bodies (415)."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, EdgeStage())
