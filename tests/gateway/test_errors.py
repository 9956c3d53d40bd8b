from __future__ import annotations

from typing import Any

import orjson
import pytest

from tollhouse.gateway.errors import normalise, stream_error_status, told_status, upstream_status


def _told(status: int, body: Any, **more: Any) -> dict[str, Any]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    told: dict[str, Any] = orjson.loads(normalise(status, data, "someone", **more))["error"]
    return told


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "m", "type": "t", "param": None, "code": "c"}}, "m", "c"),
        # Gemini, in a stream that never began as well
        ({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}, "m", "INVALID_ARGUMENT"),
        ([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}], "m", "INVALID_ARGUMENT"),
        # Bedrock, and what stands in front of it
        ({"message": "m"}, "m", None),
        ({"Message": "m"}, "m", None),
        # Ollama
        ({"error": "m"}, "m", None),
        # vLLM, llama.cpp
        ({"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}, "m", "400"),
        ({"error": {"message": "m", "code": 400, "type": "invalid_request_error"}}, "m", "400"),
    ],
)
def test_every_providers_error_gets_openais_shape(body, message, code):
    told = _told(400, body)
    assert (told["message"], told["code"]) == (message, code)
    assert {"message", "type", "param", "code"} <= set(told)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"1", b'{"error":[]}', b'{"message":1}'])
def test_an_error_without_words_gets_some(body):
    assert _told(500, body)["message"] == "someone answered 500 without an error message"


def test_a_code_in_a_header_is_the_code():
    assert _told(429, {"message": "m"}, code="ThrottlingException")["code"] == "ThrottlingException"
    assert _told(500, b"", code="InternalFailure")["code"] == "InternalFailure"


def test_a_429_within_a_500_is_a_429():
    body = orjson.dumps({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}})
    assert told_status(500, body) == 429
    assert told_status(503, body) == 503
    for other in (b"", b"<html>", b'{"error":"m"}', b'{"error":{"code":0,"message":"m"}}', b'{"error":{"code":"429"}}'):
        assert told_status(500, other) == 500


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"type": "invalid_request_error"}, 400),
        ({"type": "error", "code": "invalid_prompt"}, 400),
        ({"code": "invalid_image_url"}, 400),
        ({"code": "failed_to_download_image"}, 400),
        ({"code": "image_content_policy_violation"}, 400),
        ({"code": "bio_policy"}, 400),
        ({"code": "content_filter"}, 400),
        ({"type": None, "code": "context_length_exceeded"}, 400),
        ({"type": "image_generation_server_error", "code": "image_generation_failed"}, 502),
        ({"code": "server_error"}, 502),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"type": "overloaded_error"}, 503),
        ({"code": 529}, 529),
    ],
)
def test_an_error_in_a_stream_has_the_status_that_it_would_have_had(fault, status):
    assert stream_error_status(orjson.dumps(fault)) == status


@pytest.mark.parametrize("status", [100, 199, 302, 600, 999])
def test_what_no_status_means_is_a_bad_gateway(status):
    assert upstream_status(status) == 502


def test_a_refused_key_is_no_bad_request_of_the_callers():
    details = [{"reason": "API_KEY_INVALID"}]
    body = orjson.dumps({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": details}})
    status = told_status(400, body)
    assert (status, upstream_status(status)) == (401, 502)
    assert _told(status, body)["code"] == "upstream_auth"
    # Words of a caller that a provider repeats decide nothing.
    quoted = orjson.dumps({"error": {"code": 400, "message": "API_KEY_INVALID"}})
    assert told_status(400, quoted) == 400
