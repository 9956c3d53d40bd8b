"""What every sweep needs: a mock, gateways in front of it, loads, and what a process takes."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import loads
from bench.gateways import tollhouse
from bench.gateways.entry import MODEL, PASS, Setup
from bench.loads import GRACE_S, HEADERS, LoadFailed
from bench.processes import PAGE, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.processes import Running

WHERE = "build/scale"
# Of the load generator: what is filled with another number each time.
HOLE = "@" * 12


@dataclass(frozen=True)
class Load:
    """One run of the load generator; see harness/src/bin/load.rs for what the options are."""

    body: bytes
    connections: int = 1
    requests: int = 1_000_000_000
    seconds: float = 5.0
    chunks: int = 0
    stagger_us: int = 0
    headers: Sequence[str] = HEADERS
    cycle: int = 0
    rate: float = 0
    allow: Sequence[int] = ()
    is_any: bool = False
    leave_after: int = 0

    def options(self, port: int, body: Path) -> dict[str, object]:
        return {
            "port": port,
            "connections": self.connections,
            "requests": self.requests,
            "body": body,
            "chunks": self.chunks,
            "stagger-us": self.stagger_us,
            "seconds": self.seconds,
            "cycle": self.cycle,
            "rate": self.rate,
            "allow": list(self.allow),
            "any": "yes" if self.is_any else "no",
            "leave-after": self.leave_after,
        }


def chat(text: str = "Say what changed.", *, model: str = MODEL, **members: Any) -> bytes:
    """A request body."""
    value = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64, **members}
    return json.dumps(value).encode()


class Sending:
    """A load generator at work."""

    def __init__(self, load: Load, port: int, file: Path) -> None:
        file.write_bytes(load.body)
        self._limit_s = load.seconds + GRACE_S
        command = loads.generator(load.options(port, file), load.headers)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self) -> dict[str, Any]:
        """What it saw. Raises LoadFailed for wrong answers."""
        try:
            out, err = self.process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise LoadFailed(f"no end within {self._limit_s:.0f} s") from None
        if not out:
            raise LoadFailed(err.strip())
        seen: dict[str, Any] = json.loads(out)
        if self.process.returncode:
            raise LoadFailed(seen["first_error"], seen["requests"])
        return seen

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass
class Bench:
    """`seconds`: of a load. `points`: how many of a sweep's there are time for."""

    mock: Running
    work: Path
    seconds: float = 4.0
    points: int = 99
    notes: list[str] = field(default_factory=list)
    _files: int = 0

    @contextlib.contextmanager
    def gateway(
        self,
        mode: str = PASS,
        *,
        prepare: Callable[[Path], object] | None = None,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> Iterator[Running]:
        setup = Setup("tollhouse", self.mock.port, self.work, self.work, mode)
        with tollhouse.start(setup, prepare=prepare, environment=environment, seconds=120, **settings) as running:
            yield running

    def start(self, load: Load, target: Running) -> Sending:
        self._files += 1
        return Sending(load, target.port, self.work / f"body-{self._files % 16}.json")

    def send(self, load: Load, target: Running) -> dict[str, Any]:
        return self.start(load, target).end()

    def cost(self, load: Load, target: Running, *, warm_s: float = 1.0) -> dict[str, float]:
        """CPU of the target per request, their rate and latencies, after a warm-up."""
        if warm_s:
            self.send(_shortened(load, warm_s), target)
        before = target.cpu_s()
        seen = self.send(load, target)
        spent = target.cpu_s() - before
        latency = seen["latency_us"] or {"p50": 0.0, "p99": 0.0, "max": 0.0}
        return {
            "cpu_us": spent / max(1, seen["requests"]) * 1e6,
            "rps": seen["requests"] / seen["elapsed_s"],
            "cores": spent / seen["elapsed_s"],
            "p50_ms": latency["p50"] / 1000,
            "p99_ms": latency["p99"] / 1000,
            "max_ms": latency["max"] / 1000,
        }

    def note(self, text: str) -> None:
        """Something that a reader of the figures has to know."""
        if text not in self.notes:
            self.notes.append(text)


def _shortened(load: Load, seconds: float) -> Load:
    return Load(**{**load.__dict__, "seconds": min(seconds, load.seconds)})


def workers(running: Running) -> list[int]:
    """Of a gateway that is running: the processes that serve."""
    return [pid for pid in tree(running.process.pid) if b"tollhouse.gateway.worker" in _command(pid)]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def resident_mb(pids: Sequence[int]) -> float:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * PAGE / 1e6


def anonymous_kb(pid: int) -> float:
    """Resident memory that no file stands behind."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("RssAnon:")[2].split()[0])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def raise_descriptors() -> int:
    """The limit of open files for what is started from here: the highest that is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def cpu_share(running: Running, seconds: float) -> float:
    """Cores that it takes, over this time."""
    before, started = running.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (running.cpu_s() - before) / (time.monotonic() - started)
