"""Anthropic's dialect over HTTP: messages and their counts as they are, everything else translated to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

VERSION = b"2023-06-01"  # of the API, where the caller names none
_PATHS = {"messages": "/messages", "count_tokens": "/messages/count_tokens"}
_FORWARDED = (b"anthropic-beta", *TRACED)
_BETA = "?beta=true"  # which Anthropic's own clients add where they ask for what is not settled yet


class AnthropicUpstream(HTTPUpstream):
    """One deployment of a server that speaks like Anthropic."""

    kinds = CONVERSATIONS | {"count_tokens"}

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
    ) -> None:
        super().__init__(
            origin=origin,
            paths={
                f"{kind}{query}": f"{base_path}{path}{query}" for kind, path in _PATHS.items() for query in ("", _BETA)
            },
            timeouts=timeouts,
            api_key=api_key,
            key_header="x-api-key",
            models=f"{base_path}/models",
        )

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what messages cannot say."""
        headers = ask.headers or {}
        version = headers.get(b"anthropic-version", VERSION)
        lines = b"anthropic-version: %b\r\n%b" % (version, ask.lines(_FORWARDED))
        if ask.kind in _PATHS:
            path = f"{ask.kind}{_BETA}" if b"beta=true" in ask.query.split(b"&") else ask.kind
            reader = ask.reader("messages" if ask.kind == "messages" else "raw")
            return self.send(ask, path, ask.body(proven=True), reader, lines=lines)
        body, warnings = ask.translated("messages")
        reader = ask.reader("messages")
        return self.send(ask, "messages", body, reader, lines=lines, warnings=warnings)
