"""The public API as typed code uses it. Nothing runs this: `mypy tests` (part of `make lint`) is the test.

`assert_type` states what a caller gets; an ignore states what must be refused, because an ignore that nothing needs is
an error as well.
"""
# mypy: disallow-untyped-defs, disallow-incomplete-defs, disallow-untyped-calls, disallow-untyped-decorators

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Literal, assert_type

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware

import tollhouse
from tollhouse import Finding, Scanner, ScanResult, ScanStream, gateway
from tollhouse._native import RequestView, ResponseReader
from tollhouse.config.loader import ConfigError, Problem, check, load, load_mapping
from tollhouse.config.secret import Secret
from tollhouse.config.settings import Settings
from tollhouse.gateway import create_app
from tollhouse.middlewares.access_log import AccessLogMiddleware
from tollhouse.middlewares.auth import AuthMiddleware, Keys, Principal, StaticKeys
from tollhouse.middlewares.body import BodyMiddleware
from tollhouse.middlewares.edge import EdgeMiddleware
from tollhouse.middlewares.errors import Refusal
from tollhouse.middlewares.exchange import Exchange, exchange_of
from tollhouse.middlewares.metrics import MetricsMiddleware
from tollhouse.middlewares.request_id import RequestIdMiddleware
from tollhouse.middlewares.stage import Stage, StageMiddleware
from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send


def apps(settings: Settings, lines: list[bytes]) -> None:
    assert_type(create_app(), Starlette)
    assert_type(create_app("config.yaml"), Starlette)
    assert_type(create_app({"port": 8080, "keys": []}, write_log=lines.append), Starlette)
    assert_type(gateway.create_app(settings), Starlette)
    create_app(8080)  # type: ignore[arg-type]
    create_app(write_log=print_text)  # type: ignore[arg-type]
    create_app(None, lines.append)  # type: ignore[call-arg]


def print_text(line: str) -> None:
    print(line)


def stacked(app: ASGIApp, lines: list[bytes]) -> ASGIApp:
    """Plain wrapping, with every option."""
    app = BodyMiddleware(app, kinds={"/v1/chat/completions": "chat"}, max_bytes=1000)
    app = AuthMiddleware(app, keys=["sk-a"], public=["/health"], admin=["/admin"], admin_key="root")
    app = AuthMiddleware(app, keys={"sk-a": Principal(id="a", models=("m",))})
    app = AuthMiddleware(app, keys=StaticKeys(["sk-a"]))
    app = EdgeMiddleware(app)
    app = AccessLogMiddleware(app, write=lines.append, json=False)
    app = MetricsMiddleware(app, registry=CollectorRegistry(), prefix="mine")
    return RequestIdMiddleware(app, header="x-trace")


def refused(app: ASGIApp) -> None:
    """Options are keywords, and the needed ones are needed."""
    RequestIdMiddleware(app, "x-trace")  # type: ignore[call-arg]
    RequestIdMiddleware(app, headers="x-trace")  # type: ignore[call-arg]
    AuthMiddleware(app)  # type: ignore[call-arg]
    BodyMiddleware(app)  # type: ignore[call-arg]
    BodyMiddleware(app, kinds=["/chat"])  # type: ignore[arg-type]
    AccessLogMiddleware(app, write=print_text)  # type: ignore[arg-type]


def in_starlette(lines: list[bytes]) -> Starlette:
    app = Starlette(
        middleware=[
            Middleware(RequestIdMiddleware),
            Middleware(AccessLogMiddleware, write=lines.append),
            Middleware(AuthMiddleware, keys=["sk-a"], public=["/health"]),
            Middleware(BodyMiddleware, kinds={"/chat": "chat"}),
        ]
    )
    app.add_middleware(EdgeMiddleware)
    app.add_middleware(MetricsMiddleware, prefix="mine")
    return app


class OwnKeys:
    """A key store of the caller's."""

    def find(self, digest: bytes) -> Principal | None:
        return Principal(id="x") if digest else None


class OwnStage(Stage):
    """A stage of the caller's."""

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        if exchange.principal is None:
            msg = "who is this"
            raise Refusal(msg, status=401, code="nobody")
        return None

    def leave(self, exchange: Exchange) -> None:
        assert_type(exchange.usage, tuple[int, int, int, int] | None)


def own_parts(app: ASGIApp) -> tuple[Keys, StageMiddleware]:
    keys: Keys = OwnKeys()
    return keys, StageMiddleware(AuthMiddleware(app, keys=keys), OwnStage())


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """What an app finds inside."""
    exchange = exchange_of(scope)
    assert_type(exchange, Exchange | None)
    if exchange is None:
        return
    assert_type(exchange.request_id, str)
    assert_type(exchange.principal, Principal | None)
    assert_type(exchange.view, RequestView | None)
    if exchange.principal is not None:
        assert_type(exchange.principal.allows("m"), bool)
    await send({"type": "http.response.start", "status": 200, "headers": []})


def configuration(environ: dict[str, str]) -> list[Problem]:
    try:
        settings = load("config.yaml", environ, overrides={"port": 8080})
    except ConfigError as error:
        assert_type(error.problems, list[Problem])
        return list(error.problems)
    assert_type(settings, Settings)
    assert_type(load_mapping({}, environ), Settings)
    assert_type(settings.master_key, Secret | None)
    settings.port = 9000  # type: ignore[misc]
    return check("config.yaml", environ)


def native(body: bytes) -> None:
    view = RequestView.parse(body, "chat", max_depth=64)
    assert_type(view.model, str | None)
    assert_type(view.segments(), list[tuple[int, int, str, bool]])
    assert_type(view.rewrite(model="m"), bytes)
    reader = ResponseReader("chat", strip_usage=True)
    assert_type(reader.feed(body), int)
    assert_type(reader.usage, tuple[int, int, int, int] | None)
    assert_type(tollhouse.__version__, str)


def scanned(text: str) -> str:
    scanner = Scanner(
        {"pii": "redact", "types": {"EMAIL_ADDRESS": "allow"}}, ["mine.toml", Path("b.yaml"), {"id": "a"}]
    )
    result = scanner.scan(text)
    assert_type(result, ScanResult)
    assert_type(result.decision, Literal["ALLOWED", "TRANSFORMED", "BLOCKED"])
    assert_type(result.findings, list[Finding])
    found = result.findings[0]
    assert_type((found.type, found.rule, found.start, found.end, found.score), tuple[str, str, int, int, float])
    stream = scanner.stream()
    assert_type(stream, ScanStream)
    scanner.scan(b"bytes")  # type: ignore[arg-type]
    Scanner(rules=5)  # type: ignore[arg-type]
    found.start = 5  # type: ignore[misc]
    return result.redacted + stream.feed(text) + stream.finish()
