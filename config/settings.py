"""The resolved configuration that a running gateway works with: plain, frozen, free of pydantic and of I/O.

The loader makes it from YAML and the environment; workers receive it whole (a request pins one snapshot).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tollhouse.config.identities import AwsAccess, GoogleAccess
from tollhouse.config.neighbour_settings import JwtSettings, NeighbourSettings
from tollhouse.config.secret import Secret

# Prices of a model, as `tollhouse._native.PriceTable` takes them: nano-USD per million tokens by kind, under "above"
# those for prompts of more tokens; or the "provider/model" that it costs the same as.
Override = dict[str, int | dict[int, dict[str, int]]] | str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; each bounds something of its own, so a slow stream is not a slow connect."""

    connect_s: float = 5.0
    first_event_s: float = 120.0
    idle_s: float = 300.0
    total_s: float = 1800.0
    keepalive_s: float = 15.0  # silence after which a stream's client gets a comment; 0: never


@dataclass(frozen=True, slots=True)
class Deployment:
    """One upstream that serves `model_name`; several may share a name."""

    model_name: str  # public; may end in or be "*"
    provider: str  # "openai", "azure", "tollhouse", ...
    model: str  # sent upstream; "*" takes the caller's
    api_base: str  # "https://api.openai.com/v1"; "" for the built-in model
    api_key: Secret | None = None
    api_version: str | None = None
    bearer: bool = False  # api_key is an access token, of Entra or of Google Cloud
    aws: AwsAccess | None = None
    google: GoogleAccess | None = None
    quota_project: str | None = None  # of Google's, where the credentials say so
    weight: int = 1  # share of what its name is asked
    rpm: int | None = None
    tpm: int | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass(frozen=True, slots=True)
class Fallback:
    """Who is asked when `model` ("*": any that says nothing itself) has failed for one of `causes`."""

    model: str
    to: tuple[str, ...]
    causes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Prompts of more than `over` tokens go to another model."""

    model: str
    over: int
    to: str


@dataclass(frozen=True, slots=True)
class HeaderRoute:
    """Requests with this header (lower case) go to the first of `models`, or stay with one of them."""

    header: str
    value: str | None  # None: any
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hedge:
    """After so long without an answer, another target is asked as well: seconds, or a percentile of what is usual."""

    after_s: float | None = None
    percentile: int | None = None
    models: tuple[str, ...] | None = None  # None: all


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Where requests go, and what happens when that fails."""

    strategy: str = "weighted"  # "least-busy", "least-used", "lowest-latency", "cost"
    aliases: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()  # aliases that are not listed
    fallbacks: tuple[Fallback, ...] = ()
    escalations: tuple[Escalation, ...] = ()
    header_routes: tuple[HeaderRoute, ...] = ()
    completion_params: dict[str, dict[str, Any]] = field(default_factory=dict)  # by model
    affinity: str = "session"  # "off", "prefix"
    session_header: str = "x-session-id"
    max_attempts: int = 3
    max_fallbacks: int = 5  # models besides the one that was asked for
    retries: int = 2
    retries_first: bool = False  # before fallbacks
    retry_share: float = 0.2
    min_wait_s: float = 0.0
    max_wait_s: float = 2.0
    allowed_fails: int = 3
    window_s: float = 60.0
    cooldown_s: float = 5.0
    has_cooldowns: bool = True
    hedge: Hedge | None = None


@dataclass(frozen=True, slots=True)
class HealthChecks:
    path: str | None = None  # None: the provider's list of models
    interval_s: float = 30.0
    timeout_s: float = 5.0
    unhealthy_threshold: int = 3
    healthy_threshold: int = 1
    required: bool = False  # not ready until every model has a healthy target


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    cap: int  # nano-USD
    window: str = "total"  # "1h", "1d", "month"
    mode: str = "hard"  # or "soft": while the store is away, a slice is spent locally
    time_zone: str = "UTC"  # in which days and months begin


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits and budgets of one key, user, team or model, or of all requests together."""

    level: str  # "key", "user", "team", "model", "global"
    id: str
    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None
    refill: str = "interval"  # or "continuous"
    budgets: tuple[BudgetSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """How the Redis of `store` is used."""

    prefix: str = "tollhouse"
    connect_timeout_s: float = 0.25
    op_timeout_s: float = 0.1
    leases: bool = False
    wait_replicas: int = 0


@dataclass(frozen=True, slots=True)
class ConfiguredKey:
    """A virtual key from the configuration file; only its digest is kept."""

    name: str
    digest: bytes  # SHA-256 of the whole key
    team: str | None = None
    user: str | None = None
    models: tuple[str, ...] | None = None  # None: all


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Caps that are enforced while a request body is read."""

    max_bytes: int = 10 * 1024 * 1024
    max_upload_bytes: int = 50 * 1024 * 1024  # of what is passed through: images, sound, files
    read_timeout_s: float = 30.0
    min_bytes_per_s: int = 1024
    max_depth: int = 64
    max_nodes: int = 100_000


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What is looked for in which direction, as `tollhouse.Scanner` takes it. None: not scanned."""

    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    rules: tuple[dict[str, Any], ...] = ()
    # Pseudonyms come from it: all workers, and all replicas that are to agree, share one.
    pseudonym_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class OTLPSettings:
    """A collector: spans go to `endpoint`/v1/traces, metrics to `endpoint`/v1/metrics."""

    endpoint: str
    headers: dict[str, Secret] = field(default_factory=dict)
    metrics: bool = True
    interval_s: float = 15.0  # between metrics


@dataclass(frozen=True, slots=True)
class LangfuseSettings:
    host: str
    public_key: str
    secret_key: Secret


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Who is told of requests, besides logs and Prometheus. sample: the share of traces that begin here."""

    otlp: OTLPSettings | None = None
    langfuse: LangfuseSettings | None = None
    sentry: Secret | None = None  # a DSN
    sample: float = 1.0


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """A policy whose signature was checked. rules: fields of each, as the engine takes them."""

    version: str
    digest: str  # SHA-256 of the document, hexadecimal
    signer: str  # id of the key; "": nobody has signed it, and nobody had to
    file: str
    rules: tuple[dict[str, Any], ...]
    shadows: tuple[PolicySettings, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyTrust:
    """Which documents of the policy service may take effect. keys: public ones, as they are written."""

    keys: tuple[str, ...] = ()
    needs_signature: bool = True
    allows_older: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptSettings:
    """How receipts are kept. on_failure: "block" decides nothing that cannot be written down, "allow" counts it."""

    on_failure: str = "block"
    buffer_bytes: int = 256 * 1024 * 1024  # that wait to be delivered
    max_lag_s: float | None = None  # of failing deliveries; None: only the buffer counts
    head_s: float = 1.0
    head_file: str | None = None
    keep_bytes: int | None = None  # of what was delivered; None: all


@dataclass(frozen=True, slots=True)
class ReloadSettings:
    """What a new configuration is asked before it takes effect, if anything. A file is its path and its SHA-256."""

    corpora: tuple[tuple[str, str], ...] = ()  # none: there is no gate
    baseline: tuple[str, str] | None = None  # decisions to compare with, instead of what the corpora expect
    accept: frozenset[str] = frozenset()  # ids of entries that may be decided more loosely
    refuses: bool = True  # or reports only
    timeout_s: float = 60.0
    keep: int = 10  # configurations that were accepted


@dataclass(frozen=True, slots=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    server: str = "builtin"  # or "granian"
    env: str = "development"
    log_level: str = "info"
    log_format: str = "json"  # or "text"
    state_dir: str = ""
    store: str = "embedded"  # or where Redis is: redis://, rediss://, unix://, redis+sentinel://, redis+cluster://
    redis: RedisSettings = field(default_factory=RedisSettings)
    master_key: Secret | None = None
    admin_key: Secret | None = None
    default_provider: str | None = None
    default_model: str | None = None
    cors_origins: tuple[str, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    keys: tuple[ConfiguredKey, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    body: BodyLimits = field(default_factory=BodyLimits)
    scan: ScanSettings | None = None
    policy: PolicySettings | None = None
    policy_trust: PolicyTrust = field(default_factory=PolicyTrust)
    receipts: ReceiptSettings | None = None  # None: none are written
    # By "provider/model"; where it ends in *, by its beginning. What is not here has the price of config/prices.json.
    prices: dict[str, Override] = field(default_factory=dict)
    drain_s: float = 30.0  # after SIGTERM, running streams may take so long (LLM_GATEWAY_DRAIN_S)
    # A hold that nobody ends is charged in full this long after the longest stream and the drain.
    hold_margin_s: float = 120.0
    linger_s: float = 1.0  # before that, `Connection: close` is told to clients that keep connections alive
    max_in_flight: int = 256  # per upstream origin and worker
    queue_wait_s: float = 1.0
    max_connections: int = 8192  # of callers, per worker
    max_lag_s: float = 0.25  # that what has come waits to be read, before requests are refused; 0: none is
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    health_checks: HealthChecks | None = None
    metrics_address: tuple[str, int] | None = None  # where metrics are served besides
    telemetry: TelemetrySettings | None = None
    allowances: tuple[Allowance, ...] = ()
    key_default: Allowance | None = None  # for each key that has no allowance of its own; its id is ""
    neighbours: NeighbourSettings = field(default_factory=NeighbourSettings)
    jwt: JwtSettings | None = None
    reload: ReloadSettings = field(default_factory=ReloadSettings)
    source: str | None = None  # path of the configuration file
    fingerprint: str = ""  # of that and all files that it names; "" where there is none
    warnings: tuple[str, ...] = ()  # unknown keys and sections that this version does not enforce, each by name
