"""Connections that ask as fast as they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.gateways.entry import EVERYTHING, PASS
from bench.loads import Scenario, body
from bench.scale.bench import Load
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

CONNECTIONS = (1, 4, 16, 64, 256, 1024)


def measure(bench: Bench) -> Iterator[Row]:
    for mode in (PASS, EVERYTHING):
        with bench.gateway(mode, upstream={"max_in_flight": 2048}) as gateway:
            for connections in CONNECTIONS[: bench.points]:
                load = Load(body(Scenario("", connections)), connections, seconds=bench.seconds)
                yield {"mode": mode, "connections": connections, **bench.cost(load, gateway)}


SWEEP = Sweep(
    "concurrency",
    "Connections that ask as fast as they are answered (1 KB)",
    measure,
    {
        "mode": ("mode", 0),
        "connections": ("connections", 0),
        "cpu_us": ("CPU us / request", 0),
        "rps": ("requests / s", 0),
        "cores": ("cores", 2),
        "p50_ms": ("p50 ms", 2),
        "p99_ms": ("p99 ms", 1),
    },
    {
        "CPU per request, us": ("connections", ("cpu_us",)),
        "requests a second": ("connections", ("rps",)),
        "p99, ms": ("connections", ("p99_ms",)),
    },
    by="mode",
)
