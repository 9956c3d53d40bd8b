"""What it costs to say no, beside what it costs to answer: CPU of the gateway at 32 connections, in one run.

And what one read and one write cost, of a process that does nothing else (floor.c): less than that no refusal costs.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.compiler import compiled
from bench.gateways.entry import KEY
from bench.loads import Scenario, body
from bench.peers_report import table
from bench.processes import free_port, running
from bench.scale.bench import Load, chat

if TYPE_CHECKING:
    from bench.processes import Running
    from bench.scale.bench import Bench, Sending

CONNECTIONS = 32
CHUNKS = 100
RPM = 60  # what the limit lets pass
FOREVER_US = 100_000_000  # how long the mock takes for what is to fill places and queue
ANSWERS = ("a whole answer", "the same, 64 KB asked", f"a stream of {CHUNKS} chunks")
REFUSALS = ("by a limit", "by a full queue")
FLOOR = "one read and one write"


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
    found[FLOOR] = _floor(bench)
    return found


def _floor(bench: Bench) -> float:
    program, port = bench.work / "floor", free_port()
    compiled(Path(__file__).with_name("floor.c"), program)
    with running("floor", [str(program), str(port)], port, log=bench.work / "floor.log") as floor:
        return bench.cost(_refused(bench, 429), floor)["cpu_us"]


def fill(bench: Bench, gateway: Running, number: int) -> Sending:
    """So many requests whose answers do not come, once all of them have."""
    load = Load(chat(seed=FOREVER_US), number, requests=number, seconds=FOREVER_US / 1e6)
    sending = bench.start(load, gateway)
    time.sleep(1.0)
    return sending


def markdown(rows: list[dict[str, Any]]) -> str:
    """Each refusal in microseconds, and in parts of the answers."""
    said = (*REFUSALS, FLOOR)
    lines = [
        [
            row["mode"],
            *(f"{row[name]:,.0f}" for name in ANSWERS),
            *(f"{row[no]:,.1f} ({', '.join(f'{row[no] / row[yes]:.0%}' for yes in ANSWERS)})" for no in said),
        ]
        for row in rows
    ]
    names = (*(f"refused {name}" for name in REFUSALS), FLOOR)
    return table(["mode", *ANSWERS, *(f"{name} (of those answers)" for name in names)], lines)


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
