"""Portkey's gateway, the open part: it has no keys of its own, no limits, no money."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from bench import environments
from bench.environments import Unavailable
from bench.gateways.entry import EVERYTHING, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.processes import Running

VERSION = "1.15.2"
# With newer ones of these two, every stream is a 500.
PACKAGES = {"@portkey-ai/gateway": VERSION, "@hono/node-server": "1.13.8", "hono": "4.9.12"}
SECRET = r"AKIA[0-9A-Z]{16}|ghp_[0-9A-Za-z]{36}|[\w.+-]+@invalid\.example"


def _install(cache: Path) -> Path:
    modules = environments.node(cache / "portkey", PACKAGES)
    return modules / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _headers(setup: Setup) -> tuple[str, ...]:
    config: dict[str, Any] = {"provider": "openai", "api_key": "sk-up", "custom_host": f"{setup.upstream_url}/v1"}
    if setup.mode == EVERYTHING:
        check = {"default.regexMatch": {"rule": SECRET, "not": True}, "deny": True}
        config |= {"input_guardrails": [check], "output_guardrails": [check]}
    return (f"x-portkey-config: {json.dumps(config)}",)


def start(setup: Setup) -> AbstractContextManager[Running]:
    port = free_port()
    node = shutil.which("node")
    if node is None:
        raise Unavailable("node is not installed")
    command = [node, str(_install(setup.cache)), f"--port={port}", "--headless"]
    env = {**os.environ, "NODE_ENV": "production"}
    return running(setup.name, command, port, env=env, log=setup.folder / "log", seconds=60)


GATEWAY = Gateway(
    name="portkey",
    version=VERSION,
    modes={
        PASS: "asks for no key: it has none in the open part",
        EVERYTHING: "a regular expression for secrets on requests and answers, denied; no key, limits, budget, ledger",
    },
    start=start,
    install=_install,
    headers=_headers,
)
