"""The official JavaScript `openai` client against the gateway: run once per server, its report is judged here."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway import ROOT, environment
from tests.support.net import wait_until
from tests.support.witness import Witness

if TYPE_CHECKING:
    from tests.support.gateway import Gateway
    from tests.support.upstream import ScriptedUpstream

FOLDER = ROOT / "tests" / "clients" / "node"
TEXT = "Say it, nicely: wörld 😀"
_numbers = count()


@dataclass(frozen=True)
class Run:
    """What the script saw; its models' names ended in `tag`."""

    report: dict[str, Any]
    tag: str

    def __getitem__(self, case: str) -> Any:
        seen = self.report[case]
        assert not (isinstance(seen, dict) and "unexpected" in seen), seen
        return seen


@pytest.fixture(scope="module")
def run(any_gateway: Gateway) -> Run:
    assert (FOLDER / "node_modules").is_dir(), "the JavaScript clients are not installed: `make test` does it"
    tag = f"node{next(_numbers)}"
    with Witness(any_gateway.port) as witness:
        order = {"baseURL": f"{witness.url}/v1", "apiKey": any_gateway.key, "tag": tag}
        done = subprocess.run(
            ["node", "client.mjs"],
            cwd=FOLDER,
            env=environment(),
            input=json.dumps(order).encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    return Run(json.loads(done.stdout), tag)


def test_models_are_listed(run: Run) -> None:
    assert {"tollhouse/echo", "tiny", "renamed"} <= set(run["models"]["ids"])
    assert run["models"]["one"] == "tollhouse"


def test_chat(run: Run) -> None:
    seen = run["chat"]
    assert seen["text"] == TEXT
    assert seen["usage"]["total_tokens"] == seen["usage"]["prompt_tokens"] + seen["usage"]["completion_tokens"]
    assert seen["requestID"] == seen["header"]
    assert seen["decision"] == "ALLOWED"


def test_stream_of_the_model_server_says_what_its_whole_answer_says(run: Run) -> None:
    seen = run["chatOfTheModelServer"]
    assert seen["whole"]
    assert seen["streamed"]["text"] == seen["whole"]
    assert seen["streamed"]["chunks"] > 3


def test_stream(run: Run) -> None:
    seen = run["stream"]
    assert (seen["text"], seen["finish"], seen["usage"]) == (TEXT, ["stop"], [])


def test_usage_comes_once_if_asked_for(run: Run) -> None:
    (usage,) = run["streamWithUsage"]["usage"]
    assert usage["completion_tokens"] > 0


def test_error_in_the_middle_of_a_stream_is_thrown(run: Run) -> None:
    assert "overloaded" in run["streamThatFails"]["message"]


def test_tools(run: Run) -> None:
    seen = run["tools"]
    assert (seen["finish"], seen["name"]) == ("tool_calls", "open_gate")
    assert json.loads(seen["arguments"]) == {"gate": TEXT, "minutes": 1}


def test_arguments_of_tools_are_streamed_in_pieces(run: Run) -> None:
    seen = run["toolsStreamed"]
    assert len(seen["pieces"]) > 2
    assert "".join(seen["pieces"]) == seen["arguments"] == run["tools"]["arguments"]


def test_embeddings_in_both_encodings(run: Run) -> None:
    seen = run["embeddings"]
    for packed, floats in zip(seen["packed"], seen["floats"], strict=True):
        assert packed == pytest.approx(floats)
    assert seen["tiny"] > 0


def test_completion(run: Run) -> None:
    assert run["completion"] == "as it is"


@pytest.mark.parametrize(
    ("case", "kind", "status", "code", "param"),
    [
        ("badKey", "AuthenticationError", 401, "invalid_api_key", None),
        ("unknownModel", "NotFoundError", 404, "model_not_found", "model"),
        ("wrongType", "BadRequestError", 400, "invalid_type", "messages"),
        ("unreachable", "InternalServerError", 502, "upstream_unreachable", None),
    ],
)
def test_errors_are_of_the_clients_classes(
    run: Run, case: str, kind: str, status: int, code: str, param: str | None
) -> None:
    seen = run[case]
    assert (seen["class"], seen["status"], seen["code"], seen["param"]) == (kind, status, code, param)
    assert seen["requestID"], "support asks for it"


@pytest.mark.parametrize("status", ["429", "503"])
def test_client_retries_after_the_time_that_the_upstream_names(
    run: Run, upstream: ScriptedUpstream, status: str
) -> None:
    assert run["retries"][status]["text"] == "fine"
    assert len(upstream.log.of(f"busy@{status}-{run.tag}")) == 2
    assert run["retries"][status]["ms"] < 400, "without the header it would wait for half a second"


def test_client_gives_up_after_its_retries(run: Run, upstream: ScriptedUpstream) -> None:
    assert run["givesUp"]["status"] == 500
    # Twice by the client, and each time the gateway asks its one upstream three times.
    assert len(upstream.log.of(f"flaky@9-{run.tag}")) == 2 * 3


def test_aborted_stream_and_timed_out_request_let_the_upstream_go(
    run: Run, upstream: ScriptedUpstream, any_gateway: Gateway
) -> None:
    assert run["abort"] == 3
    assert run["timeout"]["class"] == "APIConnectionTimeoutError"
    for model in (f"ticking@5-{run.tag}", f"hang@{run.tag}"):
        (seen,) = upstream.log.of(model)
        wait_until(lambda seen=seen: seen.closed_at, what=f"the upstream of {model} was let go")  # type: ignore[misc]
    any_gateway.wait_idle()
