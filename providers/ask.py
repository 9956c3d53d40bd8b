"""What an upstream is asked: a caller's request, the model's name there, and the bounds on the answer."""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from tollhouse._native import RequestError, ResponseReader, translate_request
from tollhouse.providers.errors import UpstreamCannot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tollhouse._native import RequestView

TRACED = (b"traceparent", b"tracestate")
# Kinds that can be told in every dialect of conversations; of completions those with one prompt.
CONVERSATIONS = frozenset({"chat", "completions", "messages", "responses"})
PASSED = "passed"  # the kind of what is no conversation
# What bounds the length of an answer, by kind of body.
LIMITS = {"chat": "max_tokens", "completions": "max_tokens", "messages": "max_tokens", "responses": "max_output_tokens"}
_EVENT = 1 << 20  # bytes
LARGEST_EVENT = 16 << 20  # of those that hold a picture
_WITH_USAGE = frozenset({"chat", "completions"})  # whose streams tell it only if asked to


@dataclass(slots=True)
class Ask:
    """kind: of body: "chat", "completions", "embeddings", "responses", "messages", "count_tokens".

    model: what the upstream calls it. include_usage: the caller itself asked for the usage in its stream. max_output:
    so many tokens are reserved for each choice, None if that is not bounded. model_output: the most that the model
    writes, where known. headers: the caller's, by lower-case name; an upstream picks those that it knows. query: the
    caller's, likewise.
    """

    kind: str
    view: RequestView
    model: str
    stream: bool = False
    include_usage: bool = False
    max_output: int | None = None
    model_output: int | None = None
    request_id: str = ""
    headers: Mapping[bytes, bytes] | None = None
    query: bytes = b""

    @property
    def strips_usage(self) -> bool:
        """The upstream is to tell its usage in the stream, and the caller does not want to see it."""
        return self.stream and not self.include_usage and self.kind in _WITH_USAGE

    def body(
        self, limit: str | None = None, *, proven: bool = False, without_model: bool = False, version: str | None = None
    ) -> bytes:
        """The caller's body for an upstream of the same dialect. limit: the member that bounds the answer there.

        proven: thoughts that no provider has signed are left out of it. without_model: so is the model's name. version:
        the `anthropic_version` that it is given unless it has one.
        """
        view, most = self.view, self.max_output
        member = limit or LIMITS.get(self.kind)
        return view.rewrite(
            model=None if self.model == view.model else self.model,
            include_usage=self.strips_usage,
            max_tokens=None if most is None or member is None else (most, member),
            proven=proven,
            without_model=without_model,
            version=version,
        )

    def translated(self, dialect: str) -> tuple[bytes, tuple[str, ...]]:
        """The body in another dialect, and the names of what cannot be told there. Raises UpstreamCannot."""
        try:
            body, warnings = translate_request(
                self.view, dialect, model=self.model, max_tokens=self.max_output, default_tokens=self.model_output
            )
        except RequestError as error:
            raise UpstreamCannot(error.message, code=error.code, param=error.param) from None
        return body, tuple(warnings)

    def reader(self, dialect: str) -> ResponseReader:
        """What reads the answer of an upstream that speaks `dialect`, in the dialect of the caller."""
        if dialect in {self.kind, "raw"}:
            # An embeddings answer has the usage object of a completion.
            dialect = "completions" if dialect == "embeddings" else dialect
            return ResponseReader(dialect, strip_usage=self.strips_usage, stream=self.stream)
        return ResponseReader(
            dialect,
            client=self.kind,
            strip_usage=not self.include_usage,
            stream=self.stream,
            # A picture comes in one event.
            max_event=LARGEST_EVENT if "image" in self.model else _EVENT,
            request_id=self.request_id,
            model=self.model,
            created=int(time()),
            # A response repeats what was asked.
            request=self.view.body if self.kind == "responses" else None,
        )

    def lines(self, names: Iterable[bytes]) -> bytes:
        """Header lines of the caller's to send along. A list of what may, not of what may not."""
        headers = self.headers
        return lines_of(headers, names) if headers and not headers.keys().isdisjoint(names) else b""

    def __repr__(self) -> str:
        return f"Ask({self.kind}, {self.model!r})"


def lines_of(headers: Mapping[bytes, bytes], names: Iterable[bytes]) -> bytes:
    """Whole header lines of those that are there."""
    return b"".join([b"%b: %b\r\n" % (name, headers[name]) for name in names if name in headers])
