"""Whose request it is, for services that decide by tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse.gateway.neighbours.away import Rejected

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange

GUARD_HEADER = b"x-gateway-guards"  # what ran, and what did not
_LISTS = ("/v1/models",)  # reach nobody


def tenant_of(exchange: Exchange, default: str) -> str | None:
    """None: this request reaches no model, so that no service is asked about it."""
    principal = exchange.principal
    path = exchange.scope["path"]
    if principal is None or not path.startswith("/v1/") or path.startswith(_LISTS):
        return None
    return principal.tenant or principal.team or default


def path_of(service: str, tenant: str, what: str) -> str:
    """Where a service is asked about a tenant. Raises Rejected for names that would lead elsewhere."""
    if tenant in {".", ".."}:
        raise Rejected(service, 400)
    return f"/v1/tenants/{quote(tenant, safe='')}/{what}"
