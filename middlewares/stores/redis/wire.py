"""Commands in the Redis serialisation protocol, and the sorts of errors among its answers."""

from __future__ import annotations

import re

import hiredis

# What an error may begin with; before Redis 7 a script's error carries the code of its command inside.
_CODES = (
    "NOSCRIPT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "OOM", "BUSY",
    "MISCONF", "NOREPLICAS", "NOAUTH", "NOPERM", "WRONGPASS", "UNBLOCKED",
)  # fmt: skip
_CODE = re.compile(rf"^-?({'|'.join(_CODES)})\b")
_NESTED = re.compile(rf"^ERR Error running script.*?: -?({'|'.join(_CODES)})\b")


class Lost:
    """In place of an answer: the connection ended, or its time was over, before one. It may have been done."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        self.reason = reason


ReplyError = hiredis.ReplyError
Reply = bytes | int | list["Reply"] | ReplyError | Lost | None


def bulk(value: bytes) -> bytes:
    """One argument."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def command(*words: bytes | int | str) -> bytes:
    """A whole command."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n%b" % (len(parts), b"".join(map(bulk, parts)))


def code(error: ReplyError) -> str:
    """The sort of an error: the word that it begins with, `ERR` if that says nothing."""
    text = str(error)
    found = _CODE.match(text) or _NESTED.match(text)
    return found[1] if found else "ERR"
