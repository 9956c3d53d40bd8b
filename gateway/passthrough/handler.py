"""Serves what is passed through: the stages of the chain that read a body, for bodies that are no conversation."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING

from tollhouse._native import END, FAULT, READY, Tokens
from tollhouse.gateway.passthrough.answer import Answering
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.quota import Outcome
from tollhouse.middlewares.quote import BYTES_PER_TOKEN, Quote
from tollhouse.providers.call import SETTLED
from tollhouse.providers.errors import UpstreamError
from tollhouse.providers.openai import OpenAIUpstream
from tollhouse.providers.transport import StaleConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Counter

    from tollhouse._native import Price
    from tollhouse.gateway.lifecycle import Lifecycle
    from tollhouse.gateway.passthrough.owners import Owners
    from tollhouse.gateway.passthrough.payload import Payload
    from tollhouse.gateway.passthrough.reading import Uploads
    from tollhouse.gateway.passthrough.routing import Way, Ways
    from tollhouse.gateway.passthrough.table import Passage
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.stage import Stage
    from tollhouse.middlewares.types import ASGIApp, Headers, Receive, Scope, Send
    from tollhouse.providers.call import Call
    from tollhouse.providers.router import Target

MAX_ATTEMPTS = 3
_FIRST = READY | END | FAULT


class PassThrough:
    """One for all passages. price: of a provider's model; free: a price that is nothing, for what costs nothing."""

    def __init__(
        self,
        *,
        uploads: Uploads,
        ways: Ways,
        quota: Stage,
        owners: Owners,
        price: Callable[[str, str], Price | None],
        free: Price | None,
        lifecycle: Lifecycle,
        upstream_errors: Counter,
        headers: Headers,
    ) -> None:
        self._uploads = uploads
        self._ways = ways
        self._quota = quota
        self.owners = owners
        self._price = price
        self._free = free
        self.lifecycle = lifecycle
        self._upstream_errors = upstream_errors
        self.headers = headers

    def endpoint(self, passage: Passage) -> ASGIApp:
        """What a route of this passage calls."""
        return _Endpoint(self, passage)

    async def serve(self, passage: Passage, exchange: Exchange) -> None:
        """Body, scan, route, quota, as in the chain; then the provider. Raises Refusal or UpstreamError."""
        payload = await self._uploads.payload(passage, exchange)
        way = await self._ways.find(passage, exchange, payload)
        exchange.quote = self._quote(passage, way, payload)
        pending = self._quota.enter(exchange)
        if pending is not None:
            await pending
        loop = asyncio.get_running_loop()
        watch = self.lifecycle.watch
        watch.add(exchange, loop)
        try:
            await self._ask_in_turn(passage, exchange, way, payload)
        finally:
            watch.discard(exchange)

    def count(self, exchange: Exchange, target: Target, kind: str) -> None:
        self._upstream_errors.labels(exchange.model, target.provider, kind).inc()

    def _quote(self, passage: Passage, way: Way, payload: Payload) -> Quote:
        """Bounded where the body bounds it. Nothing else has a price before it is done."""
        if not passage.costs:
            return Quote(prompt=0, estimate=0, output=0, tokens=0, price=self._free)
        tokens = -(-payload.text_bytes // BYTES_PER_TOKEN)
        price = None
        if passage.bounded:
            prices = [self._price(target.provider, name) for target, name in way.targets]
            known = [price for price in prices if price is not None]
            bound = payload.text_bytes
            price = max(known, key=lambda one: one.bound(bound, 0)) if len(known) == len(prices) else None
        return Quote(prompt=payload.text_bytes, estimate=tokens, output=0, tokens=tokens, price=price)

    async def _ask_in_turn(self, passage: Passage, exchange: Exchange, way: Way, payload: Payload) -> None:
        targets = way.targets[:MAX_ATTEMPTS]
        outcome = exchange.outcome
        for number, (target, name) in enumerate(targets):
            has_next = number + 1 < len(targets)
            exchange.provider = target.provider
            try:
                call = await self._ask(passage, exchange, way, target, name, payload)
            except UpstreamError as error:
                self.count(exchange, target, error.code)
                if not (has_next and error.retryable):
                    raise
                if not await self._lose(exchange):
                    raise
                outcome = exchange.outcome
                continue
            try:
                status = call.reader.status
                if has_next and (status >= 500 or status == 429) and await _is_complete(call):
                    self.count(exchange, target, f"http_{status}")
                    if outcome is not None:
                        outcome.asked = False
                    continue
                await Answering(self, passage, exchange, way, target, call).run()
                return
            finally:
                self._settle(passage, exchange, call)

    async def _lose(self, exchange: Exchange) -> bool:
        """What may have to be paid for nothing is put aside; False: then there is not enough for another attempt."""
        charge, outcome = exchange.charge, exchange.outcome
        if charge is not None and outcome is not None and outcome.may_be_billed:
            hold = await charge.stage.reserve_another(exchange)
            if hold is None:
                return False
            charge.stage.settle_another(exchange, hold, outcome)
            exchange.outcome = Outcome()
        return True

    async def _ask(
        self, passage: Passage, exchange: Exchange, way: Way, target: Target, name: str, payload: Payload
    ) -> Call:
        """Send it, and wait for the answer's first bytes, or all of it where it has to be looked at as a whole."""
        upstream = target.upstream
        assert isinstance(upstream, OpenAIUpstream)
        outcome = exchange.outcome
        if outcome is not None:
            outcome.provider, outcome.upstream_model = target.provider, name or passage.name
            outcome.price = self._price(target.provider, name) if passage.costs else self._free
        for _ in range(2):
            sent = perf_counter_ns()
            call = upstream.pass_on(
                passage.method,
                way.path,
                payload.with_model(name),
                query=way.query,
                content_type=payload.content_type,
                request_id=exchange.request_id,
                headers=exchange.headers,
            )
            self.lifecycle.calls.add(call)
            try:
                if call.opening is not None:
                    await call.opening
                if outcome is not None and (call.opening is None or not call.flags & SETTLED):
                    outcome.asked = True
                loop = asyncio.get_running_loop()
                while not (call.flags & _FIRST or await call.wait(_FIRST, loop)):
                    """A keepalive is due: this is no stream yet, so there is nothing to say."""
            except BaseException:
                self._settle(passage, exchange, call)
                raise
            exchange.upstream_ns += perf_counter_ns() - sent
            if not call.flags & FAULT or call.flags & READY:
                return call
            self._settle(passage, exchange, call)
            error = call.cause()
            if not isinstance(error, StaleConnection):
                break
        try:
            raise error
        finally:
            del error, call

    def _settle(self, passage: Passage, exchange: Exchange, call: Call) -> None:
        """Let go of the call, and take down what it came to."""
        self.lifecycle.calls.discard(call)
        call.close()
        outcome = exchange.outcome
        if outcome is None:
            return
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


async def _is_complete(call: Call) -> bool:
    """Wait for the end of an answer that nobody will read; False: it does not come."""
    loop = asyncio.get_running_loop()
    while not call.flags & SETTLED:
        call.take()
        if not call.flags & _FIRST:
            await call.wait(_FIRST, loop)
    return not call.flags & FAULT


class _Endpoint:
    def __init__(self, owner: PassThrough, passage: Passage) -> None:
        self._owner = owner
        self._passage = passage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        assert exchange is not None
        await self._owner.serve(self._passage, exchange)
