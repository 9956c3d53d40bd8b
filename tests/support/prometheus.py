"""A real Prometheus that scrapes what it is told to, with the rules of deploy/observability."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.net import LOOPBACK, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).resolve().parents[2] / "deploy/observability"


@dataclass(frozen=True)
class Prometheus:
    port: int

    def api(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its API; raises urllib.error.HTTPError for an expression that it refuses."""
        url = f"http://{LOOPBACK}:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[Any]:
        """The series that an expression has now."""
        found: list[Any] = self.api("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The value of the first series."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def names(self) -> set[str]:
        return set(self.api("label/__name__/values"))


@contextlib.contextmanager
def running_prometheus(target_port: int, *, every: str = "200ms") -> Iterator[Prometheus]:
    """With our configuration and rules, but for the target and the intervals."""
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": every}
    config["rule_files"] = [str(DEPLOY / "alerts.yaml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"{LOOPBACK}:{target_port}"]}]
    with tempfile.TemporaryDirectory(prefix="prometheus-") as name:
        folder = Path(name)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        command = [
            "prometheus",
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--log.level=error",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        server = Prometheus(port)
        try:
            wait_until(lambda: _is_ready(server, process, folder), what="Prometheus is ready", every_s=0.05)
            yield server
        finally:
            process.terminate()
            process.wait(10)


def _is_ready(server: Prometheus, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text()
    try:
        server.api("query", query="1")
    except OSError:
        return False
    return True
