"""Serves what is passed through: the stages of the chain that read a body, for bodies that are no conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.gateway import dearest
from tollhouse.gateway.passthrough.attempt import Passing
from tollhouse.gateway.passthrough.routing import Passed
from tollhouse.gateway.pricing import NOTHING
from tollhouse.middlewares.exchange import exchange_of
from tollhouse.middlewares.quote import BYTES_PER_TOKEN, Quote
from tollhouse.providers.ask import PASSED

if TYPE_CHECKING:
    from tollhouse.gateway.forward import Forwarder
    from tollhouse.gateway.passthrough.owners import Owners
    from tollhouse.gateway.passthrough.payload import Payload
    from tollhouse.gateway.passthrough.reading import Uploads
    from tollhouse.gateway.passthrough.routing import Way, Ways
    from tollhouse.gateway.passthrough.table import Passage
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.stage import Stage
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send


class PassThrough:
    """One for all passages. Asks as the forwarder does for conversations."""

    def __init__(self, *, uploads: Uploads, ways: Ways, quota: Stage, owners: Owners, forwarder: Forwarder) -> None:
        self._uploads = uploads
        self._ways = ways
        self._quota = quota
        self._owners = owners
        self._forwarder = forwarder

    def endpoint(self, passage: Passage) -> ASGIApp:
        """What a route of this passage calls."""
        return _Endpoint(self, passage)

    async def serve(self, passage: Passage, exchange: Exchange) -> None:
        """Body, policy, scan, route, quota, as in the chain; then the provider. Raises Refusal or UpstreamError."""
        payload = await self._uploads.payload(passage, exchange)
        way = await self._ways.find(passage, exchange, payload)
        exchange.plan = way.plan
        exchange.passed = Passed(passage, way, payload, self._owners)
        exchange.quote = self._quote(passage, way, payload)
        pending = self._quota.enter(exchange)
        if pending is not None:
            await pending
        await Passing(self._forwarder, exchange).run()

    def _quote(self, passage: Passage, way: Way, payload: Payload) -> Quote:
        """Bounded where the body bounds it. Nothing else has a price before it is done."""
        price_of = self._forwarder.price
        if not passage.costs:
            return Quote(prompt=0, estimate=0, output=0, tokens=0, price=price_of(*NOTHING, None))
        tokens = -(-payload.text_bytes // BYTES_PER_TOKEN)
        price = None
        if passage.bounded:
            pairs = [pair for pair in way.plan.pairs() if PASSED in pair[0].upstream.kinds]
            prices = [price_of(target.provider, name, None) for target, name in pairs]
            known = [price for price in prices if price is not None]
            price = dearest.of(known) if len(known) == len(prices) else None
        return Quote(prompt=payload.text_bytes, estimate=tokens, output=0, tokens=tokens, price=price)


class _Endpoint:
    def __init__(self, owner: PassThrough, passage: Passage) -> None:
        self._owner = owner
        self._passage = passage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        assert exchange is not None
        await self._owner.serve(self._passage, exchange)
