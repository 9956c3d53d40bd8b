"""Random histories on both stores beside the model: every answer, counter, hold and record of the ledger is the same
(L3, L4, L6, B3, B12)."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.proofs.length import rounds
from tests.support.quota_model import QuotaModel
from tests.support.redis import running_redis
from tests.support.redis_clock import settable_clock
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Denied, Meter, Parallel, Stale
from tollhouse.middlewares.stores.redis import RedisQuota

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 100  # of a history
HISTORIES = {
    "embedded": rounds(300, 10_000, variable="QUOTA_HISTORIES"),
    "redis": rounds(30, 10_000, variable="QUOTA_REDIS_HISTORIES"),
}
START = int(time.time() * 1000)  # the server's keys expire by its own clock
HOUR = 3_600_000
METERS: tuple[Meter, ...] = (
    Bucket("c", 5, 3, 1000),
    Bucket("c", 4, 7, 1000),
    Bucket("tc", 1000, 77, 950, unit="tokens"),
    Bucket("i", 5, 5, 700, refill="interval"),
    Bucket("i", 7, 3, 900, refill="interval"),
    Bucket("ti", 900, 250, 1000, refill="interval", unit="tokens"),
    Parallel("p", 3),
    Parallel("p", 2),
    Parallel("q", 5),
    Budget("b", 10_000, START, START + 5000),
    Budget("b", 10_000, START + 5000, START + 10_000),
    Budget("b", 7_000, START + 10_000, START + HOUR),
    Budget("life", 60_000, 0),
    Budget("life", 45_000, 0),
)
WAITS = (0, 0, 0, 0, 1, 2, 13, 100, 333, 699, 700, 950, 1000, 2500, 5000, -1, -500)
Answer = Admitted | Denied | Stale


class Side(Protocol):
    """A store under a clock of the test's."""

    def begin(self) -> None: ...
    def admit(self, plan: tuple[Meter, ...], now: int, **asked: Any) -> Answer: ...
    def settle(self, hold: Any, now: int, **came_to: Any) -> str: ...
    def release(self, hold: Any, now: int) -> str: ...
    def expire(self, due: list[Any], now: int) -> int: ...
    def name(self, hold: Any) -> str: ...
    def charges(self) -> list[tuple[str, str, int]]: ...


class Embedded:
    def begin(self) -> None:
        self.store = EmbeddedQuota(None)

    def admit(self, plan: tuple[Meter, ...], now: int, **asked: Any) -> Answer:
        return self.store.admit(self.store.plan(plan), now_ms=now, **asked)

    def settle(self, hold: Any, now: int, **came_to: Any) -> str:
        return self.store.settle(hold, now_ms=now, **came_to)

    def release(self, hold: Any, now: int) -> str:
        return self.store.release(hold, now_ms=now)

    def expire(self, due: list[Any], now: int) -> int:
        return self.store.expire_due(now_ms=now)

    def name(self, hold: Any) -> str:
        return str(hold)

    def charges(self) -> list[tuple[str, str, int]]:
        return [(charge.hold, charge.status, charge.amount) for charge in self.store.charges(10**6)]


class Redis:
    def __init__(self, server: Any, clock: Any) -> None:
        self._server, self._clock = server, clock
        self._loop = asyncio.new_event_loop()
        self.store: Any = None

    def _run(self, awaitable: Any) -> Any:
        return self._loop.run_until_complete(awaitable)

    def begin(self) -> None:
        if self.store is None:
            self.store = RedisQuota(self._server.url, op_timeout_s=5, connect_timeout_s=5, upkeep_every_s=3600)
            self._run(self.store.open())
        if keys := self._server.ask("KEYS", "{tollhouse}*"):
            self._server.ask("DEL", *keys)

    def close(self) -> None:
        self._run(self.store.close())
        self._loop.close()

    def _set_clock(self, now: int) -> None:
        self._clock.set_on(self.store._link.connection, now)

    def admit(self, plan: tuple[Meter, ...], now: int, **asked: Any) -> Answer:
        self._set_clock(now)
        found: Answer = self._run(self.store.admit(self.store.plan(plan), **asked))
        return found

    def settle(self, hold: Any, now: int, **came_to: Any) -> str:
        self._set_clock(now)
        return str(self._run(self.store.settle(hold, **came_to)))

    def release(self, hold: Any, now: int) -> str:
        self._set_clock(now)
        return str(self._run(self.store.release(hold)))

    def expire(self, due: list[Any], now: int) -> int:
        # One by one: those that are due are looked for by the server's own clock.
        self._set_clock(now)
        ends = [self._run(self.store._finish(hold, "expire", (b"\0" * 16, b"\r\n$0\r\n\r\n"))) for hold in due]
        return ends.count("expired")

    def name(self, hold: Any) -> str:
        return str(hold.id)

    def charges(self) -> list[tuple[str, str, int]]:
        async def read() -> list[tuple[str, str, int]]:
            return [(entry.hold, entry.status, entry.cost) async for entry in self.store.ledger("proof").entries()]

        found: list[tuple[str, str, int]] = self._run(read())
        return found


@pytest.fixture(params=list(HISTORIES))
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    if request.param == "embedded":
        yield Embedded()
        return
    with running_redis() as server, settable_clock(server) as clock:
        redis = Redis(server, clock)
        yield redis
        redis.close()


class History:
    """One run of operations; `seen` counts answers."""

    def __init__(self, side: Side, chance: random.Random, seen: Counter[str]) -> None:
        side.begin()
        self.side, self.chance, self.seen = side, chance, seen
        self.model = QuotaModel()
        self.now = START
        self.holds: list[tuple[Any, tuple[Meter, ...]]] = []

    def step(self) -> None:
        chance = self.chance
        self.now = max(START, self.now + chance.choice(WAITS))
        what = chance.random()
        if what < 0.5 or not self.holds:
            self._admit()
        elif what < 0.75:
            self._settle()
        elif what < 0.9:
            hold, plan = self._pick()
            expected = self.model.release(self.side.name(hold), plan, self.now)
            assert self.side.release(hold, self.now) == expected
            self.seen[expected] += 1
        else:
            self._expire()

    def check(self) -> None:
        self.model.check()
        expected = [(charge.hold, charge.status, charge.cost) for charge in self.model.ledger]
        # Those that were due at once may have been charged in any order.
        assert sorted(self.side.charges()) == sorted(expected)

    def _pick(self) -> tuple[Any, tuple[Meter, ...]]:
        # Mostly recent ones, which have not ended.
        return self.chance.choice(self.holds[-8:] if self.chance.random() < 0.8 else self.holds)

    def _admit(self) -> None:
        chance = self.chance
        by_name = {meter.name: meter for meter in chance.sample(METERS, chance.randint(1, 5))}
        plan = tuple(by_name.values())
        want = chance.choice((0, 1, 100, 4000, 25_000))
        asked: dict[str, Any] = {
            "tokens": chance.choice((0, 1, 50, 250, 900, 1001)),
            "want": want,
            "minimum": min(want, chance.choice((0, 1, 100, 4000))),
            "expires_in_ms": chance.choice((1, 500, 3000, HOUR)),
        }
        found = self.side.admit(plan, self.now, **asked)
        name = self.side.name(found.hold) if isinstance(found, Admitted) else "refused"
        expected = self.model.admit(name, plan, self.now, **asked)
        assert type(found) is type(expected), (found, expected, plan, asked)
        if isinstance(found, Admitted):
            assert expected is not None
            assert found[1:] == expected[1:], (plan, asked)
            self.holds.append((found.hold, plan))
        else:
            assert found == expected, (plan, asked)
        self.seen[type(found).__name__] += 1

    def _settle(self) -> None:
        hold, plan = self._pick()
        came_to: dict[str, Any] = {
            "amount": self.chance.choice((0, 1, 99, 4000, 5000, 30_000)),
            "tokens": self.chance.choice((0, 1, 50, 300, 1000, 5000)),
        }
        expected = self.model.settle(self.side.name(hold), plan, self.now, **came_to)
        assert self.side.settle(hold, self.now, **came_to) == expected
        self.seen[expected] += 1

    def _expire(self) -> None:
        due = []
        for hold, _ in self.holds:
            known = self.model.holds[self.side.name(hold)]
            if known.state == "open" and known.expiry <= self.now:
                due.append(hold)
        assert self.side.expire(due, self.now) == len(due)
        for hold in due:
            assert self.model.expire(self.side.name(hold), self.now) == "expired"
        self.seen["expired"] += len(due)


def test_no_answer_and_no_counter_differs(side: Side, request: pytest.FixtureRequest, figure: Any) -> None:
    histories = HISTORIES[request.node.callspec.params["side"]]
    seed = int(os.environ.get("QUOTA_SEED") or time.time_ns() % 10**9)
    print("seed", seed)
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(histories):
        history = History(side, chance, seen)
        for _ in range(STEPS):
            history.step()
        history.check()
    assert set(seen) == {"Admitted", "Denied", "Stale", "settled", "late", "duplicate", "released", "expired"}
    figure(operations=histories * STEPS, differences=0, **seen)
