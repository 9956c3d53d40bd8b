"""`create_app`: the composition root. Everything is made here and handed on as plain values."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, multiprocess
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from tollhouse.config import encodings, price_table
from tollhouse.config.settings import Settings
from tollhouse.gateway import chain, routes
from tollhouse.gateway.admin import KeyAdmin, UsageAdmin
from tollhouse.gateway.escalation import Escalations
from tollhouse.gateway.forward import Forwarder
from tollhouse.gateway.health import HealthWatch
from tollhouse.gateway.hedge import Hedging
from tollhouse.gateway.keyring import KeyRing
from tollhouse.gateway.lane import Lane
from tollhouse.gateway.lifecycle import Lifecycle
from tollhouse.gateway.metrics_port import MetricsPort
from tollhouse.gateway.pricing import Pricing
from tollhouse.gateway.quota import Quota
from tollhouse.gateway.quota_metrics import QuotaMetrics
from tollhouse.gateway.route_metrics import RouteMetrics
from tollhouse.gateway.routing import RouteStage
from tollhouse.gateway.sessions import Sessions
from tollhouse.middlewares.errors import error_body
from tollhouse.middlewares.metrics import MetricsStage
from tollhouse.providers import strategies
from tollhouse.providers.affinity import Remembered
from tollhouse.providers.breaker import Breaker
from tollhouse.providers.factory import UpstreamFactory
from tollhouse.providers.retry import Policy, RetryBudget
from tollhouse.providers.router import Router, Target
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

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
    router = _router(settings, factory, pricing)
    health = HealthWatch(router, settings.health_checks) if settings.health_checks is not None else None
    route_metrics = RouteMetrics(router, registry=registry)
    quota = Quota(settings, pricing)
    lifecycle.before_drain = quota.hand_over
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
        **_resilience(settings),
        encoding=lambda model: encodings.reading(model).encoding,
    )
    metrics.before_flush += [QuotaMetrics(quota, registry=registry).flush, route_metrics.flush]
    endpoints = routes.Endpoints(
        router=router,
        keys=keys,
        quota=quota,
        lifecycle=lifecycle,
        registry=lambda: _scraped(registry, metrics),
        health=health,
    )
    address = settings.metrics_address
    metrics_port = MetricsPort(address, lambda: _scraped(registry, metrics)) if address is not None else None
    table = routes.routes(endpoints, KeyAdmin(keys), UsageAdmin(quota), handler)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await keys.open()
        try:
            await quota.open()
            if metrics_port is not None:
                await metrics_port.open()
            if health is not None:
                health.start()
            app.state.started.set()
            yield
        finally:
            if health is not None:
                await health.close()
            if metrics_port is not None:
                await metrics_port.close()
            factory.close()
            await quota.close()
            await keys.close()
            metrics.flush()

    found = Counter(
        "gateway_scan_findings",
        "What the scan found, by type, direction (request, response) and action.",
        ("type", "direction", "action"),
        registry=registry,
    )
    lane = Middleware(
        Lane,
        stages=chain.stages(
            settings,
            keys=keys,
            public=routes.PUBLIC,
            admin=routes.ADMIN,
            metrics=metrics,
            write_log=write_log,
            route=_route_stage(settings, router),
            quota=quota.stage,
            guard=chain.guard(
                settings,
                count=lambda kind, direction, action, number: found.labels(kind, direction, action).inc(number),
            ),
        ),
        hot=routes.HOT,
        handler=handler,
        lifecycle=lifecycle,
        paths=frozenset(route.path for route in table if not route.param_convertors),
        templates={route.endpoint: route.path for route in table if route.param_convertors},
    )
    app = _Gateway(
        routes=table,
        middleware=[*_cors(settings), lane],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    # A redirect would send a caller's key to wherever the Host header says.
    app.router.redirect_slashes = False
    app.state.lifecycle = lifecycle
    app.state.started = asyncio.Event()
    app.state.settings = settings
    return app


class _Gateway(Starlette):
    """Starlette with the lane outermost.

    The lane answers every error itself, so Starlette's own catch-all, which wraps `send` anew for each request, is
    there only for middlewares that were added around the lane.
    """

    def build_middleware_stack(self) -> ASGIApp:
        stack = super().build_middleware_stack()
        inner = getattr(stack, "app", None)
        return inner if isinstance(inner, Lane) else stack


def _load(config: Mapping[str, object] | str | None) -> Settings:
    from tollhouse.config.loader import load, load_mapping  # noqa: PLC0415 - 10 MB of pydantic that workers do without

    if config is None or isinstance(config, str):
        return load(config, os.environ)
    return load_mapping(config, os.environ)


def _router(settings: Settings, factory: UpstreamFactory, pricing: Pricing) -> Router:
    rules = settings.routing

    def cost(target: Target) -> int | None:
        return pricing.typical(target.provider, target.model)

    return Router(
        _targets(settings, factory),
        aliases=rules.aliases,
        hidden=rules.hidden,
        strategy=strategies.make(rules.strategy, cost=cost),
    )


def _route_stage(settings: Settings, router: Router) -> RouteStage:
    rules = settings.routing
    escalations = Escalations(rules.escalations, encoding=lambda model: encodings.reading(model).encoding)
    return RouteStage(
        router,
        default_model=settings.default_model,
        fallbacks=rules.fallbacks,
        header_routes=rules.header_routes,
        escalations=escalations if rules.escalations else None,
        completion_params=rules.completion_params,
    )


def _resilience(settings: Settings) -> dict[str, Any]:
    """What the forwarder goes by when an upstream fails, or may."""
    rules = settings.routing
    hedge = rules.hedge
    return {
        "policy": Policy(
            max_attempts=rules.max_attempts,
            retries=rules.retries,
            is_eager=rules.retries_first,
            min_wait_s=rules.min_wait_s,
            max_wait_s=rules.max_wait_s,
        ),
        "budget": RetryBudget(share=rules.retry_share),
        "sessions": Sessions(mode=rules.affinity, header=rules.session_header),
        "remembered": Remembered(),
        "hedging": None
        if hedge is None
        else Hedging(after_s=hedge.after_s, percentile=hedge.percentile, models=hedge.models),
        "observes": rules.strategy == "lowest-latency" or (hedge is not None and hedge.percentile is not None),
    }


def _targets(settings: Settings, factory: UpstreamFactory) -> list[Target]:
    rules = settings.routing
    return [
        Target(
            name=deployment.model_name,
            provider=deployment.provider,
            model=deployment.model,
            upstream=factory.make(
                deployment.provider,
                api_base=deployment.api_base,
                api_key=deployment.api_key.reveal() if deployment.api_key else None,
                api_version=deployment.api_version,
                timeouts=Timeouts(
                    connect_s=deployment.timeouts.connect_s,
                    first_event_s=deployment.timeouts.first_event_s,
                    idle_s=deployment.timeouts.idle_s,
                    total_s=deployment.timeouts.total_s,
                    keepalive_s=deployment.timeouts.keepalive_s,
                ),
            ),
            weight=deployment.weight,
            breaker=Breaker(
                allowed_fails=rules.allowed_fails,
                window_s=rules.window_s,
                cooldown_s=rules.cooldown_s,
                is_off=not rules.has_cooldowns,
            ),
        )
        for deployment in settings.deployments
    ]


def _scraped(registry: CollectorRegistry, metrics: MetricsStage) -> CollectorRegistry:
    """What a scrape sees: this process, or with several workers all of them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return registry
    metrics.flush()
    merged = CollectorRegistry()
    multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    return merged


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


async def _http_error(_: Request, error: Exception) -> Response:
    """Starlette's own errors (no such route, wrong method) in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    message, code = _REASONS.get(error.status_code, (error.detail, f"http_{error.status_code}"))
    body = error_body(message, "invalid_request_error", code=code)
    return Response(body, status_code=error.status_code, headers=error.headers, media_type="application/json")
