"""The reference services in this process, on a real socket, with every exchange checked against its contract."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.reference_services.app import app
from scripts.reference_services.world import World
from tests.support.contracts import Checked
from tests.support.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator
QUICK: dict[str, Any] = {"timeout_s": 0.5, "ttl_s": 0.001, "stale_s": 0.001, "negative_ttl_s": 0.001, "failures": 500}
SERVICES = {
    "iam": "iam",
    "policy": "policy",
    "data_governance": "data-governance",
    "budget": "budget",
    "eris": "eris",
    "alerting": "alerting",
}


@dataclass
class Street:
    """The services; `world` is what they know and keep."""

    url: str
    world: World
    checked: Checked

    def sections(self, *names: str, **more: Any) -> dict[str, Any]:
        """The `neighbours` section with these services: nothing is kept for long, and no breaker opens."""
        made: dict[str, Any] = {
            "neighbours": {name: {"url": f"{self.url}/{SERVICES[name]}", **QUICK, **more} for name in names}
        }
        if "budget" in names:  # reports would be counted among the questions
            made["neighbours"]["budget"]["report"] = False
        return made | ({"policy": {"keys": [self.world.signer.public.text]}} if "policy" in names else {})

    def break_(self, name: str, mode: str) -> None:
        """From now on, with its next request."""
        control = self.world.controls[SERVICES[name]]
        control.mode = mode
        control.delay_s = 0.8 if mode == "slow" else 0.0

    def mend(self, name: str) -> None:
        self.break_(name, "ok")

    def asked(self, name: str) -> int:
        return self.world.controls[SERVICES[name]].requests


@contextlib.contextmanager
def street() -> Iterator[Street]:
    """Nothing that passed between gateway and services may have broken a contract in the end."""
    world = World()
    checked = Checked(app(world), lambda service: world.controls[service].mode == "ok")
    with served(checked) as client:
        yield Street(str(client.base_url).rstrip("/"), world, checked)
