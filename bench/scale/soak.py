"""`make soak`: millions of requests of all kinds through one process, which must not grow by them.

Traffic comes in turns, each of so many seconds: whole answers, streams, streams whose clients go, upstreams that fail
and break off, prompts that are refused. After each turn, when nothing is under way, the worker's memory, open files,
threads, Python objects and allocated blocks are noted. A line is fitted to each after the warm-up; if any of them
rises, which by chance one does in twenty runs, the run fails. The ledger grows by a row per request, on the disk: its
size is told beside.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import loads
from bench.gateways.entry import EVERYTHING, MODEL, PASS, ROOT
from bench.loads import LoadFailed
from bench.peers_report import table
from bench.scale.bench import (
    WHERE,
    Bench,
    Load,
    anonymous_kb,
    chat,
    descriptors,
    raise_descriptors,
    resident_mb,
    threads,
    workers,
)
from bench.scale.fits import Line, trend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.processes import Running

REPORT = ROOT / "bench" / "report" / "scale"
PROBE = Path(__file__).with_name("probe")
LEGS = {PASS: 0.8, EVERYTHING: 0.2}  # parts of all requests
# Part of a leg's turns that is not fitted: with everything on, the last step came after some 330,000 requests.
WARM_UP = 0.4
# Of nine turns six are judged: in those open connections, which come and go, rose once by chance, and what they hold.
LEAST_TURNS = 16
REST_S = 1.0
PROBE_S = 20
# Of the normal distribution, 1 - 0.05 / 14: fourteen lines are judged, and by chance one rises in twenty runs.
Z_EACH = 2.69
# What is watched, and a word for its unit.
# Resident memory has pages of files in it (of the journal, that are mapped). What malloc has given out, small native
# blocks (which are not malloc's) and Python's are what is in use, to the byte.
WATCHED = {
    "resident_kb": "KB",
    "malloc_kb": "KB",
    "native_kb": "KB",
    "open_files": "",
    "threads": "",
    "objects": "",
    "blocks": "",
}
# Noted and not judged: it stands for long and rises by a step where more was under way at once than ever before.
NOTED = {"anonymous_kb": "KB"}
STREAMED = ("streams", "slow streams", "left", "cut upstream")
SECRET = "ghp_" + "q3Wn7ZpL0rT8vYx2KdMc5HsJf9BgUa4EoRiN"  # made up


@dataclass
class Leg:
    """A gateway in a mode, and what it did."""

    mode: str
    samples: list[dict[str, float]] = field(default_factory=list)  # with `requests` so far, each after a turn
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # answers
    ledger_mb: float = 0.0
    seconds: float = 0.0

    def lines(self) -> dict[str, Line]:
        """Of each that is watched, per million requests."""
        late = self.samples[int(len(self.samples) * WARM_UP) :]
        return {name: trend([(one["requests"] / 1e6, one[name]) for one in late], z=Z_EACH) for name in WATCHED | NOTED}

    def rising(self) -> list[str]:
        """Those that grow."""
        lines = self.lines()
        return [name for name in WATCHED if lines[name].slope > max(lines[name].margin, 1e-6)]


def kinds(mode: str, seconds: float) -> dict[str, Load]:
    """What is sent at the same time. Kinds that are no load have a rate."""
    text = "Write to kim.larsen@example.com that the gate is open. " * 10
    found = {
        "whole": Load(chat(text), 32, seconds=seconds),
        "streams": Load(chat(text, stream=True, seed=0), 4, seconds=seconds, chunks=64, rate=1500),
        "slow streams": Load(
            chat(text, stream=True, seed=10_000, max_tokens=20), 16, seconds=seconds, chunks=20, stagger_us=600
        ),
        "left": Load(chat(text, stream=True, seed=2_000), 8, seconds=seconds, chunks=64, leave_after=3, rate=100),
        "refused upstream": Load(
            chat(text, model="failing", user="status-500"), 4, seconds=seconds, is_any=True, rate=100
        ),
        "cut upstream": Load(
            chat(text, model="cutting", user="cut", stream=True), 4, seconds=seconds, chunks=64, is_any=True, rate=50
        ),
        "no key": Load(chat(text), 2, seconds=seconds, headers=(), allow=(401,), rate=50),
    }
    if mode == EVERYTHING:
        found["secret"] = Load(chat(f"{text} My token is {SECRET}."), 2, seconds=seconds, allow=(400,), rate=50)
    return found


def run(bench: Bench, leg: Leg, *, requests: int, streams: int, turn_s: float, limit_s: float, leak: int) -> None:
    """Turns until so many requests and streams were answered, or the time is over."""
    folder = bench.work / "probe"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # What malloc keeps for each thread counts as given out, some 300 KB by and by: without it the count is exact.
    exact = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    environment = {"PYTHONPATH": str(PROBE), "SOAK_PROBE": str(folder), "SOAK_LEAK": str(leak), **exact}
    started = time.monotonic()
    with bench.gateway(leg.mode, environment=environment, model_list=_models(bench.mock.port)) as gateway:
        (worker,) = workers(gateway)
        while len(leg.samples) < LEAST_TURNS or (
            (leg.counts["requests"] < requests or leg.counts["all streams"] < streams)
            and time.monotonic() - started < limit_s
        ):
            for name, seen in _turn(bench, gateway, kinds(leg.mode, turn_s)):
                if isinstance(seen, LoadFailed):
                    leg.wrong.append(f"{name}: {seen}")
                    continue
                leg.counts[name] += seen["requests"]
                leg.counts["requests"] += seen["requests"]
                leg.counts["all streams"] += seen["requests"] if name in STREAMED else 0
            time.sleep(REST_S)
            leg.samples.append({"requests": leg.counts["requests"], **_watched(worker, folder)})
            _say(leg, time.monotonic() - started)
        state = bench.work / f"tollhouse-{leg.mode}" / "state"
        leg.ledger_mb = sum(path.stat().st_size for path in state.glob("ledger.db*")) / 1e6
        assert workers(gateway) == [worker], "the worker was replaced"
    leg.seconds = time.monotonic() - started


def _models(port: int) -> list[dict[str, Any]]:
    """Those that fail are deployments of their own, or their breaker would be everybody's."""
    params = {"model": "openai/mock-1", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "sk-up"}
    return [{"model_name": name, "litellm_params": params} for name in (MODEL, "failing", "cutting")]


def _turn(bench: Bench, gateway: Running, sent: dict[str, Load]) -> Iterator[tuple[str, dict[str, Any] | LoadFailed]]:
    """What each kind saw; one that got a wrong answer has ended there, and the others have gone on."""
    under_way = {name: bench.start(load, gateway) for name, load in sent.items()}
    try:
        for name, sending in under_way.items():
            try:
                seen = sending.end()
            except LoadFailed as error:
                yield name, error
            else:
                yield name, seen
    finally:
        for sending in under_way.values():
            if sending.process.poll() is None:
                sending.stop()


def _watched(worker: int, folder: Path) -> dict[str, float]:
    path = folder / f"{worker}.json"
    path.unlink(missing_ok=True)
    os.kill(worker, signal.SIGUSR2)
    deadline = time.monotonic() + PROBE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not tell what it has")
        time.sleep(0.01)
    return {
        **json.loads(path.read_text()),
        "resident_kb": resident_mb([worker]) * 1000,
        "anonymous_kb": anonymous_kb(worker),
        "open_files": descriptors(worker),
        "threads": threads(worker),
    }


def _say(leg: Leg, seconds: float) -> None:
    last = leg.samples[-1]
    told = ", ".join(f"{name} {last[name]:,.0f}" for name in WATCHED)
    print(f"{leg.mode}: {seconds:.0f} s, {last['requests']:,.0f} requests, {told}", file=sys.stderr, flush=True)


def markdown(report: dict[str, Any]) -> str:
    head = ["leg", "what", "first", "last", "slope per million requests", "+-", ""]
    rows = []
    for mode, leg in report["legs"].items():
        for name, unit in (WATCHED | NOTED).items():
            line, late = leg["lines"][name], leg["samples"]
            rows.append(
                [
                    mode,
                    f"{name.removesuffix('_kb').replace('_', ' ')} {unit}".strip(),
                    *(f"{late[at][name]:,.0f}" for at in (int(len(late) * WARM_UP), -1)),
                    f"{line[1]:,.1f}",
                    f"{line[2]:,.1f}",
                    "rises" if name in leg["rising"] else "-" if name in NOTED else "flat",
                ]
            )
    counts = "\n".join(_counts(mode, leg) for mode, leg in report["legs"].items())
    before, after = report["load_average"]
    return (
        f"# Soak\n\n{report['date']}, `make soak`: {', '.join(report['machine'].values())}; load average {before:.1f} "
        f"before, {after:.1f} after. Noted after each turn of traffic, when nothing is under way; the first "
        f"{WARM_UP:.0%} of the turns are warm-up.\n\n{counts}\n\n{table(head, rows)}\n"
    )


def _counts(mode: str, leg: dict[str, Any]) -> str:
    told = ", ".join(f"{count:,} {name}" for name, count in leg["counts"].items())
    return f"- {mode}: {told}; {leg['seconds']:,.0f} s, {leg['ledger_mb']:,.0f} MB of ledger on the disk"


@contextlib.contextmanager
def _gone_afterwards(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def soak(options: argparse.Namespace) -> dict[str, Any]:
    before = os.getloadavg()[0]
    legs: list[Leg] = []
    # Of its own: a test of the soak may run beside a soak.
    work = ROOT / WHERE / f"soak-{os.getpid()}"
    with _gone_afterwards(work), loads.mock(work) as mock:
        for mode, part in LEGS.items():
            leg = Leg(mode)
            legs.append(leg)
            run(
                Bench(mock, work),
                leg,
                requests=int(options.requests * part),
                streams=int(options.streams * part),
                turn_s=options.turn_s,
                limit_s=options.minutes * 60 / len(LEGS),
                leak=options.leak,
            )
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": loads.machine(),
        "load_average": (before, os.getloadavg()[0]),
        "wanted": {"requests": options.requests, "streams": options.streams},
        "legs": {
            leg.mode: {
                "counts": dict(leg.counts),
                "seconds": leg.seconds,
                "ledger_mb": leg.ledger_mb,
                "lines": leg.lines(),
                "rising": leg.rising(),
                "wrong": leg.wrong,
                "samples": leg.samples,
            }
            for leg in legs
        },
    }


def failures(report: dict[str, Any]) -> list[str]:
    """Why the run does not hold; nothing if it does."""
    found = [f"{mode}: {name} rises" for mode, leg in report["legs"].items() for name in leg["rising"]]
    found += [f"{mode}: {why}" for mode, leg in report["legs"].items() for why in leg["wrong"]]
    for what, wanted in report["wanted"].items():
        done = sum(leg["counts"].get(what, 0) for leg in report["legs"].values())
        if done < wanted:
            found.append(f"{done:,} of {wanted:,} {what} in the time that there was")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=5_000_000, help="of all kinds, at least")
    parser.add_argument("--streams", type=int, default=100_000, help="of those, at least")
    parser.add_argument("--turn-s", type=float, default=10.0)
    parser.add_argument("--minutes", type=float, default=60.0, help="at most")
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--leak", type=int, default=0, help="bytes that are planted with each sample")
    options = parser.parse_args(arguments)
    loads.build()
    raise_descriptors()
    report = soak(options)
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "soak.json").write_text(json.dumps(report, indent=1))
    text = markdown(report)
    (options.report / "soak.md").write_text(text)
    print(text)
    why = failures(report)
    raise SystemExit("; ".join(why) if why else 0)


if __name__ == "__main__":
    main()
