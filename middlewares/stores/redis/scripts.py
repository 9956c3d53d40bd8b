"""The scripts that decide inside Redis, and how they are called: by the digest of their text."""

from __future__ import annotations

from functools import cache
from hashlib import sha1
from pathlib import Path

_FOLDER = Path(__file__).parent
NAMES = ("admit", "finish", "restore", "lease")


@cache
def source(name: str) -> bytes:
    """The text of a script, with what all of them share in front."""
    return _read("common") + _read(name)


@cache
def digest(name: str) -> bytes:
    """What EVALSHA calls it: the SHA-1 in hexadecimal."""
    return sha1(source(name), usedforsecurity=False).hexdigest().encode()


def _read(name: str) -> bytes:
    return (_FOLDER / f"{name}.lua").read_bytes()
