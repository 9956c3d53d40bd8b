"""What upstreams over HTTP have in common: where they are, who the gateway is there, and how a request is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tollhouse._native import ResponseReader, __version__
from tollhouse.providers.call import Call
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.transport import Origin

MAX_CHECK = 4 * 1024 * 1024  # bytes of an answer to a health check
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch


class HTTPUpstream:
    """One deployment's credentials and paths at an origin. Credentials are bound to that origin: nothing else has them.

    The head of a request is the same for every call but for the id and the length, so it is written once, here.
    paths: by whatever name `send` is given; anything else that it is given is a path itself, query included.
    key_header: "authorization" carries the key as a bearer token. lines: more whole header lines. models: where a GET
    lists them, which is what a health check asks; None: nothing can be asked without a signature.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        paths: Mapping[str, str],
        timeouts: Timeouts,
        api_key: str | None = None,
        key_header: str = "authorization",
        lines: str = "",
        models: str | None = None,
    ) -> None:
        if api_key is not None and _HEADER_VALUE(api_key) is None:
            msg = f"the API key of {origin.name} holds characters that no header can carry"
            raise ValueError(msg)
        self.origin = origin
        self._key = (api_key or "").encode()
        self._timeouts = timeouts
        port = "" if origin.port in {80, 443} else f":{origin.port}"
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        self.host = f"{host}{port}"  # as the header says it
        credential = ""
        if api_key is not None:
            value = f"Bearer {api_key}" if key_header == "authorization" else api_key
            credential = f"{key_header}: {value}\r\n"
        self._check_path = models
        self._common = (
            f"host: {self.host}\r\n{credential}user-agent: tollhouse/{__version__}\r\naccept-encoding: identity\r\n"
        ).encode("ascii")
        self._check_lines = b" HTTP/1.1\r\n%b%b\r\n" % (self._common, lines.encode("ascii"))
        self._fields = self._common + f"content-type: application/json\r\n{lines}".encode("ascii")
        self._heads = {name: self._head(path) for name, path in paths.items()}

    def _head(self, path: str) -> bytes:
        return b"POST %b HTTP/1.1\r\n%b" % (path.encode("ascii"), self._fields)

    def send(
        self,
        ask: Ask,
        path: str,
        body: bytes,
        reader: ResponseReader,
        *,
        lines: bytes = b"",
        warnings: tuple[str, ...] = (),
    ) -> Call:
        """Send a body to one of the paths; the answer comes through `reader`. Await the call's `opening`, if any.

        lines: whole header lines (each with its CRLF) to send along.
        """
        call = self._call(reader, warnings)
        call.opening = self._begin(call, ask, path, body, lines)
        return call

    def _call(self, reader: ResponseReader, warnings: tuple[str, ...]) -> Call:
        call = Call(reader, self._timeouts)
        call.hidden = self._key
        call.warnings = warnings
        return call

    def _begin(self, call: Call, ask: Ask, path: str, body: bytes, lines: bytes) -> Awaitable[None] | None:
        head = b"%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n" % (
            self._heads.get(path) or self._head(path),
            ask.request_id.encode("ascii"),
            lines,
            len(body),
        )
        return self.origin.start(call, head, body, stream=ask.stream)

    def check(self, path: str | None, timeout_s: float) -> tuple[object, Callable[[], Call]] | None:
        """A GET of `path`, or of the list of models."""
        if self._check_path is None:
            return None
        head = b"GET %b%b" % ((path or self._check_path).encode("ascii"), self._check_lines)
        timeouts = Timeouts(timeout_s, timeout_s, timeout_s, timeout_s, 0.0)

        def start() -> Call:
            call = Call(ResponseReader("raw", max_body=MAX_CHECK), timeouts)
            call.opening = self.origin.start(call, head, b"", stream=False)
            return call

        return (id(self.origin), head), start

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin.name}, {self.origin.host}:{self.origin.port})"
