"""The protocol, point by point, on a real server and by its own clock."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from tests.middlewares.stores.redis.conftest import opened
from tollhouse.middlewares.stores.quota import Admitted, Bucket, Budget, Denied, Parallel, Stale, StoreUnavailable
from tollhouse.middlewares.stores.redis import RedisQuota

HOUR = 3_600_000
LIFE = Budget("life", 10_000, 0)


def now_ms():
    return int(time.time() * 1000)


def state(server, name):
    return {key.decode(): int(value) for key, value in server.ask("HGETALL", "{tollhouse}:m:" + name).items()}


async def admitted(store, plan, **numbers):
    found = await store.admit(plan, **{"expires_in_ms": HOUR} | numbers)
    assert isinstance(found, Admitted), found
    return found


async def ledger(store):
    return [entry async for entry in store.ledger("test").entries()]


async def test_everything_or_nothing_is_taken(store, server):
    plan = store.plan([Bucket("r", 2, 2, HOUR), Bucket("t", 100, 100, HOUR, unit="tokens"), Parallel("p", 5), LIFE])
    first = await admitted(store, plan, tokens=60, want=4000, minimum=1)
    assert first.granted == 4000
    assert [remaining for remaining, _ in first.meters] == [1, 40, 4, 6000]
    before = {name: state(server, name) for name in ("r", "t", "p", "life:0")}
    denied = await store.admit(plan, tokens=60, want=4000, minimum=1, expires_in_ms=HOUR)
    assert isinstance(denied, Denied)
    assert (denied.index, denied.remaining) == (1, 40)
    assert denied.wait_ms is not None
    assert 0 < denied.wait_ms <= HOUR
    assert {name: state(server, name) for name in before} == before
    assert server.ask("ZCARD", "{tollhouse}:x") == 1


async def test_the_first_meter_of_the_plan_that_refuses_is_named(store):
    meters = [Parallel("p", 1), Bucket("r", 1, 1, HOUR), Budget("b", 0, 0)]
    await admitted(store, store.plan(meters[:2]))
    for order, index in (([0, 1, 2], 0), ([1, 0, 2], 0), ([2, 1, 0], 0)):
        denied = await store.admit(store.plan([meters[i] for i in order]), want=1, minimum=1, expires_in_ms=1)
        assert denied.index == index
        assert (denied.wait_ms is None) == (order[0] != 1)


async def test_more_than_a_bucket_holds_is_never_worth_waiting_for(store):
    plan = store.plan([Bucket("t", 100, 100, 1000, unit="tokens")])
    assert await store.admit(plan, tokens=101, expires_in_ms=1) == Denied(0, None, 100)


async def test_a_budget_grants_what_is_left_if_that_is_enough(store):
    plan = store.plan([LIFE, Budget("other", 6_000, 0)])
    assert (await admitted(store, plan, want=4000, minimum=4000)).granted == 4000
    second = await admitted(store, plan, want=4000, minimum=500)
    assert second.granted == 2000
    assert second.meters == ((4000, 0), (0, 0))
    assert await store.admit(plan, want=4000, minimum=1, expires_in_ms=1) == Denied(1, None, 0)
    assert (await admitted(store, plan, want=4000)).granted == 0


async def test_a_window_that_is_not_now_is_stale_and_a_new_window_starts_empty(store, server):
    now = now_ms()
    for start, end in ((now - HOUR, now - 1000), (now + HOUR, now + 2 * HOUR), (now + HOUR, 0)):
        answer = await store.admit(store.plan([Budget("b", 100, start, end)]), want=1, expires_in_ms=1)
        assert isinstance(answer, Stale)
        assert abs(answer.now_ms - now) < 5000
    old = await admitted(store, store.plan([Budget("b", 100, now - 10, now + HOUR)]), want=100, minimum=100)
    new = await admitted(store, store.plan([Budget("b", 100, now - 9, now + HOUR)]), want=100, minimum=100)
    await store.settle(old.hold, amount=10)
    assert state(server, f"b:{now - 10}") == {"posted": 10, "reserved": 0}
    assert state(server, f"b:{now - 9}") == {"posted": 0, "reserved": 100}
    await store.settle(new.hold, amount=100)
    lives = server.ask("PEXPIRETIME", f"{{tollhouse}}:m:b:{now - 10}")
    assert lives == now + HOUR + 48 * HOUR


async def test_what_never_ends_has_no_time_to_live(store, server):
    await admitted(store, store.plan([LIFE, Parallel("p", 1)]), want=1)
    assert server.ask("PTTL", "{tollhouse}:m:life:0") == -1
    assert server.ask("PTTL", "{tollhouse}:m:p") == -1


async def test_a_bucket_lives_until_it_is_full_and_at_least_an_hour(store, server):
    await admitted(store, store.plan([Bucket("quick", 5, 5, 1000), Bucket("slow", 5, 1, 24 * HOUR)]))
    assert HOUR < server.ask("PTTL", "{tollhouse}:m:quick") <= HOUR + 60_000
    assert server.ask("PTTL", "{tollhouse}:m:slow") > 24 * HOUR + 50_000
    # Debt takes longer.
    plan = store.plan([Bucket("debt", 10, 1, HOUR, unit="tokens")])
    first = await admitted(store, plan, tokens=10)
    await store.settle(first.hold, amount=0, tokens=1010)
    assert server.ask("PTTL", "{tollhouse}:m:debt") > 1010 * HOUR


async def test_a_hold_ends_once(store, server):
    plan = store.plan([Parallel("p", 5), Bucket("r", 10, 1, HOUR), Bucket("t", 100, 1, HOUR, unit="tokens"), LIFE])
    held = await admitted(store, plan, tokens=50, want=4000)
    assert await store.settle(held.hold, amount=1500, tokens=20, entry=b"one") == "settled"
    after = {name: state(server, name) for name in ("p", "r", "t", "life:0")}
    assert after["p"] == {}
    assert after["life:0"] == {"posted": 1500, "reserved": 0}
    assert (after["r"]["level"], after["t"]["level"]) == (9, 80)
    assert await store.settle(held.hold, amount=1500, tokens=20, entry=b"two") == "duplicate"
    assert await store.release(held.hold) == "duplicate"
    assert {name: state(server, name) for name in after} == after
    [entry] = await ledger(store)
    assert entry[1:] == (held.hold.id, "settled", 1500, (("life", 0),), b"one")
    assert 119_000 < server.ask("PTTL", "{tollhouse}:h:" + held.hold.id) <= 120_000


async def test_a_release_gives_everything_back_and_leaves_no_line_in_the_ledger(store, server):
    plan = store.plan([Parallel("p", 5), Bucket("r", 10, 1, HOUR), Bucket("t", 100, 1, HOUR, unit="tokens"), LIFE])
    held = await admitted(store, plan, tokens=50, want=4000)
    assert await store.release(held.hold) == "released"
    assert [state(server, name).get("level") for name in ("r", "t")] == [10, 100]
    assert state(server, "life:0") == {"posted": 0, "reserved": 0}
    assert await store.release(held.hold) == "duplicate"
    assert await store.settle(held.hold, amount=5) == "duplicate"
    assert await ledger(store) == []


async def test_a_hold_that_expires_is_charged_in_full_and_corrected_later(store, server):
    plan = store.plan([Parallel("p", 5), Bucket("t", 100, 1, HOUR, unit="tokens"), LIFE])
    held = await admitted(store, plan, tokens=50, want=4000, expires_in_ms=1, meta=b"\x00who\n")
    other = await admitted(store, plan, want=1)
    await asyncio.sleep(0.01)
    assert await store.expire_due() == 1
    assert await store.expire_due() == 0
    assert state(server, "life:0") == {"posted": 4000, "reserved": 1}
    assert state(server, "p") == {"used": 1}
    assert state(server, "t")["level"] == 50
    assert server.ask("PTTL", "{tollhouse}:h:" + held.hold.id) > 24 * HOUR - 60_000
    assert await store.release(held.hold) == "duplicate"
    assert await store.settle(held.hold, amount=1000, entry=b"real") == "late"
    assert await store.settle(held.hold, amount=1000, entry=b"real") == "duplicate"
    assert await store.settle(other.hold, amount=7) == "settled"
    assert state(server, "life:0") == {"posted": 1007, "reserved": 0}
    assert [(line.status, line.cost, line.entry) for line in await ledger(store)] == [
        ("estimated", 4000, b"\x00who\n"),
        ("late", -3000, b"real"),
        ("settled", 7, b""),
    ]


async def test_holds_of_a_node_that_died_are_expired_by_another(server):
    async with opened(server.url, node_id="dead") as dead:
        held = await admitted(dead, dead.plan([Parallel("p", 5), LIFE]), want=100, expires_in_ms=1, meta=b"m")
    async with opened(server.url, node_id="alive", upkeep_every_s=0.05) as alive:
        deadline = time.monotonic() + 10
        while state(server, "life:0")["reserved"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        [entry] = await ledger(alive)
        assert (entry.hold, entry.status, entry.cost, entry.entry) == (held.hold.id, "estimated", 100, b"m")


async def test_a_plan_without_meters_has_a_line_in_the_ledger_all_the_same(store, server):
    plan = store.plan([])
    kept = await admitted(store, plan, want=10)
    lost = await admitted(store, plan, want=10, expires_in_ms=1, meta=b"m\n")
    assert (kept.granted, kept.meters) == (10, ())
    await asyncio.sleep(0.01)
    assert await store.expire_due() == 1
    assert await store.settle(kept.hold, amount=3, entry=b"e") == "settled"
    assert await store.settle(lost.hold, amount=4) == "late"
    assert [line[2:] for line in await ledger(store)] == [
        ("estimated", 10, (), b"m\n"),
        ("settled", 3, (), b"e"),
        ("late", -6, (), b""),
    ]
    assert server.ask("ZCARD", "{tollhouse}:x") == 0


async def test_two_nodes_that_expire_at_once_expire_a_hold_once(server):
    async with opened(server.url, node_id="a") as a, opened(server.url, node_id="b") as b:
        plan = a.plan([LIFE, Parallel("p", 100)])
        for _ in range(50):
            await admitted(a, plan, want=10, expires_in_ms=1)
        await asyncio.sleep(0.01)
        assert sum(await asyncio.gather(a.expire_due(), b.expire_due(), a.expire_due(), b.expire_due())) == 50
        assert state(server, "life:0") == {"posted": 500, "reserved": 0}
        assert len(await ledger(a)) == 50


async def test_a_store_that_lost_a_hold_charges_it_when_it_is_settled(store, server):
    held = await admitted(store, store.plan([LIFE]), want=100)
    server.ask("FLUSHALL")
    assert await store.release(held.hold) == "unknown"
    assert await store.settle(held.hold, amount=60, entry=b"e") == "unknown"
    assert await store.settle(held.hold, amount=60, entry=b"e") == "duplicate"
    assert state(server, "life:0") == {"posted": 60, "reserved": 0}
    assert [line.status for line in await ledger(store)] == ["unknown"]


async def test_a_settle_may_exceed_its_grant_and_the_budget_shows_it(store, server):
    plan = store.plan([LIFE])
    held = await admitted(store, plan, want=10_000)
    await store.settle(held.hold, amount=12_000)
    assert await store.admit(plan, want=1, minimum=1, expires_in_ms=1) == Denied(0, None, -2000)
    assert (await admitted(store, plan, want=1)).meters == ((-2000, 0),)


async def test_a_repeated_admission_takes_nothing_and_answers_the_same(store, server):
    plan = store.plan([Parallel("p", 5), Bucket("r", 10, 1, HOUR), LIFE])
    first = await admitted(store, plan, want=4000)
    store._next_key = lambda: first.hold.key
    again = await admitted(store, plan, want=4000)
    assert (again.granted, [left for left, _ in again.meters]) == (4000, [left for left, _ in first.meters])
    assert state(server, "life:0")["reserved"] == 4000
    assert state(server, "p") == {"used": 1}
    await store.release(first.hold)
    with pytest.raises(StoreUnavailable, match="had ended") as raised:
        await store.admit(plan, want=4000, expires_in_ms=1)
    assert raised.value.kind == "finished"


async def test_scripts_that_the_server_forgot_are_loaded_again(store, server):
    plan = store.plan([LIFE])
    server.ask("SCRIPT", "FLUSH")
    held = await asyncio.gather(*(admitted(store, plan, want=10) for _ in range(20)))
    server.ask("SCRIPT", "FLUSH")
    assert set(await asyncio.gather(*(store.settle(one.hold, amount=3) for one in held))) == {"settled"}
    assert state(server, "life:0") == {"posted": 60, "reserved": 0}


async def test_answers_find_whoever_asked(store):
    plans = [store.plan([Bucket(f"b{i}", 1000 + i, 1, HOUR)]) for i in range(50)]

    async def one(i):
        plan = plans[i % 50]
        found = await admitted(store, plan)
        # What is asked after a task was cancelled must not get its answer.
        return found.meters[0][0] // 10 * 10 >= 1000 - 20 and found.hold.plan is plan

    tasks = [asyncio.create_task(one(i)) for i in range(500)]
    await asyncio.sleep(0)
    for task in tasks[::7]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(value is True or isinstance(value, asyncio.CancelledError) for value in found)


async def test_an_admission_whose_caller_left_is_given_back(server):
    async with opened(server.url, upkeep_every_s=0.02) as store:
        plan = store.plan([LIFE, Parallel("p", 9)])
        task = asyncio.create_task(store.admit(plan, want=10, expires_in_ms=HOUR))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline = time.monotonic() + 10
        while store.unsent or server.ask("ZCARD", "{tollhouse}:x"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        assert state(server, "p") == {}


async def test_an_admission_that_arrives_after_it_was_given_up_takes_nothing(store, server):
    plan = store.plan([LIFE])
    key = store._next_key()
    store._next_key = lambda: key
    hold = (await admitted(store, store.plan([Parallel("other", 1)]))).hold._replace(plan=plan)
    server.ask("FLUSHALL")
    assert await store._finish(hold, "cancel", (b"\0" * 16, b"\r\n$0\r\n\r\n")) == "unknown"
    with pytest.raises(StoreUnavailable, match="had ended"):
        await store.admit(plan, want=10, expires_in_ms=1)
    assert state(server, "life:0") == {}


@pytest.mark.parametrize(
    "numbers", [{"tokens": -1}, {"want": 2**53}, {"minimum": 1}, {"tokens": 1.5}, {"expires_in_ms": 0}]
)
async def test_numbers_that_cannot_be_counted_are_refused(store, server, numbers):
    with pytest.raises(ValueError, match="admit: "):
        await store.admit(store.plan([LIFE]), **{"expires_in_ms": 1} | numbers)
    assert server.ask("DBSIZE") == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("m:t", {"level": "nan", "rem": "0", "last": "1"}),
        ("m:t", {"level": "1.5"}),
        ("m:t", {"level": str(2**53)}),
        ("m:life:0", {"posted": "x"}),
        ("m:life:0", {"posted": str(2**53 - 1)}),
        ("m:p", {"used": "inf"}),
        ("m:p", "a string"),
        ("x", "a string"),
        ("ledger", "a string"),
    ],
)
async def test_nothing_is_written_where_something_is_not_what_it_should_be(store, server, key, value):
    plan = store.plan([Bucket("r", 10, 1, HOUR), Bucket("t", 10, 1, HOUR, unit="tokens"), Parallel("p", 5), LIFE])
    held = await admitted(store, plan, tokens=1, want=10)

    def dump():
        return {name: server.ask("DUMP", name) for name in server.ask("KEYS", "*")}

    name = "{tollhouse}:" + key
    server.ask("DEL", name)
    if isinstance(value, str):
        server.ask("SET", name, value)
    else:
        server.ask("HSET", name, *[word for pair in value.items() for word in pair])
    before = dump()
    with pytest.raises(StoreUnavailable):
        await store.settle(held.hold, amount=5, tokens=2)
    if key != "ledger" and value != {"posted": str(2**53 - 1)}:
        with pytest.raises(StoreUnavailable):
            await store.admit(plan, tokens=1, want=10, expires_in_ms=1)
    assert dump() == before
    assert store.available
    server.ask("DEL", name)


async def test_every_key_of_a_script_is_declared(store, server):
    """So a cluster in the middle of moving them says so before the script runs."""
    plan = store.plan([Bucket("r", 10, 1, HOUR), Parallel("p", 5), LIFE])
    with server.client() as client, client.monitor() as monitor:
        held = await admitted(store, plan, want=10)
        await store.settle(held.hold, amount=5)
        held = await admitted(store, plan, want=10, expires_in_ms=1)
        await asyncio.sleep(0.01)
        await store.expire_due()
        server.ask("PING")
        declared, seen = set(), 0
        for line in monitor.listen():
            words = line["command"].split(" ")
            if words[0] == "PING":
                break
            if words[0] == "EVALSHA":
                declared = set(words[3 : 3 + int(words[2])])
            elif line["client_type"] == "lua" and words[0] != "TIME":
                seen += 1
                assert words[1] in declared, line
        assert seen > 20


async def test_names_of_holds_are_not_guessable_nor_used_twice(server):
    async with opened(server.url, node_id="n1") as one, opened(server.url, node_id="n1") as other:
        plan = one.plan([Bucket("r", 1000, 1, HOUR)])
        ids = [(await admitted(store, plan)).hold.id for store in (one, other) for _ in range(50)]
        assert len(set(ids)) == 100
        assert ids[0].rpartition(".")[0] != ids[50].rpartition(".")[0]
        assert all(name.startswith("n1.") and len(name.split(".")[1]) == 16 for name in ids)


async def test_a_budget_over_all_interleavings_is_never_exceeded(store, server):
    plan = store.plan([Budget("b", 1000, 0), Bucket("r", 10_000, 1, HOUR), Parallel("p", 7)])

    async def client(i):
        spent = 0
        for n in range(40):
            found = await store.admit(plan, want=7 + i, minimum=1, expires_in_ms=HOUR)
            if isinstance(found, Admitted):
                await asyncio.sleep(0)
                amount = found.granted if n % 3 else 0
                spent += amount
                assert await store.settle(found.hold, amount=amount) == "settled"
        return spent

    spent = sum(await asyncio.gather(*(client(i) for i in range(20))))
    assert state(server, "b:0") == {"posted": spent, "reserved": 0}
    assert spent == sum(line.cost for line in await ledger(store)) == 1000
    assert state(server, "p") == {}


async def test_the_ledger_is_read_in_pieces_and_dropped_when_all_readers_have_it(store, server):
    plan = store.plan([Budget("b", 10**9, 0)])
    for i in range(25):
        await store.settle((await admitted(store, plan, want=1)).hold, amount=i, entry=b"%d" % i)
    one, two = store.ledger("one"), store.ledger("two")
    await two.stored("0-0")
    first = await one.read(count=10)
    rest = await one.read(first[-1].id, 100)
    assert [int(line.entry) for line in first + rest] == [line.cost for line in first + rest] == list(range(25))
    await one.stored(rest[-1].id)
    assert await one.length() == 25
    await two.stored(first[-1].id)
    assert [line.cost for line in await two.read()] == list(range(10, 25))
    await two.forget()
    assert await one.length() == 0
    assert await one.read(rest[-1].id) == []


async def test_what_shows_has_no_password(server):
    store = RedisQuota("redis://me:hunter2@127.0.0.1:6379/0?sentinel_password=hunter3")
    assert "hunter" not in repr(store) + repr(store._target) + repr(vars(store))
    with pytest.raises(ValueError) as raised:
        RedisQuota("redis://me:hunter2@127.0.0.1:x/0")
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prefix": "a{b"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"node_id": "a b"}, "node id"),
        ({"node_id": ""}, "node"),
    ],
)
def test_names_that_would_break_keys_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        RedisQuota("redis://localhost", **options)


async def test_stores_with_different_prefixes_do_not_meet(server):
    async with opened(server.url, prefix="one%d") as one, opened(server.url, prefix="two") as two:
        for store in (one, two):
            held = await admitted(store, store.plan([Parallel("p", 1)]))
            assert await store.settle(held.hold, amount=1) == "settled"
            assert held.hold.id == (await ledger(store))[0].hold


async def test_calls_are_counted(store):
    held = await admitted(store, store.plan([LIFE]), want=1)
    await store.settle(held.hold, amount=1)
    assert (store.counters.calls, store.counters.connects, store.counters.errors) == (2, 1, {})
    assert 0 < store.counters.latency_s < math.inf
