"""The services as one ASGI app: each below its own path, with its control at /control/{service}."""

from __future__ import annotations

import dataclasses
import hmac
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from scripts.reference_services.faults import MODES, Control, Faulty
from scripts.reference_services.world import SERVICES, World

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_BATCH = 4 * 1024 * 1024  # bytes


def app(world: World) -> Starlette:
    """All six, and the control."""
    services = Services(world)
    tables: dict[str, list[Route]] = {
        "iam": [
            Route("/introspect", services.introspect, methods=["POST"]),
            Route("/.well-known/openid-configuration", services.discovery),
            Route("/jwks", services.jwks),
            Route("/token", services.mint, methods=["POST"]),
        ],
        "policy": [Route("/v1/policy", services.policy)],
        "data-governance": [Route("/v1/tenants/{tenant:path}/classification", services.classification)],
        "budget": [
            Route("/v1/tenants/{tenant:path}/budget", services.budget),
            Route("/v1/spending", services.spending, methods=["POST"]),
        ],
        "eris": [Route("/v1/receipts", services.receipts, methods=["POST"])],
        "alerting": [Route("/v1/alerts", services.alert, methods=["POST"])],
    }
    return Starlette(
        routes=[
            *(
                Mount(
                    f"/{name}",
                    Faulty(Starlette(routes=[*routes, Route("/health", _health)]), partial(_control, world, name)),
                )
                for name, routes in tables.items()
            ),
            Route("/control/{service}", services.control, methods=["GET", "PUT"]),
            Route("/health", _health),
        ]
    )


class Services:
    """The endpoints."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def introspect(self, request: Request) -> Response:
        """RFC 7662."""
        if (refusal := self._refused(request)) is not None:
            return refusal
        form = parse_qs((await request.body()).decode())
        found = self._world.tokens.get(form.get("token", [""])[0])
        return JSONResponse({"active": False} if found is None else {"active": True} | found)

    async def discovery(self, request: Request) -> Response:
        issuer = _issuer(request)
        return JSONResponse({"issuer": issuer, "jwks_uri": self._world.jwks_uri or f"{issuer}/jwks"})

    async def jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": self._world.issuer.published})

    async def mint(self, request: Request) -> Response:
        """Not in the contract: a JWT with the claims of the body."""
        return JSONResponse({"access_token": self._world.issuer.token(_issuer(request), await request.json())})

    async def policy(self, request: Request) -> Response:
        if (refusal := self._refused(request)) is not None:
            return refusal
        document, tag = self._world.document()
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return Response(document, headers={"etag": tag}, media_type="application/octet-stream")

    async def classification(self, request: Request) -> Response:
        return self._of_tenant(request, self._world.classifications)

    async def budget(self, request: Request) -> Response:
        return self._of_tenant(request, self._world.budgets)

    async def spending(self, request: Request) -> Response:
        """Each charge counts once, by its id, in whichever batches it comes."""
        found = await self._batch(request, "spending")
        if isinstance(found, Response):
            return found
        _, _, charges = found
        is_new = self._world.spend(charges)
        return JSONResponse({"accepted": len(charges)}, status_code=201 if is_new else 200)

    async def receipts(self, request: Request) -> Response:
        """Durable before it is answered."""
        found = await self._batch(request, "receipts")
        if isinstance(found, Response):
            return found
        key, body, receipts = found
        is_new = self._world.keep(key, body, receipts)
        if is_new is None:
            return _error("the key was that of another batch", 409)
        return JSONResponse({"accepted": len(receipts)}, status_code=201 if is_new else 200)

    async def alert(self, request: Request) -> Response:
        if (refusal := self._refused(request)) is not None:
            return refusal
        alert = await _json(request)
        if not isinstance(alert, dict) or "kind" not in alert:
            return _error("that is no alert", 422)
        if all(known["id"] != alert.get("id") for known in self._world.alerts):
            self._world.alerts.append(alert)
        return Response(status_code=202)

    async def control(self, request: Request) -> Response:
        """GET: how often it was asked, and what it has kept. PUT: its mode, and what it knows (`set`)."""
        name = request.path_params["service"]
        if name not in SERVICES:
            return _error(f"there are {', '.join(SERVICES)}", 404)
        world, control = self._world, self._world.controls[name]
        if request.method == "PUT":
            given: dict[str, Any] = await request.json()
            if given.get("mode", "ok") not in MODES:
                return _error(f"mode is one of {', '.join(MODES)}", 422)
            _know(world, name, given.pop("set", {}))
            world.controls[name] = dataclasses.replace(control, **given)
        kept: dict[str, list[Any]] = {"budget": list(world.spent.values())}
        kept |= {"eris": [r for _, batch in world.batches.values() for r in batch], "alerting": world.alerts}
        return JSONResponse({**dataclasses.asdict(world.controls[name]), "kept": kept.get(name, [])})

    async def _batch(self, request: Request, what: str) -> tuple[str, bytes, list[Any]] | Response:
        """Key, bytes and members of a batch; or what is wrong with it."""
        if (refusal := self._refused(request)) is not None:
            return refusal
        key, body = request.headers.get("idempotency-key", ""), await request.body()
        batch = await _json(request)
        if len(body) > MAX_BATCH:
            return _error("the batch is too large", 413)
        if not key or not isinstance(batch, dict) or not isinstance(batch.get(what), list):
            return _error("that is no batch", 422)
        return key, body, batch[what]

    def _of_tenant(self, request: Request, known: dict[str, dict[str, Any]]) -> Response:
        if (refusal := self._refused(request)) is not None:
            return refusal
        tenant = request.path_params["tenant"]
        if tenant not in known:
            return _error("there is no such tenant", 404)
        return JSONResponse({"tenant": tenant} | known[tenant])

    def _refused(self, request: Request) -> Response | None:
        wanted = self._world.token
        given = request.headers.get("authorization", "")
        if wanted is None or hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode()):
            return None
        return _error("the gateway's token is not accepted", 401)


def _know(world: World, name: str, what: Any) -> None:
    """Change what a service knows: tokens, tenants, the policy's text, the issuer's algorithm."""
    if name == "iam":
        if "rotate" in what:
            world.issuer.rotate(what.pop("rotate"))
        world.issuer.published = what.pop("keys", world.issuer.published)
        _replace(world.tokens, what)
    elif name == "policy" and what:
        world.policy = world.signed(what["document"].encode())
    elif name == "data-governance":
        _replace(world.classifications, what)
    elif name == "budget":
        _replace(world.budgets, what)


def _replace(known: dict[str, Any], changes: dict[str, Any]) -> None:
    """None takes away."""
    for key, value in changes.items():
        if value is None:
            known.pop(key, None)
        else:
            known[key] = value


def _control(world: World, name: str) -> Control:
    return world.controls[name]


def _issuer(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers['host']}/iam"


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None


def _error(text: str, status: int) -> Response:
    return JSONResponse({"error": text}, status_code=status)


async def _health(request: Request) -> Response:  # noqa: ARG001 - an endpoint
    return JSONResponse({"status": "ok"})
