"""OpenAI's dialect over HTTP: OpenAI itself and every server that speaks like it (Azure v1, vLLM, llama.cpp, ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse._native import ResponseReader
from tollhouse.providers.ask import LIMITS, PASSED, TRACED, lines_of
from tollhouse.providers.call import Call
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
}
_FORWARDED = (b"openai-beta", b"idempotency-key", *TRACED)
_LARGEST_EVENT = 64 * 1024 * 1024  # of a stream of images: an event holds a whole one


class OpenAIUpstream(HTTPUpstream):
    """One deployment of a server that speaks like OpenAI. What speaks otherwise is translated to chat.

    provider: whose deployment it is; several may share an origin. passes: it can be asked for what is no conversation.
    """

    passes = True

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        key_header: str = "authorization",
        query: str = "",
        provider: str | None = None,
    ) -> None:
        super().__init__(
            origin=origin,
            paths={kind: f"{base_path}{path}{query}" for kind, path in PATHS.items()},
            timeouts=timeouts,
            api_key=api_key,
            key_header=key_header,
            models=f"{base_path}/models{query}",
        )
        self._base_path = base_path
        self._query = query.removeprefix("?")
        is_openai = (provider or origin.name) in {"openai", "azure"}
        self._dialect = "openai" if is_openai else "chat"
        # Newer models of OpenAI's take nothing else.
        self._chat_limit = "max_completion_tokens" if is_openai else None
        native = {"chat", "completions", "embeddings"}
        self.native = frozenset(native | {"responses"} if is_openai else native)  # kinds that are not translated
        self.kinds = self.native | {"messages", "responses"} | ({PASSED} if self.passes else frozenset())

    def limit(self, kind: str) -> str:
        """The member that bounds an answer."""
        return (self._chat_limit if kind == "chat" else None) or LIMITS.get(kind, "")

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what chat cannot say."""
        kind = ask.kind
        lines = ask.lines(_FORWARDED)
        if kind in self.native:
            body = ask.body(self.limit(kind))
            return self.send(ask, kind, body, ask.reader(kind), lines=lines)
        body, warnings = ask.translated(self._dialect)
        return self.send(ask, "chat", body, ask.reader(self._dialect), lines=lines, warnings=warnings)

    def pass_on(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        query: str,
        content_type: bytes,
        request_id: str,
        headers: Mapping[bytes, bytes],
    ) -> Call:
        """Send what is no conversation (an image to edit, a file) to a path below the base, as it is.

        query: written, without its question mark. headers: the caller's, of which the usual ones go along.
        """
        reader = ResponseReader("other", max_event=_LARGEST_EVENT)
        call = Call(reader, self.timeouts)
        call.hidden = self.key
        asked = "&".join(part for part in (self._query, query) if part)
        target = f"{self._base_path}{path}?{asked}" if asked else f"{self._base_path}{path}"
        lines = b"content-type: %b\r\n" % content_type if content_type else b""
        if method != "GET":
            lines += b"content-length: %d\r\n" % len(body)
        head = b"%b %b HTTP/1.1\r\n%bx-request-id: %b\r\n%b%b\r\n" % (
            method.encode("ascii"),
            target.encode("ascii"),
            self._common,
            request_id.encode("ascii"),
            lines_of(headers, _FORWARDED),
            lines,
        )
        call.opening = self.origin.start(call, head, body, stream=False)
        return call
