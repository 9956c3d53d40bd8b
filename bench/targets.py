"""What `python -m bench.run` measures: Tollhouse in several forms, Envoy and nginx, in front of one mock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.gateways import envoy, nginx, tollhouse
from bench.gateways.entry import KEY, ROOT, Setup

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.processes import Running

__all__ = ["CACHE", "KEY", "NAMES", "WORK", "start"]

WORK = ROOT / "build" / "bench"
CACHE = ROOT / "build" / "peers"

_TARGETS: dict[str, Callable[[Setup], AbstractContextManager[Running]]] = {
    "tollhouse": tollhouse.start,
    "tollhouse-logs": partial(tollhouse.start, log_level="info"),
    "tollhouse-granian": partial(tollhouse.start, server="granian"),
    "tollhouse-uvicorn": partial(tollhouse.start, by="uvicorn"),
    "envoy": partial(envoy.start, bare=True),
    "nginx": partial(nginx.start, bare=True),
}
NAMES = tuple(_TARGETS)


def start(name: str, *, upstream: int, tls: Path | None) -> AbstractContextManager[Running]:
    """Start the target `name` in front of the port `upstream`; with `tls`, a certificate, the upstream speaks TLS."""
    return _TARGETS[name](Setup(name, upstream, WORK, CACHE, tls=tls))
