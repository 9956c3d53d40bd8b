"""What the server in front of the app lets through and should not: Host, body encodings (RFC 9112, RFC 9110)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.stage import StageMiddleware

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp


class EdgeStage:
    """Refuses requests that two parties could read differently."""

    def enter(self, exchange: Exchange) -> None:
        hosts = lengths = chunked = 0
        for name, value in exchange.scope["headers"]:
            if name == b"host":
                hosts += 1 if value else 2  # an empty one, and what Granian puts where there was none
            elif name == b"content-length":
                lengths += 1
            elif name == b"transfer-encoding":
                chunked += 1
            elif name == b"content-encoding" and value.lower() != b"identity":
                msg = "Content-Encoding is not accepted on requests: send the body as it is"
                raise BadRequest(msg, status=415, code="unsupported_content_encoding")
        if hosts != 1 and exchange.scope.get("http_version", "1.1") == "1.1":
            msg = "a request needs exactly one Host header, and not an empty one"
            raise BadRequest(msg, code="invalid_host")
        if lengths > 1 or (lengths and chunked):
            msg = "a request has either one Content-Length or Transfer-Encoding, not both"
            raise BadRequest(msg, code="ambiguous_length")

    def leave(self, exchange: Exchange) -> None:
        """Nothing to settle."""


class EdgeMiddleware(StageMiddleware):
    """Refuses missing or repeated Host (400), ambiguous body lengths (400) and encoded bodies (415)."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, EdgeStage())
