"""Which requests belong together, so that they find the prompt cache of the ones before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange

_TEXTS = 2  # of a conversation: what the system and the user said first
_ENOUGH = 4096  # bytes of each: a conversation that is the same so far is the same


class Sessions:
    """mode: "session" (what the caller names), "prefix" (else how its conversation begins), "off"."""

    def __init__(self, *, mode: str, header: str) -> None:
        self._mode = mode
        self._header = header.encode()

    def of(self, exchange: Exchange) -> bytes | None:
        """A name that requests of one key have in common, or None."""
        if self._mode == "off":
            return None
        principal = exchange.principal
        owner = b"" if principal is None else principal.id.encode()
        name = exchange.headers.get(self._header) or self._named(exchange)
        if name is None and self._mode == "prefix":
            name = self._prefix(exchange)
        return None if name is None else owner + b"\0" + name

    def _named(self, exchange: Exchange) -> bytes | None:
        view = exchange.view
        return None if view is None or view.session is None else view.session.encode()

    def _prefix(self, exchange: Exchange) -> bytes | None:
        view = exchange.view
        if view is None:
            return None
        texts = [(start, end) for start, end, kind, _ in view.segments() if kind == "text"][:_TEXTS]
        return b"\0".join(view.body[start : min(end, start + _ENOUGH)] for start, end in texts) or None
