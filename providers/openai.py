"""OpenAI's dialect over HTTP: OpenAI itself and every server that speaks like it (Azure v1, vLLM, llama.cpp, ...)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tollhouse._native import ResponseReader, __version__
from tollhouse.providers.call import Call
from tollhouse.providers.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.providers.transport import Origin

PATHS = {"chat": "/chat/completions", "completions": "/completions", "embeddings": "/embeddings"}
MAX_CHECK = 4 * 1024 * 1024  # bytes of an answer to a health check
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch


class OpenAIUpstream:
    """One deployment's credentials and paths at an origin.

    The head of a request is the same for every call but for the id and the length, so it is written once, here.
    """

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
        if api_key is not None and _HEADER_VALUE(api_key) is None:
            msg = f"the API key of {origin.name} holds characters that no header can carry"
            raise ValueError(msg)
        self.origin = origin
        self._key = (api_key or "").encode()
        self._is_openai = origin.name in {"openai", "azure"}
        self._timeouts = timeouts
        self._max_body = max_body
        port = "" if origin.port in {80, 443} else f":{origin.port}"
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        credential = ""
        if api_key is not None:
            value = f"Bearer {api_key}" if key_header == "authorization" else api_key
            credential = f"{key_header}: {value}\r\n"
        self._check = (
            f"{base_path}/models{query}",
            f" HTTP/1.1\r\nhost: {host}{port}\r\n{credential}user-agent: tollhouse/{__version__}\r\n\r\n",
        )
        self._heads = {
            kind: (
                f"POST {base_path}{path}{query} HTTP/1.1\r\nhost: {host}{port}\r\n{credential}"
                f"user-agent: tollhouse/{__version__}\r\naccept-encoding: identity\r\n"
                "content-type: application/json\r\n"
            ).encode("ascii")
            for kind, path in PATHS.items()
        }

    def start(
        self, kind: str, body: bytes, *, stream: bool, strip_usage: bool, request_id: str, headers: bytes
    ) -> Call:
        """Send a body of `kind` ("chat", "completions", "embeddings"). Await the call's `opening`, if it has one.

        `headers` are whole header lines (each with its CRLF) to send along.
        """
        # An embeddings answer has the usage object of a completion.
        dialect = "chat" if kind == "chat" else "completions"
        call = Call(ResponseReader(dialect, strip_usage=strip_usage, max_body=self._max_body), self._timeouts)
        call.hidden = self._key
        head = b"%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n" % (
            self._heads[kind],
            request_id.encode("ascii"),
            headers,
            len(body),
        )
        call.opening = self.origin.start(call, head, body, stream=stream)
        return call

    def check(self, path: str | None, timeout_s: float) -> tuple[object, Callable[[], Call]]:
        """A GET of `path`, or of the list of models."""
        models, rest = self._check
        head = f"GET {path or models}{rest}".encode("ascii")
        timeouts = Timeouts(timeout_s, timeout_s, timeout_s, timeout_s, 0.0)

        def start() -> Call:
            call = Call(ResponseReader("chat", max_body=MAX_CHECK), timeouts)
            call.opening = self.origin.start(call, head, b"", stream=False)
            return call

        return (id(self.origin), head), start

    def max_tokens_member(self, kind: str) -> str:
        """What bounds the length of an answer; newer models of OpenAI's take nothing else."""
        return "max_completion_tokens" if kind == "chat" and self._is_openai else "max_tokens"

    def __repr__(self) -> str:
        return f"OpenAIUpstream({self.origin.name}, {self.origin.host}:{self.origin.port})"
