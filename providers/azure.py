"""Azure OpenAI's classic surface: a path per deployment and dated versions. Its v1 surface is OpenAI's own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tollhouse.providers.openai import PATHS, OpenAIUpstream

if TYPE_CHECKING:
    from tollhouse._native import ResponseReader
    from tollhouse.providers.ask import Ask
    from tollhouse.providers.call import Call
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin


class AzureUpstream(OpenAIUpstream):
    """The deployments of one resource: a request's model is the name of one of them.

    base_path: "/openai". api_version: "2024-10-21". key_header: "api-key", or "authorization" for a token of Entra.
    """

    passes = False  # its paths name a deployment, which a file has none of

    def __init__(
        self,
        *,
        origin: Origin,
        base_path: str,
        timeouts: Timeouts,
        api_version: str,
        api_key: str | None = None,
        key_header: str = "api-key",
    ) -> None:
        super().__init__(
            origin=origin,
            base_path=base_path,
            timeouts=timeouts,
            api_key=api_key,
            key_header=key_header,
            provider="azure",
        )
        self._base_path = base_path
        self._query = f"?api-version={quote(api_version, safe='')}"
        self.native -= {"responses"}  # of another path and later versions

    def send(
        self,
        ask: Ask,
        path: str,
        body: bytes,
        reader: ResponseReader,
        *,
        lines: bytes = b"",
        warnings: tuple[str, ...] = (),
    ) -> Call:
        """As every upstream over HTTP, at the path of the deployment."""
        place = f"{self._base_path}/deployments/{quote(ask.model, safe='')}{PATHS[path]}{self._query}"
        return super().send(ask, place, body, reader, lines=lines, warnings=warnings)
