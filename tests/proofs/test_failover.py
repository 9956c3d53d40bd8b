"""The primary fails in the middle of a run: whoever had no answer yet is served by the backup, whoever had the
beginning of one gets a well-formed error, and the ledger has what both have billed (S5, S6, B13)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.proofs.length import rounds
from tests.support.audit import check, statement, usage
from tests.support.books import PRICES, READ, WRITTEN
from tests.support.chunks import DONE
from tests.support.client import chat_body, events_of, post, request_bytes
from tests.support.gateway import KEY, echo_only, model, running_gateway
from tests.support.net import LOOPBACK, wait_until
from tests.support.provider import TOKENS, running_provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.books import Bill
    from tests.support.gateway import Gateway
    from tests.support.provider import Provider

REQUESTS = rounds(240, 10_000, variable="QUOTA_FAILOVERS")  # per fault; half of them streams
CALLERS = 16
FAULTS = ("kill", "hang", "refuse 429", "refuse 500", "truncate")
WHOLE_COST = 3 * READ + TOKENS * WRITTEN


@dataclass
class Books:
    """Of both upstreams."""

    bills: list[Bill]

    @property
    def owed(self) -> int:
        return sum(bill.owed for bill in self.bills)

    def of(self, request: str) -> list[Bill]:
        return [bill for bill in self.bills if bill.request == request]


@dataclass
class Seen:
    """What callers got. `wrong` has what must not be."""

    served: Counter[str] = field(default_factory=Counter)
    broken_off: int = 0
    complete: set[str] = field(default_factory=set)
    wrong: list[bytes] = field(default_factory=list)


def configuration(primary: Provider, backup: Provider) -> dict[str, Any]:
    return echo_only(
        keys=[{"name": "wide", "key": KEY, "budget": {"usd": "1000"}}],
        model_list=[
            model("a", primary.base_url, upstream="openai/model"),
            model("b", backup.base_url, upstream="openai/model"),
        ],
        fallbacks=[{"primary": "a", "backup": "b"}],
        router_settings={"cooldown_time": 0.5},
        upstream={"first_event_s": 1, "idle_s": 1, "total_s": 10},
        prices=PRICES,
    )


async def ask(gateway: Gateway, request: str, *, stream: bool) -> bytes:
    body = chat_body("a", stream=stream, max_tokens=TOKENS)
    data = request_bytes(gateway, body, headers={"connection": "close", "x-request-id": request})
    reader, writer = await asyncio.open_connection(LOOPBACK, gateway.port)
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


def judge(seen: Seen, request: str, answer: bytes, *, stream: bool) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        seen.wrong.append(answer)
        return
    by = head.lower().partition(b"x-gateway-model: ")[2][:1].decode()
    if not stream:
        if orjson.loads(body)["usage"]["completion_tokens"] != TOKENS:
            seen.wrong.append(answer)
        seen.complete.add(request)
        seen.served[by] += 1
        return
    body = dechunked(body)
    events = events_of(body)
    if body.endswith(DONE):
        seen.complete.add(request)
        seen.served[by] += 1
    elif b'"delta"' in events[0] and "error" in orjson.loads(events[-1]) and DONE not in body:
        seen.broken_off += 1
        if any(b'"error"' in event for event in events[:-1]):
            seen.wrong.append(answer)
    else:
        seen.wrong.append(answer)


def dechunked(body: bytes) -> bytes:
    """Raises ValueError for a body that was cut off."""
    found = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return found
        found, body = found + body[:length], body[length + 2 :]


async def run(gateway: Gateway, *, events: dict[int, Callable[[], None]]) -> Seen:
    """REQUESTS of them by CALLERS callers; `events` happen when so many have been begun."""
    seen = Seen()
    numbers = iter(range(REQUESTS))

    async def caller() -> None:
        for number in numbers:
            if number in events:
                await asyncio.to_thread(events[number])
            request, stream = f"request-{number:06}", number % 2 == 1
            judge(seen, request, await ask(gateway, request, stream=stream), stream=stream)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return seen


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failing_primary_loses_no_request_and_no_cent(fault: str, tmp_path: Path, figure: Any) -> None:
    with running_provider(tmp_path) as primary, running_provider(tmp_path) as backup:
        begin, end = primary.kill, primary.start
        if fault != "kill":
            begin, end = partial(primary.set, fault), partial(primary.set, "fine")
        with running_gateway(configuration(primary, backup)) as gateway:
            seen = await run(gateway, events={REQUESTS // 3: begin, REQUESTS * 2 // 3: end})
            assert seen.wrong == []
            # The primary gets its requests back.
            await asyncio.to_thread(wait_until, lambda: asks_primary(gateway), what="the primary is asked again")
            gateway.wait_idle()
            breakers = gateway.metric("gateway_fallbacks_total")
            state = gateway.folder / "state"
            gateway.stop()
            found, shown = statement(state), usage(state)
        books = Books([*primary.bills(), *backup.bills()])
    check(found, books, caps={"key:wide:usd:total": 1000 * 10**9}, shown=shown)  # type: ignore[arg-type]
    # Where nothing was lost on the way, the ledger is the books, to the nano-dollar.
    lost = {record["request"] for record in found.records if record["status"] != "complete"}
    for record in found.records:
        if record["request"] in seen.complete - lost:
            assert record["amount"] == sum(bill.owed for bill in books.of(record["request"])) == WHOLE_COST
    assert sum(seen.served.values()) + seen.broken_off == REQUESTS
    assert seen.served["a"] > 0
    assert seen.served["b"] > 0
    assert all(len(found.of(request)) >= 1 for request in seen.complete)
    statuses = Counter(record["status"] for record in found.records)
    assert statuses["complete"] >= len(seen.complete)
    figure(
        fault=fault,
        requests=REQUESTS,
        by_primary=seen.served["a"],
        by_backup=seen.served["b"],
        broken_off=seen.broken_off,
        fallbacks=int(breakers),
        records=dict(statuses),
        owed=books.owed,
        posted=found.total,
    )


def asks_primary(gateway: Gateway) -> bool:
    return dict(post(gateway, chat_body("a", max_tokens=TOKENS)).headers).get("x-gateway-model") == "a"
