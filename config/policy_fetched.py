"""Policy documents that a service hands out: the line of the signature, a line feed, and the bytes that it signs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tollhouse.config import policy, signing
from tollhouse.config.settings import PolicySettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tollhouse.config.settings import PolicyTrust

NAME = "the policy service's document"
_MARK = b"ed25519 "
_NUMBERS = re.compile(r"([0-9]+)")


class BadDocument(ValueError):
    """May not take effect. reason: unsigned, bad_signature, invalid or older; the message names what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read(fetched: bytes, trust: PolicyTrust, scan_rules: Iterable[dict[str, Any]]) -> PolicySettings:
    """What a document says, once it is known who has signed it. Raises BadDocument."""
    line, content = b"", fetched
    if fetched.startswith(_MARK):
        line, _, content = fetched.partition(b"\n")
    signer = ""
    if trust.needs_signature:
        if not line:
            msg = "it is not signed: its first line is no signature"
            raise BadDocument("unsigned", msg)
        try:
            keys = [signing.PublicKey(key) for key in trust.keys]
            signer = signing.verify(signing.POLICY, content, line.decode("ascii", "replace"), keys).id
        except signing.BadSignature as error:
            raise BadDocument("bad_signature", str(error)) from None
    found, problems = policy.checked(content, NAME, list(scan_rules), signer=signer)
    if found is None:
        first = next(problem for problem in problems if problem.severity == "error")
        # What a document says may be anybody's, and goes into no log: its place alone does.
        raise BadDocument("invalid", f"it is no valid policy: {first.path or 'the document'}")
    return PolicySettings(**found)


def is_older(version: str, other: str) -> bool:
    """Whether a version comes before another: by their parts, numbers as numbers (2026-9 before 2026-10)."""
    return _order(version) < _order(other)


def _order(version: str) -> list[tuple[int, int, str]]:
    parts = _NUMBERS.split(version)
    return [(1, int(part), "") if i % 2 else (0, 0, part) for i, part in enumerate(parts) if part]
