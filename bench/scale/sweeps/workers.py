"""Workers: as many as there are processors, and one more."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench.gateways.entry import PASS
from bench.loads import Scenario, body
from bench.scale.bench import Load, resident_mb, workers
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale.bench import Bench
    from bench.scale.sweep import Row


def measure(bench: Bench) -> Iterator[Row]:
    cores = os.cpu_count() or 1
    bench.note(
        f"generator, mock and workers share {cores} processors: a second worker cannot add more to the rate than the "
        "first has left of them"
    )
    for count in range(1, cores + 2)[: bench.points]:
        with bench.gateway(PASS, workers=count) as gateway:
            deadline = time.monotonic() + 10
            while len(workers(gateway)) < count and time.monotonic() < deadline:
                time.sleep(0.05)
            load = Load(body(Scenario("", 64)), 64, seconds=bench.seconds)
            yield {"workers": count, **bench.cost(load, gateway), "resident_mb": resident_mb(workers(gateway))}


SWEEP = Sweep(
    "workers",
    "Workers, 64 connections",
    measure,
    {
        "workers": ("workers", 0),
        "cpu_us": ("CPU us / request", 0),
        "rps": ("requests / s", 0),
        "cores": ("cores", 2),
        "p99_ms": ("p99 ms", 1),
        "resident_mb": ("MB of all workers", 0),
    },
)
