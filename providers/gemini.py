"""Gemini's dialect over HTTP: the Gemini API with a key, or Vertex AI with an access token."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.http import HTTPUpstream
from tollhouse.providers.openai import OpenAIUpstream

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.google import AccessTokens
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

_FOLDERS = frozenset({"models", "tunedModels"})


class GeminiUpstream(HTTPUpstream):
    """One deployment of the Gemini API, or of Vertex AI where `bearer`. The key is never part of a URL.

    base_path: "/v1beta"; of Vertex "/v1/projects/P/locations/L/publishers/google". Embeddings go to the Gemini API's
    own OpenAI dialect as they are; Vertex has none. tokens: of a service account, instead of a key.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        bearer: bool = False,
        tokens: AccessTokens | None = None,
    ) -> None:
        super().__init__(
            origin=origin,
            paths={},
            timeouts=timeouts,
            api_key=api_key,
            key_header="authorization" if bearer else "x-goog-api-key",
            models=None if bearer else f"{base_path}/models",
        )
        self._base_path = base_path
        self._tokens = tokens
        self.kinds = CONVERSATIONS if bearer else CONVERSATIONS | {"embeddings"}
        # That dialect takes the key as a bearer token, and no other key beside it.
        self._embeddings = OpenAIUpstream(
            origin=origin, base_path=f"{base_path}/openai", timeouts=timeouts, api_key=api_key
        )

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what Gemini cannot be told."""
        if ask.kind == "embeddings":
            return self._embeddings.start(ask)
        body, warnings = ask.translated("gemini")
        method = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
        path = f"{self._base_path}/{model_path(ask.model)}:{method}"
        reader = ask.reader("gemini")
        lines = ask.lines(TRACED)
        if self._tokens is None:
            return self.send(ask, path, body, reader, lines=lines, warnings=warnings)
        call = self._call(reader, warnings)
        token = self._tokens.ready()
        if token is None:
            call.opening = self._begin_later(call, ask, path, body, lines)
        else:
            call.opening = self._begin_as(token, call, ask, path, body, lines)
        return call

    def _begin_as(
        self, token: bytes, call: Call, ask: Ask, path: str, body: bytes, lines: bytes
    ) -> Awaitable[None] | None:
        call.hidden = token
        return self._begin(call, ask, path, body, b"%bauthorization: Bearer %b\r\n" % (lines, token))

    async def _begin_later(self, call: Call, ask: Ask, path: str, body: bytes, lines: bytes) -> None:
        assert self._tokens is not None
        opening = self._begin_as(await self._tokens.wait(), call, ask, path, body, lines)
        if opening is not None:
            await opening


def model_path(model: str) -> str:
    """A model as part of a path. Whatever a caller has written into a name, it stays one step of the path."""
    folder, _, name = model.partition("/")
    if name and folder in _FOLDERS:
        return f"{folder}/{quote(name, safe='')}"
    return f"models/{quote(model, safe='')}"
