"""The shape of a configuration file. Only the loader imports this: pydantic costs 10 MB that a worker does without."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from tollhouse.config.neighbour_schema import JwtSection, NeighboursSection
from tollhouse.config.parts import Count, Name, Names, Part, Seconds, Text, listed
from tollhouse.config.reload_schema import ReloadSection
from tollhouse.config.routing_schema import (
    FallbackEntry,
    HealthChecksSection,
    LiteLLMSettings,
    RouteEntry,
    RouterSettings,
    RoutingSection,
)

_STORE = r"^(embedded|((redis|rediss)(\+sentinel|\+cluster)?|unix)://.+)$"
StoreURL = Annotated[str, StringConstraints(pattern=_STORE)]
Level = Literal["debug", "info", "warning", "error", "critical"]
Action = Literal["allow", "flag", "redact", "pseudonymise", "block"]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class LiteLLMParams(Part):
    model: Text
    api_key: str | None = None
    api_base: str | None = None
    api_version: str | None = None
    azure_ad_token: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    aws_region_name: str | None = None
    aws_profile_name: str | None = None
    aws_role_name: str | None = None
    aws_session_name: str | None = None
    aws_external_id: str | None = None
    aws_web_identity_token: str | None = None
    aws_sts_endpoint: str | None = None
    aws_bedrock_runtime_endpoint: str | None = None
    vertex_project: str | None = None
    vertex_location: str | None = None
    vertex_credentials: str | None = None
    timeout: Seconds | None = None
    stream_timeout: Seconds | None = None
    rpm: Count | None = None
    tpm: Count | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None


class Limits(Part):
    rpm: Count | None = None
    tpm: Count | None = None
    parallel: Count | None = None
    refill: Literal["interval", "continuous"] = "interval"


class Budget(Part):
    # Nine digits behind the point are nano-USD; the largest is what a double counts exactly, in dollars.
    usd: Annotated[Decimal, Field(ge=0, lt=9_000_000, decimal_places=9)]
    window: Literal["1h", "1d", "month", "total"] = "total"
    mode: Literal["hard", "soft"] = "hard"
    time_zone: Text = "UTC"


Budgets = Annotated[list[Budget], BeforeValidator(listed)]


class Allowed(Part):
    """What there may be of, at every level."""

    limits: Limits | None = None
    budget: Budgets | None = None


class ModelEntry(Allowed):
    model_name: Text
    litellm_params: LiteLLMParams
    model_info: dict[str, Any] | None = None


class KeyEntry(Allowed):
    name: Name
    key: Text | None = None
    key_hash: Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-fA-F]{64}$")] | None = None
    team: Name | None = None
    user: Name | None = None
    models: list[str] | None = None


class NamedEntry(Allowed):
    """A team or a user."""

    name: Name


class RateLimits(Part):
    """Of the deployment checklist's template: for each key that has none of its own, and for everybody together."""

    global_per_minute: Count | None = None
    per_api_key: dict[str, Count] | None = None  # by name; "default" for the others
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_parallel_requests: Count | None = None


def _off(value: object) -> object:
    """`off` and `no` are false in YAML."""
    return "allow" if value is False else value


GuardAction = Annotated[Action, BeforeValidator(_off)]


class ScanSide(Part):
    pii: GuardAction | None = None
    secrets: GuardAction | None = None
    injection: GuardAction | None = None
    types: dict[str, GuardAction] | None = None
    rules: dict[str, GuardAction] | None = None


class Scan(Part):
    request: ScanSide | None = None
    response: ScanSide | None = None
    rules: list[dict[str, Any]] | None = None
    rule_files: list[Text] | None = None
    pseudonym_key: Annotated[str, StringConstraints(min_length=16)] | None = None


class PolicySection(Part):
    """Where the policy is, and whose signature on it counts."""

    file: Text | None = None  # may be missing where the policy service has it
    signature: Text | None = None  # by default the file's name with .sig behind it
    keys: list[Text] | None = None
    require_signature: bool = True
    allow_older: bool = False
    shadow: Names | None = None


def _reachable(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or not 0 < (parts.port or 80) < 65536:
        msg = "names no host or port that there can be"
        raise ValueError(msg)
    return url


class ErisSection(Part):
    """The service that collects receipts: the same as `neighbours.eris`, said where receipts are."""

    url: (
        Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"), AfterValidator(_reachable)]
        | None
    ) = None
    token: Text | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] | None = None


class ReceiptsSection(Part):
    """A receipt per decision, and what happens when none can be written or delivered."""

    on_failure: Literal["block", "allow"] = "block"
    buffer_bytes: Annotated[int, Field(ge=65536)] = 256 * 1024 * 1024
    max_lag_s: Seconds | None = None
    head_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    head_file: Text | None = None
    keep_bytes: Annotated[int, Field(ge=65536)] | None = None
    eris: ErisSection | None = None


class UpstreamSection(Part):
    connect_s: Seconds = 5.0
    first_event_s: Seconds = 120.0
    idle_s: Seconds = 300.0
    total_s: Seconds = 1800.0
    keepalive_s: Annotated[float, Field(ge=0)] = 15.0
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    queue_wait_s: Annotated[float, Field(ge=0)] = 1.0


class RedisSection(Part):
    """How the store behind `store: redis://...` is used."""

    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "tollhouse"
    connect_timeout_s: Seconds = 0.25
    op_timeout_s: Seconds = 0.1
    # Ask Redis for parts of limits and budgets, and decide by those without asking each time.
    leases: bool = False
    # An admission counts once so many replicas have it.
    wait_replicas: Annotated[int, Field(ge=0, le=8)] = 0


class BodySection(Part):
    max_bytes: Annotated[int, Field(ge=1024)] = 10 * 1024 * 1024
    max_upload_bytes: Annotated[int, Field(ge=1024)] = 50 * 1024 * 1024
    read_timeout_s: Seconds = 30.0
    min_bytes_per_s: Annotated[int, Field(ge=0)] = 1024
    max_depth: Annotated[int, Field(ge=1, le=1024)] = 64
    max_nodes: Annotated[int, Field(ge=1)] = 100_000


class GeneralSettings(Part):
    master_key: Text | None = None
    admin_key: Text | None = None


class Auth(Part):
    type: Literal["bearer"] | None = None
    tokens: list[str | dict[str, Any]] | None = None
    jwt: JwtSection | None = None


class Prometheus(Part):
    """Of the template: metrics on a port of their own, besides those at /metrics."""

    enabled: bool = True
    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Logging(Part):
    level: Annotated[Level, BeforeValidator(_lower)] | None = None
    format: Annotated[Literal["json", "text"], BeforeValidator(_lower)] | None = None
    prometheus: Prometheus | None = None


HttpURL = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@?#]+[^\s@?#]*$")]


class OTLPSection(Part):
    endpoint: HttpURL = "http://127.0.0.1:4318"
    headers: dict[str, Text] | None = None
    metrics: bool = True
    interval_s: Seconds = 15.0


class LangfuseSection(Part):
    host: HttpURL = "https://cloud.langfuse.com"
    public_key: Text
    secret_key: Text


class SentrySection(Part):
    dsn: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+@[^\s@]+/[0-9]+$")]


class TelemetrySection(Part):
    """Where traces, metrics and errors are sent besides logs and /metrics."""

    otlp: OTLPSection | None = None
    langfuse: LangfuseSection | None = None
    sentry: SentrySection | None = None
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0


class File(Part):
    """The whole file: LiteLLM's sections, our own, and those of the deployment checklist's template."""

    model_list: list[ModelEntry] | None = None
    router_settings: RouterSettings | None = None
    litellm_settings: LiteLLMSettings | None = None
    general_settings: GeneralSettings | None = None
    environment_variables: dict[str, str | int | float | bool] | None = None

    host: Text | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    server: Literal["builtin", "granian"] | None = None
    state_dir: Text | None = None
    drain_s: Annotated[float, Field(ge=0)] | None = None
    linger_s: Annotated[float, Field(ge=0)] | None = None
    hold_margin_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_lag_s: Annotated[float, Field(ge=0, le=60)] | None = None
    cors_origins: list[str] | None = None
    default_model: Text | None = None
    default_provider: Text | None = None
    store: StoreURL | None = None
    keys: list[KeyEntry] | None = None
    teams: list[NamedEntry] | None = None
    users: list[NamedEntry] | None = None
    limits: Limits | None = None
    budget: Budgets | None = None
    redis: RedisSection | None = None
    scan: Scan | None = None
    policy: PolicySection | None = None
    receipts: ReceiptsSection | None = None
    prices: dict[str, Any] | None = None
    upstream: UpstreamSection | None = None
    routing: RoutingSection | None = None
    body: BodySection | None = None
    neighbours: NeighboursSection | None = None
    telemetry: TelemetrySection | None = None
    reload: ReloadSection | None = None

    auth: Auth | None = None
    logging: Logging | None = None
    routes: dict[str, list[RouteEntry]] | None = None
    rate_limits: RateLimits | None = None
    fallbacks: list[FallbackEntry] | None = None
    health_checks: HealthChecksSection | None = None
