"""Watches the answers that tests read from a gateway: every stream of a known grammar is checked as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.support.grammar import KINDS, check, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Whose own streams are passed on byte for byte, by the dialect of the caller. Everybody else's are written anew.
_COMPATIBLE = {"openai", "azure", "vllm", "openai_compatible", "hosted_vllm", ""}
NATIVE = {
    "/v1/chat/completions": _COMPATIBLE,
    "/v1/completions": _COMPATIBLE,
    "/v1/responses": _COMPATIBLE,
    "/v1/messages": {"anthropic", ""},
}


class Watch:
    """Of one answer. `headers` have lower-case names; `request` is the body that was sent."""

    def __init__(self, path: str, request: bytes, status: int, headers: Mapping[str, str]) -> None:
        self._path = path.partition("?")[0]
        is_stream = status == 200 and headers.get("content-type", "").startswith("text/event-stream")
        self._grammar = kind_of(path) if is_stream else None
        self._strict = headers.get("x-gateway-provider", "") not in NATIVE.get(self._path, {""})
        self._include_usage = _include_usage(request) if self._path in KINDS else None
        self._read: list[bytes] = []

    @property
    def is_stream(self) -> bool:
        """Whether there is anything to check."""
        return self._grammar is not None

    def feed(self, data: bytes) -> bytes:
        """Take down what was read; hands it back."""
        if self._grammar is not None:
            self._read.append(data)
        return data

    def close(self, *, complete: bool) -> None:
        """Check all of it. complete: it was read to its end, which came in order. Raises Broken."""
        grammar, self._grammar = self._grammar, None
        if grammar is None:
            return
        body = b"".join(self._read)
        check(grammar, body, complete=complete, strict=self._strict, include_usage=self._include_usage)


def _include_usage(request: bytes) -> bool | None:
    try:
        body: Any = orjson.loads(request)
        return bool((body.get("stream_options") or {}).get("include_usage"))
    except (orjson.JSONDecodeError, AttributeError):
        return None
