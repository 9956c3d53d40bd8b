"""Whether a tenant has any budget left, as the budget service says. The gateway's own ledger stays what it is.

An answer is used for ttl_s and counted down by what requests of this process came to meanwhile. So beyond a tenant's
budget goes at most what is under way when it runs out, and what other processes spend within ttl_s: a check, not a
promise to the last cent. Such a promise is what the gateway's own budgets make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.gateway.neighbours.away import Away
from tollhouse.gateway.neighbours.cache import Cache
from tollhouse.gateway.neighbours.tenancy import GUARD_HEADER, path_of, tenant_of
from tollhouse.middlewares.errors import Refusal, Unavailable
from tollhouse.middlewares.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.config.neighbour_settings import ServiceSettings
    from tollhouse.gateway.neighbours.client import Client, Reply
    from tollhouse.middlewares.exchange import Exchange

_FREE = frozenset({"/v1/messages/count_tokens"})


class Standing:
    """What a tenant may spend. remaining: nano-USD at the time of the answer; None: no bound."""

    __slots__ = ("is_allowed", "remaining", "resets_at", "spent")

    def __init__(self, *, is_allowed: bool, remaining: int | None = None, resets_at: int | None = None) -> None:
        self.is_allowed = is_allowed
        self.remaining = remaining
        self.resets_at = resets_at
        self.spent = 0  # since then, by this process

    @property
    def has_any(self) -> bool:
        return self.is_allowed and (self.remaining is None or self.spent < self.remaining)


class BudgetCheckStage(Stage):
    """Refuses requests that may cost money of tenants that have none left. Stands around the quota stage."""

    def __init__(
        self, client: Client, settings: ServiceSettings, *, default_tenant: str, went_on: Callable[[str], None]
    ) -> None:
        self._client = client
        self._is_closed = settings.is_closed
        self._default_tenant = default_tenant
        self._went_on = went_on
        self.cache: Cache[str, Standing] = Cache(
            ttl_s=settings.ttl_s,
            stale_s=settings.stale_s,
            negative_ttl_s=settings.negative_ttl_s,
            is_negative=lambda standing: not standing.is_allowed,
        )

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        tenant = self._tenant(exchange)
        if tenant is None:
            return None
        found = self.cache.fresh(tenant)
        if found is None:
            return self._asked(exchange, tenant)
        self._decide(exchange, tenant, found[0])
        return None

    def leave(self, exchange: Exchange) -> None:
        tenant = self._tenant(exchange) if exchange.cost else None
        if tenant is not None and exchange.cost:
            standing = self.cache.peek(tenant)
            if standing is not None:
                standing.spent += exchange.cost

    def _tenant(self, exchange: Exchange) -> str | None:
        scope = exchange.scope
        if scope["method"] != "POST" or scope["path"] in _FREE:
            return None
        return tenant_of(exchange, self._default_tenant)

    async def _asked(self, exchange: Exchange, tenant: str) -> None:
        try:
            standing = await self.cache.get(tenant, lambda: self._fetch(tenant))
        except Away:
            if self._is_closed:
                msg = "whether there is any budget left cannot be found out at the moment"
                headers = [(b"retry-after", b"1")]
                raise Unavailable(msg, code="budget_unavailable", retry=True, headers=headers) from None
            self._went_on(self._client.name)
            exchange.response_headers.append((GUARD_HEADER, b"budget-service;skipped=unavailable"))
            return
        self._decide(exchange, tenant, standing)

    def _decide(self, exchange: Exchange, tenant: str, standing: Standing) -> None:
        exchange.response_headers.append((GUARD_HEADER, b"budget-service;ran"))
        if standing.has_any:
            return
        until = "" if standing.resets_at is None else f"; it begins anew at {standing.resets_at} (seconds since 1970)"
        msg = f"the budget of tenant {tenant} is used up, says the budget service{until}"
        raise Refusal(msg, status=429, type="insufficient_quota", code="budget_exceeded", retry=False)

    async def _fetch(self, tenant: str) -> Standing:
        path = path_of(self._client.name, tenant, "budget")
        return await self._client.ask("GET", path, lambda reply: _standing(reply, tenant), expected=(200, 404))


def _standing(reply: Reply, tenant: str) -> Standing:
    """A tenant that the service does not know has no budget. Raises ValueError for an answer about somebody else."""
    if reply.status == 404:
        return Standing(is_allowed=False)
    answer = reply.json
    if not isinstance(answer, dict) or answer["tenant"] != tenant or not isinstance(answer["allowed"], bool):
        raise ValueError
    return Standing(
        is_allowed=answer["allowed"],
        remaining=_whole(answer.get("remaining_nano_usd")),
        resets_at=_whole(answer.get("resets_at")),
    )


def _whole(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError  # noqa: TRY004 - of the answer, not of a call
    return value
