"""What the models of this configuration cost, and what a request to one of them may come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollhouse._native import PriceTable
from tollhouse.middlewares.quote import BYTES_PER_TOKEN, Quote

if TYPE_CHECKING:
    from tollhouse._native import Price
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.router import Group

# Where neither the request nor the table says how long an answer may be, the upstream is told this.
DEFAULT_OUTPUT = 4096
_KEPT = 10_000


class Pricing:
    """Prices by provider and upstream model. `overrides` as PriceTable takes them."""

    def __init__(self, table: bytes, overrides: dict[str, Any]) -> None:
        self._table = PriceTable(table, overrides)
        self.version = self._table.version
        self._found: dict[tuple[str, str], Price | None] = {}
        self._dearest: dict[tuple[str, str], Price | None] = {}

    def of(self, provider: str, model: str) -> Price | None:
        """What a provider's model costs; None: unpriced."""
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
        price = self._dearest_of(exchange.group, exchange.asked_model)
        prompt = len(view.body)
        estimate = -(-prompt // BYTES_PER_TOKEN)
        asked = view.max_tokens
        choices = view.choices
        if exchange.kind == "embeddings":
            return Quote(prompt=prompt, estimate=estimate, output=0, tokens=estimate, price=price)
        output = asked
        if output is None and price is not None:
            output = price.max_output
        return Quote(
            prompt=prompt,
            estimate=estimate,
            output=DEFAULT_OUTPUT if output is None else output,
            choices=choices,
            tokens=estimate + (asked or 0) * choices,
            must_limit=output is None,
            price=price,
        )

    def _dearest_of(self, group: Group, model: str) -> Price | None:
        key = group.label, model
        if key not in self._dearest:
            if len(self._dearest) >= _KEPT:
                self._dearest.clear()
            found = [self.of(target.provider, group.upstream_model(target, model)) for target in group.targets]
            priced = [price for price in found if price is not None]
            # One that nobody knows the price of may be dearer than all others.
            is_known = len(priced) == len(found)
            self._dearest[key] = max(priced, key=lambda price: price.bound(100_000, 100_000)) if is_known else None
        return self._dearest[key]
