"""Amazon Bedrock over HTTP: Converse for conversations, InvokeModel for embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse._native import ResponseReader
from tollhouse.providers.ask import CONVERSATIONS, TRACED
from tollhouse.providers.embeddings import embedded, not_embedding
from tollhouse.providers.http import HTTPUpstream

if TYPE_CHECKING:
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.identity import Identity
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

# Parts of models' names, in front of which a region may stand, and how the family is asked.
_EMBEDDING = (
    ("amazon.titan-embed-text-v1", "titan-v1"),
    ("amazon.titan-embed-g1", "titan-v1"),
    ("amazon.titan-embed-text", "titan"),
    ("amazon.nova-2-multimodal-embeddings", "nova"),
    ("cohere.embed", "cohere"),
)


class BedrockUpstream(HTTPUpstream):
    """One deployment in a region. `identity` signs each request; without it `api_key` is sent as a bearer token."""

    kinds = CONVERSATIONS | {"embeddings"}

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_key: str | None = None,
        identity: Identity | None = None,
    ) -> None:
        super().__init__(
            origin=origin,
            paths={},
            timeouts=timeouts,
            api_key=api_key,
            identity=identity if api_key is None else None,
        )
        self._base_path = base_path

    def start(self, ask: Ask) -> Call:
        """Raises UpstreamCannot for what Converse, or the embedding model, cannot be told."""
        if ask.kind == "embeddings":
            return self._embedded(ask)
        body, warnings = ask.translated("converse")
        path = self._path(ask.model, "converse-stream" if ask.stream else "converse")
        return self.send(ask, path, body, ask.reader("converse"), lines=ask.lines(TRACED), warnings=warnings)

    def probe(self, model: str) -> str:
        return self._path(model, "invoke")

    def _path(self, model: str, operation: str) -> str:
        # A name of a model holds colons, an ARN slashes as well.
        return f"{self._base_path}/model/{quote(model, safe='')}/{operation}"

    def _embedded(self, ask: Ask) -> Call:
        dialect = next((dialect for part, dialect in _EMBEDDING if part in ask.model), None)
        if dialect is None:
            raise not_embedding("bedrock")
        path = self._path(ask.model, "invoke")
        lines = ask.lines(TRACED)

        def send(body: bytes) -> Call:
            return self.send(ask, path, body, ResponseReader("raw"), lines=lines)

        return embedded(ask, dialect, send, self.timeouts)
