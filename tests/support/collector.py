"""What others run to be told of requests, on one socket: an OTLP collector, Langfuse's endpoint, Sentry's.

Everything that arrives is decoded with the protocols' own definitions, and kept as it came as well.
"""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.net import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

LANGFUSE = "/api/public/otel"
KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True)
class Span:
    """Ids in hexadecimal; times in ns since the epoch. `to` is the path that it was sent to."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    begun_ns: int
    ended_ns: int
    is_error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    to: str


@dataclass
class Point:
    """The latest value of one series: a sum, or count and sum of a histogram."""

    name: str
    unit: str
    attributes: dict[str, Any]
    count: int
    total: float


@dataclass
class Received:
    spans: list[Span] = field(default_factory=list)
    points: dict[tuple[str, tuple[tuple[str, str], ...]], Point] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # by path, of the last request
    raw: bytes = b""


class Collector:
    """`with Collector() as collector:` serves at `collector.url`."""

    def __init__(self) -> None:
        self.received = Received()
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """To nowhere."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    @property
    def dsn(self) -> str:
        return f"http://public@{LOOPBACK}:{self._server.server_port}/7"

    @property
    def spans(self) -> list[Span]:
        """Those that were sent to the collector itself."""
        return [span for span in self.received.spans if not span.to.startswith(LANGFUSE)]

    @property
    def points(self) -> list[Point]:
        return list(self.received.points.values())

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def settings(self, **more: Any) -> dict[str, Any]:
        """The section `telemetry` that sends everything here."""
        return {
            "otlp": {"endpoint": self.url, "headers": {"x-tenant": "acme"}, "interval_s": 0.3},
            "langfuse": {"host": self.url, "public_key": "pk-lf-1", "secret_key": "sk-lf-1"},
            "sentry": {"dsn": self.dsn},
            **more,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        with self._lock:
            self.received.raw += body
            self.received.headers[path] = headers
            if path.endswith("/v1/traces"):
                self.received.spans += _spans(ExportTraceServiceRequest.FromString(body), path)
            elif path.endswith("/v1/metrics"):
                for point in _points(ExportMetricsServiceRequest.FromString(body)):
                    labels = tuple(sorted((name, str(value)) for name, value in point.attributes.items()))
                    self.received.points[point.name, labels] = point
            elif path.endswith("/envelope/"):
                lines = body.split(b"\n")
                self.received.events += [
                    orjson.loads(lines[i + 1])
                    for i in range(1, len(lines) - 1, 2)
                    if orjson.loads(lines[i])["type"] == "event"
                ]


def _spans(request: Any, path: str) -> Iterator[Span]:
    for group in request.resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    kind=KINDS[span.kind],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    begun_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    is_error=span.status.code == 2,
                    attributes=_values(span.attributes),
                    resource=resource,
                    to=path,
                )


def _points(request: Any) -> Iterator[Point]:
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                data = getattr(metric, metric.WhichOneof("data"))
                for point in data.data_points:
                    is_histogram = hasattr(point, "bucket_counts")
                    total = point.sum if is_histogram else point.as_double or point.as_int
                    count = point.count if is_histogram else 1
                    yield Point(metric.name, metric.unit, _values(point.attributes), count, total)


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
