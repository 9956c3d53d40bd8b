"""The shapes of everything that says where requests go: LiteLLM's sections, the template's, and `routing`, our own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from tollhouse.config.parts import Duration, Names, Part, Seconds, Text, listed

ByModel = list[dict[str, Names]]  # LiteLLM's way: [{model: [its fallbacks]}]
Retries = Annotated[int, Field(ge=0, le=10)]
Header = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


class AliasTarget(Part):
    model: Text
    hidden: bool = False


class StrategyArgs(Part):
    """LiteLLM's; ours need none."""


class _Shared(Part):
    """What LiteLLM takes in `router_settings` and in `litellm_settings`; the former wins."""

    num_retries: Retries | None = None
    allowed_fails: Annotated[int, Field(ge=0, le=1000)] | None = None
    cooldown_time: Duration | None = None
    fallbacks: ByModel | None = None
    context_window_fallbacks: ByModel | None = None
    content_policy_fallbacks: ByModel | None = None
    default_fallbacks: Names | None = None


class RouterSettings(_Shared):
    routing_strategy: (
        Literal[
            "simple-shuffle",
            "least-busy",
            "latency-based-routing",
            "cost-based-routing",
            "usage-based-routing",
            "usage-based-routing-v2",
        ]
        | None
    ) = None
    routing_strategy_args: StrategyArgs | None = None
    model_group_alias: dict[str, Text | AliasTarget] | None = None
    timeout: Seconds | None = None
    stream_timeout: Seconds | None = None
    retry_after: Annotated[float, Field(ge=0, le=60)] | None = None
    max_fallbacks: Retries | None = None
    disable_cooldowns: bool = False


class LiteLLMSettings(_Shared):
    request_timeout: Seconds | None = None
    drop_params: bool | None = None


class Condition(Part):
    header: Header
    value: str | None = None  # None: any


class RouteEntry(Part):
    """Of the template: who is asked on this condition, and what is filled into requests that do not say it."""

    models: Names
    condition: Condition | None = None
    completion_params: dict[str, Any] | None = None


Cause = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class FallbackEntry(Part):
    """Of the template."""

    primary: Text
    backup: Names
    condition: Annotated[list[Cause], BeforeValidator(listed)] | None = None


class HealthChecksSection(Part):
    enabled: bool = True
    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] | None = Field(
        default=None, validation_alias=AliasChoices("path", "endpoint")
    )
    interval_s: Duration = Field(default=30.0, validation_alias=AliasChoices("interval_s", "interval"))
    timeout_s: Duration = Field(default=5.0, validation_alias=AliasChoices("timeout_s", "timeout"))
    unhealthy_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    healthy_threshold: Annotated[int, Field(ge=1, le=100)] = 1
    require_backend_healthy: bool = False


class EscalationEntry(Part):
    model: Text
    over_prompt_tokens: Annotated[int, Field(ge=1)]
    to: Text


class BreakerSection(Part):
    allowed_fails: Annotated[int, Field(ge=0, le=1000)] | None = None
    window_s: Duration = 60.0
    cooldown_s: Duration | None = None


class HedgeSection(Part):
    after: Duration | Annotated[str, Field(pattern=r"^p(50|75|90|95|99)$")]
    models: Names | None = None


class RoutingSection(Part):
    """Our own."""

    strategy: Literal["weighted", "least-busy", "least-used", "lowest-latency", "cost"] | None = None
    affinity: Annotated[Literal["off", "session", "prefix"], BeforeValidator(lambda v: "off" if v is False else v)] = (
        "session"
    )
    session_header: Header = "x-session-id"
    max_attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    retry_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    max_wait_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    breaker: BreakerSection | None = None
    hedge: HedgeSection | None = None
    escalations: list[EscalationEntry] | None = None
