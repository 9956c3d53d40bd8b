from __future__ import annotations

import time

import pytest

from tollhouse.config import fallbacks
from tollhouse.providers import causes, errors


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (302, "auth"),
        (400, "request"),
        (401, "auth"),
        (403, "auth"),
        (404, "auth"),
        (408, "timeout"),
        (409, "request"),
        (422, "request"),
        (429, "rate_limit"),
        (500, "server_error"),
        (503, "server_error"),
        (504, "timeout"),
        (529, "server_error"),
    ],
)
def test_a_status_says_why(status, cause):
    assert causes.of_status(status, b"{}", model="m").cause == cause


def test_a_model_that_the_caller_named_is_the_callers_mistake():
    assert causes.of_status(404, b"{}", model=None).cause == "request"
    assert causes.of_status(401, b"{}", model=None).cause == "auth"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"code":"context_length_exceeded","message":"..."}}',
        b'{"error":{"message":"This model\'s maximum context length is 8192 tokens."}}',
        b'{"type":"error","error":{"message":"prompt is too long: 210000 tokens > 200000 maximum"}}',
        b'{"error":{"message":"input length and `max_tokens` exceed context limit"}}',
        b'{"error":{"message":"The input token count (40000) exceeds the maximum number of tokens allowed (32768)."}}',
        b'{"message":"Input is too long for requested model."}',
    ],
)
def test_prompts_that_are_too_long_are_known_by_what_providers_say(body):
    assert causes.of_status(400, body, model="m").cause == "context_window"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"code":"content_policy_violation","message":"..."}}',
        b'{"error":{"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}',
        b'{"error":{"message":"Your request was rejected by our safety system."}}',
    ],
)
def test_refusals_by_policy_are_known_by_what_providers_say(body):
    assert causes.of_status(400, body, model="m").cause == "content_policy"


@pytest.mark.parametrize(
    ("status", "body", "is_doubtful"),
    [
        (429, b'{"error": {\n "message": "Request too large for gpt-5 (TPM): Limit 30000", "type": "tokens"}}', True),
        (429, b'{"type":"error","error":{"message":"Extra usage is required for long context requests."}}', True),
        (429, b'{"error":{"message":"Resource unavailable","code":"resource_unavailable"}}', True),
        (429, b'{"error":{"message":"Rate limit reached for gpt-5","code":"rate_limit_exceeded"}}', False),
        (429, b"", False),
        (500, b"", False),
        (501, b"", True),
    ],
)
def test_what_may_be_said_of_one_request_alone_is_doubtful(status, body, is_doubtful):
    assert causes.of_status(status, body, model="m").is_doubtful is is_doubtful


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (errors.UpstreamTimeout("x"), "timeout"),
        (errors.UpstreamTimeout("x", code="upstream_connect_timeout"), "timeout"),
        (errors.UpstreamUnreachable("x"), "connection"),
        (errors.UpstreamBusy("x"), "busy"),
        (errors.UpstreamProtocolError("x", code="upstream_lost"), "connection"),
        (errors.UpstreamProtocolError("x", code="upstream_truncated"), "connection"),
        (errors.UpstreamProtocolError("x", code="upstream_protocol"), "server_error"),
        (errors.UpstreamStreamError("x"), "server_error"),
    ],
)
def test_an_error_says_why(error, cause):
    assert causes.of_error(error) == cause


@pytest.fixture
def elsewhere(monkeypatch):
    """Not in UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:28:30 GMT")], 30.0),
        ([(b"retry-after", b"Wed, 21 Oct 2026 07:27:00 GMT")], 0.0),
        ([(b"retry-after", b"Wednesday, 21-Oct-26 07:28:30 GMT")], 30.0),
        ([(b"retry-after", b"Wed Oct 21 07:28:30 2026")], 30.0),
        ([(b"retry-after", b"Wed, 99 Oct 2026 07:27:00 GMT")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after-ms", b"soon"), (b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"9000000000")], 1e6),
        ([(b"retry-after", b"inf")], 1e6),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([], None),
    ],
)
def test_retry_after_is_read(headers, seconds):
    assert causes.retry_after(headers, now=lambda: 1_792_567_680.0) == seconds


def test_the_configurations_words_are_the_routers():
    assert fallbacks.GENERAL == causes.GENERAL
    assert set().union(*fallbacks.CONDITIONS.values()) == causes.EVERY
