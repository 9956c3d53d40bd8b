"""What happens when an upstream fails: who is asked then, what that costs, what callers and metrics are told."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.app import running_app
from tests.support.audit import records
from tests.support.books import PRICES, READ, WRITTEN, Books
from tests.support.client import CHAT, chat_body, checked_error, events_of, text_of
from tests.support.failing import LOST, SCRIPTS, models
from tests.support.gateway import KEY, KEYS, NARROW_KEY, model
from tests.support.net import until
from tests.support.upstream import ScriptedUpstream
from tollhouse.providers.errors import UpstreamShutdown

SOON = {"first_event_s": 0.3, "idle_s": 0.3}


@pytest.fixture
def upstream():
    with ScriptedUpstream(SCRIPTS) as running:
        yield running


@pytest.fixture
def books():
    with Books() as running:
        yield running


def _fallback(condition=None, **more):
    entry = {"primary": "a", "backup": "b"} | ({} if condition is None else {"condition": condition})
    return {"fallbacks": [entry], "upstream": SOON} | more


# --- by cause


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("behaviour", "condition"),
    [
        ("hang", "timeout"),
        ("status@504", "timeout"),
        ("status@429", "rate_limit"),
        ("status@500", "error"),
        ("status@503", "5xx"),
        ("closed-port", "connection"),
        ("close-at-once", "connection"),
        ("status@401", "auth"),
        ("missing", "auth"),
        ("status@403", "auth"),
        ("said@context_length_exceeded", "context_window"),
        ("said@content_policy_violation", "content_policy"),
    ],
)
async def test_a_fallback_serves_what_failed_for_its_cause(tmp_path, upstream, behaviour, condition, stream):
    entries = models(upstream, a=behaviour, b="fine")
    async with running_app(tmp_path, model_list=entries, **_fallback(condition)) as app:
        response = await app.chat("a", stream=stream)
        assert (response.status, response.header("x-gateway-model")) == (200, "b")
        text = text_of(events_of(response.body)) if stream else response.json["choices"][0]["message"]["content"]
        assert text == "fine"
        assert await app.metric("gateway_fallbacks_total", **{"from": "a", "to": "b"}) == 1


@pytest.mark.parametrize(("behaviour", "status"), [("status@500", 500), ("status@429", 429), ("closed-port", 502)])
async def test_a_fallback_for_timeouts_is_for_nothing_else(tmp_path, upstream, behaviour, status):
    entries = models(upstream, a=behaviour, b="fine")
    async with running_app(tmp_path, model_list=entries, **_fallback("timeout")) as app:
        assert (await app.chat("a")).status == status
        assert not upstream.log.of("fine")


async def test_the_callers_own_mistakes_do_not_fall_back(tmp_path, upstream):
    async with running_app(tmp_path, model_list=models(upstream, a="said@invalid", b="fine"), **_fallback()) as app:
        response = await app.chat("a")
        assert response.status == 400
        checked_error(response.body, "invalid")
        assert not upstream.log.of("fine")


async def test_litellms_special_fallbacks_come_before_the_general_ones(tmp_path, upstream):
    entries = models(upstream, a="said@context_length_exceeded", b="status@500", c="fine")
    section = {"fallbacks": [{"a": ["b"]}], "context_window_fallbacks": [{"a": ["c"]}]}
    async with running_app(tmp_path, model_list=entries, litellm_settings=section) as app:
        assert (await app.chat("a")).header("x-gateway-model") == "c"


async def test_default_fallbacks_are_for_models_without_any(tmp_path, upstream):
    entries = models(upstream, a="status@500", b="fine", c="fine")
    section = {"fallbacks": [{"a": ["b"]}], "default_fallbacks": ["c"]}
    entries += models(upstream, d="status@500")
    async with running_app(tmp_path, model_list=entries, litellm_settings=section) as app:
        assert (await app.chat("a")).header("x-gateway-model") == "b"
        assert (await app.chat("d")).header("x-gateway-model") == "c"


async def test_a_fallback_opens_nothing_that_the_key_may_not_use(tmp_path, upstream):
    keys = [{"name": "wide", "key": KEY}, {"name": "narrow", "key": NARROW_KEY, "models": ["a"]}]
    entries = models(upstream, a="status@500", b="fine")
    async with running_app(tmp_path, model_list=entries, keys=keys, **_fallback()) as app:
        assert (await app.chat("a", key=NARROW_KEY)).status == 500
        assert not upstream.log.of("fine")
        assert (await app.chat("a")).status == 200


async def test_fallbacks_of_fallbacks_are_followed_and_circles_end(tmp_path, upstream):
    entries = models(upstream, a="status@500", b="status@502", c="fine", d="status@501", e="status@503")
    section = {"fallbacks": [{"a": ["b"]}, {"b": ["c"]}, {"d": ["e"]}, {"e": ["d"]}], "num_retries": 0}
    async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
        response = await app.chat("a")
        assert (response.status, response.header("x-gateway-model")) == (200, "c")
        assert [seen.model for seen in upstream.log.requests] == ["status@500", "status@502", "fine"]
        assert await app.metric("gateway_fallbacks_total", **{"from": "b", "to": "c"}) == 1
        assert (await app.chat("d")).status == 503
        assert len(upstream.log.requests) == 5


async def test_as_many_fallbacks_are_asked_as_was_said(tmp_path, upstream):
    entries = models(upstream, a="status@500", b="status@500", c="status@500", d="status@500", e="fine")
    section = {"fallbacks": [{"a": ["b", "c", "d", "e"]}], "max_fallbacks": 4}
    async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
        assert (await app.chat("a")).header("x-gateway-model") == "e"
    section = {"fallbacks": [{"a": ["b", "c", "d", "e"]}]}
    async with running_app(tmp_path / "usual", model_list=entries, router_settings=section) as app:
        asked = len(upstream.log.requests)
        assert (await app.chat("a")).status == 500
        assert len(upstream.log.requests) == asked + 3


# --- again


async def test_one_that_is_alone_and_fails_is_asked_three_times(tmp_path, upstream):
    async with running_app(tmp_path, model_list=models(upstream, a="status@500")) as app:
        assert (await app.chat("a")).status == 500
        assert len(upstream.log.requests) == 3


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_passing_failure_is_tried_again(tmp_path, upstream, stream):
    async with running_app(tmp_path, model_list=models(upstream, a="once@500")) as app:
        assert (await app.chat("a", stream=stream)).status == 200
        assert len(upstream.log.requests) == 2
        assert await app.metric("gateway_retries_total", model="a", cause="server_error") == 1


@pytest.mark.parametrize(("seconds", "status"), [("0", 200), ("30", 429)])
async def test_retry_after_is_waited_for_if_that_is_short_and_passed_on_if_not(tmp_path, upstream, seconds, status):
    async with running_app(tmp_path, model_list=models(upstream, a=f"later@{seconds}")) as app:
        response = await app.chat("a")
        assert response.status == status
        assert response.header("retry-after") == (None if status == 200 else seconds)


async def test_retries_can_be_switched_off(tmp_path, upstream):
    section = {"num_retries": 0}
    async with running_app(tmp_path, model_list=models(upstream, a="once@500"), router_settings=section) as app:
        assert (await app.chat("a")).status == 500
        assert len(upstream.log.requests) == 1


# --- breakers


async def test_who_fails_often_is_left_alone_for_a_while(tmp_path, upstream):
    entries = models(upstream, a=["status@500", "fine"])
    section = {"cooldown_time": 60, "allowed_fails": 2}
    async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
        for _ in range(12):
            assert (await app.chat("a")).status == 200
        assert len(upstream.log.of("status@500")) == 3
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 2
        assert await app.metric("gateway_breaker_state", deployment="a@vllm") == 0


async def test_who_was_left_alone_gets_one_request_to_show(tmp_path, upstream):
    entries = models(upstream, a=["once@401", "fine"])
    async with running_app(tmp_path, model_list=entries, router_settings={"cooldown_time": 0.2}) as app:
        for _ in range(4):
            assert (await app.chat("a")).status == 200
        assert len(upstream.log.of("once@401")) == 1
        await asyncio.sleep(0.25)
        for _ in range(4):
            assert (await app.chat("a")).status == 200
        assert len(upstream.log.of("once@401")) == 3
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 0


async def test_a_rate_limit_keeps_requests_away_as_long_as_it_says(tmp_path, upstream):
    entries = models(upstream, a=["later@30", "fine"])
    async with running_app(tmp_path, model_list=entries) as app:
        for _ in range(6):
            assert (await app.chat("a")).status == 200
        assert len(upstream.log.of("later@30")) == 1


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [("later@9", 429, "upstream_rate_limited"), ("status@401", 503, "upstream_cooling")],
)
async def test_when_everybody_is_left_alone_callers_are_told_when_to_come_back(
    tmp_path, upstream, behaviour, status, code
):
    entries = models(upstream, a=[behaviour, behaviour])
    entries[1]["litellm_params"]["model"] = entries[1]["litellm_params"]["model"].replace("@9", "@20")
    async with running_app(tmp_path, model_list=entries, router_settings={"cooldown_time": 9}) as app:
        await app.chat("a")
        asked = len(upstream.log.requests)
        response = await app.chat("a")
        assert response.status == status
        assert response.header("retry-after") in {"8", "9"}
        checked_error(response.body, code)
        assert len(upstream.log.requests) == asked == 2


async def test_streams_that_break_off_count_as_failures(tmp_path, upstream):
    entries = models(upstream, a=["reset-mid-stream", "fine"])
    section = {"cooldown_time": 60, "allowed_fails": 1}
    async with running_app(tmp_path, model_list=entries, router_settings=section) as app:
        for _ in range(8):
            await app.chat("a", stream=True)
        assert len(upstream.log.of("reset-mid-stream")) == 2


# --- one caller's doing

ASKED = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": LOST}]}),
    ("/v1/responses", {"input": [{"type": "item_reference", "id": LOST}]}),
    ("/v1/messages", {"messages": [{"role": "user", "content": LOST}], "max_tokens": 9}),
]
CALLERS = [{"name": name, "key": f"sk-{name}-00000000000"} for name in ("ann", "bob", "cas")]


@pytest.mark.parametrize(("path", "body"), ASKED, ids=["chat", "responses", "messages"])
@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        ("item", 404, "Item with id 'rs_lost' not found."),
        ("file", 403, "You do not have permission to access the File lost or it may not exist."),
    ],
)
async def test_what_one_request_asked_for_in_vain_is_told_to_its_caller_and_keeps_nobody_away(
    tmp_path, upstream, what, status, message, path, body
):
    entries = models(upstream, a=f"picky@{what}", b="fine")
    async with running_app(tmp_path, model_list=entries, keys=KEYS + CALLERS, **_fallback()) as app:
        for _ in range(5):
            refused = await app.post({"model": "a"} | body, path=path, key=CALLERS[0]["key"])
            assert (refused.status, refused.json["error"]["message"]) == (status, message)
        assert not upstream.log.of("fine")
        assert (await app.chat("a")).header("x-gateway-model") == "a"
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_may_be_one_callers_doing_falls_back_and_keeps_nobody_away(tmp_path, upstream, stream):
    entries = models(upstream, a="picky@unclear", b="picky@unclear", c="fine")
    section = {"fallbacks": [{"a": ["b"]}]}
    async with running_app(tmp_path, model_list=entries, keys=KEYS + CALLERS, router_settings=section) as app:
        for _ in range(5):
            lost = [{"role": "user", "content": LOST}]
            refused = await app.chat("a", stream=stream, messages=lost, key=CALLERS[0]["key"])
            assert refused.status == 502
            checked_error(refused.body, "upstream_auth")
        assert len(upstream.log.of("picky@unclear")) == 10
        assert (await app.chat("a", stream=stream)).header("x-gateway-model") == "a"


@pytest.mark.parametrize(("what", "status"), [("size", 429), ("endpoint", 501)])
async def test_what_a_deployment_cannot_do_for_one_request_keeps_nobody_away(tmp_path, upstream, what, status):
    entries = models(upstream, a=f"picky@{what}", b=f"picky@{what}")
    section = {"fallbacks": [{"a": ["b"]}]}
    async with running_app(tmp_path, model_list=entries, keys=KEYS + CALLERS, router_settings=section) as app:
        for _ in range(5):
            lost = [{"role": "user", "content": LOST}]
            assert (await app.chat("a", messages=lost, key=CALLERS[0]["key"])).status == status
        assert (await app.chat("a")).header("x-gateway-model") == "a"


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [
        ("said@invalid_prompt", 0),
        ("gives-up@invalid_prompt", 0),
        ("gives-up@image_parse_error", 0),
        ("endless-event-line", 0),
        ("ticking@10", 0),
        ("hang-mid-stream", 2),
        ("gives-up@server_error", 2),
        ("reset-mid-stream", 2),
    ],
)
async def test_a_stream_that_ends_because_of_what_was_asked_is_no_failure(tmp_path, upstream, behaviour, state):
    section = {"num_retries": 0, "cooldown_time": 60}
    times = {"idle_s": 0.2, "total_s": 0.5}
    async with running_app(
        tmp_path,
        model_list=models(upstream, a=behaviour, b="fine"),
        router_settings=section,
        **_fallback("timeout", upstream=times),
    ) as app:
        await asyncio.gather(*(app.chat("a", stream=True) for _ in range(4)))
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == state


async def test_who_refuses_several_callers_and_serves_nobody_is_left_alone(tmp_path, upstream):
    entries = models(upstream, a="status@403", b="fine")
    async with running_app(tmp_path, model_list=entries, keys=KEYS + CALLERS, **_fallback()) as app:
        for caller in [*CALLERS, CALLERS[0]]:
            assert (await app.chat("a", key=caller["key"])).header("x-gateway-model") == "b"
        assert len(upstream.log.of("status@403")) == 3
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 2


async def test_a_probe_that_may_have_failed_by_its_callers_doing_makes_room_for_the_next(tmp_path, upstream):
    entries = models(upstream, a="picky-after-401@unclear", b="fine")
    async with running_app(
        tmp_path, model_list=entries, router_settings={"cooldown_time": 0.2}, **_fallback("auth")
    ) as app:

        async def is_tried():
            return await app.metric("gateway_breaker_state", deployment="a@openai") == 1

        assert (await app.chat("a")).header("x-gateway-model") == "b"
        await until(is_tried, what="its time is over")
        lost = [{"role": "user", "content": LOST}]
        assert (await app.chat("a", messages=lost)).header("x-gateway-model") == "b"
        assert (await app.chat("a")).header("x-gateway-model") == "a"
        assert len(upstream.log.of("picky-after-401@unclear")) == 3


async def test_a_model_that_is_not_there_is_left_alone_at_once(tmp_path, upstream):
    entries = models(upstream, a="missing", b="fine")
    async with running_app(tmp_path, model_list=entries, **_fallback()) as app:
        for _ in range(3):
            assert (await app.chat("a")).header("x-gateway-model") == "b"
        assert len(upstream.log.of("missing")) == 1
        assert await app.metric("gateway_breaker_state", deployment="a@openai") == 2


# --- two at once


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_second_one_is_asked_when_the_first_is_slow(tmp_path, upstream, stream):
    entries = models(upstream, a=["hang", "fine"])
    async with running_app(tmp_path, model_list=entries, routing={"hedge": {"after": 0.05}}) as app:
        response = await app.chat("a", stream=stream)
        assert (response.status, response.header("x-gateway-provider")) == (200, "vllm")
        assert await app.metric("gateway_hedges_total", model="a", won="second") == 1
        (seen,) = upstream.log.of("hang")
        assert seen.closed_at is not None or await _closed(seen)


async def _closed(seen):
    for _ in range(200):
        if seen.closed_at is not None:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_first_may_still_win(tmp_path, upstream):
    entries = models(upstream, a=["slowly@0.15", "hang"])
    async with running_app(tmp_path, model_list=entries, routing={"hedge": {"after": 0.05}}) as app:
        assert (await app.chat("a")).header("x-gateway-provider") == "openai"
        assert await app.metric("gateway_hedges_total", model="a", won="first") == 1


async def test_a_fast_answer_is_asked_for_once(tmp_path, upstream):
    entries = models(upstream, a=["fine", "fine"])
    async with running_app(tmp_path, model_list=entries, routing={"hedge": {"after": 5}}) as app:
        for _ in range(4):
            assert (await app.chat("a")).status == 200
        assert len(upstream.log.requests) == 4


async def test_when_one_of_two_fails_the_other_is_waited_for(tmp_path, upstream):
    entries = models(upstream, a=["slowly@0.2", "status@500"])
    async with running_app(tmp_path, model_list=entries, routing={"hedge": {"after": 0.05}}) as app:
        assert (await app.chat("a")).status == 200
        assert Counter(seen.model for seen in upstream.log.requests) == {"slowly@0.2": 1, "status@500": 1}


# --- money


def _booked(books, *behaviours, **sections):
    names = ("a", "b", "c")
    entries = [model(name, books.base_url, upstream=f"openai/{b}") for name, b in zip(names, behaviours, strict=False)]
    return {"model_list": entries, "prices": PRICES, "upstream": SOON} | sections


async def _settled(tmp_path, count):
    for _ in range(300):
        found = records(tmp_path / "state")
        if len(found) >= count:
            return sorted(found, key=lambda record: record["status"])
        await asyncio.sleep(0.02)
    raise AssertionError(found)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_attempt_that_may_be_billed_has_a_record_of_its_own(tmp_path, books, stream):
    sections = _booked(books, "mute@50", "answer@10", fallbacks=[{"primary": "a", "backup": "b"}])
    async with running_app(tmp_path, **sections, budget={"usd": "10"}) as app:
        response = await app.chat("a", stream=stream, max_tokens=50)
        assert (response.status, response.header("x-gateway-model")) == (200, "b")
        lost, served = await _settled(tmp_path, 2)
        assert (lost["status"], served["status"]) == ("attempt", "complete")
        assert lost["request"] == served["request"]
        (first,), (second,) = (
            [bill for bill in books.bills if bill.model == name] for name in ("mute@50", "answer@10")
        )
        assert lost["amount"] >= first.owed > 0
        assert served["amount"] == second.owed
        rows = (await app.send("/admin/usage?by=model", key="sk-master-of-the-tests")).json["data"]
        assert [row["requests"] for row in rows] == [1]


async def test_an_attempt_that_was_refused_costs_nothing(tmp_path, books):
    sections = _booked(books, "refuse@500", "answer@10", fallbacks=[{"primary": "a", "backup": "b"}])
    async with running_app(tmp_path, **sections, budget={"usd": "10"}) as app:
        assert (await app.chat("a", max_tokens=50)).status == 200
        (served,) = await _settled(tmp_path, 1)
        assert (served["status"], served["amount"]) == ("complete", books.owed)


async def test_no_other_is_asked_with_money_that_is_not_there(tmp_path, books):
    sections = _booked(books, "mute@50", "answer@10", fallbacks=[{"primary": "a", "backup": "b"}])
    most = (500 * READ + 50 * WRITTEN) / 10**9  # enough for one attempt, not for two
    async with running_app(tmp_path, **sections, budget={"usd": f"{most:.9f}"}) as app:
        response = await app.chat("a", max_tokens=50)
        assert response.status == 504
        assert [bill.model for bill in books.bills] == ["mute@50"]
        (lost,) = await _settled(tmp_path, 1)
        assert books.owed <= lost["amount"] <= most * 10**9


async def test_the_dearest_that_may_answer_is_what_has_to_fit_the_budget(tmp_path, books):
    sections = _booked(books, "refuse@500", "answer@10", fallbacks=[{"primary": "a", "backup": "b"}])
    # One has dearer prompts, the other dearer answers.
    sections["prices"] = {
        "openai/refuse@500": {"input": 1000, "output": 1},
        "openai/answer@10": {"input": 1, "output": 2},
    }
    async with running_app(tmp_path, **sections, budget={"usd": "0.1"}) as app:
        response = await app.chat("a", max_tokens=10)
        assert (response.status, response.json["error"]["code"]) == (429, "budget_exceeded")
        assert not books.bills


async def test_the_loser_of_two_is_accounted_for(tmp_path, books):
    sections = _booked(books, "mute@50", routing={"hedge": {"after": 0.05}})
    sections["model_list"].append(model("a", books.base_url, upstream="vllm/answer@10"))
    sections["prices"] = PRICES | {"vllm/*": {"input": 1, "output": 2}}
    async with running_app(tmp_path, **sections, budget={"usd": "10"}) as app:
        assert (await app.chat("a", max_tokens=50)).status == 200
        lost, served = await _settled(tmp_path, 2)
        assert (lost["status"], lost["provider"], served["provider"]) == ("attempt", "openai", "vllm")
        assert served["amount"] == 10 * WRITTEN + books.bills[-1].prompt * READ
        assert lost["amount"] + served["amount"] >= books.owed


async def test_a_client_that_goes_while_the_first_of_two_is_waited_for_leaves_nothing_behind(tmp_path, books):
    sections = _booked(books, "mute@50", routing={"hedge": {"after": 0.05}})
    sections["model_list"].append(model("a", books.base_url, upstream="vllm/refuse@500"))
    sections |= {"prices": PRICES | {"vllm/*": {"input": 1, "output": 2}}, "upstream": {"idle_s": 30}}
    async with running_app(tmp_path, **sections, budget={"usd": "10"}) as app:
        client = app.client(CHAT, body=chat_body("a", max_tokens=50))
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(5):
            while {bill.phase for bill in books.bills} != {"arrived", "refused"}:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        client.disconnect()
        await asyncio.wait_for(task, 5)
    (lost,) = records(tmp_path / "state")
    assert (lost["provider"], lost["status"]) == ("openai", "incomplete")


async def test_what_the_end_of_the_process_kept_from_being_sent_costs_nothing(tmp_path, books):
    sections = _booked(books, "mute@50") | {"upstream": {"max_in_flight": 1, "queue_wait_s": 5}}
    async with running_app(tmp_path, **sections, budget={"usd": "10"}) as app:
        sent, waiting = (asyncio.create_task(app.chat("a", max_tokens=50)) for _ in range(2))
        async with asyncio.timeout(5):
            while not books.bills or len(app.asgi.state.lifecycle.calls) < 2:
                await asyncio.sleep(0.005)
        for call in sorted(app.asgi.state.lifecycle.calls, key=lambda call: call.on_abort is not None):
            call.fail(UpstreamShutdown("the gateway is stopping"))
        assert [(await task).status for task in (sent, waiting)] == [503, 503]
        assert len(books.bills) == 1
    assert len(records(tmp_path / "state")) == 1
