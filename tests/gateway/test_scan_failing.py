"""The gateway with a scanner that fails: what could not be looked at does not pass."""

from __future__ import annotations

import pytest

from tests.support.app import running_app
from tests.support.client import checked_error, events_of, text_of
from tests.support.faulty import MARK, scanner_with

SCAN: dict[str, dict[str, str]] = {"request": {}, "response": {}}


def fail_in(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    faults = dict.fromkeys(names, RuntimeError(f"thread panicked at {MARK}"))
    monkeypatch.setattr("tollhouse.middlewares.guard.Scanner", scanner_with(faults))


@pytest.mark.parametrize(
    ("method", "stream"),
    [("scan_request", False), ("scan_request", True), ("scan_answer", False), ("event_redactor", True)],
)
async def test_what_could_not_be_scanned_is_a_503(tmp_path, monkeypatch, method, stream):
    fail_in(monkeypatch, method)
    async with running_app(tmp_path, scan=SCAN) as app:
        response = await app.chat("tollhouse/echo", content=MARK, stream=stream)
        assert response.status == 503
        assert checked_error(response.body, "policy_unavailable")
        assert MARK.encode() not in response.body
        assert app.log[-1]["error"] == "policy_unavailable"


async def test_a_stream_that_could_not_be_scanned_ends_with_an_error_event(tmp_path, monkeypatch):
    fail_in(monkeypatch, "feed")
    async with running_app(tmp_path, scan=SCAN) as app:
        response = await app.chat("tollhouse/echo", content=f"all is well. {MARK} and more", stream=True)
        events = events_of(response.body)
        assert response.status == 200
        assert text_of(events[:-1]) in "all is well. "
        checked_error(events[-1], "policy_unavailable")
        assert MARK.encode() not in response.body
        assert b"[DONE]" not in response.body
        assert app.log[-1]["error"] == "policy_unavailable"
