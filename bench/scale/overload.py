"""`python -m bench.scale.overload`: three times the capacity, with the settings as they are by default.

The capacity is what is served to as many callers as may be asked upstream at once. Then requests come at that rate, and
at three times it, whatever becomes of those before (an open loop). O2 and O3 are what has to hold: at least 90 % of the
capacity is served, the p99 of what is admitted is at most twice that at the capacity, a refusal costs at most a tenth
of an answer's CPU, and what operators look at answers all the time.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import loads
from bench.gateways.entry import EVERYTHING, PASS, ROOT
from bench.peers_report import table
from bench.scale import callers, refusals
from bench.scale.bench import WHERE, Bench, Load, chat, raise_descriptors
from bench.scale.watching import ADMIN, REFUSED, watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.processes import Running

REPORT = ROOT / "bench" / "report" / "scale"
TIMES = 3
IN_FLIGHT = 256  # the default of upstream.max_in_flight
ENOUGH = 100  # refusals, for their CPU to be told from the rest
# O2 and O3
LEAST_GOODPUT, MOST_P99, MOST_REFUSAL, MOST_LIVE_MS = 0.9, 2.0, 0.1, 100.0


DENSE = " ".join(
    f"Write to kim.doe{number}@example.com or call +49 30 {1_234_567 + number} today, and tell them of it."
    for number in range(100)
)


@dataclass(frozen=True)
class Shortage:
    """What there is too little of: places upstream while it takes delay_ms, or the gateway's own time.

    connections: at its capacity; `most` of them have something to ask at three times that. chunks: of an answer that is
    a stream, `every_us`; 0: it is whole.
    """

    name: str
    mode: str
    connections: int
    most: int
    delay_ms: int = 0
    text: str = "Say what changed."
    chunks: int = 0
    every_us: int = 0

    @property
    def body(self) -> bytes:
        if self.chunks:
            return chat(self.text, seed=self.every_us, max_tokens=self.chunks, stream=True)
        return chat(self.text, seed=self.delay_ms * 1000)


SHORTAGES = (
    Shortage("places upstream", PASS, IN_FLIGHT, 8 * IN_FLIGHT, delay_ms=400),
    Shortage("places upstream", EVERYTHING, IN_FLIGHT, 8 * IN_FLIGHT, delay_ms=400),
    Shortage(
        "CPU: streams of 100 chunks, every 2.5 ms", EVERYTHING, IN_FLIGHT, 8 * IN_FLIGHT, chunks=100, every_us=2500
    ),
    Shortage("CPU: 9 KB with 200 personal values", EVERYTHING, 64, 2048, text=DENSE),
)


def measured(bench: Bench, shortage: Shortage) -> dict[str, Any]:
    """A gateway at its capacity, and at three times that."""
    mode, delay_ms, connections = shortage.mode, shortage.delay_ms, shortage.connections
    body, chunks = shortage.body, shortage.chunks
    with bench.gateway(mode, upstream={}, general_settings={"admin_key": ADMIN}) as gateway:
        peak = bench.send(Load(body, connections, seconds=bench.seconds, chunks=chunks), gateway)
        capacity = peak["requests"] / peak["elapsed_s"]
        load = Load(body, 4 * connections, seconds=bench.seconds, rate=capacity, chunks=chunks)
        once, once_cpu, _ = watched(bench, gateway, load)
        time.sleep(1.5)
        load = Load(body, shortage.most, seconds=bench.seconds, rate=TIMES * capacity, chunks=chunks)
        much, much_cpu, live = watched(bench, gateway, load)
        served, refused = much["requests"] - much["allowed"], much["allowed"]
        serving_us = once_cpu / (once["requests"] - once["allowed"]) * 1e6
        refusal_us: float | None
        if delay_ms:
            # What is let in at three times has waited in the queue, and costs more for that: only refusals, then.
            refusal_us = _refusal_us(bench, gateway, Load(body, shortage.most, rate=(TIMES - 1) * capacity))
        else:
            # What is left over answers; less than nothing is noise, and says nothing of refusals.
            left_us = much_cpu * 1e6 - served * serving_us
            refusal_us = left_us / refused if refused >= ENOUGH and left_us > 0 else None
    return {
        "short": shortage.name,
        "mode": mode,
        "delay_ms": delay_ms,
        "capacity": capacity,
        "offered": much["requests"] / much["elapsed_s"],
        "served": served / much["elapsed_s"],
        "goodput": served / much["elapsed_s"] / capacity,
        "p99_once_ms": once["latency_us"]["p99"] / 1000,
        "p99_ms": much["latency_us"]["p99"] / 1000,
        "p50_ms": much["latency_us"]["p50"] / 1000,
        "refused": refused,
        "refused_p95_ms": (much["allowed_us"] or {"p95": 0.0})["p95"] / 1000,
        "serving_us": serving_us,
        "refusal_us": refusal_us,
        "live_p95_ms": live[0],
        "live_failed": live[1],
        "once_statuses": once["statuses"],
        "statuses": much["statuses"],
    }


def _refusal_us(bench: Bench, gateway: Running, load: Load) -> float:
    """CPU of a refusal, while all places upstream and the queue for them are taken."""
    time.sleep(1.5)
    sending = refusals.fill(bench, gateway, IN_FLIGHT + IN_FLIGHT // 2)
    load = Load(**{**load.__dict__, "seconds": bench.seconds, "allow": REFUSED})
    spent = bench.cost(load, gateway)["cpu_us"]
    sending.stop()
    return spent


def broken(found: dict[str, Any]) -> list[str]:
    """Of O2 and O3."""
    why = []
    if found["goodput"] < LEAST_GOODPUT:
        why.append(f"{found['goodput']:.0%} of the capacity is served")
    if found["p99_ms"] > MOST_P99 * found["p99_once_ms"]:
        why.append(f"p99 is {found['p99_ms'] / found['p99_once_ms']:.2f} times that at the capacity")
    if found["refusal_us"] is not None and found["refusal_us"] > MOST_REFUSAL * found["serving_us"]:
        why.append(f"a refusal costs {found['refusal_us'] / found['serving_us']:.0%} of an answer")
    if found["live_failed"] or found["live_p95_ms"] > MOST_LIVE_MS:
        why.append(f"health and admin: p95 {found['live_p95_ms']:.0f} ms, {found['live_failed']} failed")
    return why


def _told(one: dict[str, Any]) -> str:
    return "not told apart" if one["refusal_us"] is None else f"{one['refusal_us']:,.0f}"


def markdown(report: dict[str, Any]) -> str:
    before, after = report["load_average"]
    rows = [
        [
            one["short"],
            one["mode"],
            f"{one['delay_ms']}",
            f"{one['capacity']:,.0f}",
            f"{one['offered']:,.0f}",
            f"{one['goodput']:.0%}",
            f"{one['p99_once_ms']:,.0f}",
            f"{one['p99_ms']:,.0f} ({one['p99_ms'] / one['p99_once_ms']:.2f})",
            f"{one['refused']:,}",
            f"{one['refused_p95_ms']:,.0f}",
            f"{one['serving_us']:,.0f} / {_told(one)}",
            f"{one['live_p95_ms']:,.0f} / {one['live_failed']}",
            "; ".join(one["broken"]) or ("holds" if one["refusal_us"] is not None else "O2 holds"),
        ]
        for one in report["rows"]
    ]
    head = [
        "what is short",
        "mode",
        "upstream ms",
        "capacity / s",
        "offered / s",
        "served of it",
        "p99 ms at the capacity",
        "at three times (ratio)",
        "refused",
        "p95 ms of refusals",
        "CPU us, answer / refusal",
        "health and admin: p95 ms / failed",
        "O2, O3",
    ]
    return (
        f"# Three times the capacity\n\n{report['date']}, `python -m bench.scale.overload`: "
        f"{', '.join(report['machine'].values())}; load average {before:.1f} before, {after:.1f} after; "
        f"{report['seconds']:g} s each, defaults of `upstream` ({IN_FLIGHT} at once, a second in the queue).\n\n"
        f"{table(head, rows)}\n\n"
        f"What it costs to say no: CPU us at {refusals.CONNECTIONS} connections that ask again at once.\n\n"
        f"{refusals.markdown(report['refusals'])}\n\n"
        "Callers that ask again at once, for small whole answers of an upstream that takes no time.\n\n"
        f"{callers.markdown(report['callers'])}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a load")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    loads.build()
    raise_descriptors()
    before, rows = os.getloadavg()[0], []
    work = ROOT / WHERE / f"overload-{os.getpid()}"
    with loads.mock(work) as mock:
        bench = Bench(mock, work, seconds=options.seconds)
        for shortage in SHORTAGES:
            found = measured(bench, shortage)
            rows.append({**found, "broken": broken(found)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        said_no = [refusals.measure(bench, mode) for mode in (PASS, EVERYTHING)]
        many = [row for mode in (PASS, EVERYTHING) for row in callers.measure(bench, mode)]
    report = {
        "refusals": said_no,
        "callers": many,
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": loads.machine(),
        "load_average": (before, os.getloadavg()[0]),
        "seconds": options.seconds,
        "rows": rows,
    }
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "overload.json").write_text(json.dumps(report, indent=1))
    text = markdown(report)
    (options.report / "overload.md").write_text(text)
    print(text)
    raise SystemExit(1 if any(row["broken"] for row in rows) else 0)


if __name__ == "__main__":
    main()
