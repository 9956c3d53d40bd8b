"""The gateway as users run it: the real command in a child process, on a free port, with a state folder of its own.

`builtin` and `granian` are `tollhouse serve --server`; `uvicorn` is a script that a developer would write around
`create_app`. The child
inherits the environment but for what configures a gateway, so coverage of subprocesses goes on working.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from tests.support.net import LOOPBACK, free_port, process_tree, rss_bytes, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-th-abcdefghijkl-" + "k" * 48
# May use the built-in model only.
NARROW_KEY = "sk-th-narrownarrow-" + "n" * 48
MASTER_KEY = "sk-master-of-the-tests"
KEYS: list[dict[str, Any]] = [
    {"name": "wide", "key": KEY},
    {"name": "narrow", "key": NARROW_KEY, "models": ["tollhouse/echo"]},
]
STOP_S = 60.0
_FOREIGN = (
    "LLM_GATEWAY_",
    "OPENAI_",
    "ANTHROPIC_",
    "AZURE_",
    "AWS_",
    "GEMINI_",
    "VERTEX",
    "GOOGLE_",
    "OLLAMA_",
    "REDIS_",
    "LITELLM_",
    "IAM_SERVICE_",
    "POLICY_SERVICE_",
    "DATA_GOVERNANCE_SERVICE_",
    "BUDGET_SERVICE_",
    "ERIS_SERVICE_",
    "ALERTING_SERVICE_",
    "USE_REAL_SERVICES",
)


@dataclass
class Gateway:
    """A running gateway."""

    port: int
    process: subprocess.Popen[bytes]
    log_file: Path
    folder: Path
    server: str
    key: str = KEY
    expected_exit: int = 0
    allowed_exceptions: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def worker_pid(self) -> int:
        """The process that serves: under `tollhouse serve` a child of the one that was started."""
        return process_tree(self.pid)[-1]

    @property
    def rss(self) -> int:
        return rss_bytes(self.worker_pid)

    @property
    def output(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """The lines that are JSON."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        return [orjson.loads(line) for line in lines]

    def get(self, path: str, *, timeout_s: float = 15.0, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        try:
            return self.get("/health/ready")[0] == 200
        except OSError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of this name that have these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].decode().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
                total += float(value)
        return total

    def in_flight(self) -> float:
        """Requests under way, without the one that asks."""
        return self.metric("gateway_requests_in_flight") - 1

    def wait_idle(self) -> None:
        wait_until(lambda: self.in_flight() == 0, what="no request in flight")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = STOP_S) -> int:
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """SIGTERM, then what every gateway must have done: a clean exit, no exception in its logs."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            for pid in reversed(process_tree(self.pid)):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            msg = f"the gateway did not stop within {STOP_S:g} s:\n{self._tail()}"
            raise AssertionError(msg) from None
        assert code == self.expected_exit, f"exit code {code}:\n{self._tail()}"
        assert "Traceback" not in self.output, self._tail()
        allowed = {"", *self.allowed_exceptions}
        unexpected = [line for line in self.log_lines if line.get("exception", "") not in allowed]
        assert not unexpected, unexpected[:3]

    def _tail(self) -> str:
        return self.output[-3000:]


def echo_only(**sections: Any) -> dict[str, Any]:
    """The smallest configuration: two keys, the built-in model, plus whatever sections are given."""
    return {"keys": KEYS, "general_settings": {"master_key": MASTER_KEY}, "linger_s": 0.05, "drain_s": 3} | sections


def model(name: str, base: str, *, upstream: str = "openai/*", api_key: str = "sk-up", **params: Any) -> dict[str, Any]:
    """An entry of `model_list`."""
    return {
        "model_name": name,
        "litellm_params": {"model": upstream, "api_base": base, "api_key": api_key, **params},
    }


def environment(**own: str) -> dict[str, str]:
    """The tests' environment without anything that configures a gateway, plus `own`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)} | own


@contextlib.contextmanager
def running_gateway(
    config: Mapping[str, Any], *, server: str = "builtin", env: Mapping[str, str] | None = None
) -> Iterator[Gateway]:
    """Start it, wait until it is ready, and stop it with the block (checked only if the block itself went well)."""
    with tempfile.TemporaryDirectory(prefix="gateway-test-") as name:
        gateway = start_gateway(config, folder=Path(name), server=server, env=env)
        try:
            wait_until(lambda: _is_up(gateway), what="the gateway is ready", every_s=0.02)
            yield gateway
        except BaseException:
            with contextlib.suppress(AssertionError):
                gateway.stop()
            raise
        gateway.stop()


def start_gateway(
    config: Mapping[str, Any], *, folder: Path, server: str = "builtin", env: Mapping[str, str] | None = None
) -> Gateway:
    """Start it and return at once."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config), allow_unicode=True), encoding="utf-8")
    port = free_port()
    own = {"LLM_GATEWAY_STATE_DIR": str(folder / "state"), "LLM_GATEWAY_PORT": str(port)} | dict(env or {})
    if server == "uvicorn":
        command = [sys.executable, "-m", "tests.support.uvicorn_app", str(path), str(port)]
    else:
        tollhouse = str(Path(sys.executable).with_name("tollhouse"))
        command = [tollhouse, "serve", "--config", str(path), "--server", server]
    log_file = folder / "gateway.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(**own), stdout=log, stderr=log)
    return Gateway(port=port, process=process, log_file=log_file, folder=folder, server=server)


def _is_up(gateway: Gateway) -> bool:
    code = gateway.process.poll()
    assert code is None, f"the gateway ended with exit code {code}:\n{gateway.output}"
    return gateway.is_ready()
