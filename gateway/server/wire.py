"""What a response looks like on the wire."""

from __future__ import annotations

from http import HTTPStatus
from time import gmtime

from tollhouse._native import new_id
from tollhouse.middlewares.errors import error_body

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
# strftime would name them in the language of the locale.
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_LINES = {code: f"HTTP/1.1 {code} {phrase}\r\n".encode() for code, phrase in _PHRASES.items()}


def status_line(status: int) -> bytes:
    return _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def date_line() -> bytes:
    """Of now, as an IMF-fixdate (RFC 9110, 5.6.7)."""
    # An aware datetime asks its zone by a name that is a new string each time, and the cache of methods keeps those.
    now = gmtime()
    time = b"%02d %b %04d %02d:%02d:%02d" % (now.tm_mday, _MONTHS[now.tm_mon - 1], now.tm_year, *now[3:6])
    return b"date: %b, %b GMT\r\n" % (_DAYS[now.tm_wday], time)


def refusal(status: int, message: str) -> bytes:
    """A whole response to something that is no request; the connection closes with it."""
    body = error_body(message, "invalid_request_error", code="bad_request" if status < 500 else "not_served")
    head = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n"
    return status_line(status) + head % (len(body), new_id().encode()) + body
