"""The services around the gateway: who a caller is, what is allowed, what may be spent; receipts and alerts to others.

Each is one `Client` (timeout, breaker, metrics) with what it is asked for beside it. What a service does not answer is
decided by its own setting: closed refuses, open goes on without, is counted and raises an alert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.middlewares.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import CollectorRegistry

    from tollhouse.config.settings import Settings
    from tollhouse.gateway.neighbours.policy_kept import KeptPolicy
    from tollhouse.gateway.neighbours.services import Neighbours
    from tollhouse.gateway.quota import Quota
    from tollhouse.middlewares.guard import Count
    from tollhouse.middlewares.metrics import MetricsStage


def made(
    settings: Settings,
    *,
    registry: CollectorRegistry,
    metrics: MetricsStage,
    quota: Quota,
    guard: Guard | None,
    count: Count,
    apply_policy: Callable[[bytes], Awaitable[str]] | None,
    kept_policy: KeptPolicy | None,
) -> Neighbours | None:
    """None where nothing is configured: then nothing of this exists.

    guard: of the gateway's own section; count: as of Guard. apply_policy, kept_policy: see `PolicyFeed`.
    """
    if not settings.neighbours.services and settings.jwt is None:
        return None
    from tollhouse.gateway.neighbours.services import Neighbours  # noqa: PLC0415 - memory, where it is not used

    # Where nothing else is to be scanned, tenants are scanned for as their service says.
    base = guard or Guard(request=None, response=None, count=count, headers=[])
    neighbours = Neighbours(
        settings, registry=registry, quota=quota, guard=base, apply_policy=apply_policy, kept_policy=kept_policy
    )
    metrics.before_flush.append(neighbours.metrics.flush)
    return neighbours
