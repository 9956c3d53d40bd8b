"""One line per request: ids, route, status, times and tokens. Never a body, a raw path, a query or a key's secret."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter_ns, time
from typing import TYPE_CHECKING, Any

import orjson

from tollhouse.middlewares.exchange import GONE
from tollhouse.middlewares.stage import Stage, StageMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import ASGIApp


class AccessLogStage(Stage):
    """`write` takes a whole line with its end; it must not block."""

    def __init__(self, write: Callable[[bytes], None], *, json: bool = True) -> None:
        self._write = write
        self._format = _json_line if json else _text_line

    def leave(self, exchange: Exchange) -> None:
        self._write(self._format(_fields(exchange)))


def _fields(exchange: Exchange) -> dict[str, Any]:
    principal = exchange.principal
    trace = exchange.trace
    fields: dict[str, Any] = {
        "ts": time(),
        "level": "info",
        "logger": "tollhouse.access",
        "msg": "request",
        "request_id": exchange.request_id,
        "method": exchange.scope["method"],
        "route": exchange.route,
        "status": exchange.status or GONE,
        "duration_ms": round((perf_counter_ns() - exchange.started_ns) / 1e6, 3),
    }
    if trace is not None:
        fields["trace_id"] = f"{trace.trace_id:032x}"
    if principal is not None:
        fields["key_id"] = principal.id
        if principal.team:
            fields["team"] = principal.team
    if exchange.model:
        fields["model"] = exchange.model
        fields["provider"] = exchange.provider
        fields["stream"] = exchange.stream
    if exchange.overhead_ns:
        fields["overhead_us"] = exchange.overhead_ns // 1000
    if exchange.usage is not None:
        fields["prompt_tokens"], fields["completion_tokens"] = exchange.usage[:2]
        if exchange.usage_estimated:
            fields["usage_estimated"] = True
    fields |= _decided(exchange)
    if exchange.error_code:
        fields["error"] = exchange.error_code
    return fields


def _decided(exchange: Exchange) -> dict[str, Any]:
    """What was found and decided, if anybody looked or a policy was asked."""
    fields: dict[str, Any] = {}
    verdict = exchange.verdict
    if exchange.findings is not None or verdict is not None:
        fields["decision"] = exchange.decision.decode()
    if exchange.findings is not None:
        fields["findings"] = exchange.findings
    if verdict is not None:
        fields["policy"] = verdict.policy.version
        fields["reasons"] = ", ".join(exchange.reasons)
    if exchange.shadows:
        fields["shadow"] = "; ".join(" ".join(said) for said in exchange.shadows)
    return fields


def _json_line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _text_line(fields: dict[str, Any]) -> bytes:
    when = datetime.fromtimestamp(fields.pop("ts"), UTC).isoformat(timespec="milliseconds")
    del fields["level"], fields["logger"], fields["msg"]
    pairs = " ".join(f"{name}={value}" for name, value in fields.items())
    return f"{when} INFO request {pairs}\n".encode()


def as_text(line: bytes) -> bytes:
    """A line of JSON, for eyes."""
    return _text_line(orjson.loads(line))


class AccessLogMiddleware(StageMiddleware):
    """Writes a line per request of any ASGI app; see AccessLogStage."""

    def __init__(self, app: ASGIApp, *, write: Callable[[bytes], None], json: bool = True) -> None:
        super().__init__(app, AccessLogStage(write, json=json))
