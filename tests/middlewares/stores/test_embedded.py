"""The embedded store through Python: what it answers, what it keeps, and how it changes hands."""

import asyncio
import os
import sys

import pytest

from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Denied, Parallel, Stale, StoreUnavailable

NOW = 1_800_000_000_000
LASTS = 60_000
METERS = (
    Bucket("r", 2, 2, 60_000, "interval"),
    Bucket("t", 100, 100, 60_000, "continuous", "tokens"),
    Parallel("p", 5),
    Budget("b", 1000, 0, 0),
)


def admit(store, plan, *, now=NOW, **more):
    asked = {"tokens": 10, "want": 100, "minimum": 1, "expires_in_ms": LASTS, "meta": b"{}"} | more
    return store.admit(plan, now_ms=now, **asked)


async def _opened(folder, **options):
    store = EmbeddedQuota(folder, **options)
    await store.open()
    return store


def test_it_answers_with_what_was_granted_and_what_is_left():
    store = EmbeddedQuota()
    plan = store.plan(METERS)
    answer = admit(store, plan)
    assert isinstance(answer, Admitted)
    assert (answer.granted, answer.meters) == (100, ((1, 60_000), (90, 6000), (4, 0), (900, 0)))
    assert isinstance(admit(store, plan), Admitted)
    assert admit(store, plan, now=NOW + 15_000) == Denied(0, 45_000, 0)
    assert store.settle(answer.hold, amount=40, tokens=3, now_ms=NOW) == "settled"
    assert store.settle(answer.hold, amount=40, tokens=3, now_ms=NOW) == "duplicate"
    assert store.release(answer.hold) == "duplicate"
    assert store.settle(10**9, amount=1) == "unknown"
    assert store.accounts() == [("b", 0, 40, 100)]


def test_a_window_that_is_over_is_told_with_the_time():
    store = EmbeddedQuota()
    assert admit(store, store.plan([Budget("b", 10, 0, NOW)])) == Stale(NOW)


def test_what_nobody_has_ended_is_charged_and_told_with_what_was_known_of_it():
    store = EmbeddedQuota()
    answer = admit(store, store.plan(METERS), meta=b'{"request":"r1"}')
    assert store.expire_due(now_ms=NOW + LASTS - 1) == 0
    assert store.expire_due(now_ms=NOW + LASTS) == 1
    assert store.settle(answer.hold, amount=30, entry=b'{"request":"r1","status":"complete"}') == "late"
    told = [(charge.status, charge.amount, charge.detail) for charge in store.charges(10)]
    assert told == [
        ("estimated", 100, b'{"request":"r1"}'),
        ("late", -70, b'{"request":"r1","status":"complete"}'),
    ]
    store.stored(1)
    assert [charge.position for charge in store.charges(10)] == [2]


@pytest.mark.parametrize(
    "bad",
    [{"tokens": -1}, {"want": 1 << 53}, {"minimum": 101}, {"expires_in_ms": 0}, {"expires_in_ms": 10**9}],
)
def test_numbers_that_cannot_be_counted_are_refused(bad):
    store = EmbeddedQuota()
    with pytest.raises(ValueError, match="admit"):
        admit(store, store.plan(METERS), **bad)


def test_a_store_in_memory_that_nobody_reads_keeps_no_records():
    store = EmbeddedQuota(keeps_charges=False)
    store.settle(admit(store, store.plan(METERS)).hold, amount=1)
    assert store.charges(10) == []


async def test_what_was_acknowledged_is_there_when_it_is_opened_again(tmp_path):
    store = await _opened(tmp_path)
    plan = store.plan(METERS)
    settled, held = admit(store, plan), admit(store, plan)
    store.settle(settled.hold, amount=7, entry=b'{"request":"a"}')
    await store.close()
    again = await _opened(tmp_path)
    assert again.accounts() == [("b", 0, 7, 100)]
    assert [charge.detail for charge in again.charges(10)] == [b'{"request":"a"}']
    assert again.settle(held.hold, amount=9) == "settled"
    await again.close()


async def test_a_folder_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        await _opened(tmp_path / "file" / "quota")


async def test_a_successor_waits_until_the_store_is_handed_over_and_is_told_what_ends_later(tmp_path):
    first = await _opened(tmp_path)
    plan = first.plan(METERS)
    one, two = admit(first, plan), admit(first, plan)
    second = EmbeddedQuota(tmp_path)
    await second.open()
    assert not second.available
    with pytest.raises(StoreUnavailable) as refused:
        admit(second, second.plan(METERS))
    assert refused.value.kind == "handover"

    first.hand_over()
    await asyncio.wait_for(second.opened(), 5)
    assert second.accounts() == [("b", 0, 0, 200)]
    # Limits do not start anew.
    assert isinstance(admit(second, second.plan(METERS), now=NOW + 1), Denied)
    assert first.settle(one.hold, amount=33, entry=b'{"request":"one"}') == "kept"
    assert first.release(two.hold) == "kept"
    async with asyncio.timeout(5):
        while second.open_holds:
            await asyncio.sleep(0.01)
    assert second.accounts() == [("b", 0, 33, 0)]
    assert [charge.detail for charge in second.charges(10)] == [b'{"request":"one"}']
    await first.regain()
    assert not first.available
    await first.close()
    async with asyncio.timeout(5):
        while os.listdir(tmp_path / "0" / "inbox"):
            await asyncio.sleep(0.01)
    await second.close()


async def test_without_a_successor_it_takes_the_store_back_and_nothing_is_lost(tmp_path):
    store = await _opened(tmp_path)
    answer = admit(store, store.plan(METERS))
    store.hand_over()
    assert store.settle(answer.hold, amount=5, entry=b"{}") == "kept"
    await store.regain()
    assert store.accounts() == [("b", 0, 5, 0)]
    assert len(store.charges(10)) == 1
    await store.close()
    assert not os.listdir(tmp_path / "0" / "inbox")


async def test_what_is_left_in_the_inbox_is_read_at_the_next_start(tmp_path, caplog):
    store = await _opened(tmp_path)
    answer = admit(store, store.plan(METERS), expires_in_ms=10**7)
    await store.close()
    inbox = tmp_path / "0" / "inbox"
    inbox.mkdir()
    (inbox / "1").write_bytes(b"nonsense\nsettle %d 5 1 e30=\nsettle 1 2" % answer.hold)
    again = await _opened(tmp_path)
    assert again.accounts() == [("b", 0, 5, 0)]
    assert "cannot be read" in caplog.text
    await again.close()


async def test_one_that_still_waits_when_it_is_to_hand_over_leaves_the_store_to_the_next(tmp_path):
    first = await _opened(tmp_path)
    second, third = EmbeddedQuota(tmp_path), EmbeddedQuota(tmp_path)
    await second.open()
    second.hand_over()
    await third.open()
    first.hand_over()
    await asyncio.wait_for(third.opened(), 5)
    assert (second.available, third.available) == (False, True)
    for store in (second, third, first):
        await store.close()


async def test_a_store_that_cannot_be_opened_yet_is_tried_again_and_told_of(tmp_path, caplog):
    first = await _opened(tmp_path)
    second = EmbeddedQuota(tmp_path)
    await second.open()
    (tmp_path / "0").rename(tmp_path / "away")
    (tmp_path / "0").write_bytes(b"no folder")
    async with asyncio.timeout(5):
        while "cannot be opened" not in caplog.text:
            await asyncio.sleep(0.01)
    (tmp_path / "0").unlink()
    (tmp_path / "away").rename(tmp_path / "0")
    first.hand_over()
    await asyncio.wait_for(second.opened(), 5)
    for store in (first, second):
        await store.close()


async def test_where_nothing_is_limited_every_process_has_a_store_of_its_own(tmp_path):
    stores = [await _opened(tmp_path, slots=3) for _ in range(3)]
    assert sorted(store.slot for store in stores) == [0, 1, 2]
    for store in stores:
        await store.close()


async def test_a_store_that_was_closed_can_be_opened_at_once(tmp_path):
    usual = sys.getswitchinterval()
    # A thread that has opened one does not get a turn to forget it.
    sys.setswitchinterval(1)
    try:
        for _ in range(30):
            store = await _opened(tmp_path)
            assert store.available
            await store.close()
    finally:
        sys.setswitchinterval(usual)
