"""What the models of this configuration cost, and what a request to one of them may come to."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse._native import PriceTable
from tollhouse.gateway import dearest
from tollhouse.middlewares.quote import Quote, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse._native import Price
    from tollhouse.gateway.dearest import Dearest
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.plan import Plan

NOTHING = ("tollhouse", "tollhouse/nothing")  # provider and model of what costs nothing
_BATCH = "batch"  # a price of what waits for its turn: nobody who gets an answer at once pays it, whatever was said
_KEPT = 10_000
_TYPICAL = (3000, 1000)  # tokens by which prices are compared
_DAY_S = 86400


class Model(NamedTuple):
    """Of all targets of a plan together: what bounds their prices, the one encoding, the most that an image can be."""

    price: Price | Dearest | None
    encoding: str | None
    tokens_per_image: int


class Pricing:
    """Prices by provider and upstream model. `overrides` as PriceTable takes them.

    reading: how a model of this name reads its prompt: `encoding` (or None) and `tokens_per_image`.
    """

    def __init__(self, table: bytes, overrides: dict[str, Any], *, reading: Callable[[str], Any]) -> None:
        self._json = table
        self._overrides = overrides
        self._day = 0
        self._found: dict[tuple[str, str], Price | None] = {}
        self._models: dict[Plan, Model] = {}
        self._reading = reading
        # Here, and not in somebody's request: both take milliseconds.
        self._begin_day()
        reading("")
        self.version = self._table.version

    @property
    def free(self) -> Price | None:
        """Of what costs nothing."""
        return self._of(*NOTHING)

    def of(self, provider: str, model: str, tier: str | None = None) -> Price | None:
        """What a provider's model costs, in this `service_tier`; None: unpriced."""
        price = self._of(provider, model)
        return price if tier in {None, _BATCH} or price is None else price.variant(tier) or price

    def _of(self, provider: str, model: str) -> Price | None:
        key = provider, model
        if key not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[key] = self._table.find(provider, model)
        return self._found[key]

    def quote(self, exchange: Exchange) -> Quote | None:
        """At most so much, whichever target of its plan answers."""
        view = exchange.view
        if view is None:
            return exchange.quote
        if exchange.kind == "count_tokens":
            # Anthropic counts for nothing, and so does the gateway; but it is asked, which limits are about.
            return Quote(prompt=0, estimate=0, output=0, tokens=0, price=self.free)
        if time() >= self.until_s:
            self._begin_day()
        model = self.model(exchange.plan)
        price = model.price
        tier = view.service_tier
        if price is not None and tier is not None and tier != _BATCH:
            # Not everybody serves the tier that was asked for.
            price = dearest.of([price, price.variant(tier) or price])
        return quoted(
            view,
            exchange.kind or "",
            price=price,
            encoding=model.encoding,
            tokens_per_image=model.tokens_per_image,
        )

    def _begin_day(self) -> None:
        """Prices that change do so on a day, in UTC."""
        today = int(time()) // _DAY_S * _DAY_S
        self._table = PriceTable(self._json, self._overrides, day=datetime.fromtimestamp(today, UTC).date().isoformat())
        self._found.clear()
        self._models.clear()
        self._day = today

    @property
    def until_s(self) -> int:
        """Seconds since the epoch from which on prices may be others."""
        return self._day + _DAY_S

    def model(self, plan: Plan) -> Model:
        """What is known of the model of a plan."""
        found = self._models.get(plan)
        if found is None:
            if len(self._models) >= _KEPT:
                self._models.clear()
            found = self._models[plan] = self._make(plan)
        return found

    def _make(self, plan: Plan) -> Model:
        names = [(target.provider, name) for target, name in plan.pairs()]
        prices = [self._of(provider, name) for provider, name in names]
        priced = [price for price in prices if price is not None]
        known = [self._reading(name) for _, name in names]
        encodings = {reading.encoding for reading in known}
        return Model(
            # One that nobody knows the price of may be dearer than all others.
            price=dearest.of(priced) if len(priced) == len(prices) else None,
            encoding=encodings.pop() if len(encodings) == 1 else None,
            tokens_per_image=max(reading.tokens_per_image for reading in known),
        )

    def typical(self, provider: str, model: str) -> int | None:
        """Nano-USD by which models are compared; None: unpriced."""
        price = self._of(provider, model)
        return None if price is None else price.bound(*_TYPICAL)
