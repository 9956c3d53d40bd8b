"""Clients of other makers, each a script in an environment of their own: what they see is what was said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import ROOT, echo_only, environment, model, running_gateway
from tests.support.model_server import MODEL
from tests.support.providers.ollama import Ollama
from tests.support.providers.server import THOUGHT, WORDS, Say
from tests.support.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.gateway import Gateway
    from tests.support.model_server import ModelServer

SCRIPTS = ROOT / "tests" / "clients" / "python"
PYTHON = Path(sys.prefix) / "peers" / "bin" / "python"
TEXT = "Say it, nicely: wörld 😀"


@pytest.fixture(scope="module")
def peers_gateway(model_server: ModelServer) -> Iterator[Gateway]:
    tiny = model(MODEL, model_server.base_url, upstream=f"openai/{MODEL}", api_key=model_server.api_key)
    with running_gateway(echo_only(model_list=[tiny])) as running:
        yield running


def report_of(gateway: Gateway, script: str, *, streams: int) -> dict[str, Any]:
    """What the script saw. At least so many of its answers were streams, all of which have been checked."""
    with Witness(gateway.port) as witness:
        report = _report(script, {"baseURL": f"{witness.url}/v1", "apiKey": gateway.key})
    assert witness.streams >= streams
    return report


def _report(script: str, order: dict[str, Any]) -> dict[str, Any]:
    assert PYTHON.exists(), "these clients are not installed: `make test` does it"
    done = subprocess.run(
        [str(PYTHON), str(SCRIPTS / script)],
        env=environment(LANGSMITH_TRACING="false"),
        input=json.dumps(order).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def langchain(peers_gateway: Gateway) -> dict[str, Any]:
    return report_of(peers_gateway, "langchain_client.py", streams=5)


@pytest.fixture(scope="module")
def pydantic_ai(peers_gateway: Gateway) -> dict[str, Any]:
    return report_of(peers_gateway, "pydantic_ai_client.py", streams=2)


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_langchain_reads_text_whole_and_streamed(langchain: dict[str, Any], api: str) -> None:
    seen = langchain[api]
    assert seen["whole"] == seen["streamed"] == TEXT
    assert seen["chunks"] > 2
    assert seen["usage"]["total_tokens"] == seen["usage"]["input_tokens"] + seen["usage"]["output_tokens"] > 0
    assert seen["streamedUsage"]["output_tokens"] == seen["usage"]["output_tokens"]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_langchain_calls_tools_and_hands_results_back(langchain: dict[str, Any], api: str) -> None:
    seen = langchain[api]
    assert seen["call"] == seen["streamedCall"] == ["open_gate", {"gate": TEXT}]
    assert seen["answered"] == "opened"


def test_langchain_reads_what_the_model_server_says(langchain: dict[str, Any]) -> None:
    assert langchain["tiny"]["whole"] == langchain["tiny"]["streamed"]
    assert langchain["embeddings"] == [16, 16]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_pydantic_ai_reads_text_and_runs_tools(pydantic_ai: dict[str, Any], api: str) -> None:
    seen = pydantic_ai[api]
    assert seen["whole"] == seen["streamed"] == TEXT
    assert seen["pieces"] > 1
    assert len(seen["opened"]) == 1
    assert seen["called"] == "opened"


def test_ollamas_own_client_takes_the_server_of_the_tests_for_ollama() -> None:
    """What the gateway is shown to understand is what Ollama says."""
    with Ollama() as server:
        seen = _report("ollama_client.py", {"baseURL": server.url, "throttle": Say.THROTTLE, "fail": Say.FAIL})
    words = "".join(WORDS)
    assert seen["whole"] == [THOUGHT, words, "stop"]
    assert seen["streamed"] == [THOUGHT, words]
    assert seen["counts"] == [26, 282] * 2
    assert seen["calls"] == [
        ["open_gate", {"gate": "N\u00f6rd", "minutes": 5}],
        ["open_gate", {"gate": "S", "minutes": 1}],
    ]
    assert seen["refused"] == [503, "server busy, please try again.  maximum pending requests exceeded"]
    assert seen["broken"][1] == "an error was encountered while running the model"
