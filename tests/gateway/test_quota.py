"""Limits, budgets and the ledger in the gateway's app: what callers see, what is charged, what is written down."""

import asyncio
from time import perf_counter_ns
from typing import Any

import orjson
import pytest

from tests.support import hostile, sse_scripts  # noqa: F401
from tests.support.app import ADMIN_KEY, running_app
from tests.support.books import PRICES as BOOKED
from tests.support.books import Books
from tests.support.chunks import DONE, completion, delta, finish
from tests.support.client import chat_body, events_of
from tests.support.gateway import MASTER_KEY, model
from tests.support.net import free_port
from tests.support.upstream import ScriptedUpstream
from tollhouse.middlewares import quota
from tollhouse.middlewares.stores.embedded import EmbeddedQuota

ECHO = "tollhouse/echo"
# A dollar per million tokens read, two per million written.
PRICES = {"tollhouse/*": {"input": 1, "output": 2}}
PAID = {"openai/*": {"input": 1, "output": 2}}
ALICE, BOB = "sk-alice-0000000000", "sk-bob-000000000000"


def _keys(**alice):
    return {
        "keys": [{"name": "alice", "key": ALICE, "team": "acme"} | alice, {"name": "bob", "key": BOB, "team": "acme"}]
    }


@pytest.fixture
def upstream():
    with ScriptedUpstream(hostile.SCRIPTS | {"no-usage": _no_usage}) as running:
        yield running


@pytest.fixture
def books():
    with Books() as running:
        yield running


async def _no_usage(peer):
    await peer.stream_head()
    await peer.chunk(delta("x" * 10) + delta("y" * 11) + finish() + DONE)
    await peer.end()


def _one(upstream):
    return [model("*", upstream.base_url)]


async def _usage(app, by="key"):
    rows = (await app.send(f"/admin/usage?by={by}", key=MASTER_KEY)).json["data"]
    return {row[by]: row for row in rows}


async def _chat(app, key=ALICE, **more):
    return await app.chat(ECHO, key=key, **more)


async def test_an_answer_says_what_it_cost_and_the_ledger_has_it(tmp_path):
    async with running_app(tmp_path, prices=PRICES, **_keys()) as app:
        response = await _chat(app)
        usage = response.json["usage"]
        nano = usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000
        assert float(response.header("x-gateway-cost-usd") or "") * 1e9 == pytest.approx(nano)
        assert (await _chat(app, stream=True)).complete
        row = (await _usage(app))["alice"]
        assert (row["requests"], row["cost_usd"]) == (2, f"{nano * 2 / 1e9:.9f}".rstrip("0"))
        assert (row["input"], row["output"]) == (usage["prompt_tokens"] * 2, usage["completion_tokens"] * 2)
        assert await app.metric("gateway_cost_usd_total") == pytest.approx(nano * 2 / 1e9)


async def test_a_stream_tells_what_it_cost_with_the_usage_that_was_asked_for(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys()) as app:
        asked = await app.chat("fine", key=ALICE, stream=True, stream_options={"include_usage": True})
        last = orjson.loads(events_of(asked.body)[-2])
        assert (last["usage"]["completion_tokens"], last["x_gateway_cost_usd"]) == (3, "0.000013")
        plain = await app.chat("fine", key=ALICE, stream=True)
        assert b"usage" not in plain.body
        assert (await _usage(app))["alice"]["cost_usd"] == "0.000026"


async def test_the_headers_count_down_and_the_limit_names_whose_it_is(tmp_path):
    async with running_app(tmp_path, **_keys(limits={"rpm": 2, "tpm": 100_000})) as app:
        first, second, third = [await _chat(app) for _ in range(3)]
        assert [r.header("x-ratelimit-remaining-requests") for r in (first, second)] == ["1", "0"]
        assert first.header("x-ratelimit-limit-requests") == "2"
        assert first.header("x-ratelimit-limit-tokens") == "100000"
        assert third.status == 429
        error = third.json["error"]
        assert error["code"] == "rate_limit_exceeded"
        assert "the key 'alice'" in error["message"]
        assert "2 requests per minute" in error["message"]
        assert 55 <= int(third.header("retry-after") or "") <= 60
        assert third.header("x-should-retry") == "true"
        assert (await _chat(app, key=BOB)).status == 200
        assert await app.metric("gateway_quota_denied_total", level="key", limit="requests") == 1


async def test_every_level_is_asked_and_a_refusal_takes_nothing_from_the_others(tmp_path):
    sections = _keys(limits={"rpm": 50}) | {
        "teams": [{"name": "acme", "limits": {"rpm": 2}}],
        "limits": {"rpm": 4},
    }
    async with running_app(tmp_path, **sections) as app:
        statuses = [(await _chat(app, key=key)).status for key in (ALICE, BOB, ALICE, BOB)]
        assert statuses == [200, 200, 429, 429]
        # Two of four are left for everybody else.
        outside = [(await app.chat(ECHO, key=MASTER_KEY)) for _ in range(3)]
        assert [response.status for response in outside] == [200, 200, 429]
        assert "all requests together" in outside[-1].json["error"]["message"]


async def test_a_models_own_limit_holds_for_that_model_alone(tmp_path):
    entry = {"model_name": "small", "litellm_params": {"model": ECHO, "rpm": 1}}
    async with running_app(tmp_path, model_list=[entry], **_keys()) as app:
        assert [(await app.chat("small", key=ALICE)).status for _ in range(2)] == [200, 429]
        assert (await _chat(app)).status == 200


async def test_the_templates_limit_is_each_keys_own(tmp_path):
    async with running_app(tmp_path, rate_limits={"requests_per_minute": 1}, **_keys()) as app:
        assert [(await _chat(app, key=key)).status for key in (ALICE, BOB, ALICE)] == [200, 200, 429]


async def test_places_are_free_again_when_the_answer_has_ended_however_it_did(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), **_keys(limits={"parallel": 1})) as app:
        client = app.client("/v1/chat/completions", key=ALICE, body=chat_body("ticking@5", stream=True))
        running = asyncio.ensure_future(client.run())
        await client.received.wait()
        refused = await app.chat("fine", key=ALICE)
        assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "1 requests at once are running" in refused.json["error"]["message"]
        client.disconnect()
        await running
        for name, status in (("fine", 200), ("status@500", 500), ("close-at-once", 502), ("fine", 200)):
            assert (await app.chat(name, key=ALICE)).status == status


async def test_a_request_that_is_refused_before_it_is_charged_costs_nothing(tmp_path):
    async with running_app(tmp_path, **_keys(limits={"rpm": 1}, models=[ECHO])) as app:
        assert (await app.chat("nothing", key=ALICE)).status == 404
        assert (await app.chat(ECHO, key=ALICE, n="x")).status == 400
        assert (await _chat(app)).status == 200


async def test_a_request_larger_than_the_limit_is_told_that_waiting_is_no_use(tmp_path):
    async with running_app(tmp_path, **_keys(limits={"tpm": 1000})) as app:
        refused = await _chat(app, max_tokens=2000)
        assert refused.status == 429
        assert "has a limit of 1000 tokens per minute" in refused.json["error"]["message"]
        assert refused.header("x-should-retry") == "false"
        assert refused.header("retry-after") is None


@pytest.mark.parametrize("more", [{}, {"n": 100}], ids=["one", "many"])
@pytest.mark.parametrize(
    "limits", [{"limits": {"tpm": 10**9}}, {"budget": {"usd": 1000}}, {}], ids=["tpm", "usd", "none"]
)
async def test_an_absurd_number_of_tokens_is_no_error_of_ours(tmp_path, upstream, limits, more):
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(**limits)) as app:
        for asked in (10**9, 2**53, 2**62):
            assert (await app.chat("fine", key=ALICE, max_tokens=asked, **more)).status == 200
        many = {"model": "fine", "prompt": ["x"] * 50_000, "n": 100}
        assert (await app.post(many, path="/v1/completions", key=ALICE)).status == 200


async def test_an_exhausted_budget_names_level_id_limit_and_reset(tmp_path, upstream):
    # Each answer is 7 tokens read and 3 written; what may be asked for is bounded by the bytes of the body.
    budget = {"usd": "0.0005", "window": "1d"}
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget=budget)) as app:
        answers = [await app.chat("fine", key=ALICE, max_tokens=5) for _ in range(20)]
        statuses = [answer.status for answer in answers]
        assert statuses == sorted(statuses)
        assert set(statuses) == {200, 429}
        last = answers[-1]
        error = last.json["error"]
        assert (error["code"], error["type"]) == ("budget_exceeded", "insufficient_quota")
        assert "the budget of the key 'alice' is exceeded: 0.0005 USD per 1d" in error["message"]
        assert "resets in" in error["message"]
        assert last.header("x-should-retry") == "false"
        # Nobody is refused while there is enough for what a request may come to.
        spent = statuses.count(200) * 13_000
        assert (await _usage(app))["alice"]["cost_usd"] == f"{spent / 1e9:.9f}".rstrip("0")
        left = 500_000 - spent
        assert left < 600_000
        assert (await app.chat("fine", key=BOB)).status == 200


async def test_what_is_forwarded_asks_for_no_more_than_was_reserved(tmp_path, upstream):
    budget = {"usd": "0.005"}
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget=budget)) as app:
        asks: list[Any] = [{"max_tokens": 100}, {"max_tokens": 10_000}, {"max_completion_tokens": 9_000}, {}]
        for asked in asks:
            assert (await app.chat("fine", key=ALICE, **asked)).status == 200
        forwarded = [seen.json for seen in upstream.log.of("fine")]
        assert forwarded[0]["max_tokens"] == 100
        for body in forwarded[1:3]:
            most = body.get("max_tokens") or body.get("max_completion_tokens")
            # At two dollars a million, all of it can be paid.
            assert 1000 < most < 2500
        # Nobody knows how long this model's answers are, so it is told.
        assert forwarded[3]["max_completion_tokens"] < 2500
        assert (await app.chat("fine", key=ALICE, text="many words " * 500)).status == 429


async def test_an_answer_that_goes_on_in_the_background_is_charged_by_its_bound(tmp_path):
    async def queued(peer):
        await peer.answer(b'{"id":"resp_1","object":"response","status":"queued","model":"m","output":[],"usage":null}')

    with ScriptedUpstream({"m": queued}) as upstream:
        entries = [model("m", upstream.base_url, upstream="openai/m")]
        async with running_app(tmp_path, model_list=entries, prices=PAID, **_keys(budget={"usd": 1})) as app:
            body = {"model": "m", "input": "hi", "background": True, "max_output_tokens": 100_000}
            assert (await app.post(body, path="/v1/responses", key=ALICE)).status == 200
            row = (await _usage(app, "status"))["estimated"]
            assert 0.2 <= float(row["cost_usd"]) < 0.201


async def test_who_is_answered_at_once_does_not_pay_the_price_of_a_batch(tmp_path):
    with ScriptedUpstream({"gpt-5": hostile.SCRIPTS["fine"]}) as upstream:
        entries = [model("m", upstream.base_url, upstream="openai/gpt-5")]
        async with running_app(tmp_path, model_list=entries, **_keys(budget={"usd": 100})) as app:
            costs = {}
            for tier in ("default", "batch", "flex", "priority"):
                answer = await app.chat("m", key=ALICE, service_tier=tier)
                costs[tier] = float(answer.header("x-gateway-cost-usd") or 0)
    assert 0 < costs["flex"] < costs["batch"] == costs["default"] < costs["priority"]


async def test_a_tier_that_may_not_be_served_is_reserved_at_the_usual_price(tmp_path):
    with ScriptedUpstream({"gpt-5": hostile.SCRIPTS["fine"]}) as upstream:
        entries = [model("m", upstream.base_url, upstream="openai/gpt-5")]
        # Ten dollars for a million tokens written, five of them in the tier.
        async with running_app(tmp_path, model_list=entries, **_keys(budget={"usd": "0.01"})) as app:
            assert (await app.chat("m", key=ALICE, service_tier="flex", max_tokens=1500)).status == 200
            assert upstream.log.requests[0].json["max_tokens"] < 1000


async def test_a_limit_that_another_endpoint_reads_bounds_nothing(tmp_path, upstream):
    budget = {"usd": "0.002"}
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget=budget)) as app:
        asks: list[Any] = [{"max_output_tokens": 1}, {"max_tokens": 1, "max_completion_tokens": 50_000}]
        for asked in asks:
            assert (await app.chat("fine", key=ALICE, **asked)).status == 200
        first, second = [seen.json for seen in upstream.log.of("fine")]
        # As if nothing was said: what was reserved is what the upstream is told.
        assert 100 < first["max_completion_tokens"] < 1000
        assert second["max_tokens"] == 1
        assert 100 < second["max_completion_tokens"] < 1000
        refused = await app.chat("fine", key=ALICE, max_tokens=0)
        assert (refused.status, refused.json["error"]["param"]) == (400, "max_tokens")


async def test_without_a_budget_nothing_is_changed(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(limits={"rpm": 5})) as app:
        await app.chat("fine", key=ALICE)
        assert set(upstream.log.of("fine")[0].json) == {"model", "messages", "stream"}


async def test_a_stream_that_goes_beyond_what_was_reserved_is_ended_and_charged(tmp_path, upstream):
    budget = {"usd": "0.001"}
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget=budget)) as app:
        stream = await app.chat("endless-stream", key=ALICE, stream=True, max_tokens=10_000)
        *_, last = events_of(stream.body)
        assert orjson.loads(last)["error"]["code"] == "budget_exceeded"
        assert b"[DONE]" not in stream.body
        assert upstream.log.of("endless-stream")[0].json["max_tokens"] < 500
        row = (await _usage(app, "status"))["incomplete"]
        assert 0 < float(row["cost_usd"]) <= 0.001


@pytest.mark.parametrize(
    ("name", "stream", "status", "is_charged"),
    [
        ("fine", False, "complete", True),
        ("fine", True, "complete", True),
        ("status@500", False, "failed", False),
        ("status@429", True, "failed", False),
        ("close-at-once", False, "incomplete", True),
        ("close-at-once", True, "incomplete", True),
        ("reset-mid-body", False, "incomplete", True),
        ("reset-mid-stream", True, "incomplete", True),
        ("no-usage", True, "estimated", True),
        ("finish-without-done", True, "estimated", True),
        ("close-after-finish", True, "incomplete", True),
    ],
)
async def test_each_way_to_end_is_one_record(tmp_path, upstream, name, stream, status, is_charged):
    async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget={"usd": 1})) as app:
        await app.chat(name, key=ALICE, stream=stream)
        rows = await _usage(app, "status")
        assert list(rows) == [status]
        assert rows[status]["requests"] == 1
        assert (float(rows[status]["cost_usd"]) > 0) == is_charged


async def test_an_upstream_that_was_never_reached_costs_nothing_at_all(tmp_path):
    gone = [model("*", f"http://127.0.0.1:{free_port()}/v1")]
    async with running_app(
        tmp_path, model_list=gone, prices=PAID, **_keys(limits={"rpm": 1}, budget={"usd": 1})
    ) as app:
        assert [(await app.chat("x", key=ALICE)).status for _ in range(3)] == [502, 502, 502]
        assert await _usage(app) == {}


async def test_a_model_without_a_price_is_refused_under_a_hard_budget_and_counted_under_none(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_one(upstream), **_keys(budget={"usd": 1})) as app:
        refused = await app.chat("fine", key=ALICE)
        assert (refused.status, refused.json["error"]["code"]) == (403, "model_unpriced")
        assert upstream.log.of("fine") == []
        assert (await app.chat("fine", key=BOB)).status == 200
        row = (await _usage(app))["bob"]
        assert (row["requests"], row["unpriced"], row["cost_usd"]) == (1, 1, "0.00")


async def test_a_price_of_nothing_passes_even_when_nothing_is_left(tmp_path):
    async with running_app(tmp_path, **_keys(budget={"usd": 0})) as app:
        assert (await _chat(app)).status == 200


async def test_usage_is_for_administrators_and_says_what_it_does_not_know(tmp_path):
    async with running_app(tmp_path, **_keys()) as app:
        assert (await app.send("/admin/usage", key=ALICE)).status == 403
        for query in ("by=colour", "since=yesterday", "colour=red"):
            refused = await app.send(f"/admin/usage?{query}", key=MASTER_KEY)
            assert refused.status == 400, query
        headers = [(b"x-admin-api-key", ADMIN_KEY.encode())]
        answer = await app.send("/admin/usage?by=day,key&since=2026-01-01&until=2026-01-02", key=None, headers=headers)
        assert answer.json == {"data": []}


async def test_limits_and_spending_outlive_a_restart(tmp_path):
    sections = {"prices": PRICES} | _keys(limits={"rpm": 2})
    async with running_app(tmp_path, **sections) as app:
        assert (await _chat(app)).status == 200
    async with running_app(tmp_path, **sections) as app:
        assert [(await _chat(app)).status for _ in range(2)] == [200, 429]
        assert (await _usage(app))["alice"]["requests"] == 2


async def test_no_key_and_no_text_is_in_the_ledgers_files(tmp_path):
    async with running_app(tmp_path, prices=PRICES, **_keys(budget={"usd": 1})) as app:
        await app.chat(ECHO, key=ALICE, text="a very private matter")
        await _usage(app)
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert ALICE.encode() not in content, path
            assert b"private matter" not in content, path


async def test_a_whole_answer_without_usage_is_estimated_by_its_text(tmp_path, books):
    async with running_app(tmp_path, model_list=_one(books), prices=BOOKED, **_keys(budget={"usd": 1})) as app:
        assert (await app.chat("silent@50", key=ALICE, max_tokens=100)).status == 200
        row = (await _usage(app, "status"))["estimated"]
        assert float(row["cost_usd"]) * 1e9 >= books.owed


@pytest.mark.parametrize(
    "report", [{"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}, {"prompt_tokens": 7}]
)
async def test_a_text_that_the_report_has_no_tokens_of_is_estimated(tmp_path, report):
    async def answer(peer):
        await peer.answer(orjson.dumps(orjson.loads(completion("x" * 400)) | {"usage": report}))

    with ScriptedUpstream({"m": answer}) as upstream:
        async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget={"usd": 1})) as app:
            assert (await app.chat("m", key=ALICE)).status == 200
            row = (await _usage(app, "status"))["estimated"]
            assert 0.0002 <= float(row["cost_usd"]) < 0.00025


async def test_a_large_answer_of_numbers_is_charged_by_its_report(tmp_path):
    numbers = {"object": "list", "data": [{"embedding": "A" * 1_500_000, "index": 0}], "model": "m"}

    async def answer(peer):
        await peer.answer(orjson.dumps(numbers | {"usage": {"prompt_tokens": 7, "total_tokens": 7}}))

    with ScriptedUpstream({"m": answer}) as upstream:
        async with running_app(tmp_path, model_list=_one(upstream), prices=PAID, **_keys(budget={"usd": 1})) as app:
            asked = {"model": "m", "input": "x"}
            assert (await app.post(asked, path="/v1/embeddings", key=ALICE)).status == 200
            assert float((await _usage(app, "status"))["complete"]["cost_usd"]) < 0.0001


@pytest.mark.parametrize(
    ("name", "asked", "least", "most"),
    [
        ("gpt-5", {}, 0.04, 0.06),  # two dollars per million: 2,000 tokens a second, of ten seconds
        ("gpt-5", {"n": 2}, 0.08, 0.12),
        ("gpt-5", {"max_tokens": 3000}, 0.006, 0.0065),
        ("gpt-5", {"reasoning_effort": "none"}, 0.0, 0.001),
        ("gpt-4o", {}, 0.0, 0.001),
        ("gpt-4o", {"reasoning_effort": "low"}, 0.0327, 0.0332),  # its longest answer
    ],
)
async def test_a_stream_that_broke_off_is_charged_for_thoughts_that_nobody_saw(
    tmp_path, monkeypatch, name, asked, least, most
):
    monkeypatch.setattr(quota, "perf_counter_ns", lambda: perf_counter_ns() + 10 * 10**9)
    with ScriptedUpstream({name: hostile.SCRIPTS["reset-mid-stream"]}) as upstream:
        entries = [model("m", upstream.base_url, upstream=f"openai/{name}")]
        async with running_app(tmp_path, model_list=entries, prices=PAID, **_keys(budget={"usd": 1})) as app:
            await app.chat("m", key=ALICE, stream=True, **asked)
            assert least <= float((await _usage(app, "status"))["incomplete"]["cost_usd"]) <= most


async def test_who_is_refused_by_one_target_and_does_not_reach_the_next_owes_nothing(tmp_path, upstream):
    models = [model("m", upstream.base_url, upstream="openai/status@500"), _unreachable("m")]
    async with running_app(tmp_path, model_list=models, prices=PAID, **_keys(budget={"usd": 1})) as app:
        for _ in range(4):  # their turns change
            assert (await app.chat("m", key=ALICE, max_tokens=100)).status >= 500
        assert all(float(row["cost_usd"]) == 0 for row in (await _usage(app)).values())


def _unreachable(name):
    return model(name, f"http://127.0.0.1:{free_port()}/v1", upstream="openai/gone")


async def test_a_request_waits_for_the_store_for_as_long_as_its_predecessor_lingers(tmp_path, monkeypatch):
    monkeypatch.setattr("tollhouse.gateway.quota.HANDOVER_S", 0.1)
    first = EmbeddedQuota(tmp_path / "state" / "quota")
    await first.open()
    async with running_app(tmp_path, linger_s=10, **_keys(limits={"rpm": 2})) as app:
        asked = asyncio.create_task(_chat(app))
        _, waiting = await asyncio.wait({asked}, timeout=0.5)
        assert waiting
        first.hand_over()
        assert (await asked).status == 200
    await first.close()
