"""Fixtures of the tests on real parts: model server, scripted upstream, gateways. All of them live for the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

# Imported for their scripts.
from tests.support import sse_scripts  # noqa: F401
from tests.support.anthropic_scripts import SCRIPTS as ANTHROPIC_SCRIPTS
from tests.support.gateway import Gateway, echo_only, model, running_gateway
from tests.support.hostile import SCRIPTS
from tests.support.model_server import MODEL, ModelServer, running_model_server
from tests.support.net import free_port
from tests.support.upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVERS = ("builtin", "granian", "uvicorn")
PATIENCE = {"connect_s": 2, "first_event_s": 1, "idle_s": 1, "total_s": 6}


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    with running_model_server() as server:
        yield server


@pytest.fixture(scope="session")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCRIPTS | ANTHROPIC_SCRIPTS) as server:
        yield server


def models(upstream: ScriptedUpstream, model_server: ModelServer) -> list[dict[str, Any]]:
    """What the tests' gateways serve besides the built-in model."""
    tiny = model(MODEL, model_server.base_url, upstream=f"openai/{MODEL}", api_key=model_server.api_key)
    return [
        tiny,
        model("renamed", model_server.base_url, upstream=f"openai/{MODEL}", api_key=model_server.api_key),
        model("badly-keyed", model_server.base_url, upstream=f"openai/{MODEL}", api_key="sk-wrong"),
        model("hostile/*", upstream.base_url),
        model("claude", upstream.base_url, upstream="anthropic/claude"),
        model("claude-error", upstream.base_url, upstream="anthropic/claude-error@529"),
        model("claude-overloaded", upstream.base_url, upstream="anthropic/claude-overloaded"),
        model("unreachable", f"http://127.0.0.1:{free_port()}/v1"),
        model("unknown-host", "http://no-such-host.invalid/v1"),
        model("metadata", "http://169.254.169.254/v1"),
    ]


@pytest.fixture(scope="session", params=SERVERS)
def any_gateway(
    request: pytest.FixtureRequest, upstream: ScriptedUpstream, model_server: ModelServer
) -> Iterator[Gateway]:
    """A gateway with usual patience, once under each server."""
    with running_gateway(echo_only(model_list=models(upstream, model_server)), server=request.param) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def gateway(upstream: ScriptedUpstream, model_server: ModelServer) -> Iterator[Gateway]:
    """`tollhouse serve` with little patience: timeouts of a second or so."""
    body = {"max_bytes": 256 * 1024, "read_timeout_s": 1.5}
    config = echo_only(model_list=models(upstream, model_server), upstream=PATIENCE, body=body)
    with running_gateway(config) as running:
        yield running
