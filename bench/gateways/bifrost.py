"""Bifrost, built with Go: virtual keys, limits and budgets in SQLite; what looks into texts is not in the open part."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from bench import environments
from bench.gateways.entry import HOST, KEY, LIMITS, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.processes import Running

VERSION = "v1.5.14"
PACKAGE = f"github.com/maximhq/bifrost/transports/bifrost-http@{VERSION}"


def _install(cache: Path) -> Path:
    return environments.go(cache / "bifrost", PACKAGE) / "bifrost-http"


def _config(setup: Setup) -> dict[str, Any]:
    key: dict[str, Any] = {"id": "bench", "name": "bench", "value": KEY, "is_active": True}
    governance: dict[str, Any] = {"virtual_keys": [key]}
    if setup.mode == LIMITS:
        key |= {"rate_limit_id": "limit", "budget_id": "budget"}
        governance["budgets"] = [{"id": "budget", "max_limit": 1_000_000, "reset_duration": "1d"}]
        governance["rate_limits"] = [
            {
                "id": "limit",
                "request_max_limit": 100_000_000,
                "request_reset_duration": "1m",
                "token_max_limit": 1_000_000_000_000,
                "token_reset_duration": "1m",
            }
        ]
    return {
        "client": {"enable_logging": False, "enforce_auth_on_inference": True, "initial_pool_size": 5000},
        "providers": {
            "openai": {
                "keys": [{"name": "up", "value": "sk-up", "models": ["*"], "weight": 1.0}],
                "network_config": {"base_url": setup.upstream_url},
                "concurrency_and_buffer_size": {"concurrency": 1000, "buffer_size": 5000},
            }
        },
        "governance": governance,
        "config_store": {"enabled": True, "type": "sqlite", "config": {"path": str(setup.folder / "config.db")}},
    }


def start(setup: Setup) -> AbstractContextManager[Running]:
    port = free_port()
    program = _install(setup.cache)
    shutil.rmtree(setup.folder)
    (setup.folder / "config.json").write_text(json.dumps(_config(setup)))
    command = [str(program), "-host", HOST, "-port", str(port), "-app-dir", str(setup.folder), "-log-level", "error"]
    env = {**os.environ, "GOMAXPROCS": "1"}
    return running(setup.name, command, port, env=env, log=setup.folder / "log", ready="/health", seconds=60)


GATEWAY = Gateway(
    name="bifrost",
    version=VERSION,
    modes={PASS: "a virtual key", LIMITS: "that; requests, tokens and a budget of the key"},
    start=start,
    install=_install,
    model="openai/gpt-4o-mini",
    headers=lambda _setup: (f"x-bf-vk: {KEY}",),
)
