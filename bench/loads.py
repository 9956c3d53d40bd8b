"""Loads: what is sent, by the generator of `harness/`, and what one run of it shows about a target."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import KEY, MODEL
from bench.processes import Running, free_port, running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

HARNESS = Path(__file__).parent / "harness"
# Where mock and load generator are; a folder named by the variable has them already.
BUILT = os.environ.get("BENCH_PROGRAMS", "")
PROGRAMS = Path(BUILT or HARNESS / "target" / "release")
DIRECT = "direct"
CHUNKS = 64
HELD_STREAMS = "512 streams held"
TEXT = "Summarise for the board what changed at the gate this week, and why the queue was longer. "
ASIDE = "Write to kim.larsen@example.com when it is done. "
HEADERS = (f"authorization: Bearer {KEY}",)
KILOBYTE = 1024
# Given to requests under way after the end of a load.
GRACE_S = 20


class LoadFailed(RuntimeError):
    """An answer was wrong or none came; `requests` of them were right before."""

    def __init__(self, message: str, requests: int = 0) -> None:
        super().__init__(message)
        self.requests = requests


@dataclass(frozen=True)
class Scenario:
    """A load. `unit` is what CPU is divided by: requests, chunks of a stream, or streams.

    `interval_us` is the time between a stream's chunks; None: no stream. `spread_us` is how much later each
    connection begins than the one before it.
    """

    name: str
    connections: int
    requests: int = 0
    interval_us: int | None = None
    unit: str = "request"
    tls: bool = False
    kilobytes: int = 1
    chunks_each: int = CHUNKS
    spread_us: int | None = None

    @property
    def chunks(self) -> int:
        return 0 if self.interval_us is None else self.chunks_each

    @property
    def stagger_us(self) -> int:
        if self.spread_us is not None:
            return self.spread_us
        return 625 if self.interval_us else 0


def body(scenario: Scenario, model: str = MODEL) -> bytes:
    """A chat of about so many KB; a line in it has an address, for those who look for such things."""
    half = scenario.kilobytes * KILOBYTE // 2
    text = ASIDE + TEXT * ((half - len(ASIDE)) // len(TEXT))
    value: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": text}],
        "temperature": 0.2,
        "max_tokens": scenario.chunks_each,
    }
    if scenario.interval_us is not None:
        value |= {"stream": True, "seed": scenario.interval_us}
    return json.dumps(value).encode()


def build() -> None:
    """Compile load generator and mock, unless BENCH_PROGRAMS names them."""
    if not BUILT:
        command = ["cargo", "build", "-q", "--release", "--locked", "--target-dir", "target"]
        subprocess.run(command, cwd=HARNESS, check=True)


def mock(
    work: Path, *, tls_port: int | None = None, certificate: Path | None = None
) -> AbstractContextManager[Running]:
    """The mock upstream, and with `certificate`, which it writes, a second port that speaks TLS."""
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [str(PROGRAMS / "mock"), "--port", str(port)]
    if certificate is not None:
        command += ["--tls-port", str(tls_port), "--cert", str(certificate)]
    return running("mock", command, port, log=work / "mock.log")


@dataclass(frozen=True)
class Bound:
    """Where a load ends: after so many requests or seconds, what comes first; requests under way are finished."""

    requests: int = 1_000_000_000
    seconds: float = 60


@dataclass(frozen=True)
class Sent:
    """What the load generator saw, what it took itself, and how much memory the target had at most."""

    seen: dict[str, Any]
    loader_cpu_s: float
    peak_mb: float


def generator(options: Mapping[str, object], headers: Sequence[str]) -> list[str]:
    """The command line of the load generator; a list is an option for each of its items."""
    command = [str(PROGRAMS / "load")]
    for name, value in [*options.items(), ("header", headers)]:
        for one in value if isinstance(value, (list, tuple)) else (value,):
            command += [f"--{name}", str(one)]
    return command


def send(
    scenario: Scenario,
    target: Running,
    bound: Bound,
    work: Path,
    *,
    headers: Sequence[str] = HEADERS,
    model: str = MODEL,
) -> Sent:
    """Run the load generator to its end.

    Raises `LoadFailed` for any wrong answer, and `GRACE_S` after the bound.
    """
    file = work / "body.json"
    file.write_bytes(body(scenario, model))
    command = generator(
        {
            "port": target.port,
            "connections": scenario.connections,
            "requests": bound.requests,
            "body": file,
            "chunks": scenario.chunks,
            "stagger-us": scenario.stagger_us,
            "seconds": bound.seconds,
        },
        headers,
    )
    before, peak, waited = _children_cpu_s(), target.memory_mb(), 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                out, err = process.communicate(timeout=0.25)
                break
            except subprocess.TimeoutExpired:
                waited += 0.25
                peak = max(peak, target.memory_mb())
                if waited > bound.seconds + GRACE_S:
                    process.kill()
    if not out:
        raise LoadFailed(f"no end within {bound.seconds + GRACE_S:.0f} s {err}".strip())
    seen: dict[str, Any] = json.loads(out)
    if process.returncode:
        raise LoadFailed(seen["first_error"], seen["requests"])
    return Sent(seen, _children_cpu_s() - before, peak)


def _children_cpu_s() -> float:
    """Of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(
    scenario: Scenario,
    target: Running,
    upstream: Running,
    work: Path,
    *,
    bound: Bound,
    headers: Sequence[str] = HEADERS,
    model: str = MODEL,
) -> dict[str, float]:
    """One measurement. Figures of the mock and the generator are parts of one CPU."""
    before, upstream_before = target.cpu_s(), upstream.cpu_s()
    sent = send(scenario, target, bound, work, headers=headers, model=model)
    spent, upstream_spent = target.cpu_s() - before, upstream.cpu_s() - upstream_before
    seen = sent.seen
    counts = {"chunk": seen["chunks"], "request": seen["requests"], "stream": seen["requests"]}
    figures = {
        "cpu_us": spent / max(1, counts[scenario.unit]) * 1e6,
        "requests": seen["requests"],
        "chunks": seen["chunks"],
        "rps": seen["requests"] / seen["elapsed_s"],
        "cpu_share": spent / seen["elapsed_s"],
        "mock_cpu_share": upstream_spent / seen["elapsed_s"],
        "loader_cpu_share": sent.loader_cpu_s / seen["elapsed_s"],
        "peak_mb": sent.peak_mb,
    }
    for kind, prefix in (("latency_us", ""), ("ttft_us", "ttft_"), ("delay_us", "delay_")):
        for percentile in ("p50", "p95", "p99"):
            figures[f"{prefix}{percentile}_us"] = (seen[kind] or {}).get(percentile, 0.0)
    return figures


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?")
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
