"""`python -m bench.scale.redis_costs`: what a decision and a report of a lease cost the server, one thread of Redis.

Of a pair of admission and settlement it is the CPU of the process. Reports are made with more and fewer slices and
lines, and a plane through what they took says what each costs. Writes redis.json, which `bench.scale.fleet` takes its
constants from.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from redis.asyncio import Redis

from bench import loads
from bench.gateways.entry import ROOT
from bench.processes import Running, free_port, running
from bench.scale.fits import plane
from tollhouse.middlewares.stores.leased import LeasedQuota
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Meter
from tollhouse.middlewares.stores.redis import RedisQuota

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT = ROOT / "bench" / "report" / "scale"
META = b"m" * 100
HOUR = 3_600_000
LARGE = 10**12
METERS = 3  # of a plan
# Plans in use, and pairs of admission and settlement, between two reports.
REPORTS = ((1, 1), (1, 20), (1, 200), (10, 20), (10, 200), (40, 40), (40, 200))
ROUNDS = 60
PAIRS = 6_000


@dataclass(frozen=True)
class Costs:
    """Microseconds of the server's thread. A report costs `report_us + slices * slice_us + lines * line_us`."""

    pair_us: dict[int, float]  # an admission and its settlement, by the number of meters
    report_us: float
    slice_us: float
    line_us: float
    worst_error: float  # of a report that was measured, in parts of it


def meters(name: str, count: int = METERS) -> list[Meter]:
    """Of one key, and of its team and everybody beyond three."""
    found: list[Meter] = []
    for level in range(-(-count // METERS)):
        prefix = f"{name}:{level}"
        found += [
            Bucket(f"{prefix}:r", 10**9, 10**9, 60_000, unit="requests"),
            Bucket(f"{prefix}:t", 10**9, 10**9, 60_000, unit="tokens"),
            Budget(f"{prefix}:usd", LARGE * 1000, 0),
        ]
    return found[:count]


async def pair_us(server: Running, count: int) -> float:
    store = RedisQuota(f"redis://127.0.0.1:{server.port}", op_timeout_s=5)
    await store.open()
    plan = store.plan(meters("direct", count))

    async def some(pairs: int) -> None:
        for _ in range(pairs):
            found = await store.admit(plan, tokens=500, want=4000, minimum=1, expires_in_ms=HOUR, meta=META)
            assert isinstance(found, Admitted)
            await store.settle(found.hold, amount=3000, tokens=400, entry=META)

    await asyncio.gather(*(some(20) for _ in range(32)))
    before = server.cpu_s()
    await asyncio.gather(*(some(PAIRS // 32) for _ in range(32)))
    spent = server.cpu_s() - before
    await store.close()
    return spent / (PAIRS // 32 * 32) * 1e6


async def report_us(server: Running, plans: int, pairs: int) -> float:
    """Of one report: what its script takes and what comes with the call."""
    quota = LeasedQuota(RedisQuota(f"redis://127.0.0.1:{server.port}", op_timeout_s=5), every_s=5, lease_s=60)
    await quota.open()
    chosen = [quota.plan(meters(f"k{number}")) for number in range(plans)]

    async def window() -> None:
        for number in range(pairs):
            found: Any = quota.admit(
                chosen[number % plans], tokens=500, want=4000, minimum=1, expires_in_ms=HOUR, meta=META
            )
            if not isinstance(found, Admitted):
                found = await found
            told = quota.settle(found.hold, amount=3000, tokens=400, entry=META)
            if not isinstance(told, str):
                await told

    for _ in range(20):  # until it has leased what it wants
        await window()
        await quota.flush()
    async with Redis.from_url(f"redis://127.0.0.1:{server.port}", protocol=2) as client:
        await client.config_resetstat()
        local, cpu = quota.local, server.cpu_s()
        for _ in range(ROUNDS):
            await window()
            await quota.flush()
        cpu = server.cpu_s() - cpu
        scripts = (await client.info("commandstats"))["cmdstat_evalsha"]
        await client.flushall()
    assert quota.local - local == ROUNDS * pairs, "some were decided by Redis"
    await quota.close()
    # The clock of a process ticks every 10 ms, which many reports are needed for; the scripts' own is exact.
    return max(cpu * 1e6, float(scripts["usec"])) / float(scripts["calls"])


async def costs(server: Running) -> Costs:
    pairs = {count: await pair_us(server, count) for count in (METERS, 8)}
    found = [
        ((1.0, float(METERS * plans), float(pairs)), await report_us(server, plans, pairs)) for plans, pairs in REPORTS
    ]
    one, each_slice, each_line = plane(found)
    errors = [abs(_sum((one, each_slice, each_line), xs) / y - 1) for xs, y in found]
    return Costs(pairs, one, each_slice, each_line, max(errors))


def _sum(factors: Sequence[float], xs: Sequence[float]) -> float:
    return sum(factor * x for factor, x in zip(factors, xs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    port = free_port()
    before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="bench-redis-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with running("redis", command, port, log=Path(folder) / "redis.log") as server:
            found = runner.run(costs(server))
    report = {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": loads.machine(),
        "load_average": (before, os.getloadavg()[0]),
        **asdict(found),
    }
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "redis.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
