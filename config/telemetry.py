"""The section `telemetry`: who is told of requests, and whether what that needs is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tollhouse.config.secret import Secret
from tollhouse.config.settings import LangfuseSettings, OTLPSettings, TelemetrySettings

if TYPE_CHECKING:
    from tollhouse.config.document import Document
    from tollhouse.config.schema import TelemetrySection


def resolve(section: TelemetrySection | None, source: Document) -> TelemetrySettings | None:
    """None: nobody is."""
    if section is None:
        return None
    otlp, langfuse, sentry = section.otlp, section.langfuse, section.sentry
    for name, given, package, extra in (
        ("otlp", otlp, "opentelemetry.exporter.otlp.proto.http", "otel"),
        ("langfuse", langfuse, "opentelemetry.exporter.otlp.proto.http", "otel"),
        ("sentry", sentry, "sentry_sdk", "sentry"),
    ):
        if given is not None and not _is_installed(package):
            source.report(("telemetry", name), f"needs more packages: pip install 'tollhouse[{extra}]'")
    if otlp is None and langfuse is None and sentry is None:
        return None
    return TelemetrySettings(
        otlp=None
        if otlp is None
        else OTLPSettings(
            endpoint=otlp.endpoint.rstrip("/"),
            headers={name.lower(): Secret(value) for name, value in (otlp.headers or {}).items()},
            metrics=otlp.metrics,
            interval_s=otlp.interval_s,
        ),
        langfuse=None
        if langfuse is None
        else LangfuseSettings(langfuse.host.rstrip("/"), langfuse.public_key, Secret(langfuse.secret_key)),
        sentry=None if sentry is None else Secret(sentry.dsn),
        sample=section.sample,
    )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
