"""`python -m bench.scale.lease_check`: a story of leases, as it is calculated, and as real nodes play it.

Times are the wall's there, so both differ from run to run; what has to agree is how much is decided by the nodes, how
much lies in leases, and that everything is spent and nothing more.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path

import uvloop

from bench.processes import free_port, running
from bench.scale.lease_simulation import Outcome, Story, play
from tollhouse.middlewares.stores.leased import LeasedQuota
from tollhouse.middlewares.stores.quota import Admitted, Budget
from tollhouse.middlewares.stores.redis import RedisQuota

HOUR = 3_600_000
STORY = Story(8, cap=6_000 * 3000, rate=1_000)


class Nodes:
    """Of a story, in this process, each with connections of its own."""

    def __init__(self, story: Story, port: int) -> None:
        url = f"redis://127.0.0.1:{port}"
        self.story = story
        self.found = Outcome()
        self.first_refused: float | None = None
        self._quotas = [LeasedQuota(RedisQuota(url, op_timeout_s=5, node_id=f"n{i}")) for i in range(story.nodes)]
        self._plans = [quota.plan([Budget("usd", story.cap, 0)]) for quota in self._quotas]

    async def open(self) -> None:
        for quota in self._quotas:
            await quota.open()

    async def close(self) -> None:
        for quota in self._quotas:
            await quota.close()

    @property
    def unused(self) -> int:
        """In leases."""
        leases = [quota._renewal.lease for quota in self._quotas]  # noqa: SLF001 - nobody else has to know
        return sum(max(0, each.have) for lease in leases for each in lease.slices.values())

    async def ask(self, number: int) -> None:
        story, found, quota = self.story, self.found, self._quotas[number]
        found.asked += 1
        answer = quota.admit(self._plans[number], want=story.want, minimum=story.want, expires_in_ms=HOUR)
        is_local = isinstance(answer, Admitted)
        admission = answer if isinstance(answer, tuple) else await answer
        if not isinstance(admission, Admitted):
            self.first_refused = self.first_refused or time.monotonic()
            found.refused += 1
            found.phantom += self.unused >= story.want
            return
        found.local += is_local
        found.through += not is_local
        await asyncio.sleep(story.takes_s)
        told = quota.settle(admission.hold, amount=story.cost)
        if not isinstance(told, str):
            await told


async def real(story: Story, port: int) -> Outcome:
    nodes, chance, found = Nodes(story, port), random.Random(story.seed), Outcome()
    await nodes.open()
    found = nodes.found
    started, sent, under_way = time.monotonic(), 0.0, set()
    while nodes.first_refused is None or time.monotonic() < nodes.first_refused + story.after_s:
        sent += chance.expovariate(story.rate)
        if (ahead := started + sent - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        task = asyncio.create_task(nodes.ask(chance.randrange(story.nodes)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        found.most_leased = max(found.most_leased, nodes.unused / story.cap)
    await asyncio.gather(*under_way)
    spent = (found.local + found.through) * story.cost
    found.unspent = 1 - spent / story.cap
    found.overspent = max(0, spent - story.cap)
    await nodes.close()
    return found


def check(story: Story) -> dict[str, Outcome]:
    """Played and real, side by side."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="bench-redis-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with running("redis", command, port, log=Path(folder) / "log"):
            return {"played": play(story), "real": runner.run(real(story, port))}


def main() -> None:
    for name, outcome in check(STORY).items():
        print(f"{name}: {outcome.local_share:.1%} decided by nodes, {outcome}")


if __name__ == "__main__":
    main()
