"""What a response looks like on the wire."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from tollhouse._native import new_id
from tollhouse.middlewares.errors import error_body

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_LINES = {code: f"HTTP/1.1 {code} {phrase}\r\n".encode() for code, phrase in _PHRASES.items()}


def status_line(status: int) -> bytes:
    return _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def date_line() -> bytes:
    return f"date: {formatdate(usegmt=True)}\r\n".encode()


def refusal(status: int, message: str) -> bytes:
    """A whole response to something that is no request; the connection closes with it."""
    body = error_body(message, "invalid_request_error", code="bad_request" if status < 500 else "not_served")
    head = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n"
    return status_line(status) + head % (len(body), new_id().encode()) + body
