"""The shape of the sections about services around the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tollhouse.config.parts import Duration, Name, Names, Part, Text


def _mode(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ServiceSection(Part):
    """What is not said has the default of the service."""

    url: Text | None = None
    token: Text | None = None
    fail: Annotated[Literal["closed", "open"], BeforeValidator(_mode)] | None = None
    timeout_s: Duration | None = None
    ttl_s: Duration | None = None
    negative_ttl_s: Duration | None = None
    stale_s: Duration | None = None
    failures: Annotated[int, Field(ge=0, le=1000)] | None = None
    cooldown_s: Duration | None = None
    health_interval_s: Duration | None = None


class BudgetSection(ServiceSection):
    report: bool = True
    report_timeout_s: Duration = 5.0


class NeighboursSection(Part):
    iam: ServiceSection | None = None
    policy: ServiceSection | None = None
    data_governance: ServiceSection | None = None
    budget: BudgetSection | None = None
    eris: ServiceSection | None = None
    alerting: ServiceSection | None = None
    default_tenant: Name = "default"


class ClaimsSection(Part):
    user: Text | None = None
    team: Text | None = None
    tenant: Text | None = None
    models: Text | None = None


class JwtSection(Part):
    issuer: Text
    audience: Names
    jwks_url: Text | None = None
    algorithms: Names | None = None
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    timeout_s: Duration = 2.0
    refresh_s: Duration = 300.0
    min_refresh_s: Duration = 10.0
    stale_s: Duration = 3600.0
    claims: ClaimsSection | None = None
