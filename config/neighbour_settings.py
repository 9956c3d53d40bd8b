"""What the gateway knows of the services around it: plain and frozen, like all that workers receive."""

from __future__ import annotations

from dataclasses import dataclass, field

from tollhouse.config.secret import Secret


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service. url: None where it is wanted and nobody has said where it is.

    Times are seconds. timeout_s bounds all of a call. An answer is used for ttl_s (negative_ttl_s if it is "no"); while
    the service fails, for stale_s, counted from when it was asked for. More than `failures` failed calls open its
    breaker for cooldown_s.
    """

    name: str
    variable: str  # of the environment, that says where it is
    url: str | None = None
    token: Secret | None = None
    is_closed: bool = True  # without an answer: refuse; else go on without
    timeout_s: float = 0.5
    ttl_s: float = 5.0
    negative_ttl_s: float = 1.0
    stale_s: float = 10.0
    failures: int = 4
    cooldown_s: float = 2.0
    health_interval_s: float = 5.0


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Tokens of an OpenID provider. claims: which claim is the user, team, tenant and models; dots go into objects."""

    issuer: str
    audience: tuple[str, ...]
    jwks_url: str | None = None  # None: what the issuer's discovery document says
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    leeway_s: float = 30.0
    timeout_s: float = 2.0
    refresh_s: float = 300.0
    min_refresh_s: float = 10.0  # between two that unknown key ids ask for
    stale_s: float = 3600.0
    claims: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NeighbourSettings:
    services: tuple[ServiceSettings, ...] = ()
    spending: ServiceSettings | None = None  # the budget service, where it is told what was spent
    is_required: bool = False  # not ready before each of them has answered once
    default_tenant: str = "default"  # of callers that have neither tenant nor team

    def find(self, name: str) -> ServiceSettings | None:
        return next((service for service in self.services if service.name == name), None)
