"""Models in the configuration."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import KEY, MODEL, PASS
from bench.scale.bench import HOLE, Load, chat, resident_mb, workers
from bench.scale.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Running
    from bench.scale.bench import Bench
    from bench.scale.sweep import Row

MODELS = (1, 10, 100, 1_000, 10_000)


def catalogue(count: int, port: int) -> list[dict[str, Any]]:
    params = {"model": "openai/mock-1", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "sk-up"}
    names = [MODEL, *(f"m-{number:012d}" for number in range(count))]
    return [{"model_name": name, "litellm_params": params} for name in names]


def _list_ms(gateway: Running) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    started = time.monotonic()
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {KEY}"})
    response = connection.getresponse()
    response.read()
    assert response.status == 200
    connection.close()
    return (time.monotonic() - started) * 1000


def measure(bench: Bench) -> Iterator[Row]:
    for count in MODELS[: bench.points]:
        started = time.monotonic()
        with bench.gateway(PASS, model_list=catalogue(count, bench.mock.port)) as gateway:
            took = time.monotonic() - started
            one = Load(chat(model=f"m-{0:012d}"), 16, seconds=bench.seconds)
            every = Load(chat(model=f"m-{HOLE}"), 16, seconds=bench.seconds, cycle=count)
            yield {
                "models": count,
                "start_s": took,
                "resident_mb": resident_mb(workers(gateway)),
                "cpu_us_one": bench.cost(one, gateway)["cpu_us"],
                "cpu_us": bench.cost(every, gateway)["cpu_us"],
                "after_mb": resident_mb(workers(gateway)),
                "list_ms": min(_list_ms(gateway) for _ in range(3)),
            }


SWEEP = Sweep(
    "models",
    "Models in the configuration",
    measure,
    {
        "models": ("models", 0),
        "start_s": ("start s", 1),
        "resident_mb": ("worker MB", 0),
        "after_mb": ("worker MB, all in use", 0),
        "cpu_us_one": ("CPU us / request, one model", 0),
        "cpu_us": ("CPU us / request, all by turns", 0),
        "list_ms": ("/v1/models ms", 1),
    },
    {
        "start, s": ("models", ("start_s",)),
        "worker, MB": ("models", ("resident_mb", "after_mb")),
        "CPU per request, us": ("models", ("cpu_us_one", "cpu_us")),
    },
)
