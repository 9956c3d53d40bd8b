"""Refusals: what a middleware raises instead of passing a request on.

Refusal
├── BadRequest          400, 413, 415, 408: the request itself
├── Unauthenticated     401: who is this
├── Forbidden           403: known, but not allowed
└── Unavailable         503: a part that is needed to decide is missing (fails closed)

The body has OpenAI's shape, with all four keys: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import re

import orjson

from tollhouse.middlewares.types import Headers


class Refusal(Exception):
    """Ends a request with an error that is safe to show: it holds no secret and no text of a prompt.

    `retry` fills `x-should-retry`, which the OpenAI SDKs obey before anything else; None leaves it to them.
    """

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,  # noqa: A002 - the field's own name
        code: str | None = None,
        param: str | None = None,
        retry: bool | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry = retry
        self.headers: Headers = headers or []
        if status is not None:
            self.status = status
        if type is not None:
            self.type = type
        if code is not None:
            self.code = code


class BadRequest(Refusal):
    status = 400
    type = "invalid_request_error"


class Unauthenticated(Refusal):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(Refusal):
    status = 403
    type = "permission_error"
    code = "permission_denied"


class Unavailable(Refusal):
    status = 503
    type = "server_error"
    code = "service_unavailable"


_WORD = re.compile(r"[a-z_]{1,40}").fullmatch
MESSAGES_KINDS = frozenset({"messages", "count_tokens"})
# Anthropic's type for each status: https://docs.anthropic.com/en/api/errors
_MESSAGES_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def word(text: str) -> str:
    """A word as names of fields are, to be told back; "?" for all else: what stands in its place may be a secret."""
    return text if _WORD(text) else "?"


def dialect_of(path: str) -> str | None:
    """Of errors on a path of Anthropic's API, whatever the request is; None: OpenAI's."""
    return "messages" if path == "/v1/messages" or path.startswith("/v1/messages/") else None


def error_body(message: str, type_: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """An error object as OpenAI's clients expect it."""
    return orjson.dumps({"error": {"message": message, "type": type_, "param": param, "code": code}})


def messages_error_body(message: str, status: int, request_id: str) -> bytes:
    """An error object as Anthropic's clients expect it."""
    type_ = _MESSAGES_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return orjson.dumps(
        {"type": "error", "error": {"type": type_, "message": message}, "request_id": request_id or None}
    )


def render(refusal: Refusal, kind: str | None = None, request_id: str = "") -> tuple[int, Headers, bytes]:
    """Status, headers and body of a refusal, in the dialect of the kind of request."""
    headers: Headers = [(b"content-type", b"application/json"), *refusal.headers]
    if refusal.retry is not None:
        headers.append((b"x-should-retry", b"true" if refusal.retry else b"false"))
    if kind in MESSAGES_KINDS:
        body = messages_error_body(refusal.message, refusal.status, request_id)
    else:
        body = error_body(refusal.message, refusal.type, code=refusal.code, param=refusal.param)
    return refusal.status, headers, body
