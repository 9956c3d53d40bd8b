"""Clients that go away at every event of a stream, before it, and during whole answers: the upstream is let go of, what
it has billed is charged, once, and nothing stays reserved (B6, B13)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.proofs.length import rounds
from tests.support.audit import check, records, statement, usage, wait_recorded
from tests.support.books import STEPS, WORD, booked
from tests.support.client import Stream, chat_body, post, request_bytes
from tests.support.gateway import KEY, running_gateway
from tests.support.net import wait_until

if TYPE_CHECKING:
    from tests.support.books import Books
    from tests.support.gateway import Gateway

ROUNDS = rounds(1, 20, variable="QUOTA_DISCONNECTS")  # of each place
EVENTS = STEPS + 3
BURST = 40
PARALLEL = 2
CONFIG = {"keys": [{"name": "wide", "key": KEY, "limits": {"parallel": PARALLEL}, "budget": {"usd": "1"}}]}


def body_of(model: str, *, stream: bool, include_usage: bool) -> dict[str, object]:
    options = {"include_usage": True} if include_usage else None
    return chat_body(model, stream=stream, max_tokens=64, stream_options=options)


def leave(client: Stream, *, reset: bool) -> None:
    if reset:
        client.reset()
    else:
        client.close()


def asked(gateway: Gateway, body: dict[str, object]) -> Stream:
    return Stream(gateway, request_bytes(gateway, body))


def wait_asked(books: Books, count: int) -> None:
    wait_until(lambda: len(books.bills) == count, what="the upstream is asked")


def settle_down(gateway: Gateway, books: Books) -> None:
    """The upstream has seen its client go, and nothing is under way."""
    wait_until(lambda: all(seen.closed_at or seen.answered for seen in books.log.requests), what="it is let go of")
    gateway.wait_idle()


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_that_is_left_at_any_event(include_usage: bool, books: Books, figure: Any) -> None:
    chance = random.Random(1)
    with running_gateway(booked(books, **CONFIG)) as gateway:
        state = gateway.folder / "state"
        for number in range(ROUNDS * (EVENTS + 1)):
            events = number % (EVENTS + 1)
            body = body_of(f"steps@{events}", stream=True, include_usage=include_usage)
            client = asked(gateway, body)
            wait_asked(books, number + 1)
            if events:
                client.__enter__()
                assert client.status == 200, client.read()
                client.read_until(
                    [WORD.encode(), b'"stop"', b'"usage"' if include_usage else b'"stop"', b"[DONE]"][
                        max(0, events - STEPS)
                    ]
                )
            leave(client, reset=chance.random() < 0.5)
            settle_down(gateway, books)
        wait_recorded(state, books)
        gateway.stop()
        found = statement(state)
        check(found, books, caps={"key:wide:usd:total": 10**9}, shown=usage(state))
        assert len(found.records) == len(books.bills)
        # Until its usage has come, a stream is charged as one that broke off: by its bound, not by an estimate.
        early = [bill for bill in books.bills if int(bill.model.partition("@")[2]) <= STEPS + 1]
        assert {found.of(bill.request)[0]["status"] for bill in early} == {"incomplete"}
        figure(disconnects=len(books.bills), records=len(found.records), owed=books.owed, posted=found.total)


def test_a_stream_that_is_left_while_tokens_are_on_their_way(books: Books, figure: Any) -> None:
    chance = random.Random(2)
    with running_gateway(booked(books, **CONFIG)) as gateway:
        state = gateway.folder / "state"
        for number in range(ROUNDS * BURST):
            model = chance.choice((f"answer@{BURST}", f"slow@{BURST}", f"silent@{BURST}", f"hang@{BURST}"))
            with asked(gateway, body_of(model, stream=True, include_usage=False)) as client:
                assert client.status == 200, client.read()
                got = 0
                while got <= number % BURST:
                    got += client.read_some().count(WORD.encode())
                leave(client, reset=chance.random() < 0.5)
            settle_down(gateway, books)
        wait_recorded(state, books)
        gateway.stop()
        found = statement(state)
        check(found, books, caps={"key:wide:usd:total": 10**9}, shown=usage(state))
        assert len(found.records) == len(books.bills)
        figure(disconnects=len(books.bills), records=len(found.records), owed=books.owed, posted=found.total)


def test_a_whole_answer_that_nobody_waits_for(books: Books, figure: Any) -> None:
    chance = random.Random(3)
    with running_gateway(booked(books, **CONFIG)) as gateway:
        state = gateway.folder / "state"
        for number in range(ROUNDS * 10):
            model = "mute@20" if number % 2 else "slow@20"
            client = asked(gateway, body_of(model, stream=False, include_usage=False))
            wait_asked(books, number + 1)
            leave(client, reset=chance.random() < 0.5)
            settle_down(gateway, books)
        # All places are free again, and the key is as good as new.
        for _ in range(PARALLEL + 1):
            post(gateway, body_of("answer@3", stream=False, include_usage=False)).json["choices"]
        wait_recorded(state, books)
        gateway.stop()
        found = statement(state)
        check(found, books, caps={"key:wide:usd:total": 10**9}, shown=usage(state))
        assert len(found.records) == len(books.bills)
        assert {record["status"] for record in records(state)} == {"incomplete", "complete"}
        figure(disconnects=ROUNDS * 10, records=len(found.records), owed=books.owed, posted=found.total)
