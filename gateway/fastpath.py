"""The way of plain requests: what the stages have found for one is kept, and the next like it goes in few calls.

A request takes it only where the stages would do nothing else (`made`, and `FastRequest` on what is plain). Nothing is
decided here: a refusal, a failure, an answer that is no success, a client that goes are all left to the stages and the
forwarder, with the request turned into an ordinary one as it stands (`FastPath.unfold`). Only who is refused by the
limit that has refused one before, or by a full queue, is told here, and who leaves before anything was done is noted:
what is turned away must cost little.
"""

from __future__ import annotations

import logging
from time import perf_counter_ns, time
from typing import TYPE_CHECKING

from tollhouse._native import END
from tollhouse.gateway.errand import Errand
from tollhouse.gateway.fast_routes import FastRoutes
from tollhouse.gateway.request import Request
from tollhouse.gateway.waiting import Refusals, Waiting
from tollhouse.middlewares.stores.quota import Admitted
from tollhouse.providers.call import SETTLED
from tollhouse.providers.errors import UpstreamBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tollhouse._native import FastRequest, QuotaStore, RequestReader
    from tollhouse.config.settings import BodyLimits, Settings
    from tollhouse.gateway.fast_routes import Way
    from tollhouse.gateway.forward import Forwarder
    from tollhouse.gateway.keyring import KeyRing
    from tollhouse.gateway.lane import Lane
    from tollhouse.gateway.pricing import Pricing
    from tollhouse.gateway.quota import Quota
    from tollhouse.gateway.quota_metrics import QuotaMetrics
    from tollhouse.gateway.routing import RouteStage
    from tollhouse.gateway.server.protocol import HttpConnection
    from tollhouse.gateway.state_metrics import GuardMetrics
    from tollhouse.middlewares.guard import Guard
    from tollhouse.middlewares.metrics import MetricsStage
    from tollhouse.middlewares.quota import QuotaStage
    from tollhouse.middlewares.stores.embedded import EmbeddedQuota

logger = logging.getLogger("tollhouse.gateway")


def made(
    settings: Settings,
    *,
    others: Iterable[object],
    route: RouteStage,
    keys: KeyRing,
    metrics: MetricsStage,
    quota: Quota,
    pricing: Pricing,
    forwarder: Forwarder,
    spent: QuotaMetrics,
    guard: Guard | None,
    guards: GuardMetrics,
    write_log: Callable[[bytes], None] | None,
) -> FastPath | None:
    """None where requests need more than a key, a model and the usual guard.

    others: parts of the chain that would have to be asked.
    """
    is_plain = route.is_plain and forwarder.is_plain and settings.log_format == "json"
    if not is_plain or quota.embedded is None or any(part is not None for part in others):
        return None
    return FastPath(
        body=settings.body,
        keys=keys,
        metrics=metrics,
        quota=quota.stage,
        store=quota.embedded,
        pricing=pricing,
        forwarder=forwarder,
        spent=spent,
        guard=guard,
        guards=guards,
        write_log=write_log,
    )


def _unexpected(error: BaseException) -> None:
    logger.error("unexpected %s at the beginning of a request", type(error).__name__)


def _is_shed(found: FastRequest, connection: HttpConnection) -> bool:
    """Whether a request has been told that there is no time: to wait costs an ordinary one as much again as serving."""
    server = connection.server
    must_wait = not found.way.origin.places.has_one and found.is_alone
    if not must_wait or not server.pressure.is_rising or server.shed is None:
        return False
    if is_shed := connection.shed(server.shed, END):
        server.pressure.turned_away()
    return is_shed


class FastPath:
    """`lane` is set by the lane that has it. write_log: as the access log's; None: there is none."""

    lane: Lane

    def __init__(
        self,
        *,
        body: BodyLimits,
        keys: KeyRing,
        metrics: MetricsStage,
        quota: QuotaStage,
        store: EmbeddedQuota,
        pricing: Pricing,
        forwarder: Forwarder,
        spent: QuotaMetrics,
        guard: Guard | None,
        guards: GuardMetrics,
        write_log: Callable[[bytes], None] | None,
    ) -> None:
        self._keys = keys
        self._metrics = metrics
        self._quota = quota
        self._store = store
        self._forwarder = forwarder
        self._lifecycle = forwarder.lifecycle
        self._spent = spent
        self._guard = guard
        self._guards = guards
        self._write_log = write_log
        self._routes = FastRoutes(
            body=body, store=store, quota=quota, pricing=pricing, forwarder=forwarder, guard=guard
        )
        self._refusals = Refusals(self.turn_away)
        self._find = self._routes.table.find
        self.expects = self._routes.table.expects
        self.learn = self._routes.learn
        self.limit = self._routes.limit
        metrics.before_flush.insert(0, self.hand_on)  # before those that hand on what is handed to them

    def begin(self, connection: HttpConnection, reader: RequestReader) -> bool:
        """Serve a request that has come whole, if it is plain and waits for nothing; False: nothing was done."""
        try:
            found = self._find(reader)
        except BaseException as error:  # noqa: BLE001 - a panic, too: the stages see to the request
            _unexpected(error)
            return False
        return found is not None and self._go(connection, reader, found)

    def _go(self, connection: HttpConnection, reader: RequestReader, found: FastRequest) -> bool:
        upstream = parts = said = None
        way: Way = found.way
        origin = way.origin
        try:
            store = self._store.native
            if store is None or not self._holds(way, found):
                return False
            connection.is_closing |= found.closes
            if found.is_limited:
                said = self._limited(found, store, reader, connection)
            if said is None and found.is_plain:
                upstream = origin.claim()
            if upstream is not None:
                parts = found.reserve(store, reader)
        except BaseException as error:  # noqa: BLE001
            _unexpected(error)
        if said is not None:
            self._refused(connection, *said)
            return True
        if upstream is None:
            return self._has_no_place(connection, reader, found) or _is_shed(found, connection)
        if parts is None:
            origin.give_back(upstream)
            return False
        errand = connection.exchange = Errand(self, connection, found, way)
        self._lifecycle.in_flight += 1
        self._lifecycle.calls.add(errand)
        self._metrics.begun()
        way.target.load.in_flight += 1
        origin.send(upstream, errand, parts[0], parts[1], stream=False)
        return True

    def _has_no_place(self, connection: HttpConnection, reader: RequestReader, found: FastRequest) -> bool:
        """Whether it waits as it came, for a place or to be told that there is none, or has been told so."""
        places = found.way.origin.places
        if places.has_one or not found.is_alone or connection.server.pressure.is_high:
            return False
        waiting = Waiting(self, connection, reader, found)
        if found.is_plain and places.wait(waiting):
            waiting.wants_place = True
        elif not places.is_full:
            return False
        elif self._refusals.passes():
            return self._is_refused(connection, reader, found)
        else:
            self._refusals.add(waiting, places.queue_wait_s)
        found.waits()
        connection.exchange = waiting
        self._lifecycle.in_flight += 1
        self._lifecycle.waiting[waiting] = None
        self._metrics.begun()
        return True

    def _waits_no_more(self, waiting: Waiting) -> int:
        """Its connection is free for what becomes of it. For how long it has waited, in nanoseconds."""
        waiting.connection.exchange = None
        self._lifecycle.in_flight -= 1
        del self._lifecycle.waiting[waiting]
        self._metrics.ended()
        return waiting.found.waits_no_more()

    def begin_ordinary(self, waiting: Waiting) -> None:
        """It waits for whatever it has to on the ordinary way."""
        waiting.connection.begin_ordinary(self._waits_no_more(waiting))

    def gave_up(self, waiting: Waiting) -> None:
        """Its client has gone: nothing was done for it, and nobody is to be told but the log and the metrics."""
        self._waits_no_more(waiting)
        self._note(waiting.found.gone(waiting.reader))

    def resume(self, waiting: Waiting) -> None:
        """It has been given a place."""
        connection, found = waiting.connection, waiting.found
        places = found.way.origin.places
        places.take_back()
        try:
            if waiting.is_over:  # the client has gone
                return
            waited_ns = self._waits_no_more(waiting)
            if self._go(connection, waiting.reader, found):
                return
            places.keep()
            try:
                connection.begin_ordinary(waited_ns)
            finally:  # after the first step of the task that an ordinary request may be
                connection.loop.call_soon(places.hand_on_kept)
        finally:
            places.hand_on()

    def turn_away(self, waiting: Waiting) -> None:
        """There is no place for it, and nobody else to ask."""
        waited_ns = self._waits_no_more(waiting)
        if not self._is_refused(waiting.connection, waiting.reader, waiting.found):
            waiting.connection.begin_ordinary(waited_ns)

    def _is_refused(self, connection: HttpConnection, reader: RequestReader, found: FastRequest) -> bool:
        """Whether it has been told that there is no place; else nothing was done."""
        said = None
        try:
            said = found.busy(reader, connection.last_lines())
        except BaseException as error:  # noqa: BLE001 - others wait behind it
            _unexpected(error)
        if said is not None:
            self._refused(connection, *said)
        return said is not None

    def _holds(self, way: Way, found: FastRequest) -> bool:
        """Whether what was found once still is so. The key ring is asked each time: a key may have been revoked."""
        principal = way.principal
        try:
            is_known = self._keys.find(found.digest) is principal
        except Exception:  # noqa: BLE001 - the stage says what is the matter
            return False
        if is_known and self._store.openings == way.opening:
            is_valid = principal.expires_at is None or time() < principal.expires_at
            return is_valid and way.target.breaker.is_quiet and not self._lifecycle.draining
        self._routes.forget((found.digest, way.path, way.asked))
        return False

    def _limited(
        self, found: FastRequest, store: QuotaStore, reader: RequestReader, connection: HttpConnection
    ) -> tuple[bytes, bytes] | None:
        """Response and line of the log, if a limit refuses this one as it has the one before it."""
        said = found.limited(store, reader, connection.last_lines())
        if said is None:
            return None
        response, line, meter = said
        label = found.way.charged.labels[meter]
        denied, where = self._quota.tally.denied, (label.level, label.what)
        denied[where] = denied.get(where, 0) + 1
        return response, line

    def _refused(self, connection: HttpConnection, response: bytes, line: bytes) -> None:
        connection.transport.write(response)
        self._note(line)
        connection.finished(reusable=True)

    def _note(self, line: bytes) -> None:
        """One that was counted where its line was written."""
        if self._write_log is not None:
            self._write_log(line)
        self._metrics.flush_soon()

    def end(self, errand: Errand) -> bytes | None:
        """The response to a plain success, settled and counted; None: it is none, and nothing was done."""
        way, found, store = errand.way, errand.found, self._store.native
        is_whole = errand.flags & SETTLED == END
        if not is_whole or store is None or self._store.openings != way.opening or not way.target.breaker.is_quiet:
            return None
        connection = errand.connection
        response = found.end(store, errand.reader, connection.last_lines())
        if response is not None:
            self.left(errand)
        return response

    def left(self, errand: Errand) -> None:
        """It is not under way any more, or not in this way. Harmless when repeated."""
        if errand.is_over:
            return
        errand.is_over = True
        self._lifecycle.in_flight -= 1
        self._lifecycle.calls.discard(errand)
        self._metrics.ended()
        errand.way.target.load.in_flight -= 1

    def ended(self, errand: Errand) -> None:
        """Its response has gone out."""
        errand.found.count()
        if self._write_log is not None:
            line = errand.found.line()
            if line is not None:
                self._write_log(line)

    def unfold(self, errand: Errand) -> Request:
        """The same as an ordinary request that has been sent, with its place on the connection."""
        way, found, connection = errand.way, errand.found, errand.connection
        since_begun, since_sent, waited = found.elapsed
        view = found.take_view()
        admitted = found.admitted
        assert admitted is not None
        self.left(errand)
        scope, http = connection.ordinary(END)
        http.take_body()
        exchange = self.lane.begun(scope, http.receive, http.send)
        exchange.connection = http
        now = perf_counter_ns()
        exchange.started_ns = now - since_begun
        exchange.upstream_ns = waited
        exchange.request_id = found.id
        exchange.response_headers.insert(0, (b"x-request-id", found.id.encode()))
        exchange.principal = way.principal
        exchange.body = view.body
        exchange.view = view
        exchange.plan = way.plan
        exchange.model = way.plan.first.group.label
        exchange.asked_model = way.plan.first.model
        self._metrics.enter(exchange)
        if self._guard is not None:
            self._guard.take_over(exchange, found.decision, found.counts, found.vault)
        exchange.admitted = Admitted(*admitted)
        pending = self._quota.enter(exchange)
        assert pending is None
        request = Request(self._forwarder, exchange)
        request.take_over(errand, now - since_sent, self.lane.ended)
        return request

    def hand_on(self) -> None:
        """What was counted goes to the stages that count. May be called in any thread."""
        for labels, tally in tuple(self._routes.tallies.items()):
            counted = tally.counted()
            if counted is not None:
                requests, durations, duration_ns, overheads, overhead_ns, tokens, cost, unpriced = counted
                self._metrics.add(labels, requests, durations, duration_ns, overheads, overhead_ns, tokens)
                self._spent.add(labels[2:4], cost=cost, unpriced=unpriced)
                if labels in self._routes.busy:
                    self._forwarder.count_errors(labels[2], labels[3], UpstreamBusy.code, requests)
        if (guard := self._routes.native_guard) is not None:
            for direction, (allowed, transformed), by_duration, total_ns, findings in guard.counted():
                if allowed or transformed:
                    outcomes = {"allowed": allowed, "transformed": transformed}
                    self._guards.add("scan", direction, outcomes, by_duration, total_ns)
                for kind, action, number in findings:
                    self._guards.found(kind, direction, action, number)
