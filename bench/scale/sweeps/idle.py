"""Streams that are open and silent: memory and CPU of each, and what the others notice of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.gateways.entry import EVERYTHING, PASS
from bench.scale.bench import Load, chat, cpu_share, descriptors, raise_descriptors, resident_mb, workers
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Running
    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

STREAMS = (1, 1_000, 2_500, 5_000, 10_000)
SPARE = 300  # descriptors of a gateway that are no stream's
STAGGER_US = 800
# No chunk comes between the last stream's first and the first stream's second one.
OPENING_S = 11.0
QUIET_S = 6.0
SILENCE_US = int((OPENING_S + QUIET_S + 2) * 1e6)


def measure(bench: Bench) -> Iterator[Row]:
    allowed = (raise_descriptors() - SPARE) // 2
    for mode in (PASS, EVERYTHING):
        # One after the other in one process: memory that a point leaves would be in the next one's base.
        for wanted in STREAMS[: bench.points]:
            streams = min(wanted, allowed)
            if streams < wanted:
                bench.note(
                    f"{wanted} streams need {2 * wanted + SPARE} open files in the gateway and {2 * allowed + SPARE} "
                    f"are allowed here (a hard limit): {streams} were opened"
                )
            with bench.gateway(mode, upstream={"max_in_flight": 16_384}, max_connections=16_384) as gateway:
                yield {"mode": mode, **_held(bench, gateway, streams)}


def _held(bench: Bench, gateway: Running, streams: int) -> Row:
    (worker,) = workers(gateway)
    # What a process takes once, whatever comes, is not the streams'.
    bench.send(Load(chat(stream=True, seed=0), 16, 200, chunks=64), gateway)
    before = resident_mb([worker])
    still = cpu_share(gateway, QUIET_S)
    load = Load(
        chat(stream=True, seed=SILENCE_US, max_tokens=2),
        streams,
        requests=streams,
        seconds=90,
        chunks=2,
        stagger_us=STAGGER_US,
    )
    started = time.monotonic()
    sending = bench.start(load, gateway)
    time.sleep(OPENING_S - 1)
    held = resident_mb([worker]), descriptors(worker)
    beside = Load(chat(), 1, seconds=QUIET_S, rate=100)
    quiet = cpu_share(gateway, QUIET_S / 2)
    busy = bench.send(Load(**{**beside.__dict__, "seconds": QUIET_S / 2}), gateway)
    seen = sending.end()
    time.sleep(1.0)
    return {
        "streams": streams,
        "kb_each": (held[0] - before) * 1000 / streams if streams > 1 else 0.0,
        "resident_mb": held[0],
        "after_mb": resident_mb([worker]),
        "open_files": held[1],
        "idle_cores": quiet,
        "empty_cores": still,
        "first_p99_ms": seen["ttft_us"]["p99"] / 1000,
        "beside_p99_ms": busy["latency_us"]["p99"] / 1000,
        "beside_max_ms": busy["latency_us"]["max"] / 1000,
        "took_s": time.monotonic() - started,
    }


SWEEP = Sweep(
    "idle",
    "Streams that are open and silent",
    measure,
    {
        "mode": ("mode", 0),
        "streams": ("streams", 0),
        "kb_each": ("KB of memory each", 1),
        "resident_mb": ("resident MB", 0),
        "after_mb": ("MB after they ended", 0),
        "open_files": ("open files", 0),
        "idle_cores": ("cores, all silent", 3),
        "empty_cores": ("cores, none open", 3),
        "first_p99_ms": ("first chunk p99 ms, opened at 1,250 / s", 1),
        "beside_p99_ms": ("p99 ms of 100 other requests / s", 1),
        "beside_max_ms": ("their slowest, ms", 1),
    },
    {
        "resident memory, MB": ("streams", ("resident_mb",)),
        "cores while all are silent": ("streams", ("idle_cores",)),
    },
    by="mode",
)
