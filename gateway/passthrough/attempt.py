"""One target, asked once for what is no conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tollhouse._native import END, FAULT, Tokens
from tollhouse.gateway.attempt import Attempt
from tollhouse.gateway.passthrough.answer import PassedAnswer, media_of
from tollhouse.gateway.pricing import NOTHING
from tollhouse.gateway.request import Request
from tollhouse.providers import causes
from tollhouse.providers.call import FIRST, HIDDEN, SETTLED
from tollhouse.providers.causes import Failure
from tollhouse.providers.errors import UpstreamCannot, UpstreamProtocolError
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.retry import ONCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.gateway.answer import Answer
    from tollhouse.gateway.passthrough.routing import Passed
    from tollhouse.middlewares.quota import Outcome
    from tollhouse.providers.call import Call
    from tollhouse.providers.retry import Policy

MOST_TEXT = 64 * 1024 * 1024  # bytes of an answer that has to be looked at as a whole
_MISSING = frozenset({404, 405, 501})


class PassedAttempt(Attempt):
    """Errors and JSON are held until they are complete, events and sound are an answer once they have begun."""

    __slots__ = ("_held",)

    _held: bytes | None

    async def _ask(self, keep_alive: Callable[[], Awaitable[None]]) -> Call:
        call = await super()._ask(keep_alive)
        self._held = await self._read(call) if self._is_whole(call) else None
        return call

    def _comes_in_pieces(self, call: Call) -> bool:
        return True

    def _whole(self, call: Call) -> bytes | None:
        is_error = call.reader.status >= 300 or call.reader.error_event is not None
        if self._held is not None and is_error and call.hidden:
            return self._held.replace(call.hidden, HIDDEN)
        return self._held

    def _is_whole(self, call: Call) -> bool:
        reader = call.reader
        if not 200 <= reader.status < 300:
            return True
        media = media_of(reader.pick((b"content-type",)))
        is_text = media.name.startswith("text/") and self.exchange.answer_guard is not None
        return not reader.is_event_stream and (media.is_json or is_text)

    async def _read(self, call: Call) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            pieces.append(call.take())
            size += len(pieces[-1])
            if size > MOST_TEXT:
                msg = f"the upstream's answer is larger than {MOST_TEXT} bytes"
                raise UpstreamProtocolError(msg, code="upstream_too_large")
            if call.flags & FAULT:
                raise call.cause()
            if call.flags & END:
                return b"".join(pieces)
            await call.wait(FIRST, self._loop)

    def _send(self) -> Call:
        exchange, upstream, forwarder = self.exchange, self.target.upstream, self._forwarder
        passed: Passed = exchange.passed
        passage = passed.passage
        if not isinstance(upstream, OpenAIUpstream):
            msg = f"this model is not served at {passage.path}"
            raise UpstreamCannot(msg, code="unsupported_endpoint", param="model")
        if self.call is not None:
            forwarder.drop(self.call)
        outcome, provider = self.outcome, self.target.provider
        outcome.provider, outcome.upstream_model = provider, self.target.vouched(self.model) or passage.name
        outcome.price = forwarder.price(*((provider, self.model) if passage.costs else NOTHING), None)
        self.call = call = upstream.pass_on(
            passage.method,
            passed.way.path,
            passed.payload.with_model(self.model),
            query=passed.way.query,
            content_type=passed.payload.content_type,
            request_id=exchange.request_id,
            headers=self._headers(),
        )
        forwarder.lifecycle.calls.add(call)
        return call

    def _refusal(self, call: Call, status: int) -> Failure:
        if status in _MISSING:
            # Of a file that is gone, or of an endpoint that this server does not have: it may well converse.
            self._forwarder.count(self, f"http_{status}")
            return Failure(causes.REQUEST if self.exchange.passed.passage.keeps else causes.UNSUPPORTED)
        return super()._refusal(call, status)

    def _take_down(self, outcome: Outcome, call: Call) -> None:
        passage = self.exchange.passed.passage
        reader = call.reader
        status = reader.status
        is_over = bool(call.flags & END) and call.flags & SETTLED == END
        outcome.tokens = reader.tokens
        outcome.refused = status >= 300 and is_over
        outcome.answered = 200 <= status < 300
        outcome.completed = outcome.answered and is_over
        if not passage.costs and outcome.completed:
            outcome.tokens = Tokens()
        elif outcome.tokens is None and not passage.bounded:
            # What the provider charges for (a minute, an image) is not told in tokens.
            outcome.price = None


class Passing(Request):
    """As a conversation's way through its targets."""

    __slots__ = ()

    asks: ClassVar[type[Attempt]] = PassedAttempt
    answers: ClassVar[type[Answer]] = PassedAnswer

    def _policy(self) -> Policy:
        passage = self._exchange.passed.passage
        # What is made and kept would be there twice if the first time came to something all the same.
        is_making = passage.keeps and passage.method == "POST"
        return ONCE if is_making else super()._policy()

    async def keep_alive(self) -> None:
        """It is no stream yet, so there is nothing to say."""
