"""The hot handler: finds an upstream for a parsed request, sends it, and passes the answer on as it comes."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING

from tollhouse._native import END, FAULT, READY
from tollhouse.gateway.errors import error_of, normalise, refusal_of, told_status, upstream_status
from tollhouse.gateway.routing import shown
from tollhouse.gateway.sinks import ScannedStream, ping_of, sink_of
from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.guard import AnswerStopped
from tollhouse.middlewares.quota_errors import usd
from tollhouse.providers.ask import Ask
from tollhouse.providers.call import CHUNK, HIDDEN, SETTLED
from tollhouse.providers.counting import counted
from tollhouse.providers.errors import UpstreamCannot, UpstreamError, UpstreamProtocolError
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import StaleConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Counter

    from tollhouse._native import Price
    from tollhouse.gateway.disconnect import DisconnectWatch
    from tollhouse.gateway.lifecycle import Lifecycle
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import AnswerStream
    from tollhouse.middlewares.quota import Outcome
    from tollhouse.middlewares.types import Headers
    from tollhouse.providers.call import Call, Sink
    from tollhouse.providers.router import Group, Target

MAX_ATTEMPTS = 3
END_GRACE_S = 0.1  # after [DONE], for the end of the body: worth waiting for, as the connection can then be used again
BYTES_PER_TOKEN = 4  # of English text; only for answers whose upstream reports no usage, and flagged there
_RETURNED = (b"content-type", b"retry-after", b"retry-after-ms", b"openai-processing-ms", b"openai-version")
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_EVENT_STREAM: Headers = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
_FIRST = READY | END | FAULT


class Forwarder:
    """Serves every exchange that has a view."""

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        watch: DisconnectWatch,
        upstream_errors: Counter,
        malformed_events: Counter,
        headers: Headers,
        price: Callable[[str, str, str | None], Price | None],
        encoding: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.headers = headers
        self.price = price
        self.encoding = encoding
        self.lifecycle = lifecycle
        self._watch = watch
        self.upstream_errors = upstream_errors
        self.malformed_events = malformed_events

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Answer, whatever it takes; raises Refusal if nothing can be answered."""
        return _Attempt(self, exchange, self._watch).run()


class _Attempt:
    """One request's way through its targets. Nothing has been sent to the client while another may be tried."""

    __slots__ = ("_call", "_exchange", "_forwarder", "_group", "_loop", "_model", "_started", "_watch")

    def __init__(self, forwarder: Forwarder, exchange: Exchange, watch: DisconnectWatch) -> None:
        self._forwarder = forwarder
        self._exchange = exchange
        self._group: Group = exchange.group
        self._model = exchange.asked_model
        self._loop = asyncio.get_running_loop()
        self._watch = watch
        self._call: Call | None = None
        self._started = False  # a stream's head has been sent, because of a keepalive

    async def run(self) -> None:
        self._watch.add(self._exchange, self._loop)
        try:
            await self._run()
        finally:
            self._watch.discard(self._exchange)
            # Whatever happened: no upstream goes on working for nobody.
            call = self._call
            if call is not None:
                if self._exchange.outcome is not None:
                    _take_down(self._exchange.outcome, call)
                self._drop(call)

    async def _run(self) -> None:
        targets = self._group.order()[:MAX_ATTEMPTS]
        last = len(targets) - 1
        for number, target in enumerate(targets):
            try:
                call = await self._ask(target)
                if number < last and _worth_another(call):
                    self._count(target, f"http_{call.reader.status}")
                    # It has refused, so nothing is to be paid: the next one may not even be reached.
                    if self._exchange.outcome is not None:
                        self._exchange.outcome.asked = False
                    continue
                body = _whole(call)
            except UpstreamError as error:
                self._count(target, error.code)
                if number < last and error.retryable:
                    if self._exchange.outcome is not None:
                        self._exchange.outcome.pass_over()
                    continue
                self._exchange.provider = target.provider
                await self._give_up(error)
                return
            await self._answer(target, call, body)
            return

    async def _ask(self, target: Target) -> Call:
        """Send the request to `target` and wait until its answer has begun (a stream) or is complete."""
        exchange = self._exchange
        mask = _FIRST if exchange.stream else SETTLED
        for _ in range(2):
            sent = perf_counter_ns()
            call = self._send(target)
            if call.opening is not None:
                await call.opening
            if exchange.outcome is not None:
                exchange.outcome.asked = True
            while not (call.flags & mask or await call.wait(mask, self._loop)):
                await self._keep_alive()
            exchange.upstream_ns += perf_counter_ns() - sent
            # With events before the fault, the client gets those first.
            if not call.flags & FAULT or call.flags & READY:
                return call
            error = call.cause()
            if not isinstance(error, StaleConnection):
                break
        try:
            raise error
        finally:
            # The error's traceback leads to this frame: without it in turn, both go as soon as they are done with.
            del error, call

    def _send(self, target: Target) -> Call:
        exchange = self._exchange
        view = exchange.view
        assert view is not None
        if self._call is not None:
            self._drop(self._call)
        name = self._group.upstream_model(target, self._model)
        most = exchange.charge.output if exchange.charge is not None else None
        price = self._forwarder.price(target.provider, name, view.service_tier)
        ask = Ask(
            kind=exchange.kind or "",
            view=view,
            model=name,
            stream=view.stream,
            include_usage=view.include_usage,
            max_output=most,
            model_output=price.max_output if price is not None else None,
            request_id=exchange.request_id,
            headers=exchange.headers,
            query=exchange.scope.get("query_string", b""),
        )
        self._call = call = self._start(target, ask)
        if exchange.outcome is not None:
            exchange.outcome.price = price
            exchange.outcome.provider = target.provider
            exchange.outcome.upstream_model = name
            if view.include_usage and price is not None:
                call.reader.tell_cost(price)
        if most is not None and view.stream:
            call.reader.limit_output(most * view.choices)
        self._forwarder.lifecycle.calls.add(call)
        return call

    def _start(self, target: Target, ask: Ask) -> Call:
        if ask.kind in target.upstream.kinds:
            return target.upstream.start(ask)
        if ask.kind == "count_tokens":
            return counted(ask, Timeouts(), encoding=self._forwarder.encoding(ask.model))
        msg = f"the model {shown(self._model)} is not served at {self._exchange.route}"
        raise UpstreamCannot(msg, code="unsupported_endpoint", param="model")

    async def _keep_alive(self) -> None:
        """Long silence before the first token: a sign of life for the client. Another target may still be tried."""
        exchange = self._exchange
        if not self._started:
            self._started = True
            await exchange.start(200, self._early_headers())
        await exchange.raw_send({"type": "http.response.body", "body": ping_of(exchange.kind), "more_body": True})

    async def _answer(self, target: Target, call: Call, body: bytes | None) -> None:
        exchange = self._exchange
        exchange.provider = target.provider
        if body is None:
            await self._stream(target, call)
            return
        reader = call.reader
        status = reader.status
        headers = _returned(call)
        if status < 200 or status >= 300:
            status = told_status(status, body)
            self._count(target, f"http_{status}")
            exchange.error_code = f"http_{status}"
            body = normalise(
                status,
                body,
                target.provider,
                kind=exchange.kind,
                request_id=exchange.request_id,
                code=_error_type(call),
            )
            headers = [_JSON, *(header for header in headers if header[0] != b"content-type")]
        guard = exchange.answer_guard
        if guard is not None:
            try:
                body = await guard.checked(exchange, body)
            except Refusal as refusal:
                exchange.usage = reader.usage
                if not self._started:
                    raise
                exchange.error_code = refusal.code or refusal.type
                event = reader.fault_event(refusal.message, exchange.error_code)
                await exchange.raw_send({"type": "http.response.body", "body": event, "more_body": False})
                return
        if self._started:
            # The head of a stream is out already, so an answer that is no stream can only be told as an error.
            message, code = "the upstream's answer is not an event stream", "upstream_protocol"
            if exchange.error_code:
                message, code = error_of(body)
            else:
                self._count(target, code)
                exchange.error_code = code
            event = reader.fault_event(message, code)
            await exchange.raw_send({"type": "http.response.body", "body": event, "more_body": False})
            return
        exchange.usage = reader.usage
        headers = self._headers(target, headers)
        outcome = exchange.outcome
        if outcome is not None and outcome.price is not None:
            cost = reader.cost(outcome.price)
            if cost is not None:
                headers.append((b"x-gateway-cost-usd", usd(cost).encode()))
        await exchange.respond(upstream_status(status), headers, body)

    async def _stream(self, target: Target, call: Call) -> None:
        exchange = self._exchange
        reader = call.reader
        guard = exchange.answer_guard
        stream = guard.stream(exchange) if guard is not None else None
        if not self._started:
            headers = self._headers(target, _returned(call))
            headers.extend(_EVENT_STREAM)
            await exchange.start(200, headers)
        send = exchange.raw_send
        if stream is None:
            chunk = await self._pass_on(target, call, None)
        else:
            try:
                chunk = await self._pass_on(target, call, stream)
            except AnswerStopped as stop:
                # Nobody is to go on making what nobody may read.
                self._drop(call)
                chunk = stop.last
            finally:
                stream.close()
        self._account(reader.usage, reader.text_bytes)
        if reader.malformed_events:
            self._forwarder.malformed_events.labels(self._group.label, target.provider).inc(reader.malformed_events)
        await send({"type": "http.response.body", "body": chunk, "more_body": False})

    async def _pass_on(  # noqa: C901 - a script
        self, target: Target, call: Call, stream: AnswerStream | None
    ) -> bytes:
        """Send the chunks of a stream as they come, as far as `stream` lets them; returns what is to be sent last."""
        exchange = self._exchange
        reader = call.reader
        send = exchange.raw_send
        sink = sink_of(send)
        scan = ScannedStream(stream, call.timeouts.keepalive_s, ping_of(exchange.kind)) if stream is not None else None
        if scan is not None and sink is not None:
            sink = scan.before(sink)
        while True:
            chunk = call.take(CHUNK)
            flags = call.flags
            if not flags & READY:
                if reader.ended and not flags & END:
                    flags = await self._end_of_body(call)
                if flags & SETTLED:
                    break
            if scan is not None and chunk:
                chunk = scan.feed(chunk)
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not call.flags & _FIRST:
                await self._more(call, sink)
        if stream is not None:
            chunk = stream.feed(chunk, end=True)
        if flags & FAULT:
            error = call.cause()
            self._count(target, error.code)
            exchange.error_code = error.code
            chunk += reader.fault_event(self._shown(error.message), error.code)
        return chunk

    def _shown(self, message: str) -> str:
        """What an upstream says of its failure may hold what its answers must not."""
        guard = self._exchange.answer_guard
        return message if guard is None else guard.text(message)

    async def _more(self, call: Call, sink: Sink | None) -> None:
        """Wait for more to take, or with a sink until there is more to do than to pass chunks on."""
        call.sink = sink
        try:
            alive = await call.wait(_FIRST if sink is None else SETTLED, self._loop)
        finally:
            call.sink = None
        if call.blocked is not None:
            await call.blocked
            call.blocked = None
        elif not alive:
            exchange = self._exchange
            await exchange.raw_send({"type": "http.response.body", "body": ping_of(exchange.kind), "more_body": True})

    async def _end_of_body(self, call: Call) -> int:
        """All is said: the client's answer is complete, whatever happens to the connection now."""
        timer = self._loop.call_later(END_GRACE_S, call.nudge)
        await call.wait(SETTLED, self._loop)
        timer.cancel()
        return END

    async def _give_up(self, error: UpstreamError) -> None:
        exchange = self._exchange
        call = self._call
        refusal = refusal_of(error, call.reader.error_event if call is not None else None)
        refusal.message = self._shown(refusal.message)
        if not self._started:
            raise refusal
        assert call is not None
        exchange.error_code = error.code
        event = call.reader.fault_event(refusal.message, error.code)
        await exchange.raw_send({"type": "http.response.body", "body": event, "more_body": False})

    def _account(self, usage: tuple[int, int, int, int] | None, text_bytes: int) -> None:
        exchange = self._exchange
        if usage is None and exchange.view is not None:
            prompt = len(exchange.view.body) // BYTES_PER_TOKEN
            usage = (prompt, -(-text_bytes // BYTES_PER_TOKEN), 0, 0)
            exchange.usage_estimated = True
        exchange.usage = usage

    def _headers(self, target: Target, received: list[tuple[bytes, bytes]]) -> Headers:
        exchange = self._exchange
        exchange.overhead_ns = overhead = perf_counter_ns() - exchange.started_ns - exchange.upstream_ns
        headers = received + self._forwarder.headers
        headers.append((b"x-gateway-decision", exchange.decision))
        model = self._model if self._group.label.endswith("*") else self._group.label
        headers.append((b"x-gateway-model", _header_value(model)))
        headers.append((b"x-gateway-provider", target.provider.encode()))
        headers.append((b"x-gateway-overhead-us", b"%d" % (overhead // 1000)))
        return headers

    def _early_headers(self) -> Headers:
        """Of a stream that starts before it is known who will answer."""
        decision = (b"x-gateway-decision", self._exchange.decision)
        return [_EVENTS, *_EVENT_STREAM, decision, *self._forwarder.headers]

    def _count(self, target: Target, kind: str) -> None:
        self._forwarder.upstream_errors.labels(self._group.label, target.provider, kind).inc()

    def _drop(self, call: Call) -> None:
        self._forwarder.lifecycle.calls.discard(call)
        call.close()


def _take_down(outcome: Outcome, call: Call) -> None:
    """What is known of an answer once nothing more will come."""
    reader = call.reader
    status = reader.status
    outcome.tokens = reader.tokens
    outcome.text_bytes = reader.text_bytes
    outcome.refused = status >= 300 and bool(call.flags & END)
    outcome.answered = 200 <= status < 300 and (bool(reader.events) or bool(call.flags & END))
    # A stream whose choices have ended may still owe its usage.
    is_over = reader.ended or bool(call.flags & END) or (reader.done and outcome.tokens is not None)
    outcome.completed = outcome.answered and is_over and not call.flags & FAULT


def _worth_another(call: Call) -> bool:
    """A complete answer that says: not me, not now."""
    return bool(call.flags & END) and (call.reader.status >= 500 or call.reader.status == 429)


def _whole(call: Call) -> bytes | None:
    """The body of an answer that is no stream. Raises UpstreamProtocolError for a success that is no JSON object."""
    reader = call.reader
    status = reader.status
    if status == 200 and reader.is_event_stream:
        return None
    body = call.take()
    if status >= 300 and call.hidden:
        return body.replace(call.hidden, HIDDEN)
    if 200 <= status < 300 and body.lstrip()[:1] != b"{":
        msg = f"the upstream answered {status} without a JSON object"
        raise UpstreamProtocolError(msg, code="upstream_protocol")
    return body


def _error_type(call: Call) -> str | None:
    """What AWS calls the error; a URL may follow it."""
    found = call.reader.pick((b"x-amzn-errortype",))
    return found[0][1].decode("latin-1").partition(":")[0] if found else None


def _returned(call: Call) -> Headers:
    """Headers of an upstream's answer that go to the caller, and what the gateway has to say of its request."""
    headers: Headers = call.reader.pick(_RETURNED)
    if call.reader.translated:
        kind = _JSON if not call.reader.is_event_stream else _EVENTS
        headers = [kind, *(header for header in headers if header[0] != b"content-type")]
    if call.warnings:
        headers.append((b"x-gateway-warnings", _header_value(", ".join(call.warnings), most=2000)))
    return headers


def _header_value(text: str, *, most: int = 200) -> bytes:
    """What may be the caller's own words (a model's name, for a wildcard) as nothing but visible ASCII."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text.encode()
    return "".join(c if " " <= c <= "~" else "?" for c in text[:most]).encode()
