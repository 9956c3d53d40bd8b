"""Runs the telemetry scenario and writes what every sink was told: python ... OUT.log

The gateway is the real command, with an OTLP collector, Langfuse's endpoint and Sentry's as real sockets, and an
upstream that answers, leaks, fails and breaks off (tests/support/scenario.py). OUT.log has a JSON object per line, with
the member `sink`; validate_llm_gateway_observability.py reads it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from in_venv import in_venv

in_venv()

import orjson  # noqa: E402 - not before the interpreter is the right one

from tests.support import scenario  # noqa: E402


def main(path: Path) -> None:
    outcome = scenario.run()
    with path.open("wb") as out:
        for record in scenario.records(outcome):
            out.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE, default=str))
    spans, requests = len(outcome.spans), len(outcome.answers)
    print(f"{path}: {requests} requests, {spans} spans, {len(outcome.points)} series over OTLP")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} OUT.log")
    main(Path(sys.argv[1]))
