"""What a tenant's data is, and what is to be done about findings in it, as the data governance service says.

Its answer makes the gateway's own policy of the scan stricter, never looser. Scanners are compiled once per distinct
answer, however many tenants share it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.gateway.neighbours.away import Away
from tollhouse.gateway.neighbours.cache import Cache
from tollhouse.gateway.neighbours.tenancy import GUARD_HEADER, path_of, tenant_of
from tollhouse.middlewares.errors import Forbidden, Unavailable
from tollhouse.middlewares.guard import UNAVAILABLE, Guard
from tollhouse.middlewares.stage import Stage
from tollhouse.middlewares.stricter import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tollhouse.config.neighbour_settings import ServiceSettings
    from tollhouse.gateway.neighbours.client import Client, Reply
    from tollhouse.middlewares.exchange import Exchange

_ACTIONS = frozenset({"allow", "flag", "redact", "pseudonymise", "block"})
_CLASSIFICATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}").fullmatch
_MOST_PLANS = 256  # distinct answers whose scanners are kept


@dataclass(frozen=True, slots=True)
class Rules:
    """One answer. classification: a name, for receipts; plan: its part that scanners are made of, in one spelling."""

    classification: str
    plan: bytes


class GovernanceStage(Stage):
    """Gives each request the guard of its tenant.

    guard: what is scanned anyway; policy: of a Guard that scans for tenants alone. went_on: told of each request
    that went on without an answer.
    """

    def __init__(
        self,
        client: Client,
        settings: ServiceSettings,
        *,
        guard: Guard,
        default_tenant: str,
        went_on: Callable[[str], None],
    ) -> None:
        self._client = client
        self._is_closed = settings.is_closed
        self._guard = guard
        self._types = guard.types
        self._default_tenant = default_tenant
        self._went_on = went_on
        self.cache: Cache[str, Rules | None] = Cache(
            ttl_s=settings.ttl_s, stale_s=settings.stale_s, negative_ttl_s=settings.negative_ttl_s
        )
        self._guards: dict[tuple[Guard, bytes], Guard] = {}

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        tenant = tenant_of(exchange, self._default_tenant)
        if tenant is None:
            return None
        found = self.cache.fresh(tenant)
        if found is None:
            return self._asked(exchange, tenant)
        rules = _known(found[0])
        if (exchange.guard or self._guard, rules.plan) not in self._guards:
            return self._compiled(exchange, rules)
        self._apply(exchange, rules)
        return None

    async def _asked(self, exchange: Exchange, tenant: str) -> None:
        try:
            rules = await self.cache.get(tenant, lambda: self._fetch(tenant))
        except Away:
            if self._is_closed:
                msg = "what may be done with this tenant's data cannot be found out at the moment"
                headers = [(b"retry-after", b"1")]
                raise Unavailable(msg, code=UNAVAILABLE, retry=True, headers=headers) from None
            self._went_on(self._client.name)
            exchange.response_headers.append((GUARD_HEADER, b"data-governance;skipped=unavailable"))
            return
        await self._compiled(exchange, _known(rules))

    async def _compiled(self, exchange: Exchange, rules: Rules) -> None:
        # It takes milliseconds: not in the loop's thread, once it is known for what.
        await asyncio.get_running_loop().run_in_executor(None, self._over, rules.plan, exchange.guard)
        self._apply(exchange, rules)

    def _apply(self, exchange: Exchange, rules: Rules) -> None:
        exchange.tighten = partial(self._over, rules.plan)
        exchange.because(f"data={rules.classification}")
        exchange.response_headers.append((GUARD_HEADER, b"data-governance;ran"))

    def _over(self, plan: bytes, wanted: Guard | None) -> Guard:
        """What does the stricter of the plan and of what is wanted otherwise. May be called in any thread."""
        base = wanted or self._guard
        guard = self._guards.get((base, plan))
        if guard is None:
            sides = orjson.loads(plan)
            guard = base.stricter(sides.get("request"), sides.get("response"))
            if len(self._guards) >= _MOST_PLANS:
                self._guards.pop(next(iter(self._guards)), None)
            self._guards[base, plan] = guard
        return guard

    async def _fetch(self, tenant: str) -> Rules | None:
        path = path_of(self._client.name, tenant, "classification")
        return await self._client.ask(
            "GET", path, lambda reply: _rules(reply, tenant, self._types), expected=(200, 404)
        )


def _known(rules: Rules | None) -> Rules:
    """Raises Forbidden for a tenant that the service does not know."""
    if rules is None:
        msg = "the data governance service does not know the tenant of this key"
        raise Forbidden(msg, code="tenant_unknown", retry=False)
    return rules


def _rules(reply: Reply, tenant: str, types: frozenset[str]) -> Rules | None:
    """Of an answer about this tenant. Raises ValueError for any other, or one that the scanner could not use."""
    if reply.status == 404:
        return None
    answer = reply.json
    if not isinstance(answer, dict) or answer["tenant"] != tenant:
        raise ValueError
    classification = answer["classification"]
    if not isinstance(classification, str) or not _CLASSIFICATION(classification):
        raise ValueError
    plan = {side: _side(answer[side], types) for side in ("request", "response") if answer.get(side) is not None}
    if not plan:
        raise ValueError
    return Rules(classification, orjson.dumps(plan, option=orjson.OPT_SORT_KEYS))


def _side(given: Any, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() - {*FAMILIES, "types"}:
        raise ValueError
    types = given.get("types", {})
    # What would be found under a name that nobody here knows cannot be promised.
    if not isinstance(types, dict) or not types.keys() <= known:
        raise ValueError
    for action in (*(given[name] for name in FAMILIES if name in given), *types.values()):
        if not isinstance(action, str) or action not in _ACTIONS:
            raise ValueError
    return given
