"""Where limits and budgets are kept: in the process, in Redis, leased from Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.gateways.entry import LIMITS
from bench.loads import Scenario, body
from bench.processes import free_port, running
from bench.scale.bench import Load
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

CONNECTIONS = 64
STORES = ("embedded", "Redis", "leased")


def measure(bench: Bench) -> Iterator[Row]:
    folder = bench.work / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    for name in STORES[: bench.points]:
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        with running("redis", command, port, log=folder / "log") as redis:
            settings: dict[str, Any] = {}
            if name != "embedded":
                settings["store"] = f"redis://127.0.0.1:{port}"
                # Redis shares the processors with everything else here: what it costs is asked, not how long it takes.
                settings["redis"] = {"leases": name == "leased", "op_timeout_s": 2}
            with bench.gateway(LIMITS, **settings) as gateway:
                load = Load(body(Scenario("", CONNECTIONS)), CONNECTIONS, seconds=bench.seconds)
                bench.send(load, gateway)
                before = redis.cpu_s()
                row = bench.cost(load, gateway, warm_s=0)
                yield {
                    "store": name,
                    **row,
                    "redis_us": (redis.cpu_s() - before) / (row["rps"] * bench.seconds) * 1e6,
                }


SWEEP = Sweep(
    "stores",
    f"Where limits and budgets are kept (8 meters, {CONNECTIONS} connections)",
    measure,
    {
        "store": ("store", 0),
        "cpu_us": ("CPU us / request", 0),
        "redis_us": ("Redis' CPU us / request", 1),
        "rps": ("requests / s", 0),
        "p99_ms": ("p99 ms", 1),
    },
)
