"""Every route of the gateway, with who may use it. What is not listed as public needs a key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import Response
from starlette.routing import Route

from tollhouse._native import __version__
from tollhouse.gateway.passthrough.table import PASSAGES, Passage
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.exchange import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from tollhouse.gateway.admin import KeyAdmin, UsageAdmin
    from tollhouse.gateway.config_admin import ConfigAdmin
    from tollhouse.gateway.health import HealthWatch
    from tollhouse.gateway.keyring import KeyRing
    from tollhouse.gateway.lane import Handler
    from tollhouse.gateway.lifecycle import Lifecycle
    from tollhouse.gateway.neighbours.services import Neighbours
    from tollhouse.gateway.passthrough.handler import PassThrough
    from tollhouse.gateway.quota import Quota
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.types import Receive, Scope, Send
    from tollhouse.providers.router import Router

# Path -> kind of body. These skip Starlette's router (20 us a request).
HOT = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
}
LIVE = ("/health", "/health/liveliness", "/_health/live")
READY = ("/health/ready", "/health/readiness", "/_health/ready")
PUBLIC = frozenset({*LIVE, *READY, "/metrics"})
ADMIN = ("/admin",)
CREATED = 1_700_000_000  # /v1/models has to say when a model was made; nobody knows


class HotEndpoint:
    """A hot route as Starlette's router sees it: reached only if the lane did not take the request itself."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        if exchange is None or exchange.view is None:
            msg = "this route takes POST"
            raise BadRequest(msg, status=405, code="method_not_allowed")
        await self._handler(exchange)


class Endpoints:
    """Models, health and metrics."""

    def __init__(
        self,
        *,
        router: Router,
        keys: KeyRing,
        quota: Quota,
        lifecycle: Lifecycle,
        registry: Callable[[], CollectorRegistry],
        health: HealthWatch | None = None,
        sees: Callable[[Principal | None, str], bool],
        has_room: Callable[[], bool],
        neighbours: Neighbours | None = None,
    ) -> None:
        self._router = router
        self._keys = keys
        self._quota = quota
        self._lifecycle = lifecycle
        self._registry = registry
        self._health = health
        self._neighbours = neighbours
        self._sees = sees
        self._has_room = has_room

    async def models(self, request: Request) -> Response:
        """The models that the caller's key may use."""
        exchange = exchange_of(request.scope)
        principal = exchange.principal if exchange is not None else None
        listed = [
            _model(name, provider) for name, meant, provider in self._router.models() if self._may_use(principal, meant)
        ]
        return _json({"object": "list", "data": listed})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        meant = self._router.named(name)
        group = self._router.resolve(meant)
        exchange = exchange_of(request.scope)
        principal = exchange.principal if exchange is not None else None
        if group is None or not self._may_use(principal, meant):
            msg = "the model does not exist"
            raise BadRequest(msg, status=404, param="model", code="model_not_found", retry=False)
        return _json(_model(name, group.targets[0].provider))

    def _may_use(self, principal: Principal | None, model: str) -> bool:
        return principal is not None and principal.allows(model) and self._sees(principal, model)

    async def health(self, request: Request) -> Response:
        return _json({"status": "healthy", "version": __version__})

    async def ready(self, request: Request) -> Response:
        """503 names what fails: "draining" or a dependency."""
        failing = [name for name, fine in self._dependencies() if not fine]
        if failing:
            return _json({"status": "unavailable", "failing": failing}, status=503)
        return _json({"status": "ready", "version": __version__})

    async def metrics(self, request: Request) -> Response:
        # Rendering hundreds of models takes milliseconds: not in the loop's thread.
        body = await asyncio.get_running_loop().run_in_executor(None, lambda: generate_latest(self._registry()))
        return Response(body, headers={"content-type": CONTENT_TYPE_LATEST})

    def _dependencies(self) -> list[tuple[str, bool]]:
        return [
            ("draining", not self._lifecycle.draining),
            ("key_store", self._keys.healthy),
            ("quota_store", self._quota.healthy),
            ("receipts", self._has_room()),
            *((f"backend of {model}", False) for model in (self._health.without_backend() if self._health else ())),
            *((name, False) for name in (self._neighbours.failing() if self._neighbours else ())),
        ]


def routes(
    endpoints: Endpoints,
    admin: KeyAdmin,
    usage: UsageAdmin,
    config: ConfigAdmin,
    handler: Handler,
    passing: PassThrough,
) -> list[Route]:
    """All routes, for Starlette's router."""
    hot = HotEndpoint(handler)
    return [
        *(Route(path, hot, methods=["POST"]) for path in HOT),
        *(_passage(one, passing) for one in PASSAGES),
        Route("/v1/models", endpoints.models),
        Route("/v1/models/{model:path}", endpoints.model),
        *(Route(path, endpoints.health) for path in LIVE),
        *(Route(path, endpoints.ready) for path in READY),
        Route("/metrics", endpoints.metrics),
        Route("/admin/keys", admin.list, methods=["GET"]),
        Route("/admin/keys", admin.create, methods=["POST"]),
        Route("/admin/keys/{id}", admin.revoke, methods=["DELETE"]),
        Route("/admin/usage", usage.sums, methods=["GET"]),
        Route("/admin/config", config.status, methods=["GET"]),
        Route("/admin/reload", config.reload, methods=["POST"]),
    ]


def _passage(passage: Passage, passing: PassThrough) -> Route:
    route = Route(passage.path, passing.endpoint(passage), methods=[passage.method])
    # Starlette adds it to every GET; nobody asks a provider for the head of a file.
    route.methods = {passage.method}
    return route


def _model(name: str, provider: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": provider}


def _json(value: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
