"""`python -m bench.run`: CPU per request and added latency of the gateway, Envoy and nginx in front of one mock.

All targets run side by side, rounds are interleaved, and the same load goes straight to the mock as the control. CPU is
user and system time of the target's whole process tree from /proc; it repeats within a few per cent on a machine whose
other work is steady, which latency does not. Writes build/bench/result.json and prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import targets
from bench.processes import Running, free_port, running

HARNESS = Path(__file__).parent / "harness"
CHUNKS = 64
DIRECT = "direct"


@dataclass(frozen=True)
class Scenario:
    """A load. `unit` is what CPU is divided by: requests, or the chunks of a stream."""

    name: str
    connections: int
    requests: int
    interval_us: int | None = None  # of a stream's chunks; None: no stream
    unit: str = "request"
    tls: bool = False

    @property
    def chunks(self) -> int:
        return 0 if self.interval_us is None else CHUNKS


SCENARIOS = [
    Scenario("1 connection", 1, 6_000),
    Scenario("32 connections", 32, 30_000),
    Scenario("256 connections", 256, 30_000),
    Scenario("stream, 10 ms apart", 16, 96, interval_us=10_000, unit="chunk"),
    Scenario("stream, full speed", 16, 3_000, interval_us=0, unit="stream"),
    Scenario("TLS upstream, 32", 32, 30_000, tls=True),
    Scenario("TLS upstream, stream", 16, 96, interval_us=10_000, unit="chunk", tls=True),
]


def body(scenario: Scenario) -> bytes:
    """A chat of about 1 KB."""
    text = "Summarise for the board what changed at the gate this week, and why the queue was longer. " * 5
    value: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": text}],
        "temperature": 0.2,
        "max_tokens": CHUNKS,
    }
    if scenario.interval_us is not None:
        value |= {"stream": True, "seed": scenario.interval_us}
    return json.dumps(value).encode()


def load(scenario: Scenario, port: int, *, requests: int) -> dict[str, Any]:
    """Run the load generator to its end; any wrong answer ends the whole run."""
    file = targets.WORK / "body.json"
    file.write_bytes(body(scenario))
    options = {
        "port": port,
        "connections": scenario.connections,
        "requests": requests,
        "body": file,
        "chunks": scenario.chunks,
        "header": f"authorization: Bearer {targets.KEY}",
        "stagger-us": 625 if scenario.interval_us else 0,
        "seconds": 60,
    }
    command = [str(HARNESS / "target/release/load")]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{scenario.name}, port {port}: {done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(scenario: Scenario, target: Running) -> dict[str, float]:
    """Warm up, then one measurement."""
    load(scenario, target.port, requests=max(scenario.connections * 2, scenario.requests // 20))
    before = target.cpu_s()
    seen = load(scenario, target.port, requests=scenario.requests)
    spent = target.cpu_s() - before
    units = seen["chunks"] if scenario.unit == "chunk" else seen["requests"]
    delay = seen["delay_us"] or {}
    return {
        "cpu_us": spent / units * 1e6,
        "rps": seen["requests"] / seen["elapsed_s"],
        "p50_us": seen["latency_us"]["p50"],
        "p99_us": seen["latency_us"]["p99"],
        "delay_p50_us": delay.get("p50", 0.0),
        "delay_p99_us": delay.get("p99", 0.0),
    }


def run(names: list[str], scenarios: list[Scenario], rounds: int) -> dict[str, Any]:
    """Results as {scenario: {target: {figure: median over rounds}}}, and idle memory of each target."""
    targets.WORK.mkdir(parents=True, exist_ok=True)
    certificate = targets.WORK / "mock.pem"
    ports = {False: free_port(), True: free_port()}
    mock_command = [str(HARNESS / "target/release/mock"), "--port", str(ports[False])]
    mock_command += ["--tls-port", str(ports[True]), "--cert", str(certificate)]
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        mock = stack.enter_context(running("mock", mock_command, ports[False], log=targets.WORK / "mock.log"))
        for tls in (False, True):
            chosen = [scenario for scenario in scenarios if scenario.tls is tls]
            if not chosen:
                continue
            with ExitStack() as group:
                trust = certificate if tls else None
                started = [group.enter_context(targets.start(name, upstream=ports[tls], tls=trust)) for name in names]
                memory |= {target.name: target.memory_mb() for target in started if not tls}
                if not tls:
                    started.insert(0, Running(DIRECT, mock.process, mock.port))
                for scenario in chosen:
                    for _ in range(rounds):
                        for target in started:
                            found = measure(scenario, target)
                            samples.setdefault(scenario.name, {}).setdefault(target.name, []).append(found)
                            print(f"{scenario.name:22} {target.name:18} {found['cpu_us']:8.1f} us", file=sys.stderr)
    medians = {
        scenario: {
            name: {figure: statistics.median(one[figure] for one in all_) for figure in all_[0]}
            for name, all_ in by_target.items()
        }
        for scenario, by_target in samples.items()
    }
    return {"machine": machine(), "rounds": rounds, "memory_mb": memory, "results": medians}


def machine() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?")
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def tables(report: dict[str, Any]) -> str:
    """The report in Markdown: CPU with its ratio to Envoy, then latency."""
    results = report["results"]
    names = list(report["memory_mb"])
    units = {scenario.name: scenario.unit for scenario in SCENARIOS}
    lines = [f"| CPU us (x Envoy) | {' | '.join(f'{name} / {units[name]}' for name in results)} | idle MB |"]
    lines.append("|---" + "|--:" * (len(results) + 1) + "|")
    for name in names:
        cells = []
        for by_target in results.values():
            cpu = by_target[name]["cpu_us"]
            ratio = f" ({cpu / by_target['envoy']['cpu_us']:.2f})" if "envoy" in by_target else ""
            cells.append(f"{cpu:.1f}{ratio}")
        lines.append(f"| {name} | {' | '.join(cells)} | {report['memory_mb'][name]:.0f} |")
    lines += ["", "| p50 / p99 us | " + " | ".join(results) + " |", "|---" + "|--:" * len(results) + "|"]
    for name in [DIRECT, *names]:
        cells = []
        for scenario, by_target in results.items():
            found = by_target.get(name)
            kind = "delay" if units[scenario] == "chunk" else ""
            prefix = f"{kind}_" if kind else ""
            cells.append("-" if found is None else f"{found[prefix + 'p50_us']:.0f} / {found[prefix + 'p99_us']:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--targets", default="tollhouse,envoy,nginx", help=f"of {', '.join(targets.NAMES)}")
    parser.add_argument("--scenarios", default="", help="only those whose name contains this")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    names = options.targets.split(",")
    if unknown := set(names) - set(targets.NAMES):
        parser.error(f"no such target: {', '.join(unknown)}")
    subprocess.run(["cargo", "build", "-q", "--release", "--locked"], cwd=HARNESS, check=True)
    scenarios = [scenario for scenario in SCENARIOS if options.scenarios in scenario.name]
    report = run(names, scenarios, options.rounds)
    (targets.WORK / "result.json").write_text(json.dumps(report, indent=1))
    print(", ".join(f"{key}: {value}" for key, value in report["machine"].items()))
    print(f"median of {report['rounds']} rounds\n")
    print(tables(report))


if __name__ == "__main__":
    main()
