"""A load, and somebody who asks all the time what operators look at."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING, Any

from bench.gateways.entry import KEY
from bench.scale.bench import Load

if TYPE_CHECKING:
    from bench.processes import Running
    from bench.scale.bench import Bench

ADMIN = "admin-of-the-bench"
REFUSED = (429, 503)
LIVE = ("/health", "/health/ready", "/v1/models", "/admin/keys")
LIVE_EVERY_S = 0.1


class Watching(threading.Thread):
    """Asks what operators look at, all the time."""

    def __init__(self, gateway: Running) -> None:
        super().__init__(daemon=True)
        self._port = gateway.port
        self._over = threading.Event()
        self.took_ms: list[float] = []
        self.failed = 0

    def run(self) -> None:
        headers = {"authorization": f"Bearer {KEY}", "x-admin-api-key": ADMIN}
        while not self._over.wait(LIVE_EVERY_S):
            for path in LIVE:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
                started = time.monotonic()
                try:
                    connection.request("GET", path, headers=headers)
                    response = connection.getresponse()
                    response.read()
                    self.failed += response.status != 200
                except OSError:
                    self.failed += 1
                finally:
                    connection.close()
                self.took_ms.append((time.monotonic() - started) * 1000)

    def end(self) -> tuple[float, int]:
        """p95 in ms, and how many failed."""
        self._over.set()
        self.join()
        return sorted(self.took_ms)[int(len(self.took_ms) * 0.95)], self.failed


def watched(bench: Bench, gateway: Running, load: Load) -> tuple[dict[str, Any], float, tuple[float, int]]:
    """What the load saw, CPU of the gateway in seconds, and `Watching.end`. Whoever is refused is no failure."""
    watching = Watching(gateway)
    before = gateway.cpu_s()
    watching.start()
    seen = bench.send(Load(**{**load.__dict__, "allow": REFUSED}), gateway)
    return seen, gateway.cpu_s() - before, watching.end()
