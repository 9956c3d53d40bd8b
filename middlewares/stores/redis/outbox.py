"""Ends of holds that could not be told to the store; they are told again until it has taken them."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import NamedTuple

from tollhouse.middlewares.stores.quota import MAX_EXPIRY_MS, SETTLED_MS

MAX_KEPT = 10_000
SURELY_REMEMBERED_S = SETTLED_MS / 2000
MAX_AGE_S = MAX_EXPIRY_MS / 2000


def again(verb: str, age_s: float) -> str:
    """The verb to repeat a call with that may have been done `age_s` ago: what is forgotten must not be charged."""
    return "resettle" if verb == "settle" and age_s > SURELY_REMEMBERED_S else verb


class Ending(NamedTuple):
    """One call of finish.lua, with everything but its verb; and when it was tried first (time.monotonic)."""

    verb: str
    head: tuple[bytes, ...]
    tail: tuple[bytes, ...]
    uncertain: bool
    since: float


class Outbox:
    """Bounded: what does not fit, or is half a day old, is dropped, and its hold is charged in full when it expires."""

    def __init__(self) -> None:
        self._waiting: deque[Ending] = deque()
        self._telling = False
        self.dropped = 0

    def __len__(self) -> int:
        """Also counts the one that is being told."""
        return len(self._waiting) + self._telling

    def put(self, verb: str, head: tuple[bytes, ...], tail: tuple[bytes, ...], *, uncertain: bool) -> None:
        if len(self._waiting) >= MAX_KEPT:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(Ending(verb, head, tail, uncertain, monotonic()))

    def take(self) -> tuple[Ending, str] | None:
        """The oldest, and the verb to tell it with; then it is `done` or `put_back`.

        A settle that may have been done is told as `resettle` once the store may have forgotten it.
        """
        while self._waiting:
            ending = self._waiting.popleft()
            age = monotonic() - ending.since
            if age > MAX_AGE_S:
                self.dropped += 1
                continue
            self._telling = True
            return ending, again(ending.verb, age) if ending.uncertain else ending.verb
        return None

    def done(self) -> None:
        """The store knows."""
        self._telling = False

    def put_back(self, ending: Ending, *, uncertain: bool) -> None:
        self._telling = False
        self._waiting.appendleft(ending._replace(uncertain=ending.uncertain or uncertain))
