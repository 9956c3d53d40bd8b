"""vllm-router and sglang-router: in Rust, started from Python, in front of servers of models."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bench import environments
from bench.gateways.entry import HOST, KEY, LIMITS, PASS, Gateway, Setup
from bench.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.processes import Running


def _install(package: str, cache: Path) -> Path:
    name = package.partition("==")[0]
    return environments.python(cache / name, [package])


def start(package: str, command: Sequence[str], setup: Setup) -> AbstractContextManager[Running]:
    port = free_port()
    words = [str(_install(package, setup.cache) / command[0]), *command[1:]]
    words += ["--host", HOST, "--port", str(port), "--worker-urls", setup.upstream_url, "--policy", "round_robin"]
    words += ["--prometheus-port", str(free_port()), "--api-key", KEY]
    if setup.mode == LIMITS:
        words += ["--max-concurrent-requests", "100000", "--rate-limit-tokens-per-second", "1000000"]
    return running(setup.name, words, port, log=setup.folder / "log", ready="/health", seconds=60)


def _gateway(package: str, command: Sequence[str], modes: dict[str, str]) -> Gateway:
    name, _, version = package.partition("==")
    return Gateway(
        name=name,
        version=version,
        modes=modes,
        start=functools.partial(start, package, command),
        install=functools.partial(_install, package),
    )


VLLM = _gateway(
    "vllm-router==0.1.17",
    ["vllm-router"],
    {
        PASS: "asks for no key: its --api-key is for the servers behind it",
        LIMITS: "one bucket of requests for all, requests at once. No key, no tokens, no money",
    },
)
SGLANG = _gateway(
    "sglang-router==0.3.2",
    ["python", "-m", "sglang_router.launch_router"],
    {PASS: "one API key", LIMITS: "that; one bucket of requests for all, requests at once. No tokens, no money"},
)
