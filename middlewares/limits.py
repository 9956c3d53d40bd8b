"""Limits on requests, tokens and requests at once, for any ASGI app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tollhouse.middlewares.allowances import Allowance, Allowances
from tollhouse.middlewares.quota_shell import QuotaShell
from tollhouse.middlewares.quote import Quote, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.quota import Store
    from tollhouse.middlewares.types import ASGIApp

__all__ = ["Allowance", "LimitsMiddleware"]


class LimitsMiddleware(QuotaShell):
    """Answers 429 to what is too much, with OpenAI's `x-ratelimit-*` headers and `retry-after`.

    rpm, tpm, parallel: requests and tokens per minute and requests at once, of each key; whoever has passed
    AuthMiddleware has one, all others share one. refill: "interval" (a minute's when it is over) or "continuous".
    allowances: more of them, by level and id: `Allowance("team", "acme", rpm=600)`.
    kinds: paths whose bodies and answers have tokens, with the API, e.g. {"/v1/chat/completions": "chat"}.
    store: where they are counted, opened and closed by whoever gives it; by default in this process' memory.

    Raises ValueError for limits that cannot be counted exactly. Fails closed: 503 while the store cannot be asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        parallel: int | None = None,
        refill: Literal["interval", "continuous"] = "interval",
        allowances: Iterable[Allowance] = (),
        kinds: Mapping[str, str] | None = None,
        store: Store | None = None,
        max_bytes: int = 10 * 1024 * 1024,
    ) -> None:
        everybody = Allowance("key", "", rpm=rpm, tpm=tpm, parallel=parallel, refill=refill)
        super().__init__(
            app,
            allowances=Allowances([everybody, *allowances]),
            quote=_quote,
            kinds=kinds or {},
            store=store,
            max_bytes=max_bytes,
        )


def _quote(exchange: Exchange) -> Quote:
    view = exchange.view
    if view is None:
        return Quote(prompt=0, estimate=0, output=0, tokens=0)
    return quoted(view, exchange.kind or "", price=None)
