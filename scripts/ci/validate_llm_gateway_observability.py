"""Checks what run_llm_gateway_telemetry_scenario.py wrote: python ... OUT.log

The exit code is 0 only if every metric, field and span attribute that is required was there, and nothing in the file
holds a secret or personal data: neither one that was planted, nor any that the scanner finds. Each problem is a line.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from in_venv import in_venv

in_venv()

import orjson  # noqa: E402 - not before the interpreter is the right one

from tests.support.canaries import canaries  # noqa: E402
from tollhouse import Scanner  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Records = dict[str, list[dict[str, Any]]]

METRICS: dict[str, Sequence[str]] = {
    "gateway_requests_total": ("route", "status", "model", "provider", "decision"),
    "gateway_request_duration_seconds_bucket": ("route", "model", "provider", "decision", "le"),
    "gateway_overhead_seconds_bucket": ("route", "le"),
    "gateway_requests_in_flight": (),
    "gateway_tokens_total": ("model", "provider", "kind"),
    "gateway_cost_usd_total": ("model", "provider"),
    "gateway_unpriced_requests_total": ("model", "provider"),
    "gateway_budget_excess_usd_total": (),
    "gateway_quota_denied_total": ("level", "limit"),
    "gateway_quota_store_up": (),
    "gateway_quota_store_unavailable_total": (),
    "gateway_store_up": ("store",),
    "gateway_fail_open_total": ("what",),
    "gateway_scan_findings_total": ("type", "direction", "action"),
    "gateway_guard_runs_total": ("guard", "direction", "outcome"),
    "gateway_guard_duration_seconds_bucket": ("guard", "direction", "le"),
    "gateway_upstream_errors_total": ("model", "provider", "kind"),
    "gateway_upstream_in_flight": ("provider",),
    "gateway_upstream_queue": ("provider",),
    "gateway_breaker_state": ("deployment",),
    "gateway_fallbacks_total": ("from", "to", "cause"),
    "gateway_retries_total": ("model", "cause"),
    "gateway_telemetry_dropped_total": (),
    "gateway_build_info": ("version",),
    "gateway_config_reloads_total": ("outcome", "reason"),
    "gateway_config_info": ("version", "fingerprint"),
}
VALUES = {
    "gateway_requests_total": {"decision": {"ALLOWED", "TRANSFORMED", "BLOCKED"}},
    "gateway_guard_runs_total": {"outcome": {"allowed", "transformed", "blocked"}},
    "gateway_scan_findings_total": {"type": {"EMAIL_ADDRESS", "SECRET", "INJECTION"}},
}
OTLP_METRICS = {
    "gen_ai.client.token.usage",
    "gen_ai.client.operation.duration",
    "gen_ai.client.operation.time_to_first_chunk",
    "http.server.request.duration",
    "gateway.cost",
    "gateway.decisions",
}
# Of every line about a request; of those that an upstream has answered; of those with findings.
LOG = ("ts", "level", "request_id", "trace_id", "method", "route", "status", "duration_ms")
LOG_ANSWERED = ("key_id", "model", "provider", "stream", "overhead_us")
LOG_FOUND = ("decision", "findings")
SERVER_SPAN = (
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "gateway.request_id",
    "gateway.decision",
    "gateway.guardrail_outcome",
    "gateway.cache",
    "gateway.attempts",
)
CLIENT_SPAN = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
ANSWERED_SPAN = ("gen_ai.response.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
LANGFUSE = tuple(
    f"langfuse.trace.metadata.{name}"
    for name in ("environment", "model", "guardrail_outcome", "latency_ms", "cache_hit", "cost_usd", "model_override")
)
SENTRY = ("decision", "code", "route", "status")
# What further guards leave (the version of a policy, the id of a receipt) is required by adding its name to these.
HEADERS = ("x-request-id", "x-gateway-decision", "x-gateway-guards", "x-gateway-model", "x-gateway-provider")
LEDGER_TABLES = 1
_HARMLESS = ("127.0.0.1",)
# Random hexadecimal digits: of some thousands one may well look like a card or an IBAN.
_RANDOM = {"trace_id": 32, "span_id": 16, "parent_id": 16, "event_id": 32}


def read(path: Path) -> Records:
    found: Records = defaultdict(list)
    for line in path.read_bytes().splitlines():
        record = orjson.loads(line)
        found[record["sink"]].append(record)
    return found


def problems(found: Records, text: str) -> Iterator[str]:
    """Everything that is wrong, a line each; none of them shows a value."""
    yield from _of_metrics(found["metric"])
    have = {record["name"] for record in found["otlp_metric"]}
    yield from (f"OTLP metric {name} is missing" for name in sorted(OTLP_METRICS - have))
    yield from _of_logs(found["log"])
    yield from _of_spans(found["span"])
    yield from _lacking("sentry event", found["sentry"], [record["tags"] for record in found["sentry"]], SENTRY)
    if not any("prompt_hash" in record["tags"] for record in found["sentry"]):
        yield "no sentry event has a prompt_hash"
    answered = [record["headers"] for record in found["answer"] if record["status"] == 200]
    if not any("x-gateway-decision" in headers for headers in answered):
        yield "no answer has x-gateway-decision"
    forwarded = [headers for headers in answered if "x-gateway-decision" in headers]
    yield from _lacking("answer", forwarded, forwarded, HEADERS)
    if len({record["table"] for record in found["ledger"]}) < LEDGER_TABLES:
        yield "the ledger is empty"
    yield from _of_secrets(found, text)


def _of_metrics(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    labels: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        name, _, rest = record["sample"].partition("{")
        name = name.split(" ")[0]
        found = labels[name]
        for pair in rest.rpartition("}")[0].replace('",', '"\n').splitlines():
            label, _, value = pair.partition("=")
            found[label].add(value.strip('"'))
    for name, wanted in METRICS.items():
        if name not in labels:
            yield f"metric {name} is missing"
            continue
        yield from (f"metric {name} lacks the label {label}" for label in wanted if label not in labels[name])
    for name, by_label in VALUES.items():
        for label, values in by_label.items():
            missing = values - labels[name][label]
            yield from (f"metric {name} has no {label}={value}" for value in sorted(missing))


def _of_logs(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    requests = [record for record in records if record.get("logger") == "tollhouse.access"]
    yield from _lacking("log line", requests, requests, LOG)
    answered = [record for record in requests if record.get("overhead_us") is not None]
    yield from _lacking("log line of an answer", answered, answered, LOG_ANSWERED)
    transformed = [record for record in requests if "findings" in record]
    yield from _lacking("log line of findings", transformed, transformed, LOG_FOUND)


def _of_spans(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    servers = [record["attributes"] for record in records if record["kind"] == "server"]
    clients = [record["attributes"] for record in records if record["kind"] == "client"]
    yield from _lacking("server span", servers, servers, SERVER_SPAN)
    yield from _lacking("client span", clients, clients, CLIENT_SPAN)
    answered = [one for one in clients if one.get("gen_ai.provider.name") == "openai" and "error.type" not in one]
    yield from _lacking("span of an answer", answered, answered, ANSWERED_SPAN)
    with_langfuse = [one for one in servers if "langfuse.trace.name" in one]
    yield from _lacking("span for Langfuse", with_langfuse, with_langfuse, LANGFUSE)
    by_id = {(record["trace_id"], record["span_id"]) for record in records}
    orphans = sum((one["trace_id"], one["parent_id"]) not in by_id for one in records if one["kind"] == "client")
    if orphans:
        yield f"{orphans} client spans have no server span"


def _lacking(
    what: str, records: Sequence[object], fields: Sequence[Mapping[str, Any]], wanted: Sequence[str]
) -> Iterator[str]:
    if not records:
        yield f"there is no {what}"
    for name in wanted:
        lacking = sum(name not in one for one in fields)
        if lacking:
            yield f"{lacking} of {len(fields)}: {what} lacks {name}"


def _of_secrets(found: Records, text: str) -> Iterator[str]:
    planted = canaries(found["scenario"][0]["seed"]) if found["scenario"] else []
    if not planted:
        yield "nothing was planted"
    for canary in planted:
        written = orjson.dumps(canary.core).decode()[1:-1]
        if canary.core in text or written in text:
            yield f"holds the planted {canary.kind}"
    for sink in ("state on disk", "bytes on the wire"):
        if not any(record["bytes"] for record in found[sink]):
            yield f"nothing is known of the {sink}"
        yield from (f"the {sink} hold the planted {kind}" for record in found[sink] for kind in record["held"])
    scanner = Scanner({"injection": "allow"})
    looks_like = {
        f"{sink} holds what looks like {finding.type} ({finding.rule})"
        for sink, records in found.items()
        for value in _strings(records)
        for finding in scanner.scan(value).findings
        if value[finding.start : finding.end] not in _HARMLESS
    }
    yield from sorted(looks_like)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            if not _is_random(name, one):
                yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _is_random(name: str, value: object) -> bool:
    is_id = isinstance(value, str) and len(value) == _RANDOM.get(name)
    return is_id and set(value) <= set("0123456789abcdef")


def main(path: Path) -> int:
    text = path.read_text(encoding="utf-8")
    try:
        found = read(path)
        wrong = list(problems(found, text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = [f"cannot be read: {type(error).__name__}"]
        found = {}
    for line in wrong:
        print(f"{path}: {line}")  # noqa: T201
    if not wrong:
        counts = ", ".join(f"{len(records)} x {sink}" for sink, records in found.items())
        print(f"{path}: everything that is required is there, and no secret or personal data ({counts})")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT.log")
    sys.exit(main(Path(sys.argv[1])))
