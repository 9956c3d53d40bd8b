"""The order of the chain, stated once.

| stage      | before the request                               | after the response      |
|------------|--------------------------------------------------|-------------------------|
| request id | accept or make `x-request-id`                    |                         |
| trace      | the caller's trace, if traces are kept           | a record of it          |
| metrics    | in flight                                        | count, latency, tokens  |
| access log |                                                  | one line                |
| receipt    | is there room for it                             | a receipt               |
| edge       | Host, ambiguous lengths, encoded bodies          |                         |
| auth       | who is asking                                    |                         |
| policy     | is there a current policy document               |                         |
| body       | read under caps, parse once                      | let go                  |
| governance | which rules the tenant's data has                |                         |
| prompt hash| of the body, if errors are sent to Sentry        |                         |
| policy     | who may use which model, route and tool          |                         |
| scan       | redact, pseudonymise or refuse                   | the answer, as it flows |
| route      | which upstreams; may the key use this model      |                         |
| budget     | has the tenant any left, says its service        | count it down           |
| quota      | limits and budgets: reserve, all or nothing      | settle                  |

Policy, governance and budget are asked of services (`gateway/neighbours`), where those are configured. Then the
handler. What comes later (the cache) takes its place in the list below.
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from tollhouse.middlewares.access_log import AccessLogStage
from tollhouse.middlewares.auth import AuthStage, Keys
from tollhouse.middlewares.body import BodyStage
from tollhouse.middlewares.edge import EdgeStage
from tollhouse.middlewares.request_id import RequestIdStage
from tollhouse.middlewares.scan import Guard, ScanStage
from tollhouse.middlewares.trace import PromptHashStage, TraceStage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tollhouse.config.settings import Settings
    from tollhouse.gateway.neighbours.services import Neighbours
    from tollhouse.gateway.telemetry import Telemetry
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import Count, Policy, Saw
    from tollhouse.middlewares.metrics import MetricsStage
    from tollhouse.middlewares.stage import Stage
    from tollhouse.middlewares.types import Headers

# A key of ours in a prompt is a secret like anybody's.
_OWN_KEY = {
    "id": "tollhouse-key",
    "family": "secrets",
    "type": "SECRET",
    "literals": ["sk-th-"],
    "regex": "sk-th-[0-9a-z]{12}-[0-9A-Za-z]{48}",
}


def stages(
    settings: Settings,
    *,
    keys: Keys,
    public: Collection[str],
    admin: Collection[str],
    metrics: MetricsStage,
    write_log: Callable[[bytes], None] | None,
    route: Stage,
    quota: Stage,
    receipt: Stage | None = None,
    policy: Stage | None = None,
    guard: Guard | None = None,
    neighbours: Neighbours | None = None,
    telemetry: Telemetry | None = None,
) -> list[Stage]:
    """The stages of this configuration, outermost first."""
    body = settings.body
    admin_key = settings.admin_key or settings.master_key
    governance = neighbours.governance if neighbours is not None else None
    pump = telemetry.pump if telemetry is not None else None
    hash_key = telemetry.hash_key if telemetry is not None else None
    chain: list[Stage | None] = [
        RequestIdStage(),
        TraceStage(pump.take, sample=telemetry.sample) if telemetry is not None and pump is not None else None,
        metrics,
        AccessLogStage(write_log, json=settings.log_format == "json") if write_log is not None else None,
        receipt,
        EdgeStage(),
        AuthStage(
            keys,
            public=public,
            admin=admin,
            admin_key=admin_key.reveal() if admin_key else None,
            others=neighbours if neighbours is not None and neighbours.knows_callers else None,
        ),
        neighbours.gate if neighbours is not None else None,
        BodyStage(
            max_bytes=body.max_bytes,
            read_timeout_s=body.read_timeout_s,
            min_bytes_per_s=body.min_bytes_per_s,
            max_depth=body.max_depth,
            max_nodes=body.max_nodes,
        ),
        PromptHashStage(hash_key) if hash_key is not None else None,
        governance,
        policy,
        ScanStage(guard) if guard is not None or policy is not None or governance is not None else None,
        route,
        neighbours.budget if neighbours is not None else None,
        quota,
    ]
    return [stage for stage in chain if stage is not None]


def guards(settings: Settings, *, count: Count, saw: Saw) -> tuple[Callable[..., Guard], Guard | None]:
    """What makes guards of what is done about findings in each direction, and the usual one, if anything is scanned.

    All share rules and pseudonyms.
    """
    scan = settings.scan
    key = scan.pseudonym_key.reveal() if scan is not None and scan.pseudonym_key is not None else token_hex(32)

    def make(*, request: Policy | None, response: Policy | None) -> Guard:
        return Guard(
            request=request,
            response=response,
            rules=(*(scan.rules if scan is not None else ()), _OWN_KEY),
            pseudonym_key=key,
            count=count,
            saw=saw,
            headers=[_guards(settings, has_scan=True)],
        )

    return make, make(request=scan.request, response=scan.response) if scan is not None else None


def guard_headers(settings: Settings) -> Headers:
    """What every forwarded answer says besides the decision: which guards ran, which are off or not there yet."""
    return [_guards(settings, has_scan=settings.scan is not None), (b"x-gateway-cache", b"bypass")]


def own_headers(exchange: Exchange, usual: Headers) -> Headers:
    """`guard_headers` of one exchange: its policy may want another guard than the usual one."""
    return usual if exchange.guard is None else [*exchange.guard.headers, *usual[1:]]


def _guards(settings: Settings, *, has_scan: bool) -> tuple[bytes, bytes]:
    limited = [settings.key_default, *settings.allowances]
    on = {
        "limits": any(one is not None and (one.rpm or one.tpm or one.parallel) for one in limited),
        "budget": any(one is not None and one.budgets for one in limited),
        "scan": has_scan,
    }
    said = [
        "auth;ran",
        *(["policy;ran"] if settings.policy is not None else []),
        *(f"{name};ran" if is_on else f"{name};skipped=off" for name, is_on in on.items()),
    ]
    return b"x-gateway-guards", ", ".join(said).encode()
