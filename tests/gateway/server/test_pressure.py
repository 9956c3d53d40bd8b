"""When what has come waits for too long, and what becomes of requests then."""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from tests.gateway.server.raw import GET, Running, echo, get, narrow, post, serving, until
from tollhouse.gateway.lifecycle import Lifecycle
from tollhouse.gateway.routes import HOT
from tollhouse.gateway.server import pressure
from tollhouse.gateway.server.pressure import CALM_S, FEW, LOOK_S, PART, WATCH_S, Pressure
from tollhouse.gateway.shedding import Shed
from tollhouse.middlewares.metrics import MetricsStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tollhouse.gateway.server.exchange import HttpExchange

MOST_S = 0.1
SHORT_S = 0.01


class Turns:
    """A loop in which everything waits for as long as it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: float | None = None
        self._timer: Callable[[], None]
        self._reader: Callable[[], None] | None = None

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.due, self._timer = self.now + delay, callback

    def add_reader(self, _: int, callback: Callable[[], None]) -> None:
        self._reader = callback

    def remove_reader(self, _: int) -> None:
        self._reader = None

    @property
    def is_watched(self) -> bool:
        return self.due is None or self.due <= self.now + WATCH_S

    def wait(self, took: float) -> None:
        """The next byte, once it is due, waits for so long."""
        if self.due is not None:
            self.now, self.due = self.due, None
            self._timer()
        self.now += took
        assert self._reader is not None
        self._reader()


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    made = Turns()
    monkeypatch.setattr(pressure, "monotonic", made.monotonic)
    return made


@pytest.fixture
def open_ones() -> list[int]:
    return list(range(FEW))


@pytest.fixture
def found(turns: Turns, open_ones: list[int]) -> Iterator[Pressure]:
    made = Pressure(MOST_S, open_ones)
    made.start(turns)  # type: ignore[arg-type]
    yield made
    made.stop()
    assert turns._reader is None


def until_nobody_looks(turns: Turns) -> None:
    while turns.is_watched:
        turns.wait(SHORT_S)


def test_waits_that_are_long_let_little_in_and_more_by_and_by_once_they_are_short(turns, found):
    for _ in range(20):
        turns.wait(0)
        assert turns.due == turns.now + LOOK_S
        assert found.until == math.inf
    turns.wait(MOST_S / 2)
    assert turns.is_watched
    assert found.until == turns.now + MOST_S
    turns.wait(MOST_S * 1.1)
    turns.wait(0.03)
    assert found.until == turns.now + MOST_S
    turns.wait(MOST_S * 1.1)
    parts: Counter[float] = Counter()
    while found.is_high:
        parts[round((found.until - turns.now) / MOST_S, 6)] += 1
        turns.wait(SHORT_S)
    assert list(parts) == [PART * 2**times for times in range(5)]
    assert all(count >= CALM_S / SHORT_S for count in parts.values())
    assert not found.is_high
    assert found.until == math.inf
    assert turns.due == turns.now + LOOK_S


def stays_as_it_is(turns: Turns, found: Pressure, meanwhile: Callable[[], None]) -> None:
    """For three times as long as it takes to let more in."""
    for _ in range(int(3 * CALM_S / SHORT_S)):
        meanwhile()
        turns.wait(SHORT_S)
        assert found.until == turns.now + PART * MOST_S


def test_nothing_more_is_let_in_while_more_are_refused_than_let_in(turns, found):
    for _ in range(2):
        turns.wait(MOST_S * 1.1)

    def more_are_refused() -> None:
        found.let_in += 1
        found.refused()
        found.refused()

    stays_as_it_is(turns, found, more_are_refused)
    began = turns.now
    while found.until == turns.now + PART * MOST_S:
        turns.wait(SHORT_S)
    assert found.until == turns.now + MOST_S * (2 * PART)
    assert turns.now - began < 2 * CALM_S + 2 * SHORT_S


def test_large_requests_among_small_ones_do_not_keep_it_as_it_is(turns, found):
    for _ in range(2):
        turns.wait(MOST_S * 1.1)
    began = turns.now
    while found.is_high:
        turns.wait(MOST_S * 0.4)
        for _ in range(20):
            found.refused()
        for _ in range(60):
            turns.wait(SHORT_S)
            found.let_in += 1
    assert turns.now - began < 8 * CALM_S


def test_one_wait_that_is_too_long_is_enough_where_something_was_refused_meanwhile(turns, found):
    found.refused()
    turns.wait(MOST_S * 3)
    assert not found.is_high
    until_nobody_looks(turns)
    turns.wait(MOST_S / 2)
    turns.now += MOST_S * 1.1
    found.refused()
    turns.wait(SHORT_S)
    assert found.is_high


def test_what_is_let_in_and_turned_away_is_refused_and_says_nothing_of_waits(turns, found):
    found.turned_away()
    turns.wait(MOST_S * 0.6)
    turns.wait(MOST_S * 1.1)
    assert not found.is_high
    turns.wait(MOST_S * 1.1)

    def all_are_turned_away() -> None:
        found.let_in += 2
        found.turned_away()
        found.turned_away()

    stays_as_it_is(turns, found, all_are_turned_away)


def test_what_waits_for_a_while_is_rising_for_a_while(turns, found):
    for _ in range(3):
        turns.wait(MOST_S * 0.2)
        assert not found.is_rising
    turns.wait(MOST_S * 0.3)
    noted = turns.now
    while found.is_rising:
        turns.wait(SHORT_S)
    assert CALM_S <= turns.now - noted < CALM_S + LOOK_S + 0.02
    assert not found.is_high


def test_a_wait_that_is_not_short_lets_little_in_again(turns, found):
    for _ in range(2):
        turns.wait(MOST_S * 1.1)
    for _ in range(int(CALM_S / SHORT_S) + 2):
        turns.wait(SHORT_S)
    assert found.until == turns.now + MOST_S * (2 * PART)
    turns.wait(MOST_S * 0.6)
    assert found.until == turns.now + PART * MOST_S


def test_a_wait_that_is_none_is_not_asked_for_again_at_once(turns, found):
    for _ in range(2):
        turns.wait(MOST_S * 2)
    for _ in range(10):
        turns.wait(0.0)
        assert turns.due == turns.now + WATCH_S
        assert found.until == turns.now + PART * MOST_S


def test_single_long_waits_are_no_matter(turns, found):
    for _ in range(10):
        turns.wait(MOST_S * 3)
        until_nobody_looks(turns)
        for _ in range(3):
            turns.wait(0)
        assert not found.is_high


def test_what_a_single_thing_keeps_waiting_is_let_in_and_what_many_keep_waiting_is_not(turns, found):
    turns.wait(MOST_S)  # there is a byte on its way from now on
    for took, late in ((MOST_S * 5, False), (0.001, False), (MOST_S * 0.9, False), (0.001, False)):
        found.read_at = turns.now
        turns.now += took
        assert found.is_late(turns.now) is late
    while turns.now < found.until:
        found.read_at = turns.now
        turns.now += 0.002
    for _ in range(100):
        turns.now += 0.002
        assert found.is_late(turns.now)


def test_a_byte_that_could_not_be_sent_in_time_has_waited_too(turns, found):
    turns.due += MOST_S * 1.1
    turns.wait(0.0)
    turns.wait(MOST_S * 1.1)
    assert found.is_high


def test_a_byte_that_cannot_be_sent_is_sent_later(turns, found):
    ours, theirs = found._sockets

    class Full:
        def send(self, _: bytes) -> int:
            raise OSError(errno.ENOBUFS, "no memory")

        def close(self) -> None:
            ours.close()

    found._sockets = (Full(), theirs)
    turns.now, due = turns.due, turns.due
    turns._timer()
    assert found.until == math.inf
    assert turns.due == due + LOOK_S
    found._sockets = (ours, theirs)
    turns.wait(0)
    assert found.until == math.inf


def test_behind_few_connections_nobody_looks(turns, found, open_ones):
    open_ones.pop()
    for _ in range(20):
        turns.now, turns.due = turns.due + MOST_S * 1.1, None
        turns._timer()
        assert (found.until, found.is_high, found.is_rising) == (math.inf, False, False)
        assert turns.due == turns.now + LOOK_S


def test_it_is_over_when_few_connections_are_left(turns, found, open_ones):
    for _ in range(2):
        turns.wait(MOST_S * 1.1)
    assert found.is_high
    assert found.is_rising
    gone = open_ones.pop()
    turns.wait(MOST_S * 1.1)
    assert (found.until, found.is_high, found.is_rising) == (math.inf, False, False)
    assert turns.due == turns.now + LOOK_S
    open_ones.append(gone)
    turns.wait(MOST_S * 1.1)
    assert not found.is_high
    assert found.until == turns.now + MOST_S


def test_without_a_longest_wait_nobody_looks(turns):
    made = Pressure(0.0, range(FEW))
    made.start(turns)
    made.stop()
    assert made.until == math.inf
    assert turns.due is None


class Late:
    """A loop that has come round too late."""

    until = 0.0
    read_at = 0.0
    let_in = 0

    def is_late(self, now: float) -> bool:
        return now > self.until

    def refused(self) -> None:
        pass

    def stop(self) -> None:
        pass


async def serves(running: Running, said: Shed, late: Any = None) -> None:
    """Once it has started: with this to say no, and this loop."""
    assert (await running.ask(GET)).status == 200
    running.server.ask_first(None, said)
    running.server.pressure = late or running.server.pressure


def shed(
    lines: list[bytes], *, json: bool = True, lifecycle: Lifecycle | None = None
) -> tuple[Shed, CollectorRegistry]:
    registry = CollectorRegistry()
    metrics = MetricsStage(registry=registry, prefix="gateway")
    said = Shed(
        HOT,
        lifecycle=lifecycle or Lifecycle(),
        metrics=metrics,
        write_log=lines.append,
        json=json,
        registry=registry,
    )
    return said, registry


async def test_requests_for_a_model_are_refused_and_nothing_else():
    lines: list[bytes] = []
    said, registry = shed(lines)
    async with serving(echo) as running:
        await serves(running, said, late := Late())
        client = await running.connect()
        for path in HOT:
            client.send(post(b"{}", path=path).replace(b"host: a", b"host: a\r\nx-request-id: mine"))
            got = await client.response()
            assert (got.status, got.header("retry-after"), got.header("x-request-id")) == (503, "1", "mine")
            told = orjson.loads(got.body)["error"]
            assert told["message"] == "the gateway has more to do than it has time for"
            assert told.get("code", "gateway_overloaded") == "gateway_overloaded"
            is_anthropic = "messages" in path
            assert got.header("request-id") == ("mine" if is_anthropic else None)
            assert (orjson.loads(got.body).get("request_id") == "mine") == is_anthropic
        # On the same connection all the while.
        assert len(running.clients) == 2
        for other in (GET, get("/health"), get("/v1/chat/completions"), post(b"x", path="/admin/keys")):
            client.send(other)
            assert (await client.response()).status == 200
        late.until = math.inf
        client.send(post(b"{}", path="/v1/embeddings"))
        assert (await client.response()).status == 200
    fields = [orjson.loads(line) for line in lines]
    assert [(one["route"], one["status"], one["error"]) for one in fields] == [
        (path, 503, "gateway_overloaded") for path in HOT
    ]
    assert registry.get_sample_value("gateway_shed_requests_total") == len(HOT)
    labels = {"route": "/v1/embeddings", "status": "503", "model": "", "provider": "", "decision": "ALLOWED"}
    assert registry.get_sample_value("gateway_requests_total", labels) == 1


async def test_a_request_whose_body_has_not_come_is_refused_and_its_connection_closed():
    said, _ = shed([])
    async with serving(echo) as running:
        await serves(running, said, Late())
        client = await running.connect()
        client.send(post(b"x" * 100_000, path="/v1/embeddings")[:5000])
        got = await client.response()
        assert (got.status, got.header("connection")) == (503, "close")
        client.send(b"x" * 100)
        assert await client.rest() == b""


@pytest.mark.parametrize("asks", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nconnection: close\r\n"])
async def test_a_client_that_wants_no_more_is_told_so_and_left(asks):
    said, _ = shed([])
    async with serving(echo) as running:
        await serves(running, said, Late())
        client = await running.connect()
        client.send(post(b"{}", path="/v1/embeddings").replace(b"HTTP/1.1\r\n", asks))
        got = await client.response()
        assert (got.status, got.header("connection")) == (503, "close")
        assert await client.rest() == b""


async def test_while_the_gateway_drains_the_refused_are_told_to_connect_elsewhere():
    lifecycle = Lifecycle()
    said, _ = shed([], lifecycle=lifecycle)
    async with serving(echo) as running:
        await serves(running, said, Late())
        lifecycle.drain()
        client = await running.connect()
        client.send(post(b"{}", path="/v1/embeddings"))
        got = await client.response()
        assert (got.status, got.header("connection")) == (503, "close")
        assert await client.rest() == b""


async def test_a_client_that_sends_on_and_does_not_read_is_not_read_any_more():
    said, _ = shed([])
    async with serving(echo) as running:
        await serves(running, said, Late())
        client, connection = await narrow(running)
        asked = 0
        while connection.unsent is None:
            client.send(post(b"{}", path="/v1/embeddings"))
            asked += 1
            await asyncio.sleep(0)
        for _ in range(1000):
            client.send(post(b"x" * 1000, path="/v1/embeddings"))
            await asyncio.sleep(0)
        await until(lambda: connection.is_paused)
        assert connection._reader.held <= 512 * 1024
        statuses = [(await client.response()).status for _ in range(asked + 1000)]
        assert set(statuses) == {200, 503}, "one that was sent with the one before is served"
        client.send(GET)
        assert (await client.response()).body == b"/|"


async def test_its_line_is_text_where_the_log_is():
    lines: list[bytes] = []
    said, _ = shed(lines, json=False)
    async with serving(echo) as running:
        await serves(running, said, Late())
        assert (await running.ask(post(b"{}", path="/v1/embeddings"))).status == 503
    assert lines[0].endswith(b" error=gateway_overloaded\n")
    assert b" INFO request request_id=req_" in lines[0]


async def test_a_loop_that_is_kept_too_long_refuses_until_it_is_not():
    def keeps(_: Any, exchange: HttpExchange) -> None:
        time.sleep(0.04)
        exchange.respond(200, [(b"content-length", b"0")], b"")
        exchange.end()

    said, _ = shed([])
    # Half of it is more than a machine without a free processor keeps the loop by itself.
    async with serving(echo, max_lag_s=0.4) as running:
        await serves(running, said)
        running.server.direct = keeps
        clients = [await running.connect() for _ in range(FEW - 2)]
        for _ in range(3):  # 30 times 40 ms each time
            for client in clients:
                client.send(post(b"{}", path="/v1/embeddings"))
            assert {(await client.response()).status for client in clients} == {200}
        clients += [await running.connect() for _ in range(10)]
        statuses: list[int] = []
        async with asyncio.timeout(60):
            while 503 not in statuses:
                for client in clients:
                    client.send(post(b"{}", path="/v1/embeddings"))
                statuses += [(await client.response()).status for client in clients]
            assert set(statuses) == {200, 503}
            while running.server.pressure.is_high:
                await asyncio.sleep(0.01)
        assert (await running.ask(post(b"{}", path="/v1/embeddings"))).status == 200
