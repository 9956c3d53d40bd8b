"""What the models of this configuration cost, and what a request to one of them may come to."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tollhouse._native import PriceTable
from tollhouse.middlewares.quote import BYTES_PER_TOKEN, Quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse._native import Price, RequestView
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.router import Group

# Where neither the request nor the table says how long an answer may be, the upstream is told this.
DEFAULT_OUTPUT = 4096
LARGEST_CONTEXT = 2_000_000  # of a prompt that nothing in its body bounds, by a model that nobody knows
_KEPT = 10_000
_TYPICAL = (100_000, 100_000)  # tokens by which prices are compared
_AT_ONCE = 16 * 1024  # bytes of a body that is counted in half a millisecond
_AROUND = 256  # tokens that stand around a conversation, and that no count of its texts has


class _Model(NamedTuple):
    """Of all targets of a group together: the dearest price, the one encoding, the most that an image can be."""

    price: Price | None
    encoding: str | None
    tokens_per_image: int


class Pricing:
    """Prices by provider and upstream model. `overrides` as PriceTable takes them.

    reading: how a model of this name reads its prompt: `encoding` (or None) and `tokens_per_image`.
    """

    def __init__(self, table: bytes, overrides: dict[str, Any], *, reading: Callable[[str], Any]) -> None:
        self._table = PriceTable(table, overrides)
        self.version = self._table.version
        self._found: dict[tuple[str, str], Price | None] = {}
        self._models: dict[tuple[str, str], _Model] = {}
        self._reading = reading

    def of(self, provider: str, model: str, tier: str | None = None) -> Price | None:
        """What a provider's model costs, in this `service_tier`; None: unpriced."""
        price = self._of(provider, model)
        return price if tier is None or price is None else price.variant(tier) or price

    def _of(self, provider: str, model: str) -> Price | None:
        key = provider, model
        if key not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            self._found[key] = self._table.find(provider, model)
        return self._found[key]

    def quote(self, exchange: Exchange) -> Quote | None:
        """At most so much, whichever target of the group answers."""
        view = exchange.view
        if view is None:
            return None
        model = self._model(exchange.group, exchange.asked_model)
        price = model.price
        if price is not None and view.service_tier is not None:
            price = price.variant(view.service_tier) or price
        prompt = view.prompt_bound(tokens_per_image=model.tokens_per_image)
        if prompt is None:
            prompt = (price.context if price is not None else None) or LARGEST_CONTEXT
        estimate = -(-len(view.body) // BYTES_PER_TOKEN)
        if exchange.kind == "embeddings":
            return Quote(prompt=prompt, estimate=estimate, output=0, tokens=estimate, price=price)
        asked = view.max_tokens
        output = asked
        if output is None and price is not None:
            output = price.max_output
        return Quote(
            prompt=prompt,
            estimate=estimate,
            output=DEFAULT_OUTPUT if output is None else output,
            choices=view.choices,
            tokens=estimate + (asked or 0) * view.choices,
            must_limit=output is None,
            price=price,
            count=None if model.encoding is None else partial(_count, view, model.encoding),
        )

    def _model(self, group: Group, model: str) -> _Model:
        key = group.label, model
        found = self._models.get(key)
        if found is None:
            if len(self._models) >= _KEPT:
                self._models.clear()
            found = self._models[key] = self._make(group, model)
        return found

    def _make(self, group: Group, model: str) -> _Model:
        names = [(target.provider, group.upstream_model(target, model)) for target in group.targets]
        prices = [self._of(provider, name) for provider, name in names]
        priced = [price for price in prices if price is not None]
        known = [self._reading(name) for _, name in names]
        encodings = {reading.encoding for reading in known}
        return _Model(
            # One that nobody knows the price of may be dearer than all others.
            price=max(priced, key=lambda price: price.bound(*_TYPICAL)) if len(priced) == len(prices) else None,
            encoding=encodings.pop() if len(encodings) == 1 else None,
            tokens_per_image=max(reading.tokens_per_image for reading in known),
        )


async def _count(view: RequestView, encoding: str) -> int | None:
    """The prompt counted, and what the model is told besides; None for one that cannot be counted."""
    if any(kind == "media" for _, _, kind, _ in view.segments()):
        return None
    if len(view.body) < _AT_ONCE:
        return view.prompt_tokens(encoding) + _AROUND
    return await asyncio.to_thread(view.prompt_tokens, encoding) + _AROUND
