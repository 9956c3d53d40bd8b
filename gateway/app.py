"""`create_app`: the composition root. Everything is made here and handed on as plain values."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from tollhouse.config import encodings, price_table
from tollhouse.config.settings import Settings
from tollhouse.gateway import chain, config_admin, deployed, fastpath, policy, policy_change, routes
from tollhouse.gateway.admin import KeyAdmin, UsageAdmin
from tollhouse.gateway.config_admin import ConfigAdmin
from tollhouse.gateway.forward import Forwarder
from tollhouse.gateway.health import HealthWatch
from tollhouse.gateway.keyring import KeyRing
from tollhouse.gateway.lane import Lane
from tollhouse.gateway.lifecycle import Lifecycle
from tollhouse.gateway.metrics_port import MetricsPort
from tollhouse.gateway.neighbours import made
from tollhouse.gateway.passthrough import Owners, PassThrough
from tollhouse.gateway.passthrough.reading import Uploads
from tollhouse.gateway.passthrough.routing import Ways
from tollhouse.gateway.pricing import Pricing
from tollhouse.gateway.quota import Quota
from tollhouse.gateway.quota_metrics import QuotaMetrics
from tollhouse.gateway.receipts import book
from tollhouse.gateway.route_metrics import RouteMetrics
from tollhouse.gateway.shedding import Shed
from tollhouse.gateway.state_metrics import GuardMetrics, StateMetrics
from tollhouse.gateway.telemetry import Telemetry
from tollhouse.gateway.worker_metrics import WorkerMetrics
from tollhouse.middlewares.errors import Unavailable, dialect_of, error_body, messages_error_body
from tollhouse.middlewares.exchange import exchange_for, exchange_of
from tollhouse.middlewares.metrics import MetricsStage
from tollhouse.middlewares.receipt import ReceiptStage
from tollhouse.providers.factory import UpstreamFactory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from tollhouse.gateway.neighbours.services import Neighbours
    from tollhouse.gateway.server.server import Direct, Fast
    from tollhouse.gateway.spending import Spending

_REASONS = {
    404: ("there is no such route", "not_found"),
    405: ("this route does not take that method", "method_not_allowed"),
}


def create_app(
    config: Settings | Mapping[str, object] | str | None = None,
    *,
    write_log: Callable[[bytes], None] | None = None,
) -> Starlette:
    """The gateway as an ASGI app.

    config: Settings, the content of a configuration file as a mapping, the path of one, or None for the environment
    alone. write_log takes the lines of the access log; None writes none.
    Raises tollhouse.config.loader.ConfigError for an invalid configuration. Needs the lifespan protocol of its server.
    """
    settings = config if isinstance(config, Settings) else _load(config)
    disable_created_metrics()  # type: ignore[no-untyped-call] # a series per counter that nobody reads
    registry = CollectorRegistry()
    metrics = MetricsStage(registry=registry)
    lifecycle = Lifecycle()
    keys = KeyRing(settings)
    factory = UpstreamFactory(max_in_flight=settings.max_in_flight, queue_wait_s=settings.queue_wait_s)
    pricing = Pricing(price_table.table(), price_table.BUILT_IN | settings.prices, reading=encodings.reading)
    router = deployed.router(settings, factory, pricing)
    health = HealthWatch(router, settings.health_checks) if settings.health_checks is not None else None
    planner = deployed.planner(settings, router)
    route_metrics = RouteMetrics(router, registry=registry)
    quota = Quota(settings, pricing)
    lifecycle.before_drain = quota.hand_over if quota.hands_over else None
    handler = Forwarder(
        lifecycle=lifecycle,
        watch=lifecycle.watch,
        upstream_errors=Counter(
            "gateway_upstream_errors",
            "Failures of upstreams by model, provider and kind.",
            ("model", "provider", "kind"),
            registry=registry,
        ),
        malformed_events=Counter(
            "gateway_upstream_malformed_events",
            "Stream events that were no JSON and were skipped.",
            ("model", "provider"),
            registry=registry,
        ),
        metrics=route_metrics,
        headers=chain.guard_headers(settings),
        price=pricing.of,
        **deployed.resilience(settings),
        encoding=lambda model: encodings.reading(model).encoding,
    )
    guards = GuardMetrics(registry=registry)
    quota_metrics = QuotaMetrics(quota, registry=registry)
    metrics.before_flush += [
        quota_metrics.flush,
        route_metrics.flush,
        guards.flush,
        StateMetrics(
            stores={"keys": lambda: keys.healthy, "quota": lambda: quota.healthy},
            spent_alone=lambda: quota.admitted_alone,
            origins=factory.origins,
            registry=registry,
        ).flush,
    ]
    _add_config(registry)
    telemetry = Telemetry(settings, registry=registry)
    make_guard, guard = chain.guards(settings, count=guards.found, saw=partial(guards.saw, "scan"))
    policy_stage = policy.stage(
        settings,
        make_guard=make_guard,
        named=router.named,
        has_room=lambda: receipts is not None and receipts.is_well,
        registry=registry,
    )
    neighbours = made(
        settings,
        registry=registry,
        metrics=metrics,
        quota=quota,
        guard=guard,
        count=guards.found,
        apply_policy=policy_change.applying(settings, policy_stage, make_guard=make_guard, registry=registry),
        kept_policy=policy_change.kept(settings),
    )
    spending = _spending(settings, neighbours, quota, metrics, registry)
    receipts = book(settings, neighbours.eris if neighbours is not None else None, metrics, registry)
    parts = [
        part
        for part in (
            lifecycle,
            receipts,
            spending,
            health,
            _metrics_port(settings, lambda: _scraped(registry, metrics)),
            neighbours,
            telemetry.pump,
        )
        if part is not None
    ]
    owners = Owners(Path(settings.state_dir) / "owners.db")
    passing = PassThrough(
        uploads=Uploads(settings.body, guard, policy_stage),
        ways=Ways(planner, router.targets, owners, default_provider=settings.default_provider),
        quota=quota.stage,
        owners=owners,
        forwarder=handler,
    )
    table = routes.routes(
        routes.Endpoints(
            router=router,
            keys=keys,
            quota=quota,
            lifecycle=lifecycle,
            registry=lambda: _scraped(registry, metrics),
            health=health,
            neighbours=neighbours,
            sees=policy.visible(policy_stage, tuple(routes.HOT)),
            has_room=receipts.has_room if receipts is not None else lambda: True,
        ),
        KeyAdmin(keys),
        UsageAdmin(quota),
        ConfigAdmin(),
        handler,
        passing,
    )

    @asynccontextmanager
    async def lifespan(app: _Gateway) -> AsyncIterator[None]:
        await keys.open()
        try:
            await quota.open()
            for part in parts:
                await part.open()
            app.begin()
            yield
        finally:
            for part in parts:
                await part.close()
            factory.close()
            await quota.close()
            await owners.close()
            await keys.close()
            metrics.flush()

    route = deployed.route_stage(settings, planner)
    lane = Middleware(
        Lane,
        stages=chain.stages(
            settings,
            keys=keys,
            public=routes.PUBLIC,
            admin=routes.ADMIN,
            metrics=metrics,
            write_log=write_log,
            route=route,
            quota=quota.stage,
            receipt=ReceiptStage(receipts, public=routes.PUBLIC, exempt=routes.ADMIN, knows=router.knows)
            if receipts is not None
            else None,
            policy=policy_stage,
            guard=guard,
            neighbours=neighbours,
            telemetry=telemetry,
        ),
        hot=routes.HOT,
        handler=handler,
        start=handler.start,
        lifecycle=lifecycle,
        paths=frozenset(one.path for one in table if not one.param_convertors),
        templates={one.endpoint: one.path for one in table if one.param_convertors},
        fast=fastpath.made(
            settings,
            others=(policy_stage, receipts, neighbours, telemetry.pump, telemetry.hash_key),
            route=route,
            keys=keys,
            metrics=metrics,
            quota=quota,
            pricing=pricing,
            forwarder=handler,
            spent=quota_metrics,
            guard=guard,
            guards=guards,
            write_log=write_log,
        ),
        shed=Shed(
            routes.HOT,
            lifecycle=lifecycle,
            metrics=metrics,
            write_log=write_log,
            json=settings.log_format == "json",
            registry=registry,
        ),
    )
    app = _Gateway(
        routes=table,
        middleware=[*_cors(settings), lane],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    # A redirect would send a caller's key to wherever the Host header says.
    app.router.redirect_slashes = False
    _show(
        app,
        started=asyncio.Event(),
        lifecycle=lifecycle,
        settings=settings,
        keys=keys,
        metrics=metrics,
        owners=owners,
        neighbours=neighbours,
        receipts=receipts,
    )
    return app


def _show(app: Starlette, **parts: object) -> None:
    """What handlers, the worker and tests find at the app."""
    for name, part in parts.items():
        setattr(app.state, name, part)


class _Gateway(Starlette):
    """Starlette with the lane outermost.

    The lane answers every error itself, so Starlette's own catch-all, which wraps `send` anew for each request, is
    there only for middlewares that were added around the lane.
    """

    def build_middleware_stack(self) -> ASGIApp:
        stack = super().build_middleware_stack()
        inner = getattr(stack, "app", None)
        if isinstance(inner, Lane):
            stack = inner
        return stack if self.state.started.is_set() else _NotStarted(stack)

    def begin(self) -> None:
        """Everything is open: requests are served from now on."""
        self.state.started.set()
        if isinstance(self.middleware_stack, _NotStarted):
            self.middleware_stack = self.middleware_stack.app

    @property
    def direct(self) -> Direct | None:
        """The lane's, where nothing stands around it."""
        return self.middleware_stack.direct if isinstance(self.middleware_stack, Lane) else None

    @property
    def shed(self) -> Shed | None:
        """What its lane says no with while there is no time, likewise."""
        lane = self.middleware_stack
        return lane.shed if isinstance(lane, Lane) else None

    @property
    def fast(self) -> Fast | None:
        """What its lane has for plain requests, likewise."""
        lane = self.middleware_stack
        return lane.fast if isinstance(lane, Lane) else None


class _NotStarted:
    """Serves nothing but the lifespan: without that there is no store, and requests would wait for one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, send = exchange_for(scope, receive, send)
        message = "the gateway has not been started: the server, or the app around it, has to run its lifespan"
        await exchange.refuse(Unavailable(message), send)


def _load(config: Mapping[str, object] | str | None) -> Settings:
    from tollhouse.config.loader import load, load_mapping  # noqa: PLC0415 - 10 MB of pydantic that workers do without

    if config is None or isinstance(config, str):
        return load(config, os.environ)
    return load_mapping(config, os.environ)


def _scraped(registry: CollectorRegistry, metrics: MetricsStage) -> CollectorRegistry:
    """What a scrape sees: this process, or with several workers all of them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return registry
    metrics.flush()
    merged = CollectorRegistry()
    WorkerMetrics(merged)  # type: ignore[no-untyped-call]
    _add_config(merged)
    return merged


def _add_config(registry: CollectorRegistry) -> None:
    found = config_admin.collector()
    if found is not None:
        registry.register(found)


def _metrics_port(settings: Settings, scraped: Callable[[], CollectorRegistry]) -> MetricsPort | None:
    return MetricsPort(settings.metrics_address, scraped) if settings.metrics_address is not None else None


def _spending(
    settings: Settings,
    neighbours: Neighbours | None,
    quota: Quota,
    metrics: MetricsStage,
    registry: CollectorRegistry,
) -> Spending | None:
    collector = neighbours.spending if neighbours is not None else None
    if collector is None:
        return None
    from tollhouse.gateway.spending import Spending  # noqa: PLC0415 - memory, where it is not used

    return Spending(
        quota.ledger,
        collector,
        default_tenant=settings.neighbours.default_tenant,
        drain=quota.drain,
        metrics=metrics,
        registry=registry,
    )


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    from starlette.middleware.cors import CORSMiddleware  # noqa: PLC0415 - rarely wanted

    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id"],
        )
    ]


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (no such route, wrong method) in the shape of the path's API."""
    assert isinstance(error, HTTPException)
    message, code = _REASONS.get(error.status_code, (error.detail, f"http_{error.status_code}"))
    path = request.scope["path"]
    if dialect_of(path) is not None:
        exchange = exchange_of(request.scope)
        body = messages_error_body(message, error.status_code, exchange.request_id if exchange is not None else "")
    else:
        body = error_body(message, "invalid_request_error", code=code)
    return Response(body, status_code=error.status_code, headers=error.headers, media_type="application/json")
