"""What upstreams over HTTP have in common: where they are, who the gateway is there, and how a request is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tollhouse._native import ResponseReader, __version__
from tollhouse.providers.call import SETTLED, Call
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.identity import Identity
    from tollhouse.providers.transport import Origin

MAX_CHECK = 4 * 1024 * 1024  # bytes of an answer to a health check
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch


class HTTPUpstream:
    """One deployment's credentials and paths at an origin. Credentials are bound to that origin: nothing else has them.

    The head of a request is the same for every call but for the id and the length, so it is written once, here.
    paths: by whatever name `send` is given; anything else that it is given is a path itself, query included.
    key_header: "authorization" carries the key as a bearer token. identity: instead of a key. lines: more whole header
    lines. models: where a GET lists them, which is what a health check asks.
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
        identity: Identity | None = None,
    ) -> None:
        if api_key is not None and _HEADER_VALUE(api_key) is None:
            msg = f"the API key of {origin.name} holds characters that no header can carry"
            raise ValueError(msg)
        self.origin = origin
        self.key = (api_key or "").encode()
        self.timeouts = timeouts
        self._identity = identity
        self.host = origin.authority
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

    def head(self, kind: str) -> bytes:
        """Of every request of this kind, up to its id."""
        return self._heads[kind]

    @property
    def is_signed(self) -> bool:
        """Whether a request can be sent only by an identity that sees all of it."""
        return self._identity is not None

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
        head = b"%bx-request-id: %b\r\n%b" % (
            self._heads.get(path) or self._head(path),
            ask.request_id.encode("ascii"),
            lines,
        )
        call.opening = self._begin(call, head, path, body, stream=ask.stream)
        return call

    def _call(self, reader: ResponseReader, warnings: tuple[str, ...]) -> Call:
        call = Call(reader, self.timeouts)
        call.hidden = self.key
        call.warnings = warnings
        return call

    def _begin(self, call: Call, head: bytes, path: str, body: bytes, *, stream: bool) -> Awaitable[None] | None:
        """Send a request, authorised, once it can be. head: all of it but the length."""
        identity = self._identity
        if identity is not None:
            credential = identity.credentials.ready()
            if credential is None:
                return self._begin_later(identity, call, head, path, body, stream=stream)
            head = self._authorised(identity, credential, call, head, path, body)
        return self._start(call, head, body, stream=stream)

    async def _begin_later(
        self, identity: Identity, call: Call, head: bytes, path: str, body: bytes, *, stream: bool
    ) -> None:
        credential = await identity.credentials.wait()
        if call.flags & SETTLED:  # ended meanwhile: what is not sent costs nothing
            return
        head = self._authorised(identity, credential, call, head, path, body)
        opening = self._start(call, head, body, stream=stream)
        if opening is not None:
            await opening

    def _authorised(
        self, identity: Identity, credential: object, call: Call, head: bytes, path: str, body: bytes
    ) -> bytes:
        call.hidden = identity.hidden(credential)
        return head + identity.lines(credential, host=self.host, path=path, body=body)

    def _start(self, call: Call, head: bytes, body: bytes, *, stream: bool) -> Awaitable[None] | None:
        return self.origin.start(call, b"%bcontent-length: %d\r\n\r\n" % (head, len(body)), body, stream=stream)

    def probe(self, model: str) -> str | None:
        """A path to which an empty object can be sent: refused before a model has worked, but not before the gateway is
        known there. None: there is a list of models to ask for instead.
        """

    def check(
        self, path: str | None, timeout_s: float, model: str | None = None
    ) -> tuple[object, Callable[[], Call]] | None:
        """An empty request where that can be sent; else a GET of `path`, or of the list of models."""
        timeouts = Timeouts(timeout_s, timeout_s, timeout_s, timeout_s, 0.0)
        probed = None if model is None else self.probe(model)

        def made() -> Call:
            return Call(ResponseReader("raw", max_body=MAX_CHECK), timeouts)

        if probed is not None:
            asked = probed

            def post() -> Call:
                call = made()
                call.opening = self._begin(call, self._head(asked), asked, b"{}", stream=False)
                return call

            return (id(self.origin), id(self._identity), self._head(asked)), post
        if self._check_path is None:
            return None
        head = b"GET %b%b" % ((path or self._check_path).encode("ascii"), self._check_lines)

        def get() -> Call:
            call = made()
            call.opening = self.origin.start(call, head, b"", stream=False)
            return call

        return (id(self.origin), head), get

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin.name}, {self.origin.host}:{self.origin.port})"
