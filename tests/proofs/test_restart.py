"""Restart and reload under load: the store goes from one process to the next, and no record, limit or hold is lost
(B5, B13, D1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.proofs.length import rounds
from tests.support.audit import check, records, statement, usage, wait_recorded
from tests.support.books import WORD, booked
from tests.support.callers import call
from tests.support.client import Stream, chat_body, post, request_bytes
from tests.support.gateway import KEY, Gateway, running_gateway, start_gateway
from tests.support.net import process_tree, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.books import Books

RELOADS = rounds(3, 60, variable="QUOTA_RELOADS")
CALLERS = 8
LONGEST_S = 5.0  # that a request may take while the store changes hands
CAPS = {"global:all:usd:total": 10 * 10**9}
BUDGET = {"usd": "10"}


def configuration(books: Books, **more: object) -> dict[str, object]:
    return booked(
        books, **({"keys": [{"name": "wide", "key": KEY}], "budget": BUDGET, "drain_s": 5, "linger_s": 0.5} | more)
    )


async def test_reloads_under_load_refuse_nobody_and_lose_nothing(books: Books, figure: Any) -> None:
    chance = random.Random(4)
    statuses: Counter[int] = Counter()
    longest = 0.0
    stop = False

    async def caller(gateway: Gateway) -> None:
        nonlocal longest
        while not stop:
            model = chance.choice(("answer@9", "slow@20", "slow@300", "silent@7"))
            start = time.monotonic()
            statuses[await call(gateway, model, key=KEY, stream=chance.random() < 0.7, max_tokens=300)] += 1
            longest = max(longest, time.monotonic() - start)

    with running_gateway(configuration(books)) as gateway:
        callers = [asyncio.create_task(caller(gateway)) for _ in range(CALLERS)]
        for _ in range(RELOADS):
            before = process_tree(gateway.pid)[1:]
            gateway.signal(signal.SIGHUP)
            await asyncio.to_thread(
                wait_until,
                lambda old=before: not set(old) & set(process_tree(gateway.pid)),
                what="the old worker has ended",
                timeout_s=20,
            )
            if chance.random() < 0.3:  # and another one before the first is over
                gateway.signal(signal.SIGHUP)
                gateway.signal(signal.SIGHUP)
        stop = True
        await asyncio.gather(*callers)
        state = gateway.folder / "state"
        await asyncio.to_thread(wait_recorded, state, books)
        gateway.stop()
        found = statement(state)
        assert set(statuses) == {200}, statuses
        assert longest < LONGEST_S
        check(found, books, caps=CAPS, shown=usage(state))
        assert len(found.records) == len(books.bills) == statuses[200]
        figure(
            reloads=RELOADS,
            answered=statuses[200],
            records=len(found.records),
            longest=f"{longest:.2f}s",
            owed=books.owed,
            posted=found.total,
        )


def test_a_stop_with_open_streams_charges_them_all(books: Books, tmp_path: Path, figure: Any) -> None:
    gateway = start_gateway(configuration(books, drain_s=0.5), folder=tmp_path)
    wait_until(gateway.is_ready, what="the gateway is ready")
    with contextlib.ExitStack() as open_streams:
        streams = []
        for number in range(20):
            body = chat_body(f"slow@{(number % 2) * 5000 + 10}", stream=True, max_tokens=6000)
            stream = open_streams.enter_context(Stream(gateway, request_bytes(gateway, body)))
            stream.read_until(WORD.encode())
            streams.append(stream)
        gateway.signal(signal.SIGTERM)
        answers = [stream.read() for stream in streams]
    gateway.stop()
    assert sum(b"[DONE]" in answer for answer in answers) == 10
    found = statement(tmp_path / "state")
    check(found, books, caps=CAPS, shown=usage(tmp_path / "state"))
    assert Counter(record["status"] for record in found.records) == {"complete": 10, "incomplete": 10}
    figure(streams=20, records=len(found.records), owed=books.owed, posted=found.total)


def test_limits_and_budgets_go_on_where_they_were(books: Books, tmp_path: Path) -> None:
    key = {"name": "wide", "key": KEY, "limits": {"rpm": 7, "tpm": 10_000}, "budget": {"usd": "0.01"}}
    statuses = []
    for end in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        gateway = start_gateway(configuration(books, keys=[key]), folder=tmp_path)
        wait_until(gateway.is_ready, what="the gateway is ready")
        for _ in range(3):
            answer = post(gateway, chat_body("answer@5", max_tokens=5))
            statuses.append((answer.status, answer.headers.get("x-ratelimit-remaining-requests")))
        if end == signal.SIGKILL:
            wait_until(lambda: len(records(tmp_path / "state")) == len(books.bills), what="the ledger has all")
        for pid in process_tree(gateway.pid)[::-1] if end == signal.SIGKILL else [gateway.pid]:
            os.kill(pid, end)
        gateway.wait()
    assert statuses == [*((200, str(6 - n)) for n in range(7)), (429, "0"), (429, "0")]
    found = statement(tmp_path / "state")
    check(found, books, caps=CAPS | {"key:wide:usd:total": 10**7})
    assert len(found.records) == 7
