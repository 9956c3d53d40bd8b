"""Spans and metrics through OpenTelemetry's SDK, sent over OTLP/HTTP by its own threads."""

from __future__ import annotations

import base64
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from tollhouse._native import __version__
from tollhouse.gateway.telemetry import attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tollhouse.config.settings import LangfuseSettings, TelemetrySettings
    from tollhouse.middlewares.trace import Record

TIMEOUT_S = 5
DELAY_MS = 1000  # in which spans are gathered
QUEUE = 16_384  # spans that wait to be sent; more are dropped
# As the conventions ask for. https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4.0**power for power in range(14))
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_SCOPE = InstrumentationScope("tollhouse", __version__)
# They name addresses, and at debug level what is sent there.
_QUIET = ("opentelemetry", "urllib3", "requests")


class OTLPSink:
    """To a collector, to Langfuse, or to both."""

    def __init__(self, settings: TelemetrySettings, *, environment: str) -> None:
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
        resource = Resource.create(
            {
                "service.name": "tollhouse",
                "service.version": __version__,
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
                "deployment.environment.name": environment,
            }
        )
        self._resource = resource
        self._environment = environment
        # Where spans go, and whether Langfuse is there.
        self._to: list[tuple[BatchSpanProcessor, bool]] = []
        self._measures: _Measures | None = None
        otlp = settings.otlp
        if otlp is not None:
            headers = {name: value.reveal() for name, value in otlp.headers.items()}
            spans = OTLPSpanExporter(endpoint=f"{otlp.endpoint}/v1/traces", headers=headers, timeout=TIMEOUT_S)
            self._to.append((BatchSpanProcessor(spans, max_queue_size=QUEUE, schedule_delay_millis=DELAY_MS), False))
            if otlp.metrics:
                to = OTLPMetricExporter(endpoint=f"{otlp.endpoint}/v1/metrics", headers=headers, timeout=TIMEOUT_S)
                self._measures = _Measures(to, resource, interval_s=otlp.interval_s)
        if settings.langfuse is not None:
            spans = _langfuse(settings.langfuse)
            self._to.append((BatchSpanProcessor(spans, max_queue_size=QUEUE, schedule_delay_millis=DELAY_MS), True))

    def write(self, record: Record) -> None:
        if self._measures is not None:
            self._measures.add(record)
        if record.trace.is_sampled:
            for processor, is_langfuse in self._to:
                for span in self._spans(record, is_langfuse=is_langfuse):
                    processor.on_end(span)

    def close(self) -> None:
        for processor, _ in self._to:
            processor.shutdown()  # type: ignore[no-untyped-call]
        if self._measures is not None:
            self._measures.close()

    def _spans(self, record: Record, *, is_langfuse: bool) -> Iterator[ReadableSpan]:
        """Made whole: the SDK's own way to a span (sampler, context, locks) is for work that is still under way."""
        trace, environment = record.trace, self._environment
        state = TraceState.from_header([trace.state.decode("latin-1")]) if trace.state else None
        root = SpanContext(trace.trace_id, trace.span_id, is_remote=False, trace_flags=_SAMPLED, trace_state=state)
        for attempt in trace.attempts:
            found = attributes.of_attempt(record, attempt)
            name = f"{found['gen_ai.operation.name']} {found['gen_ai.request.model']}"
            if is_langfuse:
                found |= attributes.for_langfuse_attempt(record, attempt, environment)
            yield ReadableSpan(
                name,
                SpanContext(trace.trace_id, attempt.span_id, is_remote=False, trace_flags=_SAMPLED, trace_state=state),
                root,
                self._resource,
                found,
                kind=SpanKind.CLIENT,
                status=_ERROR if attempt.error else _UNSET,
                start_time=attempt.begun_ns + record.clock_ns,
                end_time=(attempt.ended_ns or attempt.begun_ns) + record.clock_ns,
                instrumentation_scope=_SCOPE,
            )
        found = attributes.of_request(record)
        if is_langfuse:
            found |= attributes.for_langfuse(record, environment)
        caller = SpanContext(trace.trace_id, trace.parent_id, is_remote=True, trace_flags=_SAMPLED, trace_state=state)
        yield ReadableSpan(
            f"{record.method} {record.route}",
            root,
            caller if trace.parent_id else None,
            self._resource,
            found,
            kind=SpanKind.SERVER,
            status=_ERROR if record.status >= 500 else _UNSET,
            start_time=record.began_ns,
            end_time=record.ended_ns,
            instrumentation_scope=_SCOPE,
        )


class _Measures:
    """The metrics of the conventions; labels are names of the configuration."""

    def __init__(self, exporter: OTLPMetricExporter, resource: Resource, *, interval_s: float) -> None:
        views = [
            View(instrument_name="*.duration", aggregation=ExplicitBucketHistogramAggregation(_DURATIONS)),
            View(instrument_name="*.time_to_first_chunk", aggregation=ExplicitBucketHistogramAggregation(_DURATIONS)),
            View(instrument_name="*.usage", aggregation=ExplicitBucketHistogramAggregation(_TOKENS)),
        ]
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval_s * 1000)
        self._provider = MeterProvider([reader], resource=resource, views=views, shutdown_on_exit=False)
        meter = self._provider.get_meter("tollhouse", __version__)
        self._served = meter.create_histogram("http.server.request.duration", unit="s")
        self._duration = meter.create_histogram("gen_ai.client.operation.duration", unit="s")
        self._first = meter.create_histogram("gen_ai.client.operation.time_to_first_chunk", unit="s")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", unit="{token}")
        self._cost = meter.create_counter("gateway.cost", unit="USD")
        self._decisions = meter.create_counter("gateway.decisions")

    def add(self, record: Record) -> None:
        of_http: dict[str, Any] = {
            "http.request.method": record.method,
            "http.route": record.route,
            "http.response.status_code": record.status,
        }
        self._served.record((record.ended_ns - record.began_ns) / 1e9, of_http)
        self._decisions.add(1, {"http.route": record.route, "gateway.decision": record.decision})
        for attempt in record.trace.attempts:
            labels: dict[str, Any] = {
                "gen_ai.operation.name": attributes.operation(record),
                "gen_ai.provider.name": attributes.provider(attempt.provider),
                "gen_ai.request.model": record.model,
            }
            if attempt.error:
                labels["error.type"] = attempt.error
            self._duration.record(((attempt.ended_ns or attempt.begun_ns) - attempt.begun_ns) / 1e9, labels)
            if record.stream and attempt.first_ns:
                self._first.record((attempt.first_ns - attempt.begun_ns) / 1e9, labels)
            if attempt.usage is not None:
                self._tokens.record(attempt.usage[0], {**labels, "gen_ai.token.type": "input"})
                self._tokens.record(attempt.usage[1], {**labels, "gen_ai.token.type": "output"})
            if record.cost and attempt is attributes.answering(record):
                self._cost.add(record.cost / 1e9, labels)

    def close(self) -> None:
        self._provider.shutdown()


def _langfuse(settings: LangfuseSettings) -> OTLPSpanExporter:
    pair = f"{settings.public_key}:{settings.secret_key.reveal()}"
    return OTLPSpanExporter(
        endpoint=f"{settings.host}/api/public/otel/v1/traces",
        headers={"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"},
        timeout=TIMEOUT_S,
    )
