"""Rules of a user's own in the scan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import EVERYTHING
from bench.gateways.tollhouse import SCAN
from bench.loads import Scenario, body
from bench.scale.bench import Load, resident_mb, workers
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

RULES = (0, 100, 500, 1_000, 2_000, 5_000)


def pack(count: int) -> list[dict[str, Any]]:
    """Rules as staff write them: a literal prefix of a token, and its form."""
    return [
        {
            "id": f"own-{number}",
            "family": "secrets",
            "type": "SECRET",
            "literals": [f"own{number:05d}_"],
            "regex": f"own{number:05d}_[0-9A-Za-z]{{20}}",
        }
        for number in range(count)
    ]


def measure(bench: Bench) -> Iterator[Row]:
    for count in RULES[: bench.points]:
        started = time.monotonic()
        with bench.gateway(EVERYTHING, scan={**SCAN, "rules": pack(count)} if count else SCAN) as gateway:
            took = time.monotonic() - started
            row: Row = {"rules": count, "start_s": took, "resident_mb": resident_mb(workers(gateway))}
            for kilobytes in (1, 64):
                load = Load(body(Scenario("", 8, kilobytes=kilobytes)), 8, seconds=bench.seconds)
                row[f"cpu_us_{kilobytes}"] = bench.cost(load, gateway)["cpu_us"]
            yield row


SWEEP = Sweep(
    "rules",
    "Rules of one's own in the scan, everything on",
    measure,
    {
        "rules": ("rules", 0),
        "start_s": ("start s", 1),
        "resident_mb": ("worker MB", 0),
        "cpu_us_1": ("CPU us / request of 1 KB", 0),
        "cpu_us_64": ("CPU us / request of 64 KB", 0),
    },
    {
        "CPU per request, us": ("rules", ("cpu_us_1", "cpu_us_64")),
        "start, s": ("rules", ("start_s",)),
        "worker, MB": ("rules", ("resident_mb",)),
    },
)
