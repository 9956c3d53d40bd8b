"""Where the chunks of a streamed answer go."""

from __future__ import annotations

from math import inf
from time import monotonic
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

from tollhouse._native import DigestedSend

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.middlewares.guard import AnswerStream
    from tollhouse.middlewares.types import Send
    from tollhouse.providers.call import Sink

PING = b": ping\n\n"
_MESSAGES_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def ping_of(kind: str | None) -> bytes:
    """A sign of life between the events of a stream: Anthropic's dialect has an event for it, the others a comment."""
    return _MESSAGES_PING if kind == "messages" else PING


class ScannedStream:
    """Scans the chunks of a stream. Where much is held back, the client gets a sign of life in its place."""

    __slots__ = ("_ping", "_quiet_s", "_sent_at", "_stream")

    def __init__(self, stream: AnswerStream, keepalive_s: float, ping: bytes = PING) -> None:
        self._ping = ping
        self._stream = stream
        self._quiet_s = keepalive_s or inf
        self._sent_at = monotonic()

    def feed(self, chunk: bytes) -> bytes:
        """What is to be sent now."""
        passed = self._stream.feed(chunk)
        now = monotonic()
        if not passed:
            if now - self._sent_at < self._quiet_s:
                return b""
            passed = self._ping
        self._sent_at = now
        return passed

    def before(self, sink: Sink) -> Sink:
        def pour(chunk: bytes) -> Awaitable[object] | None:
            passed = self.feed(chunk)
            return sink(passed) if passed else None

        return pour


def sink_of(send: Send) -> Sink | None:
    """`send` for chunks, where it has done its work when it returns; None where it has not.

    A sink says what has to be awaited before the next chunk, if anything (the client reads slowly).
    """
    take: Any = send
    # Digested on its way, it is as whatever is behind that.
    behind = send.inner if isinstance(send, DigestedSend) else send
    if getattr(send, "is_eager", False):

        def pour(chunk: bytes) -> Awaitable[object] | None:
            return take({"type": "http.response.body", "body": chunk, "more_body": True}) or None

        return pour
    if isinstance(behind, BuiltinMethodType):

        def pour_natively(chunk: bytes) -> Awaitable[object] | None:
            sending = take({"type": "http.response.body", "body": chunk, "more_body": True})
            return next(sending.__await__(), None)

        return pour_natively
    return None
