"""Receipts of every decision: written, chained, delivered, and what happens when that does not work."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner

from tests.gateway.test_every_route import every_route
from tests.support import hostile
from tests.support.app import App, running_app
from tests.support.client import chat_body
from tests.support.eris import Eris
from tests.support.gateway import KEY, NARROW_KEY, model
from tests.support.policies import section
from tests.support.upstream import ScriptedUpstream
from tollhouse.gateway import delivery, receipts
from tollhouse.gateway.cli import cli
from tollhouse.gateway.routes import PUBLIC
from tollhouse.middlewares.stores.chain import Chain, chains, records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

EMAIL = "kim.doe@example.com"
ECHO = "tollhouse/echo"
KEYS = [
    {"name": "wide", "key": KEY, "team": "acme", "user": "kim"},
    {"name": "narrow", "key": NARROW_KEY, "models": [ECHO], "limits": {"rpm": 1}},
]
POLICY: list[dict[str, Any]] = [
    {"id": "no", "effect": "deny", "models": ["forbidden"]},
    {"id": "low", "effect": "allow", "models": ["low"], "caps": {"max_tokens": 5}},
    {"id": "all", "effect": "allow"},
]


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(hostile.SCRIPTS) as running:
        yield running


@pytest.fixture
def eris() -> Iterator[Eris]:
    with Eris() as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests wait as long as the real thing does."""
    monkeypatch.setattr(delivery, "MOST_WAIT_S", 0.1)
    monkeypatch.setattr(delivery, "ORPHANS_S", 0.1)
    monkeypatch.setattr(receipts, "RETRY_S", 0.05)


async def until(fact: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it does not become so"
        await asyncio.sleep(0.01)


def kept(folder: Path) -> list[dict[str, Any]]:
    """All receipts of decisions on disk."""
    found = [orjson.loads(line) for chain in chains(folder / "state" / "receipts") for _, _, line in records(chain)]
    return [one for one in found if one["type"] == "decision"]


def _broken(*_: object) -> None:
    """Fails otherwise than a disk does."""
    raise RuntimeError


def verified(folder: Path, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["audit", "verify", str(folder / "state" / "receipts"), *args])
    return result.exit_code, result.output


@asynccontextmanager
async def told(folder: Path, eris: Eris, *, eris_more: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[App]:
    """An app that delivers; `more` is of its receipts section."""
    service = {"url": eris.url, "timeout_s": 0.2, "cooldown_s": 0.1} | (eris_more or {})
    async with running_app(folder, keys=KEYS, neighbours={"eris": service}, receipts=more) as app:
        yield app


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


@pytest.mark.parametrize("mood", ["hung", "slow", "error", "refuses", "lies", "no-json", "forgets", "takes-and-resets"])
async def test_a_service_that_misbehaves_costs_requests_nothing_and_gets_all_receipts_in_the_end(
    eris: Eris, tmp_path: Path, mood: str
) -> None:
    async with told(tmp_path, eris) as app:
        await app.chat(ECHO)
        await until(lambda: len(eris.decisions()) == 1)
        eris.mood = mood
        for _ in range(5):
            assert (await app.chat(ECHO)).status == 200
        if mood not in {"slow", "takes-and-resets"}:
            await until(lambda: app_delivery(app).failed >= 3)
            assert len(eris.decisions()) == 1
        eris.mood = "well"
        assert (await app.chat(ECHO)).status == 200
        await until(lambda: len(eris.decisions()) == 7)
        expected = kept(tmp_path)
        assert eris.decisions() == expected
    assert len(kept(tmp_path)) == 7


def app_delivery(app: App) -> Any:
    return app.asgi.state.receipts.delivery


async def test_a_service_that_was_gone_gets_what_it_missed_without_a_restart(eris: Eris, tmp_path: Path) -> None:
    async with told(tmp_path, eris) as app:
        eris.stop()
        for _ in range(5):
            assert (await app.chat(ECHO)).status == 200
        await until(lambda: app_delivery(app).failed >= 3)
        assert await app.metric("gateway_receipts_up") == 0
        assert await app.metric("gateway_receipts_waiting_bytes") > 0
        eris.start()
        await until(lambda: len(eris.decisions()) == 5)
        await until(lambda: app.asgi.state.receipts.waiting == 0)
        assert await app.metric("gateway_receipts_up") == 1


async def test_what_a_process_left_behind_is_told_by_the_next(eris: Eris, tmp_path: Path) -> None:
    eris.stop()
    async with told(tmp_path, eris) as first:
        await first.chat(ECHO)
    left = Chain(tmp_path / "state" / "receipts" / "chain-0007")
    left.append([{"seq": 0, "prev": "", "type": "decision"}])
    left.close()
    async with told(tmp_path, eris) as second:
        await second.chat(ECHO)
        eris.start()
        # Its own, which was the first's, and that of a worker that there is no more.
        await until(lambda: len(eris.decisions()) == 3)
    assert len({chain for chain, _ in eris.receipts}) == 2


@pytest.mark.parametrize("mood", ["gone", "hung", "error", "lies"])
async def test_nothing_is_decided_while_receipts_do_not_arrive_for_too_long(
    eris: Eris, tmp_path: Path, mood: str
) -> None:
    async with told(tmp_path, eris, max_lag_s=0.2) as app:
        assert (await app.chat(ECHO)).status == 200
        await until(eris.decisions)
        if mood == "gone":
            eris.stop()
        eris.mood = mood
        await app.chat(ECHO)
        await until(lambda: not app.asgi.state.receipts.has_room())
        refused = await app.chat(ECHO)
        assert (refused.status, refused.json["error"]["code"]) == (503, "receipts_unavailable")
        assert refused.header("retry-after") == "1"
        assert (await app.send("/health")).status == 200
        ready = await app.send("/health/ready")
        assert (ready.status, ready.json["failing"]) == (503, ["receipts"])
        assert (
            await app.send("/admin/keys", key=None, headers=[(b"x-admin-api-key", b"sk-admin-of-the-tests")])
        ).status == 200
        if mood == "gone":
            eris.start()
        eris.mood = "well"
        await until(app.asgi.state.receipts.has_room)
        assert (await app.chat(ECHO)).status == 200
    assert len(eris.decisions()) == len(kept(tmp_path)) == 4


async def test_a_buffer_has_an_end(eris: Eris, tmp_path: Path) -> None:
    eris.stop()
    async with told(tmp_path, eris, buffer_bytes=65536) as app:
        statuses = set()
        for _ in range(40):
            answers = await asyncio.gather(*(app.chat(ECHO) for _ in range(20)))
            statuses |= {answer.status for answer in answers}
            await asyncio.sleep(0.03)
            if 503 in statuses:
                break
        assert statuses == {200, 503}
        before = len(kept(tmp_path))
        assert {(await app.chat(ECHO)).status for _ in range(3)} == {503}
        assert len(kept(tmp_path)) == before
        eris.start()
        await until(app.asgi.state.receipts.has_room)
        assert (await app.chat(ECHO)).status == 200
        await until(lambda: len(eris.decisions()) == before + 1)


async def test_where_that_is_allowed_requests_go_on_and_the_chain_says_how_many_receipts_are_missing(
    eris: Eris, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST_PENDING", 5)
    async with told(tmp_path, eris, on_failure="allow") as app:
        book = app.asgi.state.receipts
        chain = book._chain
        await book.flush()
        own, chain._fd = chain._fd, os.open("/dev/full", os.O_WRONLY)
        for _ in range(9):
            assert (await app.chat(ECHO)).status == 200
        assert book.lost == 4
        assert await app.metric("gateway_receipts_lost_total") == 4
        os.close(chain._fd)
        chain._fd = own
        await until(lambda: len(eris.decisions()) == 5)
        assert [one["count"] for one in eris.receipts.values() if one["type"] == "lost"] == [4]


async def test_a_disk_that_takes_nothing_stops_decisions_and_is_gone_on_with(tmp_path: Path) -> None:
    async with running_app(tmp_path, keys=KEYS, receipts={}) as app:
        book = app.asgi.state.receipts
        await book.flush()
        chain = book._chain
        own, chain._fd = chain._fd, os.open("/dev/full", os.O_WRONLY)
        assert (await app.chat(ECHO)).status == 200
        await until(lambda: not book.has_room())
        assert (await app.chat(ECHO)).json["error"]["code"] == "receipts_unavailable"
        os.close(chain._fd)
        chain._fd = own
        await until(book.has_room)
        assert (await app.chat(ECHO)).status == 200
    assert len(kept(tmp_path)) == 2
    assert verified(tmp_path)[0] == 0


async def test_heads_that_cannot_be_kept_stop_decisions_and_no_receipt_is_written_twice(tmp_path: Path) -> None:
    away = tmp_path / "mount"
    given = {"head_s": 0, "head_file": str(away / "heads.jsonl")}
    async with running_app(tmp_path, keys=KEYS, receipts=given) as app:
        book = app.asgi.state.receipts
        await until(lambda: not book.has_room())
        assert (await app.chat(ECHO)).json["error"]["code"] == "receipts_unavailable"
        away.mkdir()
        # By itself: there is no request that could bring it about.
        await until(book.has_room)
        assert (await app.chat(ECHO)).status == 200
    assert len(kept(tmp_path)) == 1
    assert verified(tmp_path, "--head", str(away / "heads.jsonl"))[0] == 0


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


async def test_a_batch_that_fails_for_whatever_reason_is_written_once_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_app(tmp_path, keys=KEYS, receipts={}) as app:
        book = app.asgi.state.receipts
        await book.flush()
        with monkeypatch.context() as broken:
            broken.setattr(Chain, "append", _broken)
            assert (await app.chat(ECHO)).status == 200
            await until(lambda: not book.has_room())
            assert (await app.chat(ECHO)).json["error"]["code"] == "receipts_unavailable"
        await until(book.has_room)
        assert (await app.chat(ECHO)).status == 200
    assert len(kept(tmp_path)) == 2


async def test_a_head_that_cannot_be_signed_leaves_each_receipt_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_app(tmp_path, keys=KEYS, receipts={"head_s": 0}) as app:
        book = app.asgi.state.receipts
        await book.flush()
        with monkeypatch.context() as broken:
            broken.setattr(type(book), "_head", _broken)
            assert (await app.chat(ECHO)).status == 200
            await until(lambda: not book.has_room())
        await until(book.has_room)
    assert len(kept(tmp_path)) == 1
    assert verified(tmp_path)[0] == 0


async def test_a_name_that_is_no_text_costs_no_receipt(tmp_path: Path) -> None:
    async with running_app(tmp_path, keys=KEYS, receipts={}) as app:
        book = app.asgi.state.receipts
        book.take({"seq": 0, "prev": "", "type": "decision", "user": "half a pair \ud800", "status": 200})
        assert (await app.chat(ECHO)).status == 200
        await book.flush()
        assert book.has_room()
    assert [(one["user"], one["status"]) for one in kept(tmp_path)] == [("?", 200), ("kim", 200)]
    assert verified(tmp_path)[0] == 0


async def test_a_bad_disk_under_what_another_process_left_stops_nothing_else(
    eris: Eris, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "state" / "receipts"
    for number in (5, 6, 7):
        left = Chain(root / f"chain-{number:04}")
        left.append([{"seq": 0, "prev": "", "type": "decision"}])
        left.close()
    real_read, real_open = Chain.read, Chain._read_id

    def bad_open(chain: Chain) -> str:
        if chain.folder.name == "chain-0005":
            raise PermissionError(13, "Permission denied")
        return real_open(chain)

    def bad_read(chain: Chain, *most: int) -> Any:
        if chain.folder.name == "chain-0006":
            raise OSError(5, "Input/output error")
        return real_read(chain, *most)

    monkeypatch.setattr(Chain, "_read_id", bad_open)
    monkeypatch.setattr(Chain, "read", bad_read)
    async with told(tmp_path, eris, max_lag_s=0.01) as app:
        await until(lambda: len(eris.decisions()) == 1)  # that of chain-0007
        await until(lambda: "Input/output error" in caplog.text)
        assert app_delivery(app).failed == 0
        assert (await app.chat(ECHO)).status == 200
        await until(lambda: len(eris.decisions()) == 2)
    assert caplog.text.count("chain-0005 cannot be delivered: Permission denied") == 1
