"""Media types: which can be scanned, and how their text is written."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Collection

# Written in ASCII-compatible ways only: in others, the bytes of one text can be another text to somebody else.
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})


@dataclass(frozen=True, slots=True)
class Media:
    name: str  # lower case, without parameters; "" if there is none
    charset: str = "utf-8"

    @classmethod
    def of(cls, header: bytes | None) -> Media:
        """Raises BadRequest for a charset that cannot be read safely."""
        if not header:
            return cls("")
        message = Message()
        message["content-type"] = header.decode("latin-1")
        charset = message.get_content_charset()
        try:
            known = codecs.lookup(charset).name if charset else "utf-8"
        except LookupError:
            known = ""
        if known not in _CHARSETS:
            msg = "this charset cannot be scanned: send UTF-8"
            raise BadRequest(msg, status=415, code="unsupported_charset", retry=False)
        return cls(message.get_content_type() if b"/" in header else header.decode("latin-1").lower(), known)

    @property
    def is_json(self) -> bool:
        return self.name == "application/json" or self.name.endswith("+json")

    @property
    def is_scanned(self) -> bool:
        """Bodies without a type are looked at like text."""
        return not self.name or self.is_json or self.name.startswith("text/")

    def decode(self, body: bytes) -> str:
        try:
            return body.decode(self.charset)
        except UnicodeDecodeError:
            msg = f"the body is not {self.charset}, so it could not be scanned"
            raise BadRequest(msg, code="invalid_encoding") from None

    def encode(self, text: str) -> bytes:
        return text.encode(self.charset, "replace")


def passes(media: Media, allowed: Collection[str]) -> bool:
    """Whether a type, or its family as in `image/*`, is among those that pass unscanned."""
    return media.name in allowed or f"{media.name.partition('/')[0]}/*" in allowed or "*/*" in allowed
