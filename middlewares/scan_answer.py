"""Answers of an ASGI app on their way out: whole ones are held and scanned, event streams are scanned as they flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import BadRequest, Refusal
from tollhouse.middlewares.guard import AnswerStopped
from tollhouse.middlewares.media import Media, passes

if TYPE_CHECKING:
    from collections.abc import Collection

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import AnswerGuard, AnswerStream
    from tollhouse.middlewares.types import Headers, Message, Scope, Send

_NO_BODY = frozenset({204, 205, 304})
# They speak of the bytes that the app made, which are others once something was replaced.
_OF_THE_BYTES = frozenset({b"content-length", b"etag", b"content-md5", b"digest", b"content-digest", b"repr-digest"})
# Ways around `send`: without them the app sends its bodies as messages.
_DETOURS = ("http.response.pathsend", "http.response.zerocopysend")


class Stopped(OSError):
    """What an app is told that goes on sending after its answer was ended; servers tell of a disconnect like that."""


class Answering:
    """The `send` of one request."""

    def __init__(
        self, exchange: Exchange, send: Send, *, headers: Headers, unscanned: Collection[str], max_bytes: int
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._headers = headers
        self._unscanned = unscanned
        self._max_bytes = max_bytes
        self._guard: AnswerGuard | None = exchange.answer_guard
        self._start: Message | None = None  # held until the body is known
        self._chunks: list[bytes] = []
        self._size = 0
        self._stream: AnswerStream | None = None
        self.stopped = False

    def prepare(self, scope: Scope) -> None:
        """Ask the app for answers that can be scanned."""
        if self._guard is None:
            return
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        extensions = scope.get("extensions")
        if extensions:
            scope["extensions"] = {name: value for name, value in extensions.items() if name not in _DETOURS}

    async def __call__(self, message: Message) -> None:
        if self.stopped:
            raise Stopped
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._stream is not None:
            await self._flow(message)
        elif kind == "http.response.body" and self._start is not None:
            await self._gather(message)
        elif kind in _DETOURS and self._guard is not None:
            await self._refuse(_unscannable("the application sends a file past the scanner"))
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        guard = self._guard
        headers = {name.lower(): value for name, value in message.get("headers", ())}
        try:
            if guard is None or message["status"] in _NO_BODY or self._exchange.scope["method"] == "HEAD":
                await self._forward(message)
                return
            media = _media(headers.get(b"content-type"))
            if headers.get(b"content-encoding", b"identity").lower() != b"identity":
                raise _unscannable("the answer's Content-Encoding cannot be scanned")
            if media.name == "text/event-stream":
                self._stream = guard.stream(self._exchange)
        except Refusal as refusal:
            await self._refuse(refusal)
            return
        if self._stream is not None:
            await self._forward(message, changed=True)
        elif media.is_scanned:
            self._start = message
        elif passes(media, self._unscanned):
            await self._forward(message)
        else:
            await self._refuse(_unscannable(f"{media.name} cannot be scanned, and is not let through unscanned"))

    async def _gather(self, message: Message) -> None:
        start, guard = self._start, self._guard
        assert start is not None
        assert guard is not None
        self._chunks.append(bytes(message.get("body", b"")))
        self._size += len(self._chunks[-1])
        if self._size > self._max_bytes:
            await self._refuse(_unscannable(f"the answer is larger than the {self._max_bytes} bytes that are scanned"))
            return
        if message.get("more_body", False):
            return
        body = b"".join(self._chunks)
        self._chunks.clear()
        try:
            passed = await self._checked(guard, body, start)
        except Refusal as refusal:
            await self._refuse(refusal)
            return
        self._start = None
        if passed != body:
            await self._forward(start, changed=True, length=len(passed))
        else:
            await self._forward(start)
        await self._send({"type": "http.response.body", "body": passed, "more_body": False})

    async def _checked(self, guard: AnswerGuard, body: bytes, start: Message) -> bytes:
        if not body:
            return body
        media = _media(dict(start.get("headers", ())).get(b"content-type"))
        text = body if media.charset == "utf-8" else media.decode(body).encode()
        passed = await guard.checked(self._exchange, text)
        if passed is text:
            return body
        return passed if media.charset == "utf-8" else media.encode(passed.decode())

    async def _flow(self, message: Message) -> None:
        stream = self._stream
        assert stream is not None
        more = message.get("more_body", False)
        try:
            passed = stream.feed(bytes(message.get("body", b"")), end=not more)
        except AnswerStopped as stop:
            self.stopped = True
            await self._send({"type": "http.response.body", "body": stop.last, "more_body": False})
            raise Stopped from None
        if passed or not more:
            await self._send({"type": "http.response.body", "body": passed, "more_body": more})

    async def _forward(self, message: Message, *, changed: bool = False, length: int | None = None) -> None:
        headers: Headers = [
            header for header in message.get("headers", ()) if not changed or header[0].lower() not in _OF_THE_BYTES
        ]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        headers += [(b"x-gateway-decision", self._exchange.decision), *self._headers]
        await self._send({**message, "headers": headers})

    async def _refuse(self, refusal: Refusal) -> None:
        """Tell the caller instead of the answer; the app is told that nobody listens any more."""
        self.stopped = True
        self._start = None
        await self._exchange.refuse(refusal, self._send)
        raise Stopped

    def close(self) -> None:
        """Let go of what was held."""
        self._chunks.clear()
        self._exchange.answer_guard = None
        if self._stream is not None:
            self._stream.close()


def _media(header: bytes | None) -> Media:
    try:
        return Media.of(header)
    except BadRequest as refusal:
        raise _unscannable(refusal.message) from None


def _unscannable(message: str) -> Refusal:
    return Refusal(message, code="unscannable_content", retry=False)
