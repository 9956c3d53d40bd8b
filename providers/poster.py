"""Small requests to a service beside the models: a body is posted, and the whole answer is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.providers.exchange import exchanged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin


class Poster:
    """Posts to one address. `timeouts` must have no keepalive."""

    def __init__(self, origin: Origin, path: str, timeouts: Timeouts) -> None:
        self._origin = origin
        self._path = path
        self._timeouts = timeouts

    async def post(self, body: bytes, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> tuple[int, bytes]:
        """Status and body of the answer, whatever they are. Raises UpstreamError where there is none in time."""
        told = [("content-type", content_type), *headers]
        return await exchanged(self._origin, "POST", self._path, headers=told, body=body, timeouts=self._timeouts)
