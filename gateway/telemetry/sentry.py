"""Failures as events for Sentry: what kind, where, and a keyed hash of the prompt. No text of anybody's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.transport import HttpTransport

from tollhouse._native import __version__

if TYPE_CHECKING:
    from tollhouse.middlewares.trace import Record

FLUSH_S = 3.0
_KEPT = frozenset(
    {"event_id", "timestamp", "level", "message", "fingerprint", "tags", "platform", "environment", "release"}
)
# Of what a guard refuses; 401, 404, 413 and 429 are everyday.
_BY_GUARDS = frozenset({200, 400, 403})


class SentrySink:
    """One event per request that failed by us or an upstream (5xx), or that a guard has refused."""

    def __init__(self, dsn: str, *, environment: str, transport: type[HttpTransport] = HttpTransport) -> None:
        logging.getLogger("sentry_sdk.errors").setLevel(logging.WARNING)
        self._client = sentry_sdk.Client(
            dsn=dsn,
            environment=environment,
            release=f"tollhouse@{__version__}",
            # Nothing looks at requests, frames, threads, modules or the machine by itself.
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            include_local_variables=False,
            include_source_context=False,
            send_client_reports=False,
            max_breadcrumbs=0,
            attach_stacktrace=False,
            server_name="",
            before_send=_only_ours,
            transport=transport,
        )

    def write(self, record: Record) -> None:
        is_failure = record.status >= 500
        if not is_failure and (record.decision != "BLOCKED" or record.status not in _BY_GUARDS):
            return
        code = record.error or f"http_{record.status}"
        tags = {
            "decision": record.decision,
            "route": record.route,
            "status": str(record.status),
            "code": code,
            "model": record.model,
            "provider": record.provider,
            "request_id": record.request_id,
            "prompt_hash": record.trace.prompt_hash,
            "policy": record.policy,
            "findings": ",".join(sorted(record.findings or ())),
        }
        event: Any = {
            "message": f"{record.decision} {code}" if not is_failure else code,
            "level": "error" if is_failure else "warning",
            "timestamp": record.ended_ns / 1e9,
            "fingerprint": [code, record.route, record.model],
            "tags": {name: value for name, value in tags.items() if value},
        }
        self._client.capture_event(event)

    def close(self) -> None:
        self._client.close(timeout=FLUSH_S)


def _only_ours(event: Any, _: Any) -> Any:
    """Whatever the library adds by itself stays here."""
    return {name: value for name, value in event.items() if name in _KEPT}
