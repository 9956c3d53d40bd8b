"""Vertex AI: Google's own models in Gemini's dialect, Anthropic's in theirs, others in OpenAI's; embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse._native import ResponseReader
from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.counting import counted
from tollhouse.providers.embeddings import embedded, not_embedding
from tollhouse.providers.gemini import generated, model_path
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.identity import Identity
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

# https://docs.anthropic.com/en/api/claude-on-vertex-ai
CLAUDE_VERSION = "vertex-2023-10-16"
_FORWARDED = (b"anthropic-beta", *TRACED)
_COUNT = "count-tokens"
_GOOGLES = ("models/", "tunedModels/")


class VertexUpstream(HTTPUpstream):
    """One project and location. The model's name says whose it is: "gemini-...", "claude-...", "meta/llama-...".

    base_path: "/v1/projects/P/locations/L". `identity` has access tokens; without it `api_key` is one.
    """

    kinds = CONVERSATIONS | {"embeddings", "count_tokens"}

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(origin=origin, paths={}, timeouts=timeouts, api_key=api_key, identity=identity)
        self._google = f"{base_path}/publishers/google"
        self._anthropic = f"{base_path}/publishers/anthropic/models"
        self._others = f"{base_path}/endpoints/openapi/chat/completions"

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what the model cannot be told."""
        model, kind = ask.model, ask.kind
        if kind == "embeddings":
            return self._embedded(ask)
        if is_claude(model):
            return self._claude(ask)
        if kind == "count_tokens":
            return counted(ask, self.timeouts)
        if is_others(model):
            return self._other(ask)
        return generated(self, ask, f"{self._google}/{model_path(model)}")

    def probe(self, model: str) -> str:
        if is_claude(model):
            return self._claude_path(model, "rawPredict")
        if is_others(model):
            return self._others
        method = "predict" if "embedding" in model else "generateContent"
        return f"{self._google}/{model_path(model)}:{method}"

    def _claude_path(self, model: str, method: str) -> str:
        return f"{self._anthropic}/{quote(model, safe='@')}:{method}"

    def _claude(self, ask: Ask) -> Call:
        """The path names the model; what else Anthropic has in headers stands in the body."""
        lines = ask.lines(_FORWARDED)
        if ask.kind == "count_tokens":
            path = self._claude_path(_COUNT, "rawPredict")
            return self.send(
                ask, path, ask.body(proven=True, version=CLAUDE_VERSION), ResponseReader("raw"), lines=lines
            )
        path = self._claude_path(ask.model, "streamRawPredict" if ask.stream else "rawPredict")
        if ask.kind == "messages":
            body = ask.body(proven=True, without_model=True, version=CLAUDE_VERSION)
            return self.send(ask, path, body, ask.reader("messages"), lines=lines)
        body, warnings = ask.translated("vertex-messages")
        return self.send(ask, path, body, ask.reader("messages"), lines=lines, warnings=warnings)

    def _other(self, ask: Ask) -> Call:
        reader = ask.reader("chat")
        lines = ask.lines(TRACED)
        if ask.kind == "chat":
            return self.send(ask, self._others, ask.body(), reader, lines=lines)
        body, warnings = ask.translated("chat")
        return self.send(ask, self._others, body, reader, lines=lines, warnings=warnings)

    def _embedded(self, ask: Ask) -> Call:
        if "embedding" not in ask.model:
            raise not_embedding("Vertex AI")
        dialect = "vertex-single" if "gemini-embedding" in ask.model else "vertex"
        path = f"{self._google}/{model_path(ask.model)}:predict"
        lines = ask.lines(TRACED)

        def send(body: bytes) -> Call:
            return self.send(ask, path, body, ResponseReader("raw"), lines=lines)

        return embedded(ask, dialect, send, self.timeouts)


def is_claude(model: str) -> bool:
    return model.startswith("claude")


def is_others(model: str) -> bool:
    """Whether it is named with its publisher, as those are that speak OpenAI's dialect."""
    return "/" in model and not model.startswith(_GOOGLES)
