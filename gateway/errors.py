"""Errors of providers, told to callers in their own dialect."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import orjson

from tollhouse.middlewares.errors import MESSAGES_KINDS, BadRequest, Refusal, error_body, messages_error_body
from tollhouse.providers.attempts import cooling
from tollhouse.providers.causes import AUTH, of_status
from tollhouse.providers.errors import (
    UpstreamBusy,
    UpstreamCannot,
    UpstreamError,
    UpstreamShutdown,
    UpstreamStreamError,
)
from tollhouse.providers.refusals import fault_of

if TYPE_CHECKING:
    from tollhouse.providers.plan import Plan

_BAD_CREDENTIALS = frozenset({401, 403})
_VAGUE = 500
# Types and codes: https://platform.openai.com/docs/api-reference/responses/object (`error`). Of images, what is wrong
# with one that was sent; one that could not be made is another matter.
_OF_REQUEST: Final = re.compile(
    r"invalid_(?:request|prompt|image|base64)|image_(?:too|parse|content_policy|file|media)|_image\b"
    r"|policy|content_filter|context_length"
).search


def refusal_of(error: UpstreamError, error_event: bytes | None = None) -> Refusal:
    """What a caller gets when an upstream failed before the response began."""
    status = error.status
    if isinstance(error, UpstreamStreamError) and error_event is not None:
        status = stream_error_status(error_event)
    if isinstance(error, UpstreamCannot):
        return BadRequest(error.message, status=status, code=error.code, param=error.param, retry=False)
    refusal = Refusal(error.message, status=status, type="upstream_error", code=error.code)
    if isinstance(error, (UpstreamBusy, UpstreamShutdown)):
        refusal.headers.append((b"retry-after", b"1"))
        refusal.type = "server_error"
    return refusal


def refusal_of_cooling(plan: Plan, now: float) -> Refusal:
    """All targets have failed of late, and nobody is asked before it makes sense."""
    wait_s, is_limited = cooling(plan, now)
    headers = [(b"retry-after", b"%d" % max(1, ceil(wait_s)))]
    if is_limited:
        msg = "every upstream of this model is over its rate limit"
        return Refusal(msg, status=429, type="rate_limit_error", code="upstream_rate_limited", headers=headers)
    msg = "every upstream of this model has failed too often and is left alone for a while"
    return Refusal(msg, status=503, type="upstream_error", code="upstream_cooling", headers=headers)


def stream_error_status(error_object: bytes) -> int:
    """The HTTP status that an error inside a stream would have had."""
    try:
        fault = orjson.loads(error_object)
    except orjson.JSONDecodeError:
        return 502
    if not isinstance(fault, dict):
        return 502
    for key in ("status", "code"):
        value = fault.get(key)
        if isinstance(value, int) and 400 <= value <= 599 and value not in _BAD_CREDENTIALS:
            return value
    words = f"{fault.get('type')} {fault.get('code')}"
    if "rate_limit" in words or "insufficient_quota" in words:
        return 429
    if "overloaded" in words:
        return 503
    return 400 if _OF_REQUEST(words) else 502


def upstream_status(status: int, body: bytes = b"") -> int:
    """The status to pass on. That the gateway's own credentials were refused is no fault of the caller's key, and a
    redirect is never followed, as what no status means: all are a bad gateway.
    """
    is_odd = status < 200 or 300 <= status < 400 or status > 599
    return 502 if is_odd or _is_bad_credentials(status, body) else status


def _is_bad_credentials(status: int, body: bytes) -> bool:
    """Not so if what was asked for is what was refused."""
    return status in _BAD_CREDENTIALS and of_status(status, body, model=None).cause == AUTH


def told_status(status: int, body: bytes) -> int:
    """The status that an answer's error says it has, where its head says something vaguer.

    Gemini sends a refused quota as 429 within 500 at times, and a refused key as 400.
    """
    if status != _VAGUE and b"API_KEY_INVALID" not in body:
        return status
    fault = fault_of(body)
    if fault is None:
        return status
    if "API_KEY_INVALID" in str(fault.get("details")):
        return 401
    code = fault.get("code")
    return code if status == _VAGUE and isinstance(code, int) and 400 <= code <= 599 else status


def normalise(
    status: int,
    body: bytes,
    provider: str,
    *,
    kind: str | None = None,
    request_id: str = "",
    code: str | None = None,
) -> bytes:
    """An upstream's error body in the caller's dialect: OpenAI's shape with all four keys, or Anthropic's.

    code: of the error, where a header has it.
    """
    told = _in_openais_shape(status, body, provider, code)
    if kind not in MESSAGES_KINDS:
        return told
    return messages_error_body(error_of(told)[0], upstream_status(status, body), request_id)


def _in_openais_shape(status: int, body: bytes, provider: str, code: str | None) -> bytes:
    if _is_bad_credentials(status, body):
        return error_body(
            f"{provider} refused the gateway's credentials ({status})", "upstream_error", code="upstream_auth"
        )
    if 300 <= status < 400:
        return error_body(f"{provider} answered with a redirect ({status})", "upstream_error", code="upstream_redirect")
    fault = fault_of(body)
    if fault is None or not isinstance(fault.get("message"), str):
        return error_body(
            f"{provider} answered {status} without an error message", "upstream_error", code=code or f"http_{status}"
        )
    known = {
        "message": fault["message"],
        "type": fault.get("type") if isinstance(fault.get("type"), str) else "upstream_error",
        "param": fault.get("param") if isinstance(fault.get("param"), str) else None,
        "code": code or _code(fault),
    }
    return orjson.dumps({"error": fault | known})


def _code(fault: dict[str, Any]) -> str | None:
    """Of a number, which repeats the status (vLLM, llama.cpp, Gemini), the word beside it if there is one."""
    code = fault.get("code")
    if code is None or isinstance(code, str):
        return code
    word = fault.get("status")
    return word if isinstance(word, str) else str(code)


def error_of(body: bytes) -> tuple[str, str]:
    """Message and code of an error body that `normalise` has made."""
    fault = orjson.loads(body)["error"]
    return fault["message"], fault.get("code") or fault["type"]
