"""What a gateway under measurement is: how it is installed, started, and what it can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bench.processes import Running

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-th-benchbenchbe-" + "b" * 48
MODEL = "gpt-4o-mini"
HOST = "127.0.0.1"

PASS = "pass-through"
LIMITS = "limits"
EVERYTHING = "everything"
MODES = {
    PASS: "pass-through with authentication",
    LIMITS: "authentication, limits and a budget",
    EVERYTHING: "all of that, and requests and answers scanned",
}


@dataclass(frozen=True)
class Setup:
    """What a gateway is started for. `work` takes configuration, state and logs, `cache` what is installed.

    With `tls`, a certificate, the upstream speaks TLS.
    """

    name: str
    upstream: int
    work: Path
    cache: Path
    mode: str = PASS
    tls: Path | None = None

    @property
    def folder(self) -> Path:
        """This start's own folder, there when asked for."""
        path = self.work / f"{self.name}-{self.mode}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def upstream_url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{HOST}:{self.upstream}"


@dataclass(frozen=True)
class Gateway:
    """`modes` has the modes that it can be started in, and what is switched on in each, for a reader."""

    name: str
    version: str
    modes: Mapping[str, str]
    start: Callable[[Setup], AbstractContextManager[Running]]
    install: Callable[[Path], object] = field(default=lambda _cache: None)
    model: str = MODEL
    headers: Callable[[Setup], tuple[str, ...]] = field(default=lambda _setup: (f"authorization: Bearer {KEY}",))
