"""Who the gateway is at an upstream, where that changes with time or depends on what is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tollhouse.providers.credentials import Credentials


class Identity(Protocol):
    """`credentials` hold what `lines` is given back."""

    credentials: Credentials[Any]

    def lines(self, credential: Any, *, host: str, path: str, body: bytes) -> bytes:
        """Whole header lines that authorise a POST."""

    def hidden(self, credential: Any) -> bytes:
        """What an answer must not show to a caller."""


class Bearer:
    """Access tokens."""

    def __init__(self, tokens: Credentials[bytes], *, lines: bytes = b"") -> None:
        """lines: whole header lines that go with every token."""
        self.credentials = tokens
        self._lines = lines

    def lines(self, credential: bytes, *, host: str, path: str, body: bytes) -> bytes:
        return b"authorization: Bearer %b\r\n%b" % (credential, self._lines)

    def hidden(self, credential: bytes) -> bytes:
        return credential
