"""Multipart forms, read so strictly that nobody else can read them differently (RFC 7578).

What decides (`model`) must not mean one thing here and another at the provider, so what is ambiguous is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tollhouse.middlewares.errors import BadRequest

MOST_FIELDS = 200
_MOST_HEADERS = 4096  # bytes, of one field
_TYPE = re.compile(
    rb'multipart/form-data; ?boundary=(?:"([^"\\\r\n]{1,70})"|([0-9A-Za-z\'()+_,./:=?-]{1,70}))', re.IGNORECASE
)
_DISPOSITION = re.compile(
    rb'form-data; ?name="([^"\\\r\n]*)"(; ?filename="(?:[^"\\\r\n]|\\.)*")?(; ?filename\*=[^;"\s]+)?', re.IGNORECASE
)
_LOOSE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0").search


@dataclass(frozen=True, slots=True)
class Field:
    """`start` and `end` are offsets of its value in the body."""

    name: str
    is_file: bool
    start: int
    end: int


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary of a multipart form; None for any other media type. Raises BadRequest for one that is unusual."""
    if not content_type.strip().lower().startswith(b"multipart/"):
        return None
    found = _TYPE.fullmatch(content_type.strip())
    if found is None:
        raise _bad("the Content-Type must be multipart/form-data with one boundary")
    return found[1] or found[2]


def fields_of(body: bytes, boundary: bytes) -> list[Field]:
    """All fields in their order. Raises BadRequest."""
    line = b"--" + boundary
    if not body.startswith(line):
        raise _bad("the body does not begin with its boundary")
    fields: list[Field] = []
    at = len(line)
    while not _is_last(body, at):
        if body[at : at + 2] != b"\r\n":
            raise _bad("a boundary is not followed by a line end")
        if len(fields) == MOST_FIELDS:
            raise _bad(f"there are more than {MOST_FIELDS} fields")
        head_end = body.find(b"\r\n\r\n", at, at + _MOST_HEADERS)
        if head_end < 0:
            raise _bad("a field has no headers, or too many")
        start = head_end + 4
        if body.startswith(line, start):  # the end of an empty field to some (Go's), its content to others
            raise _bad("a field begins with its boundary")
        end = body.find(b"\r\n" + line, start)
        if end < 0:
            raise _bad("the last boundary is missing")
        name, is_file = _described(body[at + 2 : head_end])
        fields.append(Field(name, is_file, start, end))
        at = end + 2 + len(line)
    # Some parsers end lines with a bare CR or LF as well, some look for boundaries anywhere.
    if body.count(line) != len(fields) + 1:
        raise _bad("a field holds its boundary")
    return fields


def _is_last(body: bytes, at: int) -> bool:
    if body[at : at + 2] != b"--":
        return False
    if body[at + 2 :] not in {b"", b"\r\n"}:
        raise _bad("something follows the last boundary")
    return True


def _described(head: bytes) -> tuple[str, bool]:
    """A field's name, and whether it is a file."""
    disposition: re.Match[bytes] | None = None
    if _LOOSE(head) is not None:
        raise _bad("a field's headers have a line end that is none, or a zero byte")
    for line in head.split(b"\r\n"):
        name, separator, value = line.partition(b":")
        if not separator or name != name.strip():
            raise _bad("a field has a malformed header")
        if name.lower() == b"content-transfer-encoding" and value.strip().lower() not in {b"binary", b"8bit"}:
            raise _bad("a field is encoded: send it as it is")
        if name.lower() == b"content-disposition":
            if disposition is not None:
                raise _bad("a field has two descriptions")
            disposition = _DISPOSITION.fullmatch(value.strip())
            if disposition is None:
                raise _bad('the description of a field is not form-data; name="..."; filename="..."')
    if disposition is None:
        raise _bad("a field has no description")
    try:
        return disposition[1].decode(), disposition[2] is not None or disposition[3] is not None
    except UnicodeDecodeError:
        raise _bad("the name of a field is not UTF-8") from None


def _bad(message: str) -> BadRequest:
    return BadRequest(f"the form cannot be read: {message}", code="invalid_form", retry=False)
