"""`python -m bench.peers`: Tollhouse beside the gateways that people would pick instead, in one interleaved run.

Every gateway has an environment of its own under the cache folder, one worker, and the same mock upstream. For each
mode all that have it are started side by side, probed, and measured round by round, one after the other; the same load
goes straight to the mock as the control. What cannot be installed, started or driven is a row that says why. Writes
peers.json, peers.md and plots to the report folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import environments, loads, peers_report, probe
from bench.environments import Unavailable
from bench.gateways.catalogue import GATEWAYS
from bench.gateways.entry import MODES, ROOT, Gateway, Setup
from bench.loads import DIRECT, HEADERS, HELD_STREAMS, Bound, LoadFailed, Scenario
from bench.processes import NotServing, Running

CACHE = ROOT / "build" / "peers"
REPORT = ROOT / "bench" / "report"
PLOTS = ("matplotlib==3.10.7",)
WARM_SHARE = 0.25
WARM_CONNECTIONS = 32
# Whoever takes longer for one measurement is measured once, or those who are fast would be waiting for it.
SLOW_S = 8

PACED = Scenario("128 streams, 10 ms", 128, interval_us=10_000, unit="chunk", spread_us=78)
# One stream per connection, a chunk a second: what is counted is how many are held, and what they take.
HELD = Scenario(HELD_STREAMS, 512, 512, interval_us=1_000_000, unit="chunk", chunks_each=5, spread_us=4_000)
SCENARIOS = (
    Scenario("1 x 1 KB", 1),
    Scenario("32 x 1 KB", 32),
    Scenario("256 x 1 KB", 256),
    Scenario("32 x 64 KB", 32, kilobytes=64),
    Scenario("32 x 1 MB", 32, kilobytes=1024),
    PACED,
    Scenario("16 streams at once", 16, interval_us=0, unit="stream"),
    HELD,
)


@dataclass
class Contender:
    """A gateway in a mode, and what became of it."""

    gateway: Gateway
    setup: Setup
    running: Running | None = None
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def send_as(self) -> dict[str, Any]:
        return {"headers": self.gateway.headers(self.setup), "model": self.gateway.model}


@dataclass
class Run:
    """Options of a run and what it has found so far: {mode: {scenario: {name: [figures of a round]}}}."""

    seconds: float
    rounds: int
    deadline: float
    work: Path
    samples: dict[str, dict[str, dict[str, list[dict[str, float]]]]] = field(default_factory=dict)
    failures: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    contenders: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    slow: set[tuple[str, str, str]] = field(default_factory=set)

    def late(self, what: str) -> bool:
        """Whether the time of the run is over; `what` is noted as left out then."""
        if time.monotonic() < self.deadline:
            return False
        self.cut.append(what)
        return True


def install(names: list[str], cache: Path) -> dict[str, str]:
    """What cannot be installed, and why."""
    missing = {}
    for name in names:
        try:
            GATEWAYS[name].install(cache)
        except Unavailable as error:
            missing[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr)
    return missing


def begin(contender: Contender, stack: ExitStack) -> None:
    """Start and probe; what goes wrong is noted."""
    try:
        contender.running = stack.enter_context(contender.gateway.start(contender.setup))
        contender.facts |= probe.check(contender.running, **contender.send_as)
        contender.facts["idle_mb"] = contender.running.memory_mb()
    except (Unavailable, NotServing, OSError) as error:
        contender.running, contender.why = None, environments.last_lines(str(error))
        print(f"{contender.gateway.name}, {contender.setup.mode}: {contender.why}", file=sys.stderr)


def measure(run: Run, mode: str, scenario: Scenario, contender: Contender | None, mock: Running) -> None:
    """One round of one gateway, or of the control where `contender` is None."""
    name = DIRECT if contender is None else contender.gateway.name
    failures = run.failures.setdefault(mode, {}).setdefault(scenario.name, {})
    target = mock if contender is None else contender.running
    if target is None or name in failures or (mode, scenario.name, name) in run.slow:
        return
    begun = time.monotonic()
    options = {"headers": HEADERS} if contender is None else contender.send_as
    warm, bound = Bound(seconds=run.seconds * WARM_SHARE), Bound(seconds=run.seconds)
    try:
        loads.send(warm_up(scenario), target, warm, run.work, **options)
        found = loads.measure(scenario, target, mock, run.work, bound=bound, **options)
    except LoadFailed as error:
        failures[name] = environments.last_lines(str(error))
        print(f"{mode:13} {scenario.name:20} {name:14} failed: {error}", file=sys.stderr)
        return
    run.samples.setdefault(mode, {}).setdefault(scenario.name, {}).setdefault(name, []).append(found)
    print(f"{mode:13} {scenario.name:20} {name:14} {found['cpu_us']:10.1f} us", file=sys.stderr)
    if time.monotonic() - begun > SLOW_S + run.seconds:
        run.slow.add((mode, scenario.name, name))


def warm_up(scenario: Scenario) -> Scenario:
    """The same load, small enough for the slow."""
    return dataclasses.replace(scenario, connections=min(scenario.connections, WARM_CONNECTIONS))


def hold(run: Run, contender: Contender) -> None:
    """How many streams are held to their end, and what they take of memory."""
    if contender.running is None:
        return
    before = contender.running.memory_mb()
    try:
        sent = loads.send(HELD, contender.running, Bound(HELD.requests, 20), run.work, **contender.send_as)
        contender.facts |= {"held": sent.seen["requests"], "held_mb": sent.peak_mb, "held_before_mb": before}
        contender.facts["held_delay_us"] = sent.seen["delay_us"]
    except LoadFailed as error:
        contender.facts |= {"held": error.requests, "held_why": environments.last_lines(str(error))}


def run_mode(run: Run, mode: str, names: list[str], scenarios: list[Scenario], mock: Running, cache: Path) -> None:
    """All gateways that have the mode, side by side."""
    own = [
        Contender(GATEWAYS[name], Setup(name, mock.port, run.work, cache, mode))
        for name in names
        if mode in GATEWAYS[name].modes
    ]
    with ExitStack() as stack:
        for contender in own:
            begin(contender, stack)
        for contender in own:
            if HELD in scenarios and not run.late(f"{mode}, {HELD.name}, {contender.gateway.name}"):
                hold(run, contender)
        for number in range(run.rounds):
            for scenario in scenarios:
                if scenario is HELD or run.late(f"{mode}, {scenario.name}, round {number + 1}"):
                    continue
                for one in (None, *own):
                    measure(run, mode, scenario, one, mock)
    run.contenders[mode] = {one.gateway.name: {"why": one.why, **one.facts} for one in own}


def medians(samples: dict[str, dict[str, dict[str, list[dict[str, float]]]]]) -> dict[str, Any]:
    """{mode: {scenario: {name: {figure: median over rounds}}}}; `added_*` is less the control of the same round."""
    found: dict[str, Any] = {}
    for mode, by_scenario in samples.items():
        for scenario, by_name in by_scenario.items():
            controls = by_name.get(DIRECT, [])
            for name, rounds in by_name.items():
                figures = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
                for key in ("p50_us", "p95_us", "p99_us", "delay_p50_us", "delay_p95_us", "delay_p99_us"):
                    pairs = zip(rounds, controls, strict=False)
                    gaps = [one[key] - control[key] for one, control in pairs]
                    figures[f"added_{key}"] = statistics.median(gaps) if gaps else 0.0
                found.setdefault(mode, {}).setdefault(scenario, {})[name] = figures
    return found


def plot(report: Path, cache: Path) -> None:
    """Pictures beside the report; without matplotlib there are none, and why is said."""
    try:
        python = environments.python(cache / "plots", PLOTS) / "python"
    except Unavailable as error:
        print(f"no plots: {error}", file=sys.stderr)
        return
    subprocess.run([str(python), "-m", "bench.peers_plots", str(report)], cwd=ROOT, check=True)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--targets", default=",".join(GATEWAYS), help="of these, by commas")
    parser.add_argument("--modes", default=",".join(MODES), help="of these, by commas")
    parser.add_argument("--scenarios", default="", help="only those whose name contains this")
    parser.add_argument("--seconds", type=float, default=1.2, help="of one measurement; a quarter more to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=22, help="after which no measurement begins")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the gateways are installed")
    parser.add_argument("--report", type=Path, default=REPORT, help="folder of peers.json, peers.md and the plots")
    parser.add_argument("--no-plots", action="store_true")
    options = parser.parse_args(argv)
    for kind, known in (("targets", GATEWAYS), ("modes", MODES)):
        chosen = getattr(options, kind).split(",")
        if unknown := set(chosen) - set(known):
            parser.error(f"no such {kind}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        setattr(options, kind, chosen)
    return options


def main(argv: list[str] | None = None) -> None:
    options = arguments(argv)
    cache = options.cache.resolve()
    scenarios = [scenario for scenario in SCENARIOS if options.scenarios in scenario.name]
    loads.build()
    missing = install(options.targets, cache)
    names = [name for name in options.targets if name not in missing]
    end = time.monotonic() + options.minutes * 60
    run = Run(options.seconds, options.rounds, end, cache / "work")
    # What is ended from outside ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load_before = os.getloadavg()
    with loads.mock(run.work) as mock:
        for number, mode in enumerate(options.modes):
            run.deadline = time.monotonic() + (end - time.monotonic()) / (len(options.modes) - number)
            run_mode(run, mode, names, scenarios, mock, cache)
            text = write(options, run, missing, load_before)
    if not options.no_plots:
        plot(options.report / "peers.json", cache)
    print(text)


def write(options: argparse.Namespace, run: Run, missing: dict[str, str], load_before: tuple[float, ...]) -> str:
    """The report of what has been found so far; returns its text."""
    report = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "machine": loads.machine(),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "seconds": options.seconds,
        "rounds": options.rounds,
        "versions": {name: GATEWAYS[name].version for name in options.targets},
        "modes": {
            mode: {name: GATEWAYS[name].modes.get(mode, "") for name in options.targets} for mode in options.modes
        },
        "units": {scenario.name: scenario.unit for scenario in SCENARIOS},
        "missing": missing,
        "contenders": run.contenders,
        "failures": run.failures,
        "cut": run.cut,
        "slow": sorted(run.slow),
        "results": medians(run.samples),
        "samples": run.samples,
    }
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "peers.json").write_text(json.dumps(report, indent=1) + "\n")
    text = peers_report.markdown(report)
    (options.report / "peers.md").write_text(text)
    return text


if __name__ == "__main__":
    main()
