"""Everything that is required is told, and no secret of fifty kinds, planted in every input, is told to anybody."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from typing import Any

import orjson
import pytest

from tests.llm_gateway.conftest import VALIDATE, validate
from tests.support.canaries import canaries
from tests.support.scenario import SEED, TRACE
from tollhouse.config.loader import load_mapping

pytestmark = pytest.mark.llm_gateway_real_integration

SINKS = ("answer", "log", "metric", "span", "otlp_metric", "sentry", "ledger")


@pytest.fixture(scope="module")
def validator():
    """The script as a module."""
    sys.path.insert(0, str(VALIDATE.parent))
    spec = importlib.util.spec_from_file_location("validate_observability", VALIDATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(VALIDATE.parent))
    return module


def test_the_validator_is_content(out_log):
    done = validate(out_log)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "everything that is required is there" in done.stdout


def test_fifty_kinds_are_planted_and_every_sink_was_told_something(sinks):
    assert len({one.kind for one in canaries(SEED)}) == 50
    assert sinks["scenario"][0]["requests"] == len(sinks["answer"]) > 500
    assert all(len(sinks[name]) > 20 for name in SINKS)
    assert {record["status"] for record in sinks["answer"]} >= {200, 400, 401, 404, 429, 502, 503}
    lines = [record for record in sinks["log"] if record.get("msg") == "request"]
    assert len(lines) > 500


@pytest.mark.parametrize("sink", SINKS)
def test_no_sink_holds_a_canary(sinks, sink):
    text = orjson.dumps(sinks[sink]).decode()
    held = [one.kind for one in canaries(SEED) if one.core in text or orjson.dumps(one.core).decode()[1:-1] in text]
    assert not held


@pytest.mark.parametrize("sink", ["state on disk", "bytes on the wire"])
def test_no_canary_is_in_bytes(sinks, sink):
    (record,) = sinks[sink]
    assert record["bytes"] > 1000
    assert not record["held"]


def test_settings_are_shown_without_their_secrets(tmp_path):
    """In every representation that a log line or a debugger might want of them."""
    planted = [one for one in canaries(SEED) if one.is_secret and one.core.isascii() and " " not in one.core]
    config: dict[str, Any] = {
        "general_settings": {"master_key": planted[0].core, "admin_key": planted[1].core},
        "model_list": [
            {
                "model_name": f"m{i}",
                "litellm_params": {"model": "openai/x", "api_key": one.core, "api_base": "http://127.0.0.1:1/v1"},
            }
            for i, one in enumerate(planted)
        ],
        "keys": [{"name": f"k{i}", "key": one.core} for i, one in enumerate(planted)],
        "scan": {"request": {"pii": "pseudonymise"}, "pseudonym_key": planted[2].core.ljust(16, "x")},
        "telemetry": {
            "otlp": {"headers": {"x": planted[3].core}},
            "langfuse": {"public_key": "p", "secret_key": planted[4].core},
        },
    }
    settings = load_mapping(config, {"LLM_GATEWAY_STATE_DIR": str(tmp_path)})
    from tollhouse.gateway import create_app

    app = create_app(settings)
    shown = f"{settings!r} {settings} {app.state._state!r} {vars(app.build_middleware_stack())!r}"
    assert not [one.kind for one in planted if one.core in shown]


def test_a_callers_trace_is_gone_on_with(sinks):
    spans = [one for one in sinks["span"] if one["trace_id"] == TRACE and one["to"] == "/v1/traces"]
    assert {one["kind"] for one in spans} == {"server", "client"}
    assert {one["parent_id"] for one in spans if one["kind"] == "server"} == {"b7ad6b7169203331"}


def _some(records):
    """The first traces, and the first of what there is most of: enough to be right, and quick to look through."""
    kept: list[Any] = []
    counts: Counter[str] = Counter()
    traces: dict[str, bool] = {}
    for record in records:
        sink = record["sink"]
        counts[sink] += 1
        if sink == "span":
            if len(traces) < 60:
                traces[record["trace_id"]] = True
            if record["trace_id"] not in traces:
                continue
        elif sink in {"answer", "log", "ledger"} and counts[sink] > 80:
            continue
        kept.append(record)
    return kept


def test_part_of_the_records_is_right_as_well(validator, out_log, tmp_path):
    """Or else what follows would show nothing."""
    records = _some(orjson.loads(line) for line in out_log.read_bytes().splitlines())
    path = tmp_path / "OUT.log"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    assert validator.main(path) == 0


def _without(sink, change):
    """A mutation of the records of one sink."""

    def mutate(records):
        return [change(record) if record["sink"] == sink else record for record in records]

    return mutate


def _lacks(*path):
    def change(record):
        record = orjson.loads(orjson.dumps(record))
        inside = record
        for step in path[:-1]:
            inside = inside.get(step, {})
        inside.pop(path[-1], None)
        return record

    return change


def _is_renamed(old, new):
    return lambda record: orjson.loads(orjson.dumps(record).replace(old.encode(), new.encode()))


def _adds(value):
    return lambda records: [*records, {"sink": "log", "text": value}]


def _is_told(**members):
    return lambda records: [*records, {"sink": "log", **members}]


MUTATIONS = {
    "a metric": (_without("metric", _is_renamed("gateway_upstream_queue", "x")), "gateway_upstream_queue is missing"),
    "a label": (_without("metric", _is_renamed("decision=", "d=")), "lacks the label decision"),
    "a label's value": (_without("metric", _is_renamed("BLOCKED", "X")), "has no decision=BLOCKED"),
    "a metric over OTLP": (_without("otlp_metric", _is_renamed("token.usage", "x")), "token.usage is missing"),
    "a field of the log": (_without("log", _lacks("trace_id")), "log line lacks trace_id"),
    "an attribute": (_without("span", _lacks("attributes", "gateway.decision")), "server span lacks gateway.decision"),
    "tokens": (_without("span", _lacks("attributes", "gen_ai.usage.input_tokens")), "lacks gen_ai.usage.input_tokens"),
    "a server span": (_without("span", _is_renamed('"kind":"server"', '"kind":"internal"')), "there is no server span"),
    "a parent": (_without("span", lambda one: one | {"span_id": "0"}), "client spans have no server span"),
    "Langfuse's cost": (
        _without("span", _lacks("attributes", "langfuse.trace.metadata.cost_usd")),
        "lacks langfuse.trace.metadata.cost_usd",
    ),
    "a tag of Sentry's": (_without("sentry", _lacks("tags", "decision")), "sentry event lacks decision"),
    "hashes of prompts": (_without("sentry", _lacks("tags", "prompt_hash")), "has a prompt_hash"),
    "a header": (_without("answer", _lacks("headers", "x-gateway-guards")), "answer lacks x-gateway-guards"),
    "the ledger": (lambda records: [one for one in records if one["sink"] != "ledger"], "the ledger is empty"),
    "a planted secret": (_adds(f"x {canaries(SEED)[3].text}"), "holds the planted gitlab-pat"),
    "a secret on disk": (_without("state on disk", lambda one: one | {"held": ["jwt"]}), "hold the planted jwt"),
    "another's address": (_adds("mail to somebody.else@example.com"), "looks like EMAIL_ADDRESS"),
    "another secret": (_adds(canaries(99)[0].text), "looks like SECRET"),
    "a card where an id belongs": (_is_told(span_id="4111 1111 1111 1111"), "looks like CREDIT_CARD"),
    "a card that is no id": (_is_told(text="2606865453566671"), "looks like CREDIT_CARD"),
}


def test_a_random_id_may_look_like_anything(validator, out_log, tmp_path, capsys):
    records = [orjson.loads(line) for line in out_log.read_bytes().splitlines()]
    path = tmp_path / "OUT.log"
    ids = {
        "trace_id": "77e070421ee2d14cbe5303f26b7483fb",
        "span_id": "2606865453566671",
        "parent_id": "be8276c972828004",
    }
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in _is_told(**ids)(records)))
    assert validator.main(path) == 0, capsys.readouterr().out


@pytest.mark.parametrize(("mutate", "told"), MUTATIONS.values(), ids=MUTATIONS)
def test_the_validator_names_what_is_wrong(validator, out_log, tmp_path, capsys, mutate, told):
    records = _some(orjson.loads(line) for line in out_log.read_bytes().splitlines())
    path = tmp_path / "OUT.log"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in mutate(records)))
    assert validator.main(path) == 1
    said = capsys.readouterr().out
    assert told in said
    assert "somebody" not in said


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "OUT.log").write_text("nothing\n")
    done = validate(tmp_path / "OUT.log")
    assert (done.returncode, "cannot be read" in done.stdout) == (1, True)
    assert validate(tmp_path / "none").returncode == 1
