"""Replays a corpus through the gateway: python scripts/ci/replay_llm_gateway_corpus.py IN.jsonl OUT.jsonl [OPTIONS]

Options are those of `tollhouse replay`. The exit code is 1 if any decision differs from what the corpus expects, or is
looser than in --baseline.
"""

from __future__ import annotations

import sys

from in_venv import in_venv

in_venv()

from tollhouse.gateway.cli import cli  # noqa: E402 - not before the interpreter is the right one

if __name__ == "__main__":
    cli(["replay", "--strict", *sys.argv[1:]], prog_name=sys.argv[0])
