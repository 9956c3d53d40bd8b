"""The policy of the service over a restart while that is away."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.gateway.neighbours.test_policy_change import becomes, decided, document, sections, stranger
from tests.support.app import App, running_app
from tests.support.net import until
from tollhouse.gateway.neighbours.policy_kept import MOST, KeptPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.services import Street


def kept(folder: Path) -> Path:
    return folder / "state" / "policy" / "document"


async def _left_behind(folder: Path, services: Street, version: str) -> Path:
    """A document that a gateway has kept before it ended and its service went away."""
    services.world.policy = services.world.signed(document(version))
    async with running_app(folder, **sections(services)) as app:
        await becomes(app, (200, version))
        await until(_there(kept(folder)), what="it is kept")
    services.break_("policy", "error")
    return kept(folder)


def _there(path: Path):
    async def is_there() -> bool:
        return path.exists()

    return is_there


async def test_a_restart_while_the_service_is_away_decides_by_the_last_good_document(
    tmp_path: Path, services: Street
) -> None:
    path = await _left_behind(tmp_path, services, "2026-10")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_bytes() == services.world.policy
    async with running_app(tmp_path, **sections(services)) as app:
        assert await decided(app) == (200, "2026-10")
        services.world.policy = services.world.signed(document("2026-11", effect="deny"))
        services.mend("policy")
        await becomes(app, (403, "2026-11"))


def _is(path: Path, content: bytes):
    async def is_so() -> bool:
        return path.read_bytes() == content

    return is_so


async def test_what_nobody_has_confirmed_for_too_long_decides_nothing_and_is_still_the_oldest_that_can_come(
    tmp_path: Path, services: Street
) -> None:
    path = await _left_behind(tmp_path, services, "2")
    for moment in (time.time() - 3601, time.time() + 3600):
        os.utime(path, (moment, moment))
        async with running_app(tmp_path, **sections(services)) as app:
            answer = await app.chat("tollhouse/echo")
            assert (answer.status, answer.json["error"]["code"]) == (503, "policy_unavailable")
    services.world.policy = services.world.signed(document("1", effect="deny"))
    services.mend("policy")
    async with running_app(tmp_path, **sections(services)) as app:
        assert (await app.chat("tollhouse/echo")).status == 503
        await until(lambda: _counted(app, "older"), what="it is refused")
        services.world.policy = services.world.signed(document("3", effect="deny"))
        await becomes(app, (403, "3"))


async def _counted(app: App, outcome: str) -> bool:
    return await app.metric("gateway_policy_documents_total", outcome=outcome) > 0


@pytest.mark.parametrize("change", ["edited", "stranger", "unsigned", "empty", "huge", "folder"])
async def test_it_is_believed_no_more_than_one_from_the_service(tmp_path: Path, services: Street, change: str) -> None:
    path = await _left_behind(tmp_path, services, "1")
    good = path.read_bytes()
    path.unlink()
    bad = {
        "edited": good.replace(b"allow", b"deny "),
        "stranger": stranger(tmp_path, document("9")),
        "unsigned": document("9"),
        "empty": b"",
        "huge": good + b" " * MOST,
    }
    if change in bad:
        path.write_bytes(bad[change])
    else:
        path.mkdir()
    async with running_app(tmp_path, **sections(services)) as app:
        assert (await app.chat("tollhouse/echo")).json["error"]["code"] == "policy_unavailable"
        services.mend("policy")
        await becomes(app, (200, "1"))
        if change != "folder":
            await until(_is(path, good), what="the good one is kept")


async def test_where_the_service_fails_open_the_kept_one_decides_however_old(tmp_path: Path, services: Street) -> None:
    path = await _left_behind(tmp_path, services, "1")
    os.utime(path, (0, 0))
    given = sections(services)
    given["neighbours"]["policy"]["fail"] = "open"
    async with running_app(tmp_path, **given) as app:
        assert await decided(app) == (200, "1")


async def test_a_document_that_need_not_be_signed_is_not_kept(tmp_path: Path, services: Street) -> None:
    services.world.policy = document("1")
    async with running_app(tmp_path, **sections(services, require_signature=False)) as app:
        await becomes(app, (200, "1"))
    assert not kept(tmp_path).exists()


async def test_a_disk_that_keeps_nothing_stops_no_policy(
    tmp_path: Path, services: Street, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "policy").write_text("in the way")
    services.world.policy = services.world.signed(document("1"))
    async with running_app(tmp_path, **sections(services)) as app:
        await becomes(app, (200, "1"))
        await until(lambda: _said(caplog), what="it is said")
    assert caplog.text.count("cannot be kept for a restart") == 1


async def _said(caplog: pytest.LogCaptureFixture) -> bool:
    return "the policy cannot be kept for a restart: File exists" in caplog.text


def test_a_worker_that_is_behind_does_not_replace_what_another_has_kept(tmp_path: Path) -> None:
    one = KeptPolicy(tmp_path / "policy", precedes=lambda new, old: new < old)
    assert one.load() is None
    one.keep(b"2")
    one.keep(b"1")
    found = one.load()
    assert found is not None
    assert found[0] == b"2"
    os.utime(tmp_path / "policy" / "document", (0, 0))
    one.keep(b"1")
    assert one.load()[1] > 1e6  # type: ignore[index]
    one.keep(b"2")
    assert one.load()[1] < 60  # type: ignore[index]
    one.keep(b"3")
    assert one.load()[0] == b"3"  # type: ignore[index]
