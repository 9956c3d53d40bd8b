"""The configuration over HTTP, for holders of the admin key, and in metrics: the supervisor is asked, which does it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response

from tollhouse.gateway import control
from tollhouse.gateway.admin import body_of, json_response, require_admin
from tollhouse.middlewares.errors import BadRequest, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric
    from starlette.requests import Request

_SCRAPE_S = 0.5
_CODES = {"busy": 429, "stopping": 503}
# So that a rate is there from the first refusal on.
_KNOWN = (
    ("accepted", "reload"),
    ("accepted", "rollback"),
    *(
        ("refused", reason)
        for reason in ("invalid", "loosened", "undecided", "corpus", "sandbox", "gate", "timeout", "start")
    ),
)


class ConfigAdmin:
    """`GET /admin/config`, `POST /admin/reload` with `{"check": true}` or nothing."""

    def __init__(self) -> None:
        self._path = os.environ.get(control.VARIABLE)

    async def status(self, request: Request) -> Response:
        require_admin(request)
        return json_response(await self._ask({"do": "status"}))

    async def reload(self, request: Request) -> Response:
        """Answers once the new workers are ready, or the change is refused."""
        require_admin(request)
        wanted = await body_of(request, {"check"})
        is_check = wanted.get("check", False)
        if not isinstance(is_check, bool):
            msg = "check must be true or false"
            raise BadRequest(msg, param="check", code="invalid_type")
        told = await self._ask({"do": "check" if is_check else "reload"})
        if told["outcome"] != "refused":
            return json_response(told)
        error = {"message": told["message"], "type": "invalid_request_error", "param": None, "code": "config_refused"}
        return json_response(told | {"error": error}, status=_CODES.get(told["reason"], 409))

    async def _ask(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if self._path is None:
            msg = "no supervisor runs this process, so whoever started it has to start it anew"
            raise BadRequest(msg, status=501, code="reload_unavailable")
        loop = asyncio.get_running_loop()
        try:
            with control.connected(self._path) as connection:
                await loop.sock_sendall(connection, orjson.dumps(wanted) + b"\n")
                line = b""
                while not line.endswith(b"\n"):
                    piece = await loop.sock_recv(connection, 65536)
                    if not piece:
                        break
                    line += piece
            return control.parsed(line)
        except OSError:
            msg = "the supervisor cannot be asked"
            raise Unavailable(msg, code="reload_unavailable") from None


class ConfigMetrics(Collector):
    """The supervisor's counts, asked for at each scrape: a refused change reaches no new worker."""

    def __init__(self, path: str) -> None:
        self._path = path

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            status = control.ask(self._path, {"do": "status"}, timeout_s=_SCRAPE_S)
        except OSError:
            return
        counts = dict.fromkeys(_KNOWN, 0) | {(outcome, why): number for outcome, why, number in status["counts"]}
        reloads = CounterMetricFamily(
            "gateway_config_reloads",
            "Changes of the configuration: accepted by what it was (reload, rollback), refused by why.",
            labels=("outcome", "reason"),
        )
        for labels, number in counts.items():
            reloads.add_metric(labels, number)
        yield reloads
        info = GaugeMetricFamily(
            "gateway_config_info",
            "1, with the configuration that runs.",
            labels=("version", "fingerprint"),
        )
        info.add_metric((str(status["version"] or ""), (status["fingerprint"] or "")[:12]), 1)
        yield info


def collector() -> ConfigMetrics | None:
    """None: no supervisor runs this process."""
    path = os.environ.get(control.VARIABLE)
    return ConfigMetrics(path) if path is not None else None
