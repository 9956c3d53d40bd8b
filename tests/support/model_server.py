"""llama.cpp's own HTTP server with a tiny random model, in a child process on a free port.

`python -m tests.support.model_server` prints its address on standard output and serves until its standard input ends,
so it never outlives the tests.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tiny"
API_KEY = "sk-upstream-of-the-tests"
SLOTS = 4
CONTEXT_PER_SLOT = 1024


@dataclass(frozen=True)
class ModelServer:
    """A running server. `base_url` ends in /v1, as clients want it."""

    url: str
    api_key: str = API_KEY
    model: str = MODEL

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


@contextlib.contextmanager
def running_model_server() -> Iterator[ModelServer]:
    """Start the server, wait for its address, and end it with the block."""
    command = [sys.executable, "-m", "tests.support.model_server"]
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        url = child.stdout.readline().decode().strip()
        assert url, f"the model server ended with exit code {child.wait(5)}"
        yield ModelServer(url)
    finally:
        child.stdin.close()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def main() -> None:
    import xllamacpp

    from tests.support.tiny_model import write_tiny_model

    with tempfile.TemporaryDirectory(prefix="tiny-model-") as folder:
        params = xllamacpp.CommonParams()
        params.model.path = str(write_tiny_model(Path(folder) / "tiny.gguf"))
        params.model_alias = {MODEL}
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [API_KEY]
        params.n_parallel = SLOTS
        params.n_ctx = SLOTS * CONTEXT_PER_SLOT
        params.cpuparams.n_threads = 1
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.warmup = False
        server = xllamacpp.Server(params)
        print(server.listening_address, flush=True)
        sys.stdin.read()
        del server


if __name__ == "__main__":
    main()
