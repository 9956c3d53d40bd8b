"""CPU of an admission and its settlement in the embedded store, as the gateway calls it, its own threads included.

python -m bench.quota_embedded [PAIRS]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Meter, Parallel

MUCH = 10**9
ENOUGH = 10**15
METERS: tuple[Meter, ...] = (
    Bucket("key:a:requests", MUCH, MUCH, 60_000, "interval"),
    Bucket("key:a:tokens", MUCH, MUCH, 60_000, "interval", "tokens"),
    Parallel("key:a:parallel", 1000),
    Budget("key:a:usd:total", ENOUGH, 0, 0),
    Budget("team:t:usd:total", ENOUGH, 0, 0),
    Bucket("global:all:requests", MUCH, MUCH, 60_000, "interval"),
    Bucket("global:all:tokens", MUCH, MUCH, 60_000, "continuous", "tokens"),
    Budget("global:all:usd:total", ENOUGH, 0, 0),
)
META = b'["req_0123456789abcdef","prod_customer","acme",null,"gpt-4o-mini"]'
ENTRY = META[:-1] + b',"openai","gpt-4o-mini","2026-11-20","complete",true,123,0,0,456]'


async def measure(meters: tuple[Meter, ...], pairs: int, folder: Path | None) -> float:
    """Microseconds of CPU per pair."""
    store = EmbeddedQuota(folder)
    await store.open()
    plan = store.plan(meters)
    began = time.process_time()
    for number in range(pairs):
        answer = store.admit(plan, tokens=10, want=100, minimum=1, expires_in_ms=3_600_000, meta=META)
        assert isinstance(answer, Admitted)
        store.settle(answer.hold, amount=50, tokens=5, entry=ENTRY)
        if number % 1000 == 0:
            store.stored(number)
    spent = time.process_time() - began
    await store.close()
    return spent / pairs * 1e6


async def main(pairs: int) -> None:
    for count in (3, 6, 8):
        with tempfile.TemporaryDirectory() as folder:
            durable = min([await measure(METERS[:count], pairs, Path(folder) / str(n)) for n in range(3)])
        memory = min([await measure(METERS[:count], pairs, None) for _ in range(3)])
        print(f"{count} meters: {durable:.2f} us with the journal, {memory:.2f} us in memory")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
