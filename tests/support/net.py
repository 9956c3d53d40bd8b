"""Small things about sockets, processes and waiting."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
PATIENCE_S = 60.0  # for what happens anyway, on a machine that does many other things


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(probe: Callable[[], T | None], *, what: str, timeout_s: float = PATIENCE_S, every_s: float = 0.005) -> T:
    """The first truthy value of `probe`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= deadline:
            msg = f"not within {timeout_s:g} s: {what}"
            raise AssertionError(msg)
        time.sleep(every_s)


async def until(probe: Callable[[], Awaitable[object]], *, what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `probe` answers something truthy; fails the test when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not await probe():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.01)


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants that are alive."""
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            continue
        found.extend(map(int, children))
    return found


def rss_bytes(pid: int) -> int:
    """Resident memory of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
