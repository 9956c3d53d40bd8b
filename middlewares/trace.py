"""One trace context per request (W3C), and a record of what became of it: spans are made of that elsewhere, later.

On a request's way there are a few attributes and one append; whoever takes the records makes what it likes of them.
https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import hmac
import random
import re
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, NamedTuple

from tollhouse.middlewares.exchange import GONE
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_MOST_STATE = 512  # bytes of tracestate that have to be passed on


class AttemptSpan:
    """One attempt at one target. Times in ns of `perf_counter_ns`; usage: prompt, completion, cached, reasoning."""

    __slots__ = (
        "_trace",
        "begun_ns",
        "ended_ns",
        "error",
        "first_ns",
        "model",
        "provider",
        "span_id",
        "status",
        "usage",
    )

    def __init__(self, trace: Trace, provider: str, model: str) -> None:
        self._trace = trace
        self.span_id = _new_id(64)
        self.provider = provider
        self.model = model
        self.begun_ns = perf_counter_ns()
        self.first_ns = 0  # an answer had begun, or was complete
        self.ended_ns = 0
        self.status = 0
        self.error = ""
        self.usage: tuple[int, int, int, int] | None = None

    def headers(self, given: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The caller's headers, with this span as the parent of what the upstream does."""
        trace = self._trace
        changed = {**given, b"traceparent": b"00-%032x-%016x-%02x" % (trace.trace_id, self.span_id, trace.is_sampled)}
        if not trace.state:
            changed.pop(b"tracestate", None)
        return changed

    def answered(self) -> None:
        self.first_ns = perf_counter_ns()

    def end(self, *, status: int, error: str = "", usage: tuple[int, int, int, int] | None = None) -> None:
        """The first time counts."""
        if not self.ended_ns:
            self.ended_ns = perf_counter_ns()
            self.status, self.error, self.usage = status, error, usage


class Trace:
    """Where a request stands in its caller's trace, and the attempts that were made for it."""

    __slots__ = ("attempts", "is_sampled", "parent_id", "prompt_hash", "span_id", "state", "trace_id")

    def __init__(self, trace_id: int, parent_id: int, *, is_sampled: bool, state: bytes = b"") -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id  # 0: none
        self.span_id = _new_id(64)
        self.is_sampled = is_sampled
        self.state = state
        self.attempts: list[AttemptSpan] = []
        self.prompt_hash = ""

    def begin(self, provider: str, model: str) -> AttemptSpan:
        span = AttemptSpan(self, provider, model)
        self.attempts.append(span)
        return span


class Record(NamedTuple):
    """What became of a request. No body, no header, no query: those never leave the request."""

    trace: Trace
    began_ns: int  # since the epoch
    ended_ns: int
    clock_ns: int  # what to add to an attempt's times to have them since the epoch
    request_id: str
    method: str
    route: str
    kind: str
    status: int
    stream: bool
    key_id: str
    team: str
    asked_model: str
    model: str
    provider: str
    usage: tuple[int, int, int, int] | None
    cost: int | None  # nano-USD
    decision: str
    findings: dict[str, int] | None
    policy: str  # version of the policy that decided; "" without one
    cache: str
    overhead_ns: int
    error: str


class TraceStage(Stage):
    """Hands a record of each request to `take`, which must not block.

    sample: the share of requests without a caller's decision whose spans are wanted; the others have records as well,
    with `trace.is_sampled` False.
    """

    def __init__(self, take: Callable[[Record], None], *, sample: float = 1.0) -> None:
        self._take = take
        self._sample = sample

    def enter(self, exchange: Exchange) -> None:
        headers = exchange.headers
        given = headers.get(b"traceparent")
        found = _PARENT(given) if given is not None else None
        if found is not None and found[1] != b"ff" and (found[1] != b"00" or found[5] is None):
            trace_id, parent_id = int(found[2], 16), int(found[3], 16)
            if trace_id and parent_id:
                state = headers.get(b"tracestate", b"")
                exchange.trace = Trace(
                    trace_id,
                    parent_id,
                    is_sampled=bool(int(found[4], 16) & 1),
                    state=state if len(state) <= _MOST_STATE else b"",
                )
                return
        sample = self._sample
        exchange.trace = Trace(_new_id(128), 0, is_sampled=sample >= 1.0 or random.random() < sample)  # noqa: S311

    def leave(self, exchange: Exchange) -> None:
        trace = exchange.trace
        assert trace is not None
        now, clock = time_ns(), perf_counter_ns()
        principal = exchange.principal
        verdict = getattr(exchange, "verdict", None)  # left by the policy, where there is one
        self._take(
            Record(
                trace=trace,
                began_ns=now - (clock - exchange.started_ns),
                ended_ns=now,
                clock_ns=now - clock,
                request_id=exchange.request_id,
                method=exchange.scope["method"],
                route=exchange.route,
                kind=exchange.kind or "",
                status=exchange.status or GONE,
                stream=exchange.stream,
                key_id="" if principal is None else principal.id,
                team="" if principal is None else principal.team or "",
                asked_model=exchange.asked_model,
                model=exchange.model,
                provider=exchange.provider,
                usage=exchange.usage,
                cost=exchange.cost,
                decision=exchange.decision.decode(),
                findings=exchange.findings,
                policy="" if verdict is None else str(verdict.policy.version),
                cache=exchange.cache,
                overhead_ns=exchange.overhead_ns,
                error=exchange.error_code,
            )
        )


class PromptHashStage(Stage):
    """Leaves a keyed hash of the body with the trace: equal prompts are seen to be equal, and nothing else is seen."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def enter(self, exchange: Exchange) -> None:
        if exchange.trace is not None and exchange.body:
            exchange.trace.prompt_hash = hmac.digest(self._key, exchange.body, "sha256").hex()[:32]


class TraceMiddleware(StageMiddleware):
    """Keeps the trace context of any ASGI app's requests at `scope["tollhouse"].trace`; see TraceStage."""

    def __init__(self, app: ASGIApp, *, take: Callable[[Record], None], sample: float = 1.0) -> None:
        super().__init__(app, TraceStage(take, sample=sample))


def _new_id(bits: int) -> int:
    """Never 0, which means none. Unique, not secret."""
    return random.getrandbits(bits) or 1
