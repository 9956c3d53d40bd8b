"""`python -m bench.run`: CPU per request and added latency of the gateway, Envoy and nginx in front of one mock.

All targets run side by side, rounds are interleaved, and the same load goes straight to the mock as the control. CPU is
user and system time of the target's whole process tree from /proc; it repeats within a few per cent on a machine whose
other work is steady, which latency does not. Writes build/bench/result.json and prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from typing import Any

from bench import loads, targets
from bench.environments import Unavailable
from bench.loads import DIRECT, Bound, LoadFailed, Scenario
from bench.processes import NotServing, Running, free_port

SCENARIOS = [
    Scenario("1 connection", 1, 6_000),
    Scenario("32 connections", 32, 30_000),
    Scenario("256 connections", 256, 30_000),
    Scenario("stream, 10 ms apart", 16, 96, interval_us=10_000, unit="chunk"),
    Scenario("stream, full speed", 16, 3_000, interval_us=0, unit="stream"),
    Scenario("TLS upstream, 32", 32, 30_000, tls=True),
    Scenario("TLS upstream, stream", 16, 96, interval_us=10_000, unit="chunk", tls=True),
]


def run(names: list[str], scenarios: list[Scenario], rounds: int) -> dict[str, Any]:
    """Results as {scenario: {target: {figure: median over rounds}}}, and idle memory of each target."""
    certificate = targets.WORK / "mock.pem"
    tls_port = free_port()
    samples: dict[str, dict[str, list[dict[str, float]]]] = {}
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        mock = stack.enter_context(loads.mock(targets.WORK, tls_port=tls_port, certificate=certificate))
        ports = {False: mock.port, True: tls_port}
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
                            warm = Bound(max(scenario.connections * 2, scenario.requests // 20))
                            full = Bound(scenario.requests)
                            loads.send(scenario, target, warm, targets.WORK)
                            found = loads.measure(scenario, target, mock, targets.WORK, bound=full)
                            samples.setdefault(scenario.name, {}).setdefault(target.name, []).append(found)
                            print(f"{scenario.name:22} {target.name:18} {found['cpu_us']:8.1f} us", file=sys.stderr)
    medians = {
        scenario: {
            name: {figure: statistics.median(one[figure] for one in all_) for figure in all_[0]}
            for name, all_ in by_target.items()
        }
        for scenario, by_target in samples.items()
    }
    return {"machine": loads.machine(), "rounds": rounds, "memory_mb": memory, "results": medians}


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
    loads.build()
    scenarios = [scenario for scenario in SCENARIOS if options.scenarios in scenario.name]
    try:
        report = run(names, scenarios, options.rounds)
    except (LoadFailed, NotServing, Unavailable) as error:
        raise SystemExit(str(error)) from error
    (targets.WORK / "result.json").write_text(json.dumps(report, indent=1))
    print(", ".join(f"{key}: {value}" for key, value in report["machine"].items()))
    print(f"median of {report['rounds']} rounds\n")
    print(tables(report))


if __name__ == "__main__":
    main()
