"""Which model a request goes to: aliases, headers, prompt lengths, allow-lists, sessions, strategies."""

from __future__ import annotations

import orjson
import pytest

from tests.support import hostile
from tests.support.app import running_app
from tests.support.client import chat_body
from tests.support.gateway import KEY, MASTER_KEY, NARROW_KEY, model
from tests.support.net import free_port
from tests.support.upstream import ScriptedUpstream

SCRIPTS = hostile.SCRIPTS
LONG = "seven words are not many at all " * 400  # 2,800 tokens and more
HEADER = [(b"X-AI-Alternate".lower(), b"llama3")]
ROUTES = {
    "routes": {
        "openai": [
            {"models": ["mini"], "completion_params": {"temperature": 0.1, "max_tokens": 800}},
            {"models": ["llama"], "condition": {"header": "X-AI-Alternate", "value": "llama3"}},
        ]
    }
}
ESCALATION = {"routing": {"escalations": [{"model": "mini", "over_prompt_tokens": 2000, "to": "large"}]}}


@pytest.fixture
def upstream():
    with ScriptedUpstream(SCRIPTS) as running:
        yield running


def _models(upstream, *names):
    return [model(name, upstream.base_url, upstream="openai/fine") for name in names]


def _keys(*models):
    return [{"name": "wide", "key": KEY}, {"name": "narrow", "key": NARROW_KEY, "models": list(models)}]


# --- aliases


async def test_an_alias_is_another_name(tmp_path, upstream):
    alias = {"model_group_alias": {"smart": "large", "secret": {"model": "large", "hidden": True}}}
    async with running_app(tmp_path, model_list=_models(upstream, "large"), router_settings=alias) as app:
        for name in ("smart", "secret"):
            response = await app.chat(name)
            assert (response.status, response.header("x-gateway-model")) == (200, "large")
        listed = {one["id"] for one in (await app.send("/v1/models")).json["data"]}
        assert listed == {"large", "smart", "tollhouse/echo"}
        assert (await app.send("/v1/models/smart")).status == 200


async def test_an_alias_opens_nothing_that_the_key_may_not_use(tmp_path, upstream):
    sections = {
        "model_list": _models(upstream, "large", "mini"),
        "router_settings": {"model_group_alias": {"smart": "large", "small": "mini"}},
        "keys": _keys("smart", "mini"),
    }
    async with running_app(tmp_path, **sections) as app:
        response = await app.chat("smart", key=NARROW_KEY)
        assert (response.status, response.json["error"]["code"]) == (403, "model_not_allowed")
        assert "large" not in response.json["error"]["message"]
        assert (await app.chat("small", key=NARROW_KEY)).status == 200
        listed = {one["id"] for one in (await app.send("/v1/models", key=NARROW_KEY)).json["data"]}
        assert listed == {"mini", "small"}


# --- headers


async def test_a_header_sends_a_request_to_another_model(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "mini", "llama"), **ROUTES) as app:
        assert (await app.chat("mini", headers=HEADER)).header("x-gateway-model") == "llama"
        assert (await app.chat("mini", headers=[(b"x-ai-alternate", b"other")])).header("x-gateway-model") == "mini"
        assert (await app.chat("mini")).header("x-gateway-model") == "mini"


async def test_a_header_opens_nothing_that_the_key_may_not_use(tmp_path, upstream):
    keys = _keys("mini")
    async with running_app(tmp_path, model_list=_models(upstream, "mini", "llama"), keys=keys, **ROUTES) as app:
        response = await app.chat("mini", headers=HEADER, key=NARROW_KEY)
        assert (response.status, response.json["error"]["code"]) == (403, "model_not_allowed")
        assert not upstream.log.requests


async def test_parameters_are_filled_in_where_the_caller_says_nothing(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "mini", "llama"), **ROUTES) as app:
        await app.post(b'{"model":"mini","messages":[{"role":"user"}]} ')
        await app.post(b'{"model":"mini","messages":[{"role":"user"}],"max_completion_tokens":5,"temperature":1}')
        await app.post(b'{"model":"llama","messages":[{"role":"user"}]}')
    sent = [seen.body for seen in upstream.log.requests]
    assert sent[0] == b'{"model":"fine","messages":[{"role":"user"}],"temperature":0.1,"max_tokens":800} '
    assert sent[1] == b'{"model":"fine","messages":[{"role":"user"}],"max_completion_tokens":5,"temperature":1}'
    assert sent[2] == b'{"model":"fine","messages":[{"role":"user"}]}'


# --- the length of prompts


@pytest.mark.parametrize("stream", [False, True])
async def test_a_long_prompt_goes_to_the_larger_model_and_is_priced_as_such(tmp_path, upstream, stream):
    entries = [model("mini", upstream.base_url, upstream="vllm/fine"), *_models(upstream, "large")]
    prices = {"vllm/fine": {"input": 1, "output": 1}, "openai/fine": {"input": 100, "output": 100}}
    async with running_app(tmp_path, model_list=entries, prices=prices, **ESCALATION) as app:
        for text, served, provider in (("short", "mini", "vllm"), (LONG, "large", "openai")):
            response = await app.chat("mini", stream=stream, messages=[{"role": "user", "content": text}])
            assert (response.status, response.header("x-gateway-model")) == (200, served)
            assert response.header("x-gateway-provider") == provider
        rows = (await app.send("/admin/usage?by=model", key=MASTER_KEY)).json["data"]
        assert {row["model"]: row["cost_usd"] for row in rows} == {"mini": "0.00001", "large": "0.001"}


async def test_what_is_long_in_bytes_but_not_in_tokens_stays(tmp_path, upstream):
    text = "internationalisation " * 300  # 6,300 bytes, which bound more than 2,000 tokens
    async with running_app(tmp_path, model_list=_models(upstream, "mini", "large"), **ESCALATION) as app:
        response = await app.chat("mini", messages=[{"role": "user", "content": text}])
        assert response.header("x-gateway-model") == "mini"


async def test_a_very_long_prompt_is_counted_off_the_loop(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_models(upstream, "mini", "large"), **ESCALATION) as app:
        response = await app.chat("mini", messages=[{"role": "user", "content": LONG * 20}])
        assert response.header("x-gateway-model") == "large"


async def test_a_long_prompt_stays_where_the_key_may_not_use_the_larger_model(tmp_path, upstream):
    entries = _models(upstream, "mini", "large")
    async with running_app(tmp_path, model_list=entries, keys=_keys("mini"), **ESCALATION) as app:
        response = await app.chat("mini", key=NARROW_KEY, messages=[{"role": "user", "content": LONG}])
        assert response.header("x-gateway-model") == "mini"


async def test_the_larger_models_price_is_what_has_to_fit_the_budget(tmp_path, upstream):
    entries = [model("mini", upstream.base_url, upstream="vllm/fine"), *_models(upstream, "large")]
    prices = {"vllm/fine": {"input": "0.001", "output": "0.001"}, "openai/fine": {"input": 1000, "output": 1000}}
    keys = [{"name": "wide", "key": KEY, "budget": {"usd": "0.5"}}]
    async with running_app(tmp_path, model_list=entries, prices=prices, keys=keys, **ESCALATION) as app:
        assert (await app.chat("mini", max_tokens=20)).status == 200
        response = await app.chat("mini", max_tokens=20, messages=[{"role": "user", "content": LONG}])
        assert (response.status, response.json["error"]["code"]) == (429, "budget_exceeded")


# --- who of several


def _three(upstream, **params):
    providers = ("openai", "vllm", "groq")
    return [model("m", upstream.base_url, upstream=f"{p}/fine", api_key=f"sk-{p}", **params) for p in providers]


async def _providers(app, count=9, **more):
    return [(await app.chat("m", **more)).header("x-gateway-provider") for _ in range(count)]


async def test_a_session_stays_with_one_deployment(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_three(upstream)) as app:
        for more in ({"user": "u1"}, {"prompt_cache_key": "k"}, {"headers": [(b"x-session-id", b"s")]}):
            assert len(set(await _providers(app, **more))) == 1
        sessions = [(await _providers(app, 1, user=f"user {n}"))[0] for n in range(30)]
        assert set(sessions) == {"openai", "vllm", "groq"}
        assert set(await _providers(app)) == {"openai", "vllm", "groq"}


async def test_numbers_beyond_all_use_are_not_the_gateways_fault(tmp_path, upstream):
    body = chat_body("m", user="kim", n=1)
    sent = orjson.dumps(body).replace(b'"n":1', b'"seed":1e400')
    async with running_app(tmp_path, model_list=_three(upstream)) as app:
        assert (await app.post(sent)).status < 500
        assert upstream.log.requests[-1].body == sent.replace(b'"m"', b'"fine"')
    routes = {"x": [{"models": ["m"], "completion_params": {"temperature": 0.5}}]}
    async with running_app(tmp_path / "filled", model_list=_three(upstream), routes=routes) as app:
        response = await app.post(sent)
        assert (response.status, response.json["error"]["code"]) == (400, "invalid_value")


async def test_a_conversation_stays_with_one_deployment_if_that_is_wanted(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_three(upstream), routing={"affinity": "prefix"}) as app:
        turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "first"}]
        seen = set()
        for number in range(5):
            seen |= set(await _providers(app, 1, messages=[*turns]))
            turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"more {number}"}]
        assert len(seen) == 1


async def test_affinity_can_be_switched_off(tmp_path, upstream):
    async with running_app(tmp_path, model_list=_three(upstream), routing={"affinity": "off"}) as app:
        assert len(set(await _providers(app, user="u1"))) == 3


async def test_a_session_moves_when_its_deployment_is_away_and_the_others_stay(tmp_path, upstream):
    entries = _three(upstream)
    entries[0]["litellm_params"]["api_base"] = f"http://127.0.0.1:{free_port()}/v1"
    async with running_app(tmp_path, model_list=entries) as app:
        providers = {user: (await _providers(app, 2, user=user)) for user in map(str, range(20))}
        assert all(len(set(seen)) == 1 and "openai" not in seen for seen in providers.values())


@pytest.mark.parametrize("strategy", ["cost", "cost-based-routing"])
async def test_the_cheapest_is_asked(tmp_path, upstream, strategy):
    prices = {"openai/fine": {"input": 9}, "vllm/fine": {"input": 1}, "groq/fine": {"input": 5}}
    own = {"routing": {"strategy": strategy}}
    section = own if strategy == "cost" else {"router_settings": {"routing_strategy": strategy}}
    async with running_app(tmp_path, model_list=_three(upstream), prices=prices, **section) as app:
        assert set(await _providers(app)) == {"vllm"}


async def test_weights_of_litellms_are_shares(tmp_path, upstream):
    entries = _three(upstream)
    for entry, rpm in zip(entries, (600, 200, 200), strict=True):
        entry["litellm_params"]["rpm"] = rpm
    async with running_app(tmp_path, model_list=entries) as app:
        seen = await _providers(app, 10)
        assert sorted(map(seen.count, ("openai", "vllm", "groq"))) == [2, 2, 6]


@pytest.mark.parametrize("strategy", ["least-used", "usage-based-routing", "usage-based-routing-v2"])
async def test_the_least_used_is_asked(tmp_path, upstream, strategy):
    own = {"routing": {"strategy": strategy}}
    section = own if strategy == "least-used" else {"router_settings": {"routing_strategy": strategy}}
    async with running_app(tmp_path, model_list=_three(upstream), **section) as app:
        (busy,) = set(await _providers(app, 1))
        # Each answer is of three tokens; so much in one request is not made up for by the others.
        assert busy not in await _providers(app, 2)
        assert set(await _providers(app, 3)) == {"openai", "vllm", "groq"}


async def test_who_has_had_its_requests_of_this_minute_is_passed_over(tmp_path, upstream):
    entries = _three(upstream)
    entries[0]["litellm_params"] |= {"rpm": 1, "weight": 9}
    entries[1]["litellm_params"] |= {"tpm": 1}
    async with running_app(tmp_path, model_list=entries) as app:
        seen = await _providers(app, 12)
        assert (seen.count("openai"), seen.count("vllm"), seen.count("groq")) == (1, 1, 10)


async def test_when_all_have_had_theirs_callers_are_told_when_to_come_back(tmp_path, upstream):
    entries = _three(upstream)[:2]
    for entry in entries:
        entry["litellm_params"]["rpm"] = 2
    entries[0]["limits"] = {"rpm": 100}  # of the model; else it is the sum of its deployments
    async with running_app(tmp_path, model_list=entries) as app:
        assert len(await _providers(app, 4)) == 4
        refused = await app.chat("m")
        assert (refused.status, refused.json["error"]["code"]) == (429, "upstream_rate_limited")
        assert 0 < int(refused.header("retry-after") or 0) <= 60
        assert len(upstream.log.requests) == 4


async def test_rules_of_a_pattern_are_for_what_it_serves(tmp_path, upstream):
    routes = {"x": [{"models": ["up/*"], "completion_params": {"temperature": 0.5}}]}
    routes["y"] = [{"models": ["large", "up/*"], "condition": {"header": "x-large", "value": "yes"}}]
    own = {"escalations": [{"model": "up/*", "over_prompt_tokens": 2000, "to": "large"}]}
    entries = [model("up/*", upstream.base_url), *_models(upstream, "large", "mini")]
    async with running_app(tmp_path, model_list=entries, routes=routes, routing=own) as app:
        assert (await app.chat("up/fine")).header("x-gateway-model") == "up/fine"
        assert upstream.log.requests[-1].json["temperature"] == 0.5
        long = [{"role": "user", "content": LONG}]
        assert (await app.chat("up/fine", messages=long)).header("x-gateway-model") == "large"
        header = [(b"x-large", b"yes")]
        assert (await app.chat("up/fine", headers=header)).header("x-gateway-model") == "up/fine"
        assert (await app.chat("mini", headers=header)).header("x-gateway-model") == "large"


async def test_answers_say_what_was_asked_for_by_pattern(tmp_path, upstream):
    alias = {"model_group_alias": {"x": "up/fine"}}
    entries = [model("up/*", upstream.base_url)]
    async with running_app(tmp_path, model_list=entries, router_settings=alias) as app:
        assert (await app.chat("x")).header("x-gateway-model") == "up/fine"
        assert orjson.loads(upstream.log.requests[-1].body)["model"] == "fine"


# --- what a deployment alone knows


async def _stored(peer):
    """A response with an id of its own."""
    number = len(peer.log.requests)
    answer: dict[str, object] = {"id": f"resp_{number}", "object": "response", "status": "completed", "model": "x"}
    answer |= {"output": [], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}
    if peer.seen.json.get("stream"):
        await peer.stream_head()
        for at, (kind, status) in enumerate((("created", "in_progress"), ("completed", "completed"))):
            kind = f"response.{kind}"  # noqa: PLW2901
            now = answer | {"status": status}
            data = orjson.dumps({"type": kind, "sequence_number": at, "response": now})
            await peer.chunk(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))
        await peer.end()
    else:
        await peer.answer(orjson.dumps(answer))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_response_is_continued_where_it_was_made(tmp_path, stream):
    with ScriptedUpstream({"stored": _stored}) as upstream:
        entries = [model("m", upstream.base_url, upstream="openai/stored", api_key=f"sk-{n}") for n in range(3)]
        async with running_app(tmp_path, model_list=entries) as app:
            body = {"model": "m", "input": "hello", "stream": stream}
            previous = None
            for number in range(8):
                more: dict[str, str] = {} if previous is None else {"previous_response_id": previous}
                response = await app.post(body | more, path="/v1/responses")
                assert response.status == 200, response
                previous = f"resp_{number + 1}"
            assert len({seen.headers["authorization"] for seen in upstream.log.requests}) == 1


async def test_a_response_of_another_key_is_not_looked_up(tmp_path):
    with ScriptedUpstream({"stored": _stored}) as upstream:
        entries = [model("m", upstream.base_url, upstream="openai/stored", api_key=f"sk-{n}") for n in range(2)]
        async with running_app(tmp_path, model_list=entries) as app:
            body = {"model": "m", "input": "hello"}
            await app.post(body, path="/v1/responses")
            for _ in range(4):
                await app.post(body | {"previous_response_id": "resp_1"}, path="/v1/responses", key=MASTER_KEY)
            others = [seen.headers["authorization"] for seen in upstream.log.requests[1:]]
            assert len(set(others)) == 2
