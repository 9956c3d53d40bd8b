"""What spans and metrics say of a request, by OpenTelemetry's conventions for generative AI and HTTP.

https://opentelemetry.io/docs/specs/semconv/gen-ai/ ; `gateway.*` and `langfuse.*` are what those have no name for.
Nothing here is a caller's text, but for the name of a model that a provider has answered by.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tollhouse._native import usd

if TYPE_CHECKING:
    from tollhouse.middlewares.trace import AttemptSpan, Record

Attributes = dict[str, Any]

_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "xai": "x_ai",
}


def operation(record: Record) -> str:
    """`chat`; of what is no conversation the end of its route."""
    return _OPERATIONS.get(record.kind) or record.kind or record.route.removeprefix("/v1/")


def provider(name: str) -> str:
    return _PROVIDERS.get(name, name)


def asked(record: Record) -> str:
    """The model as the caller called it, once it is known that there is one of that name."""
    return record.asked_model if any(one.first_ns for one in record.trace.attempts) else record.model


def answering(record: Record) -> AttemptSpan | None:
    """The attempt whose answer the caller got."""
    return next((one for one in reversed(record.trace.attempts) if one.first_ns), None)


def of_request(record: Record) -> Attributes:
    """For the server's span."""
    found: Attributes = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "gateway.request_id": record.request_id,
        "gateway.decision": record.decision,
        "gateway.guardrail_outcome": guardrail(record),
        "gateway.cache": record.cache,
        "gateway.stream": record.stream,
        "gateway.attempts": len(record.trace.attempts),
        "gateway.overhead_us": record.overhead_ns // 1000,
    }
    if record.key_id:
        found["gateway.key_id"] = record.key_id
    if record.policy:
        found["gateway.policy"] = record.policy
    if record.team:
        found["gateway.team"] = record.team
    if record.error:
        found["error.type"] = record.error
    if record.cost is not None:
        found["gateway.cost_usd"] = float(usd(record.cost))
    for kind, count in (record.findings or {}).items():
        found[f"gateway.findings.{kind}"] = count
    if record.model:
        found["gen_ai.operation.name"] = operation(record)
        found["gen_ai.request.model"] = asked(record)
        found["gen_ai.request.stream"] = record.stream
    last = answering(record)
    if last is not None:
        found["gen_ai.provider.name"] = provider(last.provider)
        found["gen_ai.response.model"] = last.model
        found["gateway.model_override"] = is_override(record, last)
    return found


def of_attempt(record: Record, attempt: AttemptSpan) -> Attributes:
    """For a client's span."""
    found: Attributes = {
        "gen_ai.operation.name": operation(record),
        "gen_ai.provider.name": provider(attempt.provider),
        "gen_ai.request.model": attempt.model if attempt.first_ns else record.model,
        "gen_ai.request.stream": record.stream,
    }
    if attempt.status:
        found["http.response.status_code"] = attempt.status
    if attempt.error:
        found["error.type"] = attempt.error
    if attempt.first_ns:
        found["gen_ai.response.model"] = attempt.model
        if record.stream:
            found["gen_ai.response.time_to_first_chunk"] = (attempt.first_ns - attempt.begun_ns) / 1e9
    if attempt.usage is not None:
        prompt, completion, cached, reasoning = attempt.usage
        found["gen_ai.usage.input_tokens"] = prompt
        found["gen_ai.usage.output_tokens"] = completion
        found["gen_ai.usage.cache_read.input_tokens"] = cached
        found["gen_ai.usage.reasoning.output_tokens"] = reasoning
    return found


def for_langfuse(record: Record, environment: str) -> Attributes:
    """What Langfuse shows with the trace as a whole.

    https://langfuse.com/integrations/native/opentelemetry
    """
    last = answering(record)
    metadata: Attributes = {
        "environment": environment,
        "model": asked(record),
        "guardrail_outcome": guardrail(record),
        "latency_ms": (record.ended_ns - record.began_ns) / 1e6,
        "cache_hit": record.cache in {"hit", "semantic"},
        "cost_usd": 0.0 if record.cost is None else float(usd(record.cost)),
        "model_override": last.model if last is not None and is_override(record, last) else "",
        "request_id": record.request_id,
    }
    return {
        "langfuse.trace.name": f"{record.method} {record.route}",
        "langfuse.environment": environment,
        "langfuse.observation.type": "span",
        "langfuse.trace.tags": [record.decision],
        "user.id": record.key_id,
        **{f"langfuse.trace.metadata.{name}": value for name, value in metadata.items()},
    }


def for_langfuse_attempt(record: Record, attempt: AttemptSpan, environment: str) -> Attributes:
    found: Attributes = {
        "langfuse.environment": environment,
        "langfuse.observation.type": "generation",
        "langfuse.observation.level": "ERROR" if attempt.error else "DEFAULT",
    }
    if record.cost is not None and attempt is answering(record):
        # What its lost attempts came to is in it: Langfuse sums over observations.
        found["langfuse.observation.cost_details"] = json.dumps({"total": float(usd(record.cost))})
    return found


def guardrail(record: Record) -> str:
    """allowed, transformed or blocked."""
    return record.decision.lower()


def is_override(record: Record, attempt: AttemptSpan) -> bool:
    """Whether another model answered than the one that was asked for; a provider's own prefix makes none."""
    return attempt.model != record.asked_model and not record.asked_model.endswith(f"/{attempt.model}")
