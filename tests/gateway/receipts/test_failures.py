"""Receipts where the service, the disk or what writes them fails."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.receipts.book import ECHO, KEYS, kept, told, until, verified
from tests.support.app import App, running_app
from tests.support.eris import Eris
from tollhouse.gateway import receipts
from tollhouse.middlewares.stores.chain import Chain

if TYPE_CHECKING:
    pass


def _broken(*_: object) -> None:
    """Fails otherwise than a disk does."""
    raise RuntimeError


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
