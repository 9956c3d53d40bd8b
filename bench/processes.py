"""Programs under measurement: started, waited for, their CPU time and memory read from /proc, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for thread in os.listdir(f"/proc/{parent}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
    return found


@dataclass(frozen=True)
class Running:
    """A program and its children."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def cpu_s(self) -> float:
        """User and system time of the whole tree so far."""
        ticks = 0
        for pid in tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_S

    def memory_mb(self) -> float:
        """Resident memory of the whole tree; pages that are shared count in each process."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in tree(self.process.pid))
        return pages * PAGE / 1e6


class NotServing(RuntimeError):
    """A program that ended, or that did not serve in time; the end of its log."""


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    env: Mapping[str, str] | None = None,
    log: Path,
    ready: str | None = None,
    seconds: float = 20,
) -> Iterator[Running]:
    """Start `command`, wait until `port` accepts, or answers 200 at the path `ready`, and end it with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            _wait_for(name, port, ready, process, log, seconds)
            yield Running(name, process, port)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it has started, which a wrapper may leave behind."""
    with contextlib.suppress(OSError):
        members = tree(process.pid)[1:]
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _wait_for(
    name: str, port: int, ready: str | None, process: subprocess.Popen[bytes], log: Path, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(port, ready):
        if process.poll() is not None or time.monotonic() > deadline:
            why = "does not serve" if process.poll() is None else f"ended with {process.returncode}"
            raise NotServing(f"{name} {why}:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02 if ready is None else 0.1)


def _answers(port: int, ready: str | None) -> bool:
    try:
        if ready is None:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return True
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", ready)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
