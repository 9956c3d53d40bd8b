"""What a deployment was asked in the current minute, for limits of its own and for whoever has been used least."""

from __future__ import annotations

from typing import NamedTuple

WINDOW_S = 60.0


class Taken(NamedTuple):
    """What one request was counted as; `until` tells its minute from others."""

    tokens: int
    until: float


class Usage:
    """Of one deployment in one process. rpm, tpm: what it may be asked in a minute, None for no limit.

    A minute begins with its first request, and is told the time (seconds, any steady clock). Tokens are an estimate
    until a request has ended, so that many at once do not all find room.
    """

    __slots__ = ("_requests", "_rpm", "_tokens", "_tpm", "_until")

    def __init__(self, *, rpm: int | None = None, tpm: int | None = None) -> None:
        self._rpm = rpm
        self._tpm = tpm
        self._requests = 0
        self._tokens = 0
        self._until = 0.0

    def take(self, now: float, tokens: int) -> Taken:
        """A request is sent, of about so many tokens."""
        if now >= self._until:
            self._until = now + WINDOW_S
            self._requests = self._tokens = 0
        self._requests += 1
        self._tokens += tokens
        return Taken(tokens, self._until)

    def settle(self, taken: Taken, tokens: int) -> None:
        """It came to so many. One of a minute that is over is history."""
        if taken.until == self._until:
            self._tokens += tokens - taken.tokens

    def has_room(self, now: float) -> bool:
        """Whether one more may be sent. The last of a minute may bring more tokens than were left."""
        if now >= self._until:
            return True
        return (self._rpm is None or self._requests < self._rpm) and (self._tpm is None or self._tokens < self._tpm)

    def wait_s(self, now: float) -> float:
        """How long until there is room."""
        # The difference of two rounded times can be a hair more than the minute it is a part of.
        return 0.0 if self.has_room(now) else min(self._until - now, WINDOW_S)

    def used(self, now: float) -> tuple[int, int]:
        """Tokens and requests of this minute."""
        return (0, 0) if now >= self._until else (self._tokens, self._requests)
