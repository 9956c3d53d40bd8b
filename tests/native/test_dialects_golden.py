"""What becomes of a rich request and of rich answers between the dialects of callers and those of upstreams.

Golden files: `requests/` holds what callers send, `answers/` what upstreams answer, `CALLER_to_UPSTREAM.json` what each
of them gets. `GOLDEN_UPDATE=1` writes the last kind anew; read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.grammar import KINDS, check
from tests.support.providers import bedrock
from tollhouse._native import END, RequestView, ResponseReader, translate_request

GOLDEN = Path(__file__).parent / "golden" / "dialects"
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
}
MODELS = {
    "chat": "qwen3-32b",
    "messages": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro-preview",
    "converse": "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "ollama": "qwen3",
}
PAIRS = [(caller, upstream) for caller in PATHS for upstream in MODELS if caller != upstream]


def _read(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def _wire(upstream: str, events: list[Any]) -> bytes:
    """A stream as the upstream frames it."""
    if upstream == "converse":
        body = b"".join(bedrock.event(name, **data) for name, data in events)
        kind = "application/vnd.amazon.eventstream"
    elif upstream == "ollama":
        body = b"".join(json.dumps(line).encode() + b"\n" for line in events)
        kind = "application/x-ndjson"
    elif upstream == "messages":
        body = b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)
        kind = "text/event-stream"
    else:
        body = b"".join(b"data: %b\r\n\r\n" % json.dumps(chunk).encode() for chunk in events)
        body += b"data: [DONE]\r\n\r\n" if upstream == "chat" else b""
        kind = "text/event-stream"
    return _head(kind, len(body)) + body


def _head(kind: str, length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n".encode()


def _answered(caller: str, upstream: str, pieces: list[bytes]) -> bytes:
    reader = ResponseReader(
        upstream, client=caller, request_id="req-1", model="the-model", created=1_700_000_000, request=_body(caller)
    )
    out = b""
    for piece in pieces:
        flags = reader.feed(piece)
        out += reader.take()
    assert flags & END, reader.fault
    return out


def _body(caller: str) -> bytes:
    return (GOLDEN / "requests" / f"{caller}.json").read_bytes()


def _translated(caller: str, upstream: str) -> dict[str, Any]:
    view = RequestView.parse(_body(caller), caller)
    sent, warnings = translate_request(view, upstream, model=MODELS[upstream])
    answer = _read(f"answers/{upstream}.json")
    whole = json.dumps(answer["whole"]).encode()
    stream = _answered(caller, upstream, [_wire(upstream, answer["stream"])])
    return {
        "sent": json.loads(sent),
        "warnings": warnings,
        "whole": json.loads(_answered(caller, upstream, [_head("application/json", len(whole)) + whole])),
        "stream": stream.decode().split("\n\n"),
    }


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_every_pair_says_what_its_golden_file_says(caller, upstream):
    found = _translated(caller, upstream)
    path = GOLDEN / f"{caller}_to_{upstream}.json"
    if os.environ.get("GOLDEN_UPDATE"):
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = json.loads(path.read_text(encoding="utf-8"))
    for part, value in expected.items():
        assert found[part] == value, part


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_every_stream_has_the_grammar_of_its_caller(caller, upstream):
    wire = _wire(upstream, _read(f"answers/{upstream}.json")["stream"])
    check(KINDS[PATHS[caller]], _answered(caller, upstream, [wire]))


@pytest.mark.parametrize("upstream", MODELS)
def test_a_stream_that_is_cut_anywhere_is_told_the_same(upstream):
    wire = _wire(upstream, _read(f"answers/{upstream}.json")["stream"])
    caller = "responses" if upstream == "chat" else "chat"
    whole = _answered(caller, upstream, [wire])
    for at in range(len(wire) + 1):
        assert _answered(caller, upstream, [wire[:at], wire[at:]]) == whole, at
    assert _answered(caller, upstream, [wire[at : at + 1] for at in range(len(wire))]) == whole
