"""Tollhouse, in the forms that are measured."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import EVERYTHING, KEY, LIMITS, MODEL, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bench.processes import Running

# Far away: what is measured is deciding, not refusing.
LEVEL = {
    "limits": {"rpm": 100_000_000, "tpm": 100_000_000_000, "parallel": 100_000},
    "budget": {"usd": "1000000", "window": "1d"},
}
SCAN = {
    "request": {"pii": "pseudonymise", "secrets": "block", "injection": "block"},
    "response": {"pii": "redact", "secrets": "redact"},
}


def config(setup: Setup, **settings: Any) -> dict[str, Any]:
    """The configuration file of a mode; `settings` go into it as they are."""
    params = {"model": "openai/mock-1", "api_base": f"{setup.upstream_url}/v1", "api_key": "sk-up"}
    key: dict[str, Any] = {"name": "bench", "key": KEY}
    file: dict[str, Any] = {
        "model_list": [{"model_name": MODEL, "litellm_params": params}],
        "keys": [key],
        "linger_s": 0,
        "upstream": {"max_in_flight": 1024},
        **settings,
    }
    if setup.mode in {LIMITS, EVERYTHING}:
        key |= {**LEVEL, "team": "bench"}
        file |= {
            "teams": [{"name": "bench", **LEVEL}],
            "limits": {"rpm": 100_000_000},
            "prices": {"openai/mock-1": {"input": "0.15", "output": "0.60"}},
        }
    if setup.mode == EVERYTHING:
        file.setdefault("scan", SCAN)
    return file


def start(
    setup: Setup,
    *,
    server: str = "builtin",
    log_level: str = "warning",
    by: str = "",
    prepare: Callable[[Path], object] | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 20,
    **settings: Any,
) -> AbstractContextManager[Running]:
    """`by` is "uvicorn" for the app under uvicorn; `server` as in the configuration; `seconds` it has for starting.

    prepare: puts into the state folder what is to be there.
    """
    port = free_port()
    path = setup.folder / "config.yaml"
    path.write_text(json.dumps(config(setup, server=server, **settings)))  # JSON is YAML
    state = setup.folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LLM_GATEWAY_", "OPENAI_"))}
    env |= {"LLM_GATEWAY_STATE_DIR": str(state), "LLM_GATEWAY_LOG_LEVEL": log_level, **(environment or {})}
    if prepare is not None:
        state.mkdir()
        prepare(state)
    if setup.tls is not None:
        env["SSL_CERT_FILE"] = str(setup.tls)
    if by == "uvicorn":
        command = [sys.executable, "-m", "bench.uvicorn_app", str(path), str(port)]
    else:
        command = [str(Path(sys.executable).with_name("tollhouse")), "serve", "--config", str(path)]
        command += ["--port", str(port)]
    return running(setup.name, command, port, env=env, log=setup.folder / "log", ready="/health/ready", seconds=seconds)


GATEWAY = Gateway(
    name="tollhouse",
    version="this tree",
    modes={
        PASS: "virtual key, request ids, metrics, failover, prices, ledger",
        LIMITS: "that; requests, tokens, parallel, hard budgets of key and team; global requests; embedded store",
        EVERYTHING: "that; PII of requests pseudonymised, secrets and injections blocked; answers redacted",
    },
    start=start,
)
