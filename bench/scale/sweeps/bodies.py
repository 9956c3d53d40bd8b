"""Sizes of a request's body, and how long others wait for one that is large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.gateways.entry import EVERYTHING, PASS
from bench.loads import Scenario, body
from bench.scale.bench import Load, chat
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

KILOBYTES = (1, 8, 64, 512, 1024, 4096, 8192)
BESIDE_PER_S = 200


def measure(bench: Bench) -> Iterator[Row]:
    for mode in (PASS, EVERYTHING):
        with bench.gateway(mode) as gateway:
            beside = Load(chat(), 4, seconds=bench.seconds, rate=BESIDE_PER_S)
            bench.send(beside, gateway)
            alone = bench.send(beside, gateway)["latency_us"]
            for kilobytes in KILOBYTES[: bench.points]:
                large = body(Scenario("", 1, kilobytes=kilobytes))
                row = bench.cost(Load(large, 4, seconds=bench.seconds), gateway)
                # One large body at a time, as many as come one after the other with a pause of 50 ms.
                sending = bench.start(Load(large, 1, seconds=bench.seconds + 0.5, rate=20), gateway)
                others = bench.send(beside, gateway)["latency_us"]
                sending.end()
                yield {
                    "mode": mode,
                    "kilobytes": kilobytes,
                    **row,
                    "cpu_us_per_kb": row["cpu_us"] / kilobytes,
                    "beside_p99_ms": others["p99"] / 1000,
                    "beside_max_ms": others["max"] / 1000,
                    "alone_p99_ms": alone["p99"] / 1000,
                    "alone_max_ms": alone["max"] / 1000,
                }


SWEEP = Sweep(
    "bodies",
    f"Size of the body; beside it {BESIDE_PER_S} small requests / s, while 20 large ones / s come",
    measure,
    {
        "mode": ("mode", 0),
        "kilobytes": ("KB", 0),
        "cpu_us": ("CPU us / request", 0),
        "cpu_us_per_kb": ("us / KB", 2),
        "rps": ("requests / s", 0),
        "beside_p99_ms": ("p99 ms of the small ones", 1),
        "alone_p99_ms": ("alone", 1),
        "beside_max_ms": ("their slowest ms", 1),
        "alone_max_ms": ("alone ", 1),
    },
    {
        "CPU per request, us": ("kilobytes", ("cpu_us",)),
        "p99 of small requests beside, ms": ("kilobytes", ("beside_p99_ms",)),
    },
    by="mode",
)
