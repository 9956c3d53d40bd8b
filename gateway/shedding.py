"""Refusals of requests that there is no time for, before anybody has looked at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from tollhouse._native import FastRefusal, FastTally, Shedding, encode_headers
from tollhouse.gateway.server.wire import status_line
from tollhouse.middlewares.access_log import as_text
from tollhouse.middlewares.errors import Unavailable, render
from tollhouse.middlewares.metrics import LATENCY_NS, OVERHEAD_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tollhouse._native import RequestReader
    from tollhouse.gateway.lifecycle import Lifecycle
    from tollhouse.middlewares.errors import Refusal
    from tollhouse.middlewares.metrics import MetricsStage

_MARK = "{request_id}"
STATUS = 503


class Shed:
    """Says no to requests for a model, and to nothing else.

    kinds: of requests, by path. lifecycle: connections end while it drains. write_log: as the access log's, with its
    `json`; None: there is none.
    """

    def __init__(
        self,
        kinds: Mapping[str, str],
        *,
        lifecycle: Lifecycle,
        metrics: MetricsStage,
        write_log: Callable[[bytes], None] | None,
        json: bool,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._write_log = write_log if write_log is None or json else lambda line: write_log(as_text(line))
        self._tallies = {path: FastTally(durations=list(LATENCY_NS), overheads=list(OVERHEAD_NS)) for path in kinds}
        self._shed = Counter(
            "gateway_shed_requests",
            "Requests refused because they had waited too long to be read.",
            registry=registry,
        )
        made = {path: self._refusal(path, kind) for path, kind in kinds.items()}
        self._refuse = Shedding(made).refuse
        metrics.before_flush.append(self._hand_on)

    def __call__(self, reader: RequestReader, last: bytes, *, closes: bool) -> tuple[bytes, bool] | None:
        """The response to the request that the reader has, and whether the connection ends with it; None: it is to be
        served, and nothing was done.

        last: the end of its head; closes: the connection ends anyway.
        """
        said = self._refuse(reader, last, closes or self._lifecycle.draining)
        if said is None:
            return None
        response, line, closes = said
        if self._write_log is not None:
            self._write_log(line)
        self._metrics.flush_soon()
        return response, closes

    def _refusal(self, path: str, kind: str) -> FastRefusal:
        refusal = Unavailable(
            "the gateway has more to do than it has time for",
            code="gateway_overloaded",
            headers=[(b"retry-after", b"1")],
        )
        return refused(
            refusal,
            kind,
            asked={"method": "POST", "route": path},
            who={},
            tally=self._tallies[path],
        )

    def _hand_on(self) -> None:
        for path, tally in self._tallies.items():
            counted = tally.counted()
            if counted is not None:
                requests, durations, duration_ns, overheads, overhead_ns, tokens, _, _ = counted
                labels = (path, STATUS, "", "", b"ALLOWED")
                self._metrics.add(labels, requests, durations, duration_ns, overheads, overhead_ns, tokens)
                self._shed.inc(requests)


def refused(
    refusal: Refusal, kind: str, *, asked: Mapping[str, object], who: Mapping[str, object], tally: FastTally
) -> FastRefusal:
    """The same refusal as the stages would tell, to be written natively: `noted` with its status and code."""
    status, headers, body = render(refusal, kind, _MARK)
    before, mark, behind = body.partition(_MARK.encode())
    head, _, _, _ = encode_headers(status_line(status), headers)
    return FastRefusal(
        head=head,
        body=before,
        behind=behind if mark else None,
        noted=noted({**asked, "status": status}, who, refusal.code, tally),
    )


def noted(
    asked: Mapping[str, object], who: Mapping[str, object], code: str | None, tally: FastTally
) -> tuple[str, str, str, FastTally]:
    """For the access log's line: members up to the status, those from the key to the provider, and the error."""
    return members(asked), members(who), members({"error": code}), tally


def members(fields: Mapping[str, object]) -> str:
    """As they stand in a JSON object."""
    return orjson.dumps(dict(fields))[1:-1].decode()
