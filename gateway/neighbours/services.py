"""All services of this configuration, put together: what chain, readiness route and receipts need of them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tollhouse.config.neighbour_settings import ServiceSettings
from tollhouse.gateway.neighbours.alerts import BREAKER_OPENED, FAIL_OPEN, OVERSPEND, STORE_AWAY, Alerts, Rising
from tollhouse.gateway.neighbours.budget import BudgetCheckStage
from tollhouse.gateway.neighbours.client import Client
from tollhouse.gateway.neighbours.collector import Collector
from tollhouse.gateway.neighbours.governance import GovernanceStage
from tollhouse.gateway.neighbours.iam import Iam
from tollhouse.gateway.neighbours.metrics import NeighbourMetrics
from tollhouse.gateway.neighbours.policy import PolicyFeed, PolicyGate
from tollhouse.gateway.neighbours.watch import Watch
from tollhouse.providers.breaker import OPEN
from tollhouse.providers.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from tollhouse.config.neighbour_settings import JwtSettings
    from tollhouse.config.settings import Settings
    from tollhouse.gateway.neighbours.policy_kept import KeptPolicy
    from tollhouse.gateway.neighbours.tokens import Tokens
    from tollhouse.gateway.quota import Quota
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.guard import Guard


class Neighbours:
    """What is not configured is None."""

    def __init__(
        self,
        settings: Settings,
        *,
        registry: CollectorRegistry,
        quota: Quota,
        guard: Guard,
        apply_policy: Callable[[bytes], Awaitable[str]] | None,
        kept_policy: KeptPolicy | None,
    ) -> None:
        wanted = settings.neighbours
        self._is_required = wanted.is_required
        self._deadlines = Deadlines()
        self.metrics = metrics = NeighbourMetrics(registry=registry)
        self._clients: list[Client] = []
        self._watches: list[Watch] = []
        alerting = self._client(wanted.find("alerting"))
        self.alerts = Alerts(
            alerting if alerting is not None and alerting.is_set else None,
            source=f"{socket.gethostname()[:64]}-{os.getpid()}",
            metrics=metrics,
            conditions={STORE_AWAY: lambda: not quota.healthy, OVERSPEND: Rising(lambda: quota.tally.excess)},
        )
        self.iam: Iam | None = None
        if (iam := wanted.find("iam")) is not None:
            self.iam = Iam(self._made(iam), iam)
            metrics.count_cache("iam", self.iam.cache.tally)
        self.tokens = self._tokens(settings.jwt) if settings.jwt is not None else None
        self.policy: PolicyFeed | None = None
        self.gate: PolicyGate | None = None
        if (policy := wanted.find("policy")) is not None and apply_policy is not None:
            self.policy = PolicyFeed(self._made(policy), policy, apply_policy=apply_policy, kept=kept_policy)
            self.gate = PolicyGate(self.policy, is_closed=policy.is_closed, went_on=self._went_on)
        self.governance: GovernanceStage | None = None
        if (governance := wanted.find("data_governance")) is not None:
            self.governance = GovernanceStage(
                self._made(governance),
                governance,
                guard=guard,
                default_tenant=wanted.default_tenant,
                went_on=self._went_on,
            )
            metrics.count_cache("data_governance", self.governance.cache.tally)
        self.budget: BudgetCheckStage | None = None
        if (budget := wanted.find("budget")) is not None:
            self.budget = BudgetCheckStage(
                self._made(budget), budget, default_tenant=wanted.default_tenant, went_on=self._went_on
            )
            metrics.count_cache("budget", self.budget.cache.tally)
        self.spending: Collector | None = None
        if wanted.spending is not None:
            # The service is watched already.
            client = Client(wanted.spending, deadlines=self._deadlines, metrics=metrics)
            self._clients.append(client)
            self.spending = Collector(client, "spending")
        eris = self._client(wanted.find("eris"))
        self.eris = Collector(eris, "receipts") if eris is not None and eris.is_set else None

    @property
    def knows_callers(self) -> bool:
        return self.iam is not None or self.tokens is not None

    def identify(self, token: bytes, digest: bytes) -> Principal | Awaitable[Principal | None] | None:
        """See `Identities`: what looks like a JWT is one, if there is an issuer for it; all else is for IAM."""
        if self.tokens is not None and self.tokens.is_one(token):
            return self.tokens.identify(token, digest)
        return self.iam.identify(token, digest) if self.iam is not None else None

    def failing(self) -> list[str]:
        """What /health/ready has to name."""
        found = [watch.failing(is_required=self._is_required) for watch in self._watches]
        if self.gate is not None and self.gate.is_shut:
            found.append("policy_service: no current policy" if "policy_service" not in found else None)
        if self.tokens is not None and not self.tokens.keys.is_current:
            found.append("token_keys")
        return [name for name in found if name is not None]

    async def open(self) -> None:
        """Starts; waits for no service."""
        for watch in self._watches:
            await watch.open()
        if self.policy is not None:
            await self.policy.open()
        if self.tokens is not None:
            await self.tokens.keys.open()
        await self.alerts.open()

    async def close(self) -> None:
        await self.alerts.close()
        if self.policy is not None:
            await self.policy.close()
        if self.tokens is not None:
            await self.tokens.keys.close()
        for watch in self._watches:
            await watch.close()
        for part in (self.iam, self.governance, self.budget):
            if part is not None:
                part.cache.close()
        for client in self._clients:
            client.close()

    def _client(self, settings: ServiceSettings | None) -> Client | None:
        return None if settings is None else self._made(settings)

    def _made(self, settings: ServiceSettings) -> Client:
        client = Client(settings, deadlines=self._deadlines, metrics=self.metrics, on_change=self._changed)
        self._clients.append(client)
        self._watches.append(Watch(client, settings))
        return client

    def _tokens(self, settings: JwtSettings) -> Tokens:
        # Rarely wanted, and not light.
        from tollhouse.gateway.neighbours.keyset import KeySet  # noqa: PLC0415
        from tollhouse.gateway.neighbours.tokens import Tokens  # noqa: PLC0415

        url = urlsplit(settings.jwks_url or settings.issuer)
        service = ServiceSettings(
            name="token_keys",
            variable="auth.jwt",
            url=f"{url.scheme}://{url.netloc}",
            timeout_s=settings.timeout_s,
        )
        client = Client(service, deadlines=self._deadlines, metrics=self.metrics, on_change=self._changed)
        keys = KeySet(
            client,
            issuer=settings.issuer,
            path=(url.path or "/") if settings.jwks_url else None,
            algorithms=settings.algorithms,
            refresh_s=settings.refresh_s,
            min_refresh_s=settings.min_refresh_s,
            stale_s=settings.stale_s,
        )
        return Tokens(settings, keys)

    def _changed(self, service: str, state: int) -> None:
        if state == OPEN and service != "alerting":
            self.alerts.tell(BREAKER_OPENED, f"{service}_service")

    def _went_on(self, service: str) -> None:
        self.metrics.went_on(service)
        self.alerts.tell(FAIL_OPEN, f"{service}_service")
