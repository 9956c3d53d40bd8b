"""Passes the answer of an attempt on to the client, whole or as it comes."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING

from tollhouse._native import END, FAULT, READY, usd
from tollhouse.gateway.chain import own_headers
from tollhouse.gateway.errors import error_of, normalise, told_status, upstream_status
from tollhouse.gateway.sinks import ScannedStream, ping_of, sink_of
from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.guard import LONG, AnswerStopped
from tollhouse.providers.call import CHUNK, FIRST, SETTLED
from tollhouse.providers.errors import UpstreamStreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.gateway.attempt import Attempt
    from tollhouse.gateway.forward import Forwarder
    from tollhouse.middlewares.guard import AnswerStream
    from tollhouse.middlewares.types import Headers
    from tollhouse.providers.call import Call, Sink
    from tollhouse.providers.errors import UpstreamError
    from tollhouse.providers.plan import Leg
    from tollhouse.providers.router import Target

END_GRACE_S = 0.1  # after [DONE], for the end of the body: worth waiting for, as the connection can then be used again
BYTES_PER_TOKEN = 4  # of English text; only for answers whose upstream reports no usage, and flagged there
RETURNED = (b"content-type", b"retry-after", b"retry-after-ms", b"openai-processing-ms", b"openai-version")
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_EVENT_STREAM: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Answer:
    """Of one attempt. is_started: the head of a stream has been sent already, because of a keepalive."""

    __slots__ = ("_attempt", "_call", "_exchange", "_forwarder", "_is_started", "_loop")

    def __init__(
        self, forwarder: Forwarder, attempt: Attempt, loop: asyncio.AbstractEventLoop, *, is_started: bool
    ) -> None:
        assert attempt.call is not None
        self._forwarder = forwarder
        self._attempt = attempt
        self._call: Call = attempt.call
        self._exchange = attempt.exchange
        self._is_started = is_started
        self._loop = loop

    def send(self) -> Awaitable[None]:
        """All of it; raises Refusal for what the guard stops before anything was sent."""
        self._exchange.provider = self._attempt.target.provider
        body = self._attempt.body
        return self._stream() if body is None else self._whole(body)

    @property
    def takes_long(self) -> bool:
        """Whether it is to be looked at for longer than the loop may stand still."""
        body = self._attempt.body
        return body is None or (self._exchange.answer_guard is not None and len(body) > LONG)

    def send_at_once(self) -> None:
        """All of a whole answer that says yes and does not take long; raises Refusal as `send` does."""
        exchange, body = self._exchange, self._attempt.body
        connection, guard = exchange.connection, exchange.answer_guard
        assert body is not None
        assert connection is not None
        exchange.provider = self._attempt.target.provider
        if guard is not None:
            exchange.usage = self._call.reader.usage
            body = guard.check(exchange, body)
        headers = self._noted(body, _returned(self._call))
        exchange.status = status = self._call.reader.status
        headers.append((b"content-length", b"%d" % len(body)))
        headers.extend(exchange.response_headers)
        if exchange.answered is not None:
            exchange.answered = body
        connection.respond(status, headers, body)

    async def _whole(self, body: bytes) -> None:
        exchange = self._exchange
        reader = self._call.reader
        told = status = reader.status
        headers = _returned(self._call)
        if status < 200 or status >= 300:
            status = told_status(status, body)
            told = upstream_status(status, body)
            exchange.error_code = f"http_{status}"
            body = normalise(
                status,
                body,
                self._attempt.target.provider,
                kind=exchange.kind,
                request_id=exchange.request_id,
                code=_error_type(self._call),
            )
            headers = [_JSON, *(header for header in headers if header[0] != b"content-type")]
        guard = exchange.answer_guard
        if guard is not None:
            try:
                body = await guard.checked(exchange, body)
            except Refusal as refusal:
                exchange.usage = reader.usage
                if not self._is_started:
                    raise
                exchange.error_code = refusal.code or refusal.type
                await self._end_with_error(refusal.message, exchange.error_code, refusal.status)
                return
        if self._is_started:
            # The head of a stream is out already, so an answer that is no stream can only be told as an error.
            message, code = "the upstream's answer is not an event stream", "upstream_protocol"
            if exchange.error_code:
                message, code = error_of(body)
            else:
                self._forwarder.count(self._attempt, code)
                exchange.error_code = code
            await self._end_with_error(message, code, told if status >= 300 else 502)
            return
        await exchange.respond(told, self._noted(body, headers), body)

    def _noted(self, body: bytes, received: Headers) -> Headers:
        """The headers of a whole answer, whose usage is taken down."""
        exchange = self._exchange
        reader = self._call.reader
        exchange.usage = reader.usage
        headers = self._headers(received)
        price = self._attempt.outcome.price
        cost = reader.cost(price) if price is not None else None
        if cost is not None and exchange.charge is not None:
            headers.append((b"x-gateway-cost-usd", usd(cost).encode()))
        self._forwarder.remember(exchange, self._attempt, body)
        return headers

    async def _end_with_error(self, message: str, code: str, status: int) -> None:
        event = self._call.reader.fault_event(message, code, status)
        await self._exchange.raw_send({"type": "http.response.body", "body": event, "more_body": False})

    async def _stream(self) -> None:
        exchange = self._exchange
        reader = self._call.reader
        guard = exchange.answer_guard
        stream = guard.stream(exchange) if guard is not None else None
        if not self._is_started:
            headers = self._headers(_returned(self._call))
            headers.extend(_EVENT_STREAM)
            await exchange.start(200, headers)
        send = exchange.raw_send
        if stream is None:
            chunk = await self._pass_on(None)
        else:
            try:
                chunk = await self._pass_on(stream)
            except AnswerStopped as stop:
                # Nobody is to go on making what nobody may read.
                self._forwarder.drop(self._call)
                chunk = stop.last
            finally:
                stream.close()
        self._account()
        if reader.malformed_events:
            self._forwarder.count_malformed(self._attempt, reader.malformed_events)
        await send({"type": "http.response.body", "body": chunk, "more_body": False})

    async def _pass_on(self, stream: AnswerStream | None) -> bytes:  # noqa: C901 - a script
        """Send the chunks of a stream as they come, as far as `stream` lets them; returns what is to be sent last."""
        exchange = self._exchange
        call = self._call
        reader = call.reader
        send = exchange.raw_send
        sink = sink_of(send)
        scan = ScannedStream(stream, call.timeouts.keepalive_s, ping_of(exchange.kind)) if stream is not None else None
        if scan is not None and sink is not None:
            sink = scan.before(sink)
        is_first = exchange.kind == "responses"
        while True:
            chunk = call.take(CHUNK)
            if is_first and chunk:
                is_first = False
                self._forwarder.remember(exchange, self._attempt, chunk)
            flags = call.flags
            if not flags & READY:
                if reader.ended and not flags & END:
                    flags = await self._end_of_body()
                if flags & SETTLED:
                    break
            if scan is not None and chunk:
                chunk = scan.feed(chunk)
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not call.flags & FIRST:
                await self._more(sink)
        if stream is not None:
            chunk = stream.feed(chunk, end=True)
        if flags & FAULT:
            chunk += self._broken_off(call.cause())
        elif reader.cut:
            self._forwarder.count(self._attempt, "upstream_truncated")
        return chunk

    def _broken_off(self, error: UpstreamError) -> bytes:
        """The answer has begun, and will not be complete: what there is to say of that at its end."""
        self._forwarder.count(self._attempt, error.code)
        self._attempt.broke_off(error)
        self._exchange.error_code = error.code
        status = None if isinstance(error, UpstreamStreamError) else error.status
        return self._call.reader.fault_event(shown(self._attempt, error.message), error.code, status)

    async def _more(self, sink: Sink | None) -> None:
        """Wait for more to take, or with a sink until there is more to do than to pass chunks on."""
        call = self._call
        call.sink = sink
        try:
            alive = await call.wait(FIRST if sink is None else SETTLED, self._loop)
        finally:
            call.sink = None
        if call.blocked is not None:
            await call.blocked
            call.blocked = None
        elif not alive:
            exchange = self._exchange
            await exchange.raw_send({"type": "http.response.body", "body": ping_of(exchange.kind), "more_body": True})

    async def _end_of_body(self) -> int:
        """All is said: the client's answer is complete, whatever happens to the connection now."""
        timer = self._loop.call_later(END_GRACE_S, self._call.nudge)
        await self._call.wait(SETTLED, self._loop)
        timer.cancel()
        return END

    def _account(self) -> None:
        exchange = self._exchange
        reader = self._call.reader
        usage = reader.usage
        if usage is None and exchange.view is not None:
            prompt = len(exchange.view.body) // BYTES_PER_TOKEN
            usage = (prompt, -(-reader.text_bytes // BYTES_PER_TOKEN), 0, 0)
            exchange.usage_estimated = True
        exchange.usage = usage

    def _headers(self, received: list[tuple[bytes, bytes]]) -> Headers:
        exchange = self._exchange
        leg = self._attempt.leg
        exchange.overhead_ns = overhead = perf_counter_ns() - exchange.started_ns - exchange.upstream_ns
        headers = received + own_headers(exchange, self._forwarder.headers)
        headers.append((b"x-gateway-decision", exchange.decision))
        headers.extend(who_answers(leg, self._attempt.target))
        headers.append((b"x-gateway-overhead-us", b"%d" % (overhead // 1000)))
        return headers


def who_answers(leg: Leg, target: Target) -> Headers:
    """Which model, and whose."""
    label = leg.group.label
    model = _header_value(leg.model if label.endswith("*") else label)
    return [(b"x-gateway-model", model), (b"x-gateway-provider", target.provider.encode())]


def early_headers(attempt: Attempt, headers: Headers) -> Headers:
    """Of a stream that starts before it is known who will answer."""
    exchange = attempt.exchange
    decision = (b"x-gateway-decision", exchange.decision)
    return [_EVENTS, *_EVENT_STREAM, decision, *_warnings(attempt.call), *own_headers(exchange, headers)]


def warned(call: Call) -> bytes:
    """The header of warnings as a comment in a stream whose head has gone out; with no names it takes those back."""
    names = b"".join(value for _, value in _warnings(call))
    return b": x-gateway-warnings: %b\n\n" % names


def shown(attempt: Attempt, message: str) -> str:
    """What an upstream says of its failure may hold what its answers must not."""
    guard = attempt.exchange.answer_guard
    return message if guard is None else guard.text(message)


def _error_type(call: Call) -> str | None:
    """What AWS calls the error; a URL may follow it."""
    found = call.reader.pick((b"x-amzn-errortype",))
    return found[0][1].decode("latin-1").partition(":")[0] if found else None


def _returned(call: Call) -> Headers:
    """Headers of an upstream's answer that go to the caller, and what the gateway has to say of its request."""
    headers: Headers = call.reader.pick(RETURNED)
    is_stream = call.reader.is_event_stream
    if call.reader.translated or (is_stream and not _is_event_stream(headers)):
        kind = _EVENTS if is_stream else _JSON
        headers = [kind, *(header for header in headers if header[0] != b"content-type")]
    return headers + _warnings(call)


def _is_event_stream(headers: Headers) -> bool:
    """An upstream may have answered with a whole body, which is told as the stream that was asked for."""
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _warnings(call: Call | None) -> Headers:
    """Names of what the upstream could not be told."""
    if call is None or not call.warnings:
        return []
    return [(b"x-gateway-warnings", _header_value(", ".join(call.warnings), most=2000))]


def _header_value(text: str, *, most: int = 200) -> bytes:
    """What may be the caller's own words (a model's name, for a wildcard) as nothing but visible ASCII."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text.encode()
    return "".join(c if " " <= c <= "~" else "?" for c in text[:most]).encode()
