"""Other JavaScript clients against the gateway: run once, the report is judged here, their streams are checked."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import ROOT, echo_only, environment, running_gateway
from tests.support.witness import Witness

FOLDER = ROOT / "tests" / "clients" / "node"
TEXT = "Say it, nicely: wörld 😀"

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def report() -> Mapping[str, Any]:
    assert (FOLDER / "node_modules").is_dir(), "the JavaScript clients are not installed: `make test` does it"
    with running_gateway(echo_only()) as gateway, Witness(gateway.port) as witness:
        done = subprocess.run(
            ["node", "peers.mjs"],
            cwd=FOLDER,
            env=environment(),
            input=json.dumps({"baseURL": f"{witness.url}/v1", "apiKey": gateway.key}).encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert witness.streams >= 4
    seen: dict[str, Any] = json.loads(done.stdout)
    for name, case in seen.items():
        assert "unexpected" not in case, (name, case)
    return seen


def test_openai_speaks_responses(report: Mapping[str, Any]) -> None:
    seen = report["responses"]
    assert (seen["text"], seen["answered"]) == (TEXT, "opened")
    assert seen["call"] == ["open_gate", {"gate": TEXT}]
    assert seen["types"][0] == "response.created"
    assert seen["types"][-1] == "response.completed"
    assert seen["usage"]["total_tokens"] == seen["usage"]["input_tokens"] + seen["usage"]["output_tokens"]


def test_anthropic_speaks_messages(report: Mapping[str, Any]) -> None:
    seen = report["anthropic"]
    assert (seen["text"], seen["stop"]) == (TEXT, "tool_use")
    assert seen["call"] == ["open_gate", {"gate": TEXT}]
    assert seen["usage"]["output_tokens"] > 0
    assert seen["count"]["input_tokens"] > 0


@pytest.mark.parametrize("provider", ["aiSdkCompatible", "aiSdkResponses"])
def test_the_ai_sdk_speaks_through_both_of_its_providers(report: Mapping[str, Any], provider: str) -> None:
    seen = report[provider]
    assert seen["whole"] == seen["streamed"] == TEXT
    assert seen["pieces"] > 1
    assert seen["finish"] == "stop"
    assert seen["usage"]["outputTokens"] > 0
    assert (len(seen["opened"]), seen["called"]) == (1, "opened")
