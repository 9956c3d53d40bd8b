"""Receipts of every decision: written, chained, delivered."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.gateway.receipts.book import ECHO, EMAIL, KEYS, POLICY, kept, told, until, verified
from tests.gateway.test_every_route import every_route
from tests.support.app import running_app
from tests.support.client import chat_body
from tests.support.eris import Eris
from tests.support.gateway import KEY, NARROW_KEY, model
from tests.support.policies import section
from tests.support.upstream import ScriptedUpstream
from tollhouse.gateway import receipts
from tollhouse.gateway.routes import PUBLIC
from tollhouse.middlewares.stores.chain import chains

if TYPE_CHECKING:
    pass


async def test_every_decision_has_one_receipt_that_says_what_was_decided(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    models = [model(name, upstream.base_url, upstream="openai/fine") for name in ("m", "low", "forbidden")]
    models += [model("broken", upstream.base_url, upstream="openai/status@500")]
    sections = {
        "keys": KEYS,
        "model_list": models,
        "scan": {"request": {"pii": "redact", "secrets": "block"}},
        "policy": section(tmp_path, *POLICY, shadow=[{"id": "s", "effect": "deny"}]),
        "prices": {"openai/fine": {"input": 1, "output": 1}},
        "receipts": {},
    }
    secret = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"decision": "ALLOWED", "status": 200, "guards": ["auth", "policy", "scan", "quota"]}),
        ({"stream": True}, {"decision": "ALLOWED", "status": 200, "stream": True}),
        ({"content": EMAIL}, {"decision": "TRANSFORMED", "findings": {"EMAIL_ADDRESS": 1}, "status": 200}),
        (
            {"model": "low", "max_tokens": 50},
            {"decision": "TRANSFORMED", "reasons": ["rule=low", "max_tokens-lowered"]},
        ),
        ({"content": secret}, {"decision": "BLOCKED", "status": 400, "error": "content_policy_violation"}),
        (
            {"model": "forbidden"},
            {"decision": "BLOCKED", "status": 403, "reasons": ["rule=no"], "guards": ["auth", "policy"]},
        ),
        ({"key": "sk-wrong"}, {"decision": "BLOCKED", "status": 401, "key": None, "guards": ["auth"], "policy": None}),
        ({"model": "broken"}, {"status": 500, "error": "http_500"}),
        ({"model": "nothing"}, {"status": 404, "asked": "?"}),
        ({"model": "say it: " + secret}, {"status": 404, "asked": "?"}),
        ({"key": NARROW_KEY, "model": ECHO}, {"status": 200, "tenant": None, "key": "narrow"}),
        ({"key": NARROW_KEY, "model": ECHO}, {"status": 429, "decision": "BLOCKED", "error": "rate_limit_exceeded"}),
    ]
    async with running_app(tmp_path, **sections) as app:
        ids = []
        for given, _ in cases:
            asked = {"model": "m", "key": KEY} | given
            answer = await app.chat(asked.pop("model"), **asked)
            ids.append(answer.header("x-request-id"))
        for path in ("/health", "/health/ready", "/metrics"):
            await app.send(path)
        await app.send("/v1/models")
        await app.post(b"{oops")
    found = kept(tmp_path)
    assert [one["request"] for one in found[: len(ids)]] == ids
    assert [(one["route"], one["status"]) for one in found[len(ids) :]] == [
        ("/v1/models", 200),
        ("/v1/chat/completions", 400),
    ]
    assert (found[-1]["body_bytes"], found[-1]["decision"]) == (5, "BLOCKED")
    for (given, expected), one in zip(cases, found, strict=False):
        assert {name: one[name] for name in expected} == expected, given
    first = found[0]
    assert (first["tenant"], first["key"], first["user"], first["policy"]) == ("acme", "wide", "kim", "v1")
    assert (first["model"], first["provider"], first["tokens"][:2]) == ("m", "openai", [7, 3])
    assert first["nano_usd"] == 10_000
    assert first["shadow"] == [["v2", "BLOCKED", "rule=s"]]
    assert (len(first["policy_sha256"]), len(first["body_hmac"]), first["body_bytes"] > 50) == (64, 64, True)
    assert first["duration_us"] >= first["overhead_us"] > 0
    everything = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert EMAIL.encode() not in everything
    assert secret.encode() not in everything
    code, said = verified(tmp_path)
    assert (code, "whole up to" in said) == (0, True), said


async def test_streams_have_theirs_at_their_end_and_clients_that_go_have_one_as_well(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    entry = model("up/*", upstream.base_url)
    async with running_app(tmp_path, keys=KEYS, model_list=[entry], receipts={}) as app:
        client = app.client("/v1/chat/completions", body=chat_body("up/ticking@50", stream=True))
        running = asyncio.ensure_future(client.run())
        await until(lambda: upstream.log.requests)
        assert not kept(tmp_path)
        client.disconnect()
        await running
        await app.chat("up/reset-mid-stream", stream=True)
    gone, cut = kept(tmp_path)
    assert (gone["gone"], gone["stream"], gone["model"]) == (True, True, "up/*")
    assert (cut["gone"], cut["status"]) == (False, 200)
    assert cut["error"]


async def test_the_last_receipts_are_vouched_for_though_nothing_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "SYNC_S", 0.05)
    async with running_app(tmp_path, keys=KEYS, receipts={"head_s": 0.1}) as app:
        for _ in range(3):
            await app.chat(ECHO)
            await app.asgi.state.receipts.flush()
        [chain] = chains(tmp_path / "state" / "receipts")
        await until(lambda: orjson.loads((chain / "head.json").read_bytes())["seq"] == 4)
        assert not app.asgi.state.receipts._unsettled


async def test_every_route_but_the_public_ones_has_receipts(tmp_path: Path) -> None:
    asked = sorted(one for one in every_route(tmp_path) if one[1] not in PUBLIC)
    async with running_app(tmp_path, keys=KEYS, receipts={}) as app:
        for method, path in asked:
            await app.send(path.replace("{id}", "x").replace("{model:path}", "m"), method=method, key="sk-wrong")
    assert [(one["method"], one["status"]) for one in kept(tmp_path)] == [(method, 401) for method, _ in asked]


async def test_heads_are_signed_and_kept_elsewhere_and_show_what_was_cut_off(eris: Eris, tmp_path: Path) -> None:
    heads = tmp_path / "heads.jsonl"
    async with told(tmp_path, eris, head_s=0, head_file=str(heads)) as app:
        for _ in range(3):
            await app.chat(ECHO)
        await until(lambda: len(eris.decisions()) == 3)
    root = tmp_path / "state" / "receipts"
    key = (root / "signing.pub").read_text().strip()
    from_eris = tmp_path / "eris.jsonl"
    from_eris.write_bytes(b"\n".join(map(orjson.dumps, eris.heads)))
    for file in (heads, from_eris):
        assert verified(tmp_path, "--head", str(file), "--key", key)[0] == 0
    [chain] = chains(root)
    [path] = chain.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    (chain / "head.json").unlink()
    code, said = verified(tmp_path, "--head", str(heads), "--key", key)
    assert (code, f"records {len(lines) - 1} to {len(lines)} are missing at the end" in said) == (1, True), said
    assert verified(tmp_path, "--head", str(heads), "--key", "ed25519:" + "A" * 43)[0] == 1
    path.unlink()
    (chain / "id").unlink()
    assert verified(tmp_path)[0] == 1


async def test_the_service_is_told_who_asks_and_the_token_stands_nowhere_else(eris: Eris, tmp_path: Path) -> None:
    token = "canary-token-of-eris"
    async with told(tmp_path, eris, eris_more={"token": token}) as app:
        await app.chat(ECHO)
        await until(eris.decisions)
    assert f"authorization: Bearer {token}".encode() in eris.bodies[0]
    state = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert token.encode() not in state


async def test_a_rule_that_wants_a_receipt_is_met_where_there_are_receipts(tmp_path: Path) -> None:
    rule = {"id": "r", "effect": "allow", "obligations": {"receipt": True}}
    given = {"policy": section(tmp_path, rule), "receipts": {"on_failure": "allow"}}
    async with running_app(tmp_path, keys=KEYS, **given) as app:
        assert (await app.chat(ECHO)).status == 200
        book = app.asgi.state.receipts
        book._failed = True
        refused = await app.chat(ECHO)
        assert (refused.status, refused.json["error"]["code"]) == (503, "receipts_unavailable")


async def test_answers_have_a_digest_of_what_went_out_however_it_went(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    entry = model("up/*", upstream.base_url)
    scan = {"response": {"pii": "redact"}}
    async with running_app(tmp_path, keys=KEYS, model_list=[entry], scan=scan, receipts={}) as app:
        sent = [
            (await app.chat(ECHO)).body,
            (await app.chat(ECHO, content=EMAIL, stream=True)).body,
            (await app.chat("up/reset-mid-stream", stream=True)).body,
            (await app.chat("nothing")).body,
            (await app.send("/v1/models")).body,
            (await app.send("/nowhere")).body,
        ]
    key = (tmp_path / "state" / "receipts" / "digest.key").read_bytes()
    found = [(one["answer_bytes"], one["answer_hmac"]) for one in kept(tmp_path)]
    assert found == [(len(body), hmac.digest(key, body, "sha256").hex()) for body in sent]
    assert EMAIL.encode() not in sent[1]


async def test_a_client_that_goes_has_a_digest_of_what_it_was_sent(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    entry = model("up/*", upstream.base_url)
    async with running_app(tmp_path, keys=KEYS, model_list=[entry], receipts={}) as app:
        client = app.client("/v1/chat/completions", body=chat_body("up/ticking@50", stream=True))
        running = asyncio.ensure_future(client.run())
        await until(lambda: client.response.body)
        client.disconnect()
        await running
        sent = client.response.body
    key = (tmp_path / "state" / "receipts" / "digest.key").read_bytes()
    [one] = kept(tmp_path)
    assert one["gone"]
    assert one["answer_hmac"] == hmac.digest(key, sent[: one["answer_bytes"]], "sha256").hex()


async def test_a_name_that_is_no_text_costs_no_receipt(tmp_path: Path) -> None:
    async with running_app(tmp_path, keys=KEYS, receipts={}) as app:
        book = app.asgi.state.receipts
        book.take({"seq": 0, "prev": "", "type": "decision", "user": "half a pair \ud800", "status": 200})
        assert (await app.chat(ECHO)).status == 200
        await book.flush()
        assert book.has_room()
    assert [(one["user"], one["status"]) for one in kept(tmp_path)] == [("?", 200), ("kim", 200)]
    assert verified(tmp_path)[0] == 0
