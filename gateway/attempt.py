"""One target, asked once: what is sent to it, what comes of that, and what it may cost."""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING

from tollhouse._native import END, FAULT, READY
from tollhouse.gateway.errors import stream_error_status, told_status
from tollhouse.gateway.planning import shown as quoted
from tollhouse.gateway.pricing import NOTHING
from tollhouse.providers import causes
from tollhouse.providers.ask import Ask
from tollhouse.providers.attempts import blame
from tollhouse.providers.call import FIRST, HIDDEN, SETTLED
from tollhouse.providers.causes import Failure
from tollhouse.providers.counting import counted
from tollhouse.providers.errors import (
    UpstreamCannot,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamStreamError,
    UpstreamTimeout,
)
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.transport import StaleConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tollhouse._native import Price, RequestView
    from tollhouse.gateway.forward import Forwarder
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.quota import Outcome
    from tollhouse.middlewares.trace import AttemptSpan
    from tollhouse.providers.call import Call
    from tollhouse.providers.plan import Try


class Attempt:
    """`call` is None until something was sent. `error` says why there is no answer, `body` is a whole one.

    `outcome` is what it is settled by once it has been left.
    """

    __slots__ = (
        "_begun",
        "_forwarder",
        "_has_left",
        "_loop",
        "_probe",
        "_sent_ns",
        "_taken",
        "body",
        "call",
        "error",
        "exchange",
        "leg",
        "model",
        "outcome",
        "span",
        "target",
    )

    def __init__(
        self,
        forwarder: Forwarder,
        exchange: Exchange,
        step: Try,
        loop: asyncio.AbstractEventLoop,
        outcome: Outcome,
    ) -> None:
        self._forwarder = forwarder
        self._loop = loop
        self.exchange = exchange
        self.target = target = step.target
        self.leg = step.leg
        self.model = step.leg.group.upstream_model(target, step.leg.model)
        self.outcome = outcome
        self.call: Call | None = None
        self.error: UpstreamError | None = None
        self.body: bytes | None = None
        self._has_left = False
        self._begun: Call | None = None
        self._sent_ns = 0
        self._probe = 0 if target.breaker.is_quiet else target.breaker.enter(monotonic())
        self._taken = None if target.usage is None else target.usage.take(monotonic(), _estimate(exchange))
        trace = exchange.trace
        self.span = trace.begin(target.provider, self.model) if trace is not None else None
        target.load.in_flight += 1

    def begin(self) -> Call:
        """Send; `run` goes on from there. Raises UpstreamError, as `run` would do once more."""
        self._sent_ns = perf_counter_ns()
        self._begun = call = self._send()
        if call.opening is None:
            self.outcome.asked = not call.flags & SETTLED
        return call

    def take_over(self, call: Call, sent_ns: int) -> None:
        """It was sent by somebody else, then (perf_counter_ns); `run` goes on from there."""
        view = self.exchange.view
        assert view is not None
        self._priced(view)
        self._sent_ns = sent_ns
        self._begun = self.call = call
        self.outcome.asked = True
        self._forwarder.lifecycle.calls.add(call)

    def is_complete(self) -> bool:
        """Whether what was begun is a whole answer that says yes; if it is not, `run` says what it is.

        Raises UpstreamError, as `run` would do once more.
        """
        call = self._begun
        assert call is not None
        if call.flags & SETTLED != END or not 200 <= call.reader.status < 300:
            return False
        self.body = self._whole(call)
        if self.body is None:
            return False
        self._begun = None
        took = perf_counter_ns() - self._sent_ns
        self.exchange.upstream_ns += took
        self._is_well(took)
        return True

    async def run(self, keep_alive: Callable[[], Awaitable[None]]) -> Failure | None:
        """Ask, and wait until an answer has begun (a stream) or is complete; what went wrong, or None.

        keep_alive: called when the client has heard nothing for long.
        """
        sent = self._sent_ns or perf_counter_ns()
        try:
            call = await self._ask(keep_alive)
            self.body = self._whole(call)
        except UpstreamError as error:
            self.exchange.upstream_ns += perf_counter_ns() - sent
            self.error = error
            self._forwarder.count(self, error.code)
            failure = self._failure(error)
        else:
            took = perf_counter_ns() - sent
            self.exchange.upstream_ns += took
            status = call.reader.status
            if 200 <= status < 300:
                self._is_well(took)
                return None
            failure = self._refusal(call, status)
        if not self.target.breaker.is_quiet or failure.cause not in causes.HARMLESS:
            self._blame(failure)
        if failure.cause not in causes.HARMLESS and not failure.is_doubtful:
            self._probe = 0  # what it was to find out is told; the next probe is another's
        return failure

    def broke_off(self, error: UpstreamError) -> None:
        """The answer has begun, and will not be complete."""
        # How long an answer gets, and how fast it is read, is its caller's doing.
        if error.retryable and not (isinstance(error, UpstreamTimeout) and error.is_total):
            self._blame(self._failure(error))

    def _blame(self, failure: Failure) -> None:
        principal = self.exchange.principal
        blame(self.target, failure, monotonic(), caller=principal.id if principal is not None else "")

    def leave(self) -> None:
        """Nothing more is wanted: its upstream does not go on working for nobody. Harmless when repeated."""
        if self._has_left:
            return
        self._has_left = True
        call = self.call
        if self.span is not None:
            _end_span(self.span, call, self.error)
        if call is not None:
            self._take_down(self.outcome, call)
            self._forwarder.drop(call)
        target = self.target
        target.load.in_flight -= 1
        if self._probe:
            target.breaker.leave(self._probe)
        if target.usage is not None and self._taken is not None:
            target.usage.settle(self._taken, self._tokens(self._taken.tokens))

    async def _ask(self, keep_alive: Callable[[], Awaitable[None]]) -> Call:
        for _ in range(2):
            call, self._begun = self._begun or self._send(), None
            if call.opening is not None:
                await call.opening
            if call.opening is None or not call.flags & SETTLED:  # else it was given up before anything was sent
                self.outcome.asked = True
            while not (call.flags & FIRST or await call.wait(FIRST, self._loop)):
                await keep_alive()
            if not (call.flags & SETTLED or self._comes_in_pieces(call)):
                await call.wait(SETTLED, self._loop)
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

    def _comes_in_pieces(self, call: Call) -> bool:
        """Whether an answer that has begun is passed on as it comes; so are events that nobody has asked for."""
        return self.exchange.stream or (call.reader.status == 200 and call.reader.is_event_stream)

    def _send(self) -> Call:
        exchange = self.exchange
        view = exchange.view
        assert view is not None
        if self.call is not None:
            self._forwarder.drop(self.call)
        name = self.model
        most = exchange.charge.output if exchange.charge is not None else None
        price = self._priced(view)
        self.call = call = self._start(
            Ask(
                kind=exchange.kind or "",
                view=view,
                model=name,
                stream=view.stream,
                include_usage=view.include_usage,
                max_output=most,
                model_output=price.max_output if price is not None else None,
                request_id=exchange.request_id,
                headers=self._headers(),
                query=exchange.scope.get("query_string", b""),
            )
        )
        if view.include_usage and price is not None:
            call.reader.tell_cost(price)
        if view.stream and view.choices > 1:
            call.reader.expect_choices(view.choices)
        if most is not None and view.stream:
            call.reader.limit_output(most * view.choices)
        self._forwarder.lifecycle.calls.add(call)
        return call

    def _priced(self, view: RequestView) -> Price | None:
        """Note for the settlement who is asked, and what that costs."""
        outcome, name = self.outcome, self.model
        price = self._forwarder.price(self.target.provider, name, view.service_tier)
        is_count = self.exchange.kind == "count_tokens"
        outcome.price = self._forwarder.price(*NOTHING, None) if is_count else price
        outcome.provider = self.target.provider
        outcome.upstream_model = self.target.vouched(name)
        return price

    def _start(self, ask: Ask) -> Call:
        upstream = self.target.upstream
        if ask.kind in upstream.kinds:
            return upstream.start(ask)
        if ask.kind == "count_tokens":
            return counted(ask, Timeouts(), encoding=self._forwarder.encoding(ask.model))
        msg = f"the model {quoted(self.leg.model)} is not served at {self.exchange.route}"
        raise UpstreamCannot(msg, code="unsupported_endpoint", param="model")

    def _is_well(self, took_ns: int) -> None:
        target = self.target
        if not target.knows_model:  # there is a model of that name
            self.outcome.upstream_model = self.model or self.outcome.upstream_model
        if self.span is not None:
            self.span.answered()
        if not target.breaker.is_quiet:
            target.breaker.succeed(monotonic())
            self._probe = 0
        if self._forwarder.observes:
            self._forwarder.observe(self, took_ns / 1e9)

    def _refusal(self, call: Call, status: int) -> Failure:
        """A complete answer that says no."""
        status = told_status(status, self.body or b"")
        self._forwarder.count(self, f"http_{status}")
        failure = causes.of_status(status, self.body or b"", model=self._known_model())
        if failure.cause == causes.REQUEST:
            return failure
        return failure._replace(retry_after_s=causes.retry_after(call.reader.pick(causes.RETRY_AFTER)))

    def _known_model(self) -> str | None:
        """What the operator calls it upstream; None: that is the caller's choice."""
        return self.model if self.target.knows_model else None

    def _failure(self, error: UpstreamError) -> Failure:
        if not error.retryable:
            return Failure(causes.REQUEST)
        if isinstance(error, UpstreamCannot):
            return Failure(causes.UNSUPPORTED)
        cause = causes.of_error(error)
        call = self.call
        if isinstance(error, UpstreamStreamError) and call is not None:
            said = call.reader.error_event or b""
            failure = causes.of_status(stream_error_status(said), said, model=self._known_model())
            # Its stream is over before it began: what it says of itself is that it has not answered.
            if failure.cause == causes.REQUEST:
                failure = Failure(causes.SERVER_ERROR, is_doubtful=True)
            return failure._replace(may_be_billed=True)
        return Failure(cause, self.outcome.asked, is_doubtful=error.code in causes.ASKED_FOR)

    def _headers(self) -> Mapping[bytes, bytes]:
        """The caller's, as this attempt passes them on."""
        given = self.exchange.headers
        return given if self.span is None else self.span.headers(given)

    def _take_down(self, outcome: Outcome, call: Call) -> None:
        """What is known of an answer once nothing more will come."""
        reader = call.reader
        status = reader.status
        outcome.tokens = reader.tokens
        outcome.text_bytes = reader.text_bytes
        outcome.refused = status >= 300 and bool(call.flags & END)
        outcome.answered = 200 <= status < 300 and (bool(reader.events) or bool(call.flags & END))
        # A stream whose choices have ended may still owe its usage, also where it was given its end.
        is_over = (reader.ended or bool(call.flags & END)) and not reader.cut
        is_over = is_over or (reader.done and outcome.tokens is not None)
        outcome.completed = outcome.answered and is_over and not call.flags & FAULT

    def _whole(self, call: Call) -> bytes | None:
        """The body of an answer that is no stream. Raises UpstreamProtocolError for a success without a JSON object."""
        reader = call.reader
        status = reader.status
        if status == 200 and reader.is_event_stream:
            return None
        body = call.take()
        if call.hidden and (status >= 300 or reader.error_event is not None):
            body = body.replace(call.hidden, HIDDEN)
        if 200 <= status < 300 and body.lstrip()[:1] != b"{":
            msg = f"the upstream answered {status} without a JSON object"
            raise UpstreamProtocolError(msg, code="upstream_protocol")
        return body

    def _tokens(self, estimate: int) -> int:
        """What it came to, for limits of the deployment."""
        outcome = self.outcome
        if outcome.tokens is not None:
            return outcome.tokens.prompt + outcome.tokens.completion
        return estimate if outcome.may_be_billed else 0


def _end_span(span: AttemptSpan, call: Call | None, error: UpstreamError | None) -> None:
    """What is known of an attempt that is over."""
    if error is not None or call is None:
        span.end(status=0, error="cancelled" if error is None else error.code)
        return
    status = call.reader.status
    refused = f"http_{status}" if status >= 300 else ""
    span.end(status=status, error=call.cause().code if call.flags & FAULT else refused, usage=call.reader.usage)


def _estimate(exchange: Exchange) -> int:
    charge = exchange.charge
    return 0 if charge is None else charge.quote.tokens
