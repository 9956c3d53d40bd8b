"""What a worker makes of the limits of its process, and how it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from tollhouse.gateway.lifecycle import Lifecycle
from tollhouse.gateway.supervisor import with_kept_memory
from tollhouse.gateway.worker import _drain

_SCRIPT = """
import logging, resource, sys
from tollhouse.gateway import worker
logging.basicConfig(format="%(message)s")
hard, most = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
worker._raise_descriptors(most)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def _limits(hard: int, max_connections: int) -> tuple[str, str]:
    command = [sys.executable, "-c", _SCRIPT, str(hard), str(max_connections)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip(), done.stderr.strip()


def test_open_files_are_raised_to_what_is_allowed():
    assert _limits(1000, 200) == ("(1000, 1000)", "")


@pytest.mark.parametrize("max_connections", [500, 8192])
def test_more_connections_than_open_files_are_told(max_connections):
    limits, said = _limits(1000, max_connections)
    assert limits == "(1000, 1000)"
    assert said.startswith(f"1000 open files are allowed, and {max_connections} connections")


def test_workers_keep_memory_of_large_bodies_unless_the_operator_says_otherwise():
    made = with_kept_memory({"PATH": "/bin", "MALLOC_TRIM_THRESHOLD_": "1"})
    assert made == {"PATH": "/bin", "MALLOC_MMAP_THRESHOLD_": "16777216", "MALLOC_TRIM_THRESHOLD_": "1"}


class _Server:
    def __init__(self, *, awaits: bool = False) -> None:
        self.told: list[Any] = []
        self.awaits = awaits

    async def serve(self) -> None: ...

    def stop_accepting(self) -> None:
        self.told.append("stop accepting")

    def finish(self, linger_s: float = 0.0) -> None:
        self.told.append(linger_s)

    def abandon(self) -> None: ...


async def test_clients_may_ask_once_more_unless_all_would_be_refused():
    lifecycle, server = Lifecycle(), _Server()
    await _drain(lifecycle, server, asyncio.Event(), linger_s=0.01, drain_s=5)
    assert server.told == ["stop accepting", 0.01]

    async def hand_over() -> None:
        server.told.append("handed over")

    lifecycle.before_drain = hand_over
    server.told.clear()
    await _drain(lifecycle, server, asyncio.Event(), linger_s=0.01, drain_s=5)
    assert server.told == ["stop accepting", 0.0, "handed over"]


@pytest.mark.parametrize("how", ["deadline", "at once"])
async def test_nobody_is_waited_for_beyond_the_end(how):
    server, at_once = _Server(awaits=True), asyncio.Event()
    if how == "at once":
        at_once.set()
    await _drain(Lifecycle(), server, at_once, linger_s=60 if at_once.is_set() else 0.01, drain_s=0.05)
    assert server.told[0] == "stop accepting"
    assert server.told[-2:] == [60 if at_once.is_set() else 0.01, 0.0]
