"""What it costs to say no, beside what it costs to answer: CPU of the gateway at 32 connections, in one run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import KEY
from bench.loads import Scenario, body
from bench.peers_report import table
from bench.scale.bench import Load, chat

if TYPE_CHECKING:
    from bench.processes import Running
    from bench.scale.bench import Bench, Sending

CONNECTIONS = 32
CHUNKS = 100
RPM = 60  # what the limit lets pass
FOREVER_US = 100_000_000  # how long the mock takes for what is to fill places and queue
ANSWERS = ("a whole answer", "the same, 64 KB asked", f"a stream of {CHUNKS} chunks")
REFUSALS = ("by a limit", "by a full queue", "for want of time")


def measure(bench: Bench, mode: str) -> dict[str, Any]:
    """CPU in us of each answer and each refusal, of small bodies where nothing else is said."""
    found: dict[str, Any] = {"mode": mode}
    with bench.gateway(mode) as gateway:
        for name, load in zip(ANSWERS, _asked(bench), strict=True):
            found[name] = bench.cost(load, gateway)["cpu_us"]
    limited = [{"name": "bench", "key": KEY, "limits": {"rpm": RPM}}]
    with bench.gateway(mode, keys=limited) as gateway:
        found[REFUSALS[0]] = bench.cost(_refused(bench, 429), gateway)["cpu_us"]
    places = {"max_in_flight": 2, "queue_wait_s": 100}
    with bench.gateway(mode, upstream=places) as gateway:
        bench.send(Load(chat(), 2, seconds=1.0), gateway)
        sending = fill(bench, gateway, 3)
        found[REFUSALS[1]] = bench.cost(_refused(bench, 503), gateway)["cpu_us"]
        sending.stop()
    with bench.gateway(mode, max_lag_s=1e-6) as gateway:
        found[REFUSALS[2]] = bench.cost(_refused(bench, 503), gateway)["cpu_us"]
    return found


def fill(bench: Bench, gateway: Running, number: int) -> Sending:
    """So many requests whose answers do not come, once all of them have."""
    load = Load(chat(seed=FOREVER_US), number, requests=number, seconds=FOREVER_US / 1e6)
    sending = bench.start(load, gateway)
    time.sleep(1.0)
    return sending


def markdown(rows: list[dict[str, Any]]) -> str:
    """Each refusal in microseconds, and in parts of the answers."""
    lines = [
        [
            row["mode"],
            *(f"{row[name]:,.0f}" for name in ANSWERS),
            *(f"{row[no]:,.0f} ({', '.join(f'{row[no] / row[yes]:.0%}' for yes in ANSWERS)})" for no in REFUSALS),
        ]
        for row in rows
    ]
    return table(["mode", *ANSWERS, *(f"refused {name} (of those answers)" for name in REFUSALS)], lines)


def _asked(bench: Bench) -> tuple[Load, Load, Load]:
    large = body(Scenario("", 1, kilobytes=64))
    stream = chat(stream=True, max_tokens=CHUNKS)
    return (
        Load(chat(), CONNECTIONS, seconds=bench.seconds),
        Load(large, CONNECTIONS, seconds=bench.seconds),
        Load(stream, CONNECTIONS, seconds=bench.seconds, chunks=CHUNKS),
    )


def _refused(bench: Bench, status: int) -> Load:
    return Load(chat(), CONNECTIONS, seconds=bench.seconds, allow=(status,))
