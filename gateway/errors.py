"""Errors of providers, told to callers in their own dialect."""

from __future__ import annotations

from typing import Any

import orjson

from tollhouse.middlewares.errors import MESSAGES_KINDS, BadRequest, Refusal, error_body, messages_error_body
from tollhouse.providers.errors import (
    UpstreamBusy,
    UpstreamCannot,
    UpstreamError,
    UpstreamShutdown,
    UpstreamStreamError,
)

_BAD_CREDENTIALS = frozenset({401, 403})


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
    return 400 if "invalid_request" in words else 502


def upstream_status(status: int) -> int:
    """The status to pass on. That the gateway's own credentials were refused is no fault of the caller's key, and a
    redirect is never followed: both are a bad gateway.
    """
    return 502 if status in _BAD_CREDENTIALS or status < 200 or 300 <= status < 400 else status


def normalise(status: int, body: bytes, provider: str, *, kind: str | None = None, request_id: str = "") -> bytes:
    """An upstream's error body in the caller's dialect: OpenAI's shape with all four keys, or Anthropic's."""
    told = _in_openais_shape(status, body, provider)
    if kind not in MESSAGES_KINDS:
        return told
    return messages_error_body(error_of(told)[0], upstream_status(status), request_id)


def _in_openais_shape(status: int, body: bytes, provider: str) -> bytes:
    if status in _BAD_CREDENTIALS:
        return error_body(
            f"{provider} refused the gateway's credentials ({status})", "upstream_error", code="upstream_auth"
        )
    if 300 <= status < 400:
        return error_body(f"{provider} answered with a redirect ({status})", "upstream_error", code="upstream_redirect")
    try:
        fault: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        fault = None
    if isinstance(fault, dict):
        fault = fault.get("error", fault)
    if isinstance(fault, str):
        fault = {"message": fault}
    if not isinstance(fault, dict) or not isinstance(fault.get("message"), str):
        return error_body(
            f"{provider} answered {status} without an error message", "upstream_error", code=f"http_{status}"
        )
    code = fault.get("code")
    known = {
        "message": fault["message"],
        "type": fault.get("type") if isinstance(fault.get("type"), str) else "upstream_error",
        "param": fault.get("param") if isinstance(fault.get("param"), str) else None,
        "code": code if isinstance(code, str) or code is None else str(code),
    }
    return orjson.dumps({"error": fault | known})


def error_of(body: bytes) -> tuple[str, str]:
    """Message and code of an error body that `normalise` has made."""
    fault = orjson.loads(body)["error"]
    return fault["message"], fault.get("code") or fault["type"]
