"""`python -m bench.quota_redis`: what an admission and its settlement cost the gateway, over Redis on loopback.

CPU is this process' (user and system, uvloop), per pair of admit and settle; latency is of the pair. redis-py sends the
same scripts with the same arguments, on as many connections as it likes. Redis' own CPU is beside it, because its one
thread is what all nodes share. `--local`: only what is decided in this process, leased from Redis or embedded.
`--added`: only what one caller waits for, which is the admission alone (nobody waits for a settlement), beside a bare
round trip, one with a script that does nothing, and what Redis counts for the admission's; with Redis on the caller's
core, and on the next one.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop
from redis.asyncio import Redis

from bench.processes import Running, free_port, running
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.leased import LeasedQuota
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Meter, Parallel
from tollhouse.middlewares.stores.redis import RedisQuota
from tollhouse.middlewares.stores.redis.plan import FINISH_NUMBERS, Keys, Plan, admit_numbers, pack_meter
from tollhouse.middlewares.stores.redis.scripts import digest, source
from tollhouse.middlewares.stores.redis.wire import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Pair = Callable[[], Awaitable[None]]

PAIRS = 8_000
LOCAL_PAIRS = 40_000
ROUNDS = 5
HOUR = 3_600_000
META = b"m" * 100
LARGE = 10**12


def _bucket(name: str, unit: Any) -> Bucket:
    return Bucket(name, 10**9, 10**9, 60_000, unit=unit)


PLANS: dict[str, list[Meter]] = {
    "3 meters": [_bucket("r", "requests"), _bucket("t", "tokens"), Budget("usd", LARGE * 1000, 0)],
    "8 meters": [
        Parallel("p", 10_000),
        *(_bucket(f"{level}:r", "requests") for level in ("key", "team")),
        *(_bucket(f"{level}:t", "tokens") for level in ("key", "team")),
        *(Budget(f"{level}:usd", LARGE * 1000, 0) for level in ("key", "team", "all")),
    ],
}


class Cell(NamedTuple):
    cpu_us: float
    redis_us: float
    p50_us: float
    p99_us: float


@asynccontextmanager
async def own(url: str, meters: list[Meter]) -> AsyncIterator[Pair]:
    store = RedisQuota(url, op_timeout_s=5)
    await store.open()
    plan = store.plan(meters)

    async def pair() -> None:
        found = await store.admit(plan, tokens=500, want=4000, minimum=1, expires_in_ms=HOUR, meta=META)
        assert isinstance(found, Admitted)
        await store.settle(found.hold, amount=3000, tokens=400, entry=META)

    yield pair
    await store.close()


@asynccontextmanager
async def redis_py(url: str, meters: list[Meter]) -> AsyncIterator[Pair]:
    keys = Keys("tollhouse")
    names = [keys.meter(meter) for meter in Plan(tuple(meters), keys).meters]
    packed = b"".join(map(pack_meter, meters))
    client = Redis.from_url(url, protocol=2)
    for name in ("admit", "finish"):
        await client.script_load(source(name))
    admit, finish = digest("admit").decode(), digest("finish").decode()
    numbers = iter(range(10**9))

    async def pair() -> None:
        hold = keys.hold + b"%020d" % next(numbers)
        own_keys = (hold, keys.expiries, *names)
        found = await client.evalsha(admit, len(own_keys), *own_keys, packed, admit_numbers(500, 4000, 1, HOUR), META)
        assert found[0] == 1
        own_keys = (hold, keys.expiries, keys.ledger, *names)
        done = await client.evalsha(
            finish, len(own_keys), *own_keys, packed, b"settle", FINISH_NUMBERS(3000, 400), META
        )
        assert done == b"settled"

    yield pair
    await client.aclose()


class Local(NamedTuple):
    """CPU of a pair that is decided in this process, all that is told to Redis for it included."""

    cpu_us: float
    redis_us: float


async def measure_local(quota: Any, meters: list[Meter], server: Running) -> Local:
    """Of the embedded store, or of one that leases: the loop turns after each 16 pairs."""
    await quota.open()
    plan = quota.plan(meters)
    cpu = theirs = 0.0
    for rest in (LOCAL_PAIRS, 0):  # the first half is for it to lease what it needs
        cpu, theirs = time.process_time(), server.cpu_s()
        for number in range(LOCAL_PAIRS):
            found = quota.admit(plan, tokens=500, want=4000, minimum=1, expires_in_ms=HOUR, meta=META)
            if not isinstance(found, Admitted):
                assert rest, "the lease was not enough"
                found = await found
            told = quota.settle(found.hold, amount=3000, tokens=400, entry=META)
            if not isinstance(told, str):
                await told
            if number % 16 == 0:
                await asyncio.sleep(0)
        if isinstance(quota, LeasedQuota):
            await quota.flush()
        cpu, theirs = time.process_time() - cpu, server.cpu_s() - theirs
    await quota.close()
    return Local(cpu / LOCAL_PAIRS * 1e6, theirs / LOCAL_PAIRS * 1e6)


async def compare_local(server: Running) -> dict[tuple[str, str], Local]:
    url = f"redis://127.0.0.1:{server.port}"
    found: dict[tuple[str, str], list[Local]] = {}
    for _ in range(ROUNDS):
        for name, meters in PLANS.items():
            for quota in (EmbeddedQuota(), LeasedQuota(RedisQuota(url, op_timeout_s=5))):
                key = ("embedded" if isinstance(quota, EmbeddedQuota) else "leased", name)
                found.setdefault(key, []).append(await measure_local(quota, meters, server))
                async with Redis.from_url(url, protocol=2) as client:
                    await client.flushall()
    medians = {key: Local(*map(statistics.median, zip(*cells, strict=True))) for key, cells in found.items()}
    return dict(sorted(medians.items(), key=lambda item: item[0][::-1]))


def local_table(found: dict[tuple[str, str], Local]) -> str:
    lines = ["| store | plan | CPU us / pair | Redis CPU us / pair |", "|---|---|--:|--:|"]
    for (store, plan), cell in found.items():
        lines.append(f"| {store} | {plan} | " + " | ".join(f"{value:.1f}" for value in cell) + " |")
    return "\n".join(lines)


async def measure(pair: Pair, at_once: int, server: Running) -> Cell:
    latencies: list[float] = []

    async def some(count: int) -> None:
        for _ in range(count):
            started = time.perf_counter()
            await pair()
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(some(20) for _ in range(at_once)))
    latencies.clear()
    pairs = PAIRS if at_once > 1 else PAIRS // 4
    cpu, theirs = time.process_time(), server.cpu_s()
    await asyncio.gather(*(some(pairs // at_once) for _ in range(at_once)))
    cpu, theirs = time.process_time() - cpu, server.cpu_s() - theirs
    steps = statistics.quantiles(latencies, n=100)
    return Cell(*(value * 1e6 for value in (cpu / pairs, theirs / pairs, steps[49], steps[98])))


async def compare(server: Running) -> dict[tuple[str, str, int], Cell]:
    url = f"redis://127.0.0.1:{server.port}"
    found: dict[tuple[str, str, int], list[Cell]] = {}
    for _ in range(ROUNDS):
        for name, meters in PLANS.items():
            for make in (own, redis_py):
                for at_once in (1, 32):
                    async with make(url, meters) as pair:
                        found.setdefault((make.__name__, name, at_once), []).append(
                            await measure(pair, at_once, server)
                        )
                    async with Redis.from_url(url, protocol=2) as client:
                        await client.flushall()
    medians = {key: Cell(*map(statistics.median, zip(*cells, strict=True))) for key, cells in found.items()}
    return dict(sorted(medians.items(), key=lambda item: item[0][1:]))


class Added(NamedTuple):
    """What one caller waits for, the median in us; `script_us` is what Redis counts for the script, the mean."""

    ping_us: float
    nothing_us: float
    script_us: float
    admission_us: float


class Bare(asyncio.Protocol):
    """Asks, and tells when an answer is there, whatever it says."""

    transport: asyncio.Transport
    answered: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(None)

    async def ask(self, asked: bytes) -> None:
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(asked)
        await self.answered


async def measure_added(meters: list[Meter], port: int) -> Added:
    _, bare = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
    store = RedisQuota(f"redis://127.0.0.1:{port}", op_timeout_s=5)
    await store.open()
    plan = store.plan(meters)
    client = Redis.from_url(f"redis://127.0.0.1:{port}", protocol=2)
    nothing = command("EVALSHA", await client.script_load("return 1"), 0, META)
    waits: dict[str, list[float]] = {"ping": [], "nothing": [], "admission": []}

    async def timed(name: str, asked: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        answer = await asked
        waits[name].append(time.perf_counter() - started)
        return answer

    async def admit() -> Any:
        found = await store.admit(plan, tokens=500, want=4000, minimum=1, expires_in_ms=HOUR, meta=META)
        assert isinstance(found, Admitted)
        return found.hold

    for _ in range(PAIRS // 4):
        await timed("ping", bare.ask(command("PING")))
        await timed("nothing", bare.ask(nothing))
        await store.settle(await timed("admission", admit()), amount=3000, tokens=400, entry=META)
    await client.config_resetstat()
    holds = [await admit() for _ in range(PAIRS // 40)]
    stats = await client.info("commandstats")
    for hold in holds:
        await store.settle(hold, amount=3000, tokens=400, entry=META)
    await store.close()
    await client.aclose()
    bare.transport.close()
    p50 = {name: statistics.median(times) * 1e6 for name, times in waits.items()}
    return Added(p50["ping"], p50["nothing"], stats["cmdstat_evalsha"]["usec_per_call"], p50["admission"])


async def compare_added(server: Running) -> dict[tuple[str, str], Added]:
    """By where Redis runs and plan."""
    cores = sorted(os.sched_getaffinity(0))
    places = {"the same core": cores[0], "another core": cores[-1]}
    found: dict[tuple[str, str], list[Added]] = {}
    os.sched_setaffinity(0, {cores[0]})
    for _ in range(ROUNDS):
        for place, core in places.items():
            os.sched_setaffinity(server.process.pid, {core})
            for name, meters in PLANS.items():
                one = await measure_added(meters, server.port)
                found.setdefault((place, name), []).append(one)
    for pid in (0, server.process.pid):  # what is measured next is where it likes
        os.sched_setaffinity(pid, cores)
    return {key: Added(*map(statistics.median, zip(*cells, strict=True))) for key, cells in found.items()}


def added_table(found: dict[tuple[str, str], Added]) -> str:
    lines = [
        "| Redis is on | plan | PING p50 us | empty script p50 us | admission, in Redis us | admission p50 us |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for (place, plan), cell in found.items():
        lines.append(f"| {place} | {plan} | " + " | ".join(f"{value:.0f}" for value in cell) + " |")
    return "\n".join(lines)


def table(found: dict[tuple[str, str, int], Cell]) -> str:
    lines = [
        "| client | plan | at once | CPU us / pair | Redis CPU us / pair | p50 us | p99 us |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for (client, plan, at_once), cell in found.items():
        lines.append(f"| {client} | {plan} | {at_once} | " + " | ".join(f"{value:.0f}" for value in cell) + " |")
    return "\n".join(lines)


def main() -> None:
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="bench-redis-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with running("redis", words, port, log=Path(folder) / "redis.log") as server:
            if "--added" not in sys.argv:
                print(local_table(runner.run(compare_local(server))), end="\n\n")
            if "--local" not in sys.argv:
                print(added_table(runner.run(compare_added(server))), end="\n\n")
            if "--local" not in sys.argv and "--added" not in sys.argv:
                print(table(runner.run(compare(server))))


if __name__ == "__main__":
    main()
