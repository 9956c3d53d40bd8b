"""The same deployment for the same conversation, as its prompt cache is there; without anything being remembered."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.providers.router import Target

_SPACE = float(1 << 64)
KEPT = 50_000


def rendezvous(targets: Sequence[Target], session: bytes) -> list[Target]:
    """All of `targets` in this session's own order: when one goes, only its sessions move; shares go by weight."""

    def score(target: Target) -> float:
        digest = blake2b(b"%b\0%b" % (target.id.encode(), session), digest_size=8).digest()
        return target.weight / -log((int.from_bytes(digest) + 0.5) / _SPACE)

    return sorted(targets, key=score, reverse=True)


class Remembered:
    """Which deployment made a stored response, for whoever refers to it. The oldest are forgotten."""

    def __init__(self, *, most: int = KEPT) -> None:
        self._most = most
        self._made: OrderedDict[tuple[str, str], str] = OrderedDict()

    def note(self, owner: str, response: str, target: str) -> None:
        """owner: the key; nobody else can refer to what it has stored."""
        self._made[owner, response] = target
        self._made.move_to_end((owner, response))
        if len(self._made) > self._most:
            self._made.popitem(last=False)

    def find(self, owner: str, response: str) -> str | None:
        found = self._made.get((owner, response))
        if found is not None:
            self._made.move_to_end((owner, response))
        return found
