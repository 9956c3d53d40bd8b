"""OpenAI's dialect over HTTP: OpenAI itself and every server that speaks like it (Azure v1, vLLM, llama.cpp, ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.providers.ask import TRACED
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
}
_FORWARDED = (b"openai-beta", b"idempotency-key", *TRACED)


class OpenAIUpstream(HTTPUpstream):
    """One deployment of a server that speaks like OpenAI. What speaks otherwise is translated to chat."""

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        key_header: str = "authorization",
        query: str = "",
        max_body: int = 64 * 1024 * 1024,
    ) -> None:
        super().__init__(
            origin=origin,
            paths={kind: f"{base_path}{path}{query}" for kind, path in PATHS.items()},
            timeouts=timeouts,
            api_key=api_key,
            key_header=key_header,
            models=f"{base_path}/models{query}",
            max_body=max_body,
        )
        is_openai = origin.name in {"openai", "azure"}
        self._dialect = "openai" if is_openai else "chat"
        # Newer models of OpenAI's take nothing else.
        self._chat_limit = "max_completion_tokens" if is_openai else None
        native = {"chat", "completions", "embeddings"}
        self._native = frozenset(native | {"responses"} if is_openai else native)
        self.kinds = self._native | {"messages"}

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what chat cannot say."""
        kind = ask.kind
        lines = ask.lines(_FORWARDED)
        if kind in self._native:
            body = ask.body(self._chat_limit if kind == "chat" else None)
            return self.send(ask, kind, body, ask.reader(kind, max_body=self.max_body), lines=lines)
        body, warnings = ask.translated(self._dialect)
        return self.send(
            ask, "chat", body, ask.reader(self._dialect, max_body=self.max_body), lines=lines, warnings=warnings
        )
