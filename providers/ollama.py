"""Ollama: conversations in its own dialect, which knows more of its models than its copy of OpenAI's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

# It serves these two in OpenAI's dialect with nothing missing.
_NATIVE = {"completions": "/v1/completions", "embeddings": "/v1/embeddings"}
_CHAT = "/api/chat"


class OllamaUpstream(HTTPUpstream):
    """One server. Ollama itself asks for no key; a proxy in front of it may."""

    kinds = CONVERSATIONS.union(_NATIVE)

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
    ) -> None:
        paths = {name: f"{base_path}{path}" for name, path in (*_NATIVE.items(), (_CHAT, _CHAT))}
        super().__init__(
            origin=origin,
            paths=paths,
            timeouts=timeouts,
            api_key=api_key,
            models=f"{base_path}/api/tags",
        )

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what Ollama cannot be told."""
        lines = ask.lines(TRACED)
        if ask.kind in _NATIVE:
            return self.send(ask, ask.kind, ask.body(), ask.reader(ask.kind), lines=lines)
        body, warnings = ask.translated("ollama")
        reader = ask.reader("ollama")
        return self.send(ask, _CHAT, body, reader, lines=lines, warnings=warnings)
