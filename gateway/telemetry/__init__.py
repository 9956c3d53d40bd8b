"""Traces, metrics and errors for others: OpenTelemetry over OTLP, Langfuse through it, Sentry.

A request leaves a plain record; a thread of its own turns records into spans and events, so that none of the libraries
is on a request's way. What is not configured is not imported.
"""

from tollhouse.gateway.telemetry.pump import Pump, Telemetry

__all__ = ["Pump", "Telemetry"]
