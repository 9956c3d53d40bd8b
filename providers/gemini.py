"""Gemini's dialect over HTTP: the Gemini API with a key. Vertex AI speaks it as well: vertex.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.http import HTTPUpstream
from tollhouse.providers.openai import OpenAIUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

_FOLDERS = frozenset({"models", "tunedModels"})


class GeminiUpstream(HTTPUpstream):
    """One deployment of the Gemini API. The key is never part of a URL.

    base_path: "/v1beta". Embeddings go to the Gemini API's own OpenAI dialect as they are.
    """

    kinds = CONVERSATIONS | {"embeddings"}

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
            paths={},
            timeouts=timeouts,
            api_key=api_key,
            key_header="x-goog-api-key",
            models=f"{base_path}/models",
        )
        self._base_path = base_path
        # That dialect takes the key as a bearer token, and no other key beside it.
        self._embeddings = OpenAIUpstream(
            origin=origin, base_path=f"{base_path}/openai", timeouts=timeouts, api_key=api_key
        )

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what Gemini cannot be told."""
        if ask.kind == "embeddings":
            return self._embeddings.start(ask)
        return generated(self, ask, f"{self._base_path}/{model_path(ask.model)}")


def generated(upstream: HTTPUpstream, ask: Ask, path: str) -> Call:
    """What the model at `path` says. Raises UpstreamCannot for what Gemini cannot be told."""
    body, warnings = ask.translated("gemini")
    method = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
    reader = ask.reader("gemini")
    return upstream.send(ask, f"{path}:{method}", body, reader, lines=ask.lines(TRACED), warnings=warnings)


def model_path(model: str) -> str:
    """A model as part of a path. Whatever a caller has written into a name, it stays one step of the path."""
    folder, _, name = model.partition("/")
    if name and folder in _FOLDERS:
        return f"{folder}/{quote(name, safe='')}"
    return f"models/{quote(model, safe='')}"
