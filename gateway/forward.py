"""The hot handler: serves every exchange that has a plan, with what all requests have in common."""

from __future__ import annotations

import re
from time import monotonic
from typing import TYPE_CHECKING

from tollhouse.gateway.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Counter

    from tollhouse._native import Price
    from tollhouse.gateway.attempt import Attempt
    from tollhouse.gateway.disconnect import DisconnectWatch
    from tollhouse.gateway.hedge import Hedging
    from tollhouse.gateway.lane import Ended
    from tollhouse.gateway.lifecycle import Lifecycle
    from tollhouse.gateway.route_metrics import RouteMetrics
    from tollhouse.gateway.sessions import Sessions
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import Headers
    from tollhouse.providers.affinity import Remembered
    from tollhouse.providers.call import Call
    from tollhouse.providers.retry import Policy, RetryBudget

_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[^"\\]{1,200})"').search


class Forwarder:
    """Serves every exchange that has a plan."""

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        watch: DisconnectWatch,
        upstream_errors: Counter,
        malformed_events: Counter,
        metrics: RouteMetrics,
        headers: Headers,
        price: Callable[[str, str, str | None], Price | None],
        encoding: Callable[[str], str | None] = lambda _: None,
        policy: Policy,
        budget: RetryBudget,
        sessions: Sessions,
        remembered: Remembered,
        hedging: Hedging | None = None,
        observes: bool = False,
    ) -> None:
        self.headers = headers
        self.price = price
        self.encoding = encoding
        self.lifecycle = lifecycle
        self.metrics = metrics
        self.policy = policy
        self.budget = budget
        self.sessions = sessions
        self.hedging = hedging
        self.observes = observes
        self._remembered = remembered
        self.watch = watch
        self._upstream_errors = upstream_errors
        self._malformed_events = malformed_events

    @property
    def is_plain(self) -> bool:
        """Whether an answer that says yes leaves nothing to do."""
        return self.hedging is None and not self.observes

    def __call__(self, exchange: Exchange) -> Awaitable[None]:
        """Answer, whatever it takes; raises Refusal if nothing can be answered."""
        return Request(self, exchange).run()

    def start(self, exchange: Exchange, ended: Ended) -> Awaitable[None] | None:
        """The same without a task, as the lane asks for it."""
        return Request(self, exchange).start(ended)

    def count(self, attempt: Attempt, kind: str) -> None:
        self.count_errors(attempt.leg.group.label, attempt.target.provider, kind, 1)

    def count_errors(self, model: str, provider: str, kind: str, number: int) -> None:
        self._upstream_errors.labels(model, provider, kind).inc(number)

    def count_malformed(self, attempt: Attempt, events: int) -> None:
        self._malformed_events.labels(attempt.leg.group.label, attempt.target.provider).inc(events)

    def observe(self, attempt: Attempt, seconds: float) -> None:
        """How long it took until an answer began (a stream) or was complete."""
        if attempt.exchange.kind is None:
            return  # an image says nothing about the next conversation
        load = attempt.target.load
        (load.first if attempt.exchange.stream else load.whole).observe(monotonic(), seconds)
        if self.hedging is not None:
            self.hedging.observe(attempt, seconds)

    def drop(self, call: Call) -> None:
        self.lifecycle.calls.discard(call)
        call.close()

    def remember(self, exchange: Exchange, attempt: Attempt, beginning: bytes) -> None:
        """Who made a response, for requests that continue it."""
        if exchange.kind == "responses" and not exchange.plan.is_alone:
            found = _RESPONSE_ID(beginning)
            if found is not None:
                self._remembered.note(_owner(exchange), found[1].decode(), attempt.target.id)

    def maker(self, exchange: Exchange) -> str | None:
        """Who made the response that this request continues, as far as anybody knows."""
        view = exchange.view
        if exchange.kind != "responses" or view is None or view.previous_response_id is None:
            return None
        return self._remembered.find(_owner(exchange), view.previous_response_id)


def _owner(exchange: Exchange) -> str:
    return "" if exchange.principal is None else exchange.principal.id
