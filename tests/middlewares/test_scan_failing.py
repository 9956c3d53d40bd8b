"""A scanner that fails lets nothing pass: requests, answers and streams, whatever it raises."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.middlewares.test_scan import EVENTS, TEXT, Recorder, ask, chat
from tests.support.chunks import DONE, delta, finish
from tests.support.client import checked_error, events_of, text_of
from tests.support.faulty import MARK, Panic, scanner_with
from tollhouse.middlewares.scan import ScanMiddleware

PATH = "/v1/chat/completions"
SECRET_REASON = f"thread panicked at {MARK}"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the scanners of guards that are made from now on fail in the named methods."""

    def fail(*names: str, error: BaseException | None = None) -> None:
        faults = dict.fromkeys(names, error or RuntimeError(SECRET_REASON))
        monkeypatch.setattr("tollhouse.middlewares.guard.Scanner", scanner_with(faults))

    return fail


@pytest.mark.parametrize(("method", "path"), [("scan_request", PATH), ("scan_json", "/any")])
@pytest.mark.parametrize("length", [1, 300_000], ids=["short", "long"])
async def test_a_request_that_could_not_be_scanned_is_a_503_that_no_app_sees(failing, method, path, length):
    failing(method)
    app = Recorder()
    response = await ask(ScanMiddleware(app), chat(MARK + " " * length), path=path)
    error = response.json["error"]
    assert (response.status, error["code"]) == (503, "policy_unavailable")
    assert MARK not in error["message"]
    assert app.calls == 0


@pytest.mark.parametrize("length", [1, 300_000], ids=["short", "long"])
async def test_an_answer_that_could_not_be_scanned_is_a_503(failing, length):
    failing("scan_answer")
    app = Recorder(chunks=[orjson.dumps({"text": MARK + " " * length})])
    response = await ask(ScanMiddleware(app), chat("hi"))
    assert (response.status, response.json["error"]["code"]) == (503, "policy_unavailable")
    assert MARK.encode() not in response.body
    assert app.told is not None


async def test_text_that_could_not_be_scanned_does_not_pass_either(failing):
    failing("scan_json", "scan_answer")
    app = Recorder(headers=[TEXT], chunks=[MARK.encode()])
    for body in (MARK.encode(), b"hi"):
        response = await ask(ScanMiddleware(app), body, headers=[TEXT])
        assert (response.status, response.json["error"]["code"]) == (503, "policy_unavailable")
    assert app.calls == 1


def _stream() -> Recorder:
    return Recorder(headers=[EVENTS], chunks=[delta("all well. "), delta(MARK), delta("more"), finish() + DONE, b""])


@pytest.mark.parametrize("method", ["feed", "finish"])
async def test_a_stream_that_could_not_be_scanned_ends_with_an_error_event(failing, method):
    failing(method)
    app = _stream()
    response = await ask(ScanMiddleware(app), chat("hi", stream=True), path=PATH)
    events = events_of(response.body)
    checked_error(events[-1], "policy_unavailable")
    assert response.complete
    assert app.told is not None
    if method == "feed":
        assert text_of(events[:-1]) == "all well. "
        assert MARK.encode() not in response.body
        assert b"[DONE]" not in response.body


async def test_a_stream_that_cannot_be_scanned_at_all_does_not_begin(failing):
    failing("event_redactor")
    response = await ask(ScanMiddleware(_stream()), chat("hi", stream=True), path=PATH)
    assert (response.status, response.json["error"]["code"]) == (503, "policy_unavailable")


@pytest.mark.parametrize("method", ["scan_request", "scan_answer", "feed"])
async def test_after_a_panic_nothing_more_goes_either_way(failing, method):
    failing(method, error=Panic())
    stream = method == "feed"
    app = _stream() if stream else Recorder(chunks=[MARK.encode()], headers=[TEXT])
    sent = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def keep(message: Any) -> None:
            sent.append(message)
            await send(message)

        await ScanMiddleware(app)(scope, receive, keep)

    with pytest.raises(Panic):
        await ask(watched, chat(MARK if method == "scan_request" else "hi", stream=stream), path=PATH)
    assert app.calls == (method != "scan_request")
    passed = b"".join(message.get("body", b"") for message in sent)
    assert MARK.encode() not in passed
    assert b"more" not in passed
    assert text_of(events_of(passed)) == ("all well. " if stream else "")
    assert all(message.get("more_body", True) for message in sent)
