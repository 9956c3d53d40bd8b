"""Money budgets for any ASGI app that answers like a model API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tollhouse.middlewares.allowances import Allowance, Allowances, BudgetRule
from tollhouse.middlewares.quota_shell import QuotaShell
from tollhouse.middlewares.quote import Quote, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal

    from tollhouse._native import Price
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.quota import Store
    from tollhouse.middlewares.types import ASGIApp

_NANO = 1_000_000_000
__all__ = ["Allowance", "BudgetMiddleware", "BudgetRule", "dollars"]


def dollars(usd: Decimal | int) -> int:
    """Nano-USD. Raises ValueError for an amount that has parts of one, or is too large to be counted exactly."""
    nano = usd * _NANO
    if nano != int(nano) or not 0 <= nano < 1 << 53:
        raise ValueError(f"{usd} USD cannot be counted exactly in nano-USD")
    return int(nano)


class BudgetMiddleware(QuotaShell):
    """Reserves what a request may cost before the app sees it, and charges what its answer says it has cost.

    prices: given a model, its `tollhouse._native.Price`, or None where there is none (refused: 403 `model_unpriced`).
    usd: what each key may spend per `window` ("1h", "1d", "month", "total"; days and months of `time_zone`).
    allowances: budgets and limits of other levels.
    kinds: the paths that cost money, with their API, e.g. {"/v1/chat/completions": "chat"}; others pass.
    store: as of LimitsMiddleware.

    Where less is left than a request may come to, its `max_tokens` is lowered to that; 429 `budget_exceeded` when even
    this is of no use. Fails closed: 503 while the store cannot be asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        prices: Callable[[str], Price | None],
        kinds: Mapping[str, str],
        usd: Decimal | int | None = None,
        window: Literal["1h", "1d", "month", "total"] = "total",
        time_zone: str = "UTC",
        allowances: Iterable[Allowance] = (),
        store: Store | None = None,
        max_bytes: int = 10 * 1024 * 1024,
    ) -> None:
        given = list(allowances)
        if usd is not None:
            rule = BudgetRule(dollars(usd), window, "hard", time_zone)
            given.append(Allowance("key", "", budgets=(rule,)))
        self._prices = prices
        super().__init__(
            app,
            allowances=Allowances(given),
            quote=self._quote,
            kinds=kinds,
            store=store,
            max_bytes=max_bytes,
        )

    def _quote(self, exchange: Exchange) -> Quote | None:
        view = exchange.view
        if view is None:
            return None
        return quoted(view, exchange.kind or "", price=self._prices(exchange.model))
