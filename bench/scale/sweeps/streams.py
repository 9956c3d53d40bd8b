"""Streams that flow: what a chunk costs, and how much later it comes than without a gateway."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.gateways.entry import EVERYTHING, PASS
from bench.scale.bench import Load, chat
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Running
    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

STREAMS = 128
ROUNDS = 3
CHUNKS_PER_S = (100, 1_000, 5_000, 12_800)


def measure(bench: Bench) -> Iterator[Row]:
    for mode in (PASS, EVERYTHING):
        with bench.gateway(mode, upstream={"max_in_flight": 2048}) as gateway:
            for rate in CHUNKS_PER_S[: bench.points]:
                interval_us = STREAMS * 1_000_000 // rate
                chunks = max(3, int(bench.seconds * rate / STREAMS))
                load = Load(
                    chat(stream=True, seed=interval_us, max_tokens=chunks),
                    STREAMS,
                    requests=STREAMS,
                    seconds=60,
                    chunks=chunks,
                    stagger_us=interval_us // STREAMS,
                )
                rounds = [_round(bench, gateway, load) for _ in range(ROUNDS)]
                # A virtual machine that others use stands still now and then, for whoever is measured then.
                yield {
                    "mode": mode,
                    "chunks_per_s": rate,
                    **{name: statistics.median(one[name] for one in rounds) for name in rounds[0]},
                    "least_added_p99_ms": min(one["added_p99_ms"] for one in rounds),
                }


def _round(bench: Bench, gateway: Running, load: Load) -> dict[str, float]:
    direct = bench.send(load, bench.mock)["delay_us"]
    before = gateway.cpu_s()
    seen = bench.send(load, gateway)
    spent = gateway.cpu_s() - before
    return {
        "cpu_us": spent / seen["chunks"] * 1e6,
        "added_p50_ms": (seen["delay_us"]["p50"] - direct["p50"]) / 1000,
        "added_p99_ms": (seen["delay_us"]["p99"] - direct["p99"]) / 1000,
        "p99_ms": seen["delay_us"]["p99"] / 1000,
        "direct_p99_ms": direct["p99"] / 1000,
    }


SWEEP = Sweep(
    "streams",
    f"{STREAMS} streams that flow: the delay of a chunk, medians of {ROUNDS} rounds",
    measure,
    {
        "mode": ("mode", 0),
        "chunks_per_s": ("chunks / s, in all", 0),
        "cpu_us": ("CPU us / chunk", 0),
        "added_p50_ms": ("added p50 ms", 2),
        "added_p99_ms": ("added p99 ms", 2),
        "least_added_p99_ms": ("in the best round", 2),
        "p99_ms": ("p99 ms", 2),
        "direct_p99_ms": ("p99 ms without", 2),
    },
    {
        "CPU per chunk, us": ("chunks_per_s", ("cpu_us",)),
        "added p99 of a chunk, ms": ("chunks_per_s", ("added_p99_ms",)),
    },
    by="mode",
)
