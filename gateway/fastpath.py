"""The way of plain requests: what the stages have found for one is kept, and the next like it goes in few calls.

A request takes it only where the stages would do nothing else (`made`, and `FastRequest` on what is plain). Nothing is
decided here: a refusal, a failure, an answer that is no success, a client that goes are all left to the stages and the
forwarder, with the request turned into an ordinary one as it stands (`FastPath.unfold`).
"""

from __future__ import annotations

import logging
from hashlib import sha256
from time import perf_counter_ns, time
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tollhouse._native import END, FastRoute, FastTally, Price, RequestView, ResponseReader
from tollhouse._native import FastPath as Table
from tollhouse.gateway.answer import RETURNED, who_answers
from tollhouse.gateway.request import Request
from tollhouse.middlewares.auth import bearer
from tollhouse.middlewares.ids import new_id
from tollhouse.middlewares.metrics import LATENCY_NS, OVERHEAD_NS
from tollhouse.middlewares.stores.embedded import EmbeddedQuota
from tollhouse.middlewares.stores.quota import Admitted
from tollhouse.providers.call import FIRST, SETTLED, Call
from tollhouse.providers.openai import OpenAIUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tollhouse._native import FastRequest, RequestReader
    from tollhouse.config.settings import BodyLimits, Settings
    from tollhouse.gateway.forward import Forwarder
    from tollhouse.gateway.keyring import KeyRing
    from tollhouse.gateway.lane import Lane
    from tollhouse.gateway.pricing import Pricing
    from tollhouse.gateway.quota import Quota
    from tollhouse.gateway.quota_metrics import QuotaMetrics
    from tollhouse.gateway.routing import RouteStage
    from tollhouse.gateway.server.protocol import HttpConnection
    from tollhouse.middlewares.allowances import Charged
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.metrics import MetricsStage
    from tollhouse.middlewares.quota import Charge, QuotaStage
    from tollhouse.middlewares.types import Headers
    from tollhouse.providers.plan import Plan
    from tollhouse.providers.router import Target
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

_KEPT = 10_000
_LONGEST_NAME = 200
logger = logging.getLogger("tollhouse.gateway")
_KINDS = frozenset({"chat", "completions"})


Labels = tuple[str, int, str, str, bytes]  # of metrics: route, status, model, provider, decision


class Way(NamedTuple):
    """Where requests of one key to one model go, in terms of the stages."""

    principal: Principal
    path: str
    kind: str
    asked: str
    plan: Plan
    target: Target
    origin: Origin
    timeouts: Timeouts
    hidden: bytes
    opening: int  # of the store; its plan is good for that one alone
    charged: Charged
    until_s: int  # since the epoch: its prices


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
    write_log: Callable[[bytes], None] | None,
) -> FastPath | None:
    """None where requests need more than a key and a model. others: parts of the chain that would have to be asked."""
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
        write_log=write_log,
    )


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
        write_log: Callable[[bytes], None] | None,
    ) -> None:
        self._body = body
        self._keys = keys
        self._metrics = metrics
        self._quota = quota
        self._store = store
        self._pricing = pricing
        self._forwarder = forwarder
        self._lifecycle = forwarder.lifecycle
        self._spent = spent
        self._write_log = write_log
        self._table = Table()
        self._routes: dict[tuple[bytes, str, str], FastRoute | None] = {}  # None: not for these
        self._tallies: dict[Labels, FastTally] = {}  # as many as there are configured models
        metrics.before_flush.append(self.hand_on)

    def begin(self, connection: HttpConnection, reader: RequestReader) -> Errand | None:
        """Serve a request that has come whole, if it is plain and waits for nothing; None: nothing was done."""
        if self._lifecycle.draining:
            return None
        found = self._table.find(reader, new_id())
        if found is None:
            return None
        way: Way = found.way
        if not self._holds(way, found) or not way.target.breaker.is_quiet:
            return None
        upstream = way.origin.claim()
        if upstream is None:
            return None
        store = self._store.native
        parts = None if store is None else found.reserve(store, reader)
        if parts is None:
            way.origin.give_back(upstream)
            return None
        if found.closes:
            connection.close_after()
        errand = Errand(self, connection, found, way)
        self._lifecycle.in_flight += 1
        self._lifecycle.calls.add(errand)
        self._metrics.begun()
        way.target.load.in_flight += 1
        way.origin.send(upstream, errand, parts[0], parts[1], stream=False)
        return errand

    def _holds(self, way: Way, found: FastRequest) -> bool:
        """Whether what was found once still is so. The key ring is asked each time: a key may have been revoked."""
        principal = way.principal
        try:
            is_known = self._keys.find(found.digest) is principal
        except Exception:  # noqa: BLE001 - the stage says what is the matter
            return False
        if is_known and self._store.openings == way.opening:
            return principal.expires_at is None or time() < principal.expires_at
        self._forget((found.digest, way.path, way.asked))
        return False

    def end(self, errand: Errand) -> bytes | None:
        """The response to a plain success, settled and counted; None: it is none, and nothing was done."""
        way, found, store = errand.way, errand.found, self._store.native
        is_whole = errand.flags & SETTLED == END
        if not is_whole or store is None or self._store.openings != way.opening or not way.target.breaker.is_quiet:
            return None
        connection = errand.connection
        last = connection.server.date
        response = found.end(store, errand.reader, b"connection: close\r\n" + last if connection.is_closing else last)
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
        since_begun, since_sent = found.elapsed
        view = self._parsed(found.body, way.kind)
        admitted = found.admitted
        assert admitted is not None
        self.left(errand)
        scope, http = connection.ordinary(END)
        http.take_body()
        exchange = self.lane.begun(scope, http.receive, http.send)
        exchange.connection = http
        now = perf_counter_ns()
        exchange.started_ns = now - since_begun
        exchange.request_id = found.id
        exchange.response_headers.insert(0, (b"x-request-id", found.id.encode()))
        exchange.principal = way.principal
        exchange.body = found.body
        exchange.view = view
        exchange.plan = way.plan
        exchange.model = way.plan.first.group.label
        exchange.asked_model = way.plan.first.model
        self._metrics.enter(exchange)
        exchange.admitted = Admitted(*admitted)
        pending = self._quota.enter(exchange)
        assert pending is None
        request = Request(self._forwarder, exchange)
        request.take_over(errand, now - since_sent, self.lane.ended)
        return request

    def _parsed(self, body: bytes, kind: str) -> RequestView:
        limits = self._body
        return RequestView.parse(body, kind, max_depth=limits.max_depth, max_nodes=limits.max_nodes)

    def learn(self, exchange: Exchange) -> None:
        """From one that the stages have let pass and that was sent: whether the next like it can take this way."""
        try:
            self._learn(exchange)
        except BaseException as error:  # noqa: BLE001 - a panic, too: this request is under way, and goes on
            logger.error("unexpected %s: requests go on the ordinary way", type(error).__name__)  # noqa: TRY400

    def _learn(self, exchange: Exchange) -> None:
        view, principal, charge, kind = exchange.view, exchange.principal, exchange.charge, exchange.kind
        if view is None or principal is None or charge is None or kind not in _KINDS:
            return
        token, model = bearer(exchange), view.model
        if token is None or model is None or len(model) > _LONGEST_NAME or self._store.native is None:
            return
        key = sha256(token).digest(), exchange.route, model
        if key in self._routes:
            route = self._routes[key]
            if route is None or self._is_fresh(route.way, charge):
                return
            # Prices of another day, or a budget's next window.
            self._forget(key)
        elif len(self._routes) >= _KEPT:
            self._routes.clear()
            self._table.clear()
        self._routes[key] = None
        route = self._routes[key] = self._made(exchange, view, principal)
        if route is not None:
            self._table.learn(key[0], route)

    def _is_fresh(self, way: Way, charge: Charge) -> bool:
        return way.until_s == self._pricing.until_s and way.charged is charge.charged

    def _forget(self, key: tuple[bytes, str, str]) -> None:
        if self._routes.pop(key, None) is not None:
            self._table.forget(*key)

    def _headers(self, plan: Plan, target: Target) -> Headers:
        return [*self._forwarder.headers, (b"x-gateway-decision", b"ALLOWED"), *who_answers(plan.first, target)]

    def _made(self, exchange: Exchange, view: RequestView, principal: Principal) -> FastRoute | None:
        plan: Plan = exchange.plan
        obvious, charge = plan.obvious, exchange.charge
        if obvious is None or charge is None or obvious.target.usage is not None:
            return None
        target, upstream = obvious.target, obvious.target.upstream
        kind = exchange.kind or ""
        if type(upstream) is not OpenAIUpstream or kind not in upstream.native or upstream.is_signed:
            return None
        model = self._pricing.model(plan)
        if not (model.price is None or isinstance(model.price, Price)):
            return None
        name = plan.first.group.upstream_model(target, plan.first.model)
        actual = self._forwarder.price(target.provider, name, None)
        label = plan.first.group.label
        detail = orjson.dumps(charge.meta[1:])
        ending = orjson.dumps((target.provider, name, self._quota.price_version, "complete", actual is not None))
        about, opening, native = charge.charged, self._store.openings, self._store.known(charge.plan)
        if native is None:
            return None
        fields = {"model": label, "provider": target.provider, "stream": False}
        who = {"key_id": principal.id} | ({"team": principal.team} if principal.team else {}) | fields
        asked = {"method": "POST", "route": exchange.route, "status": 200}
        return FastRoute(
            way=Way(
                principal=principal,
                path=exchange.route,
                kind=kind,
                asked=view.model or "",
                plan=plan,
                target=target,
                origin=upstream.origin,
                timeouts=upstream.timeouts,
                hidden=upstream.key,
                opening=opening,
                charged=about,
                until_s=self._pricing.until_s,
            ),
            plan=native,
            path=exchange.route,
            kind=kind,
            model=view.model or "",
            max_bytes=self._body.max_bytes,
            max_depth=self._body.max_depth,
            max_nodes=self._body.max_nodes,
            until_ms=self._pricing.until_s * 1000,
            upstream_model=name,
            head=upstream.head(kind),
            limit=upstream.limit(kind),
            price=model.price,
            actual=actual,
            max_output=None if model.price is None else model.price.max_output,
            context=None if model.price is None else model.price.context,
            tokens_per_image=model.tokens_per_image,
            has_budget=about.has_budget,
            has_hard=about.has_hard,
            expires_in_ms=self._quota.expires_in_ms,
            requests=[(index, about.labels[index].limit) for index in about.requests],
            tokens=[(index, about.labels[index].limit) for index in about.tokens],
            meta=b"," + detail[1:],
            entry=b"," + detail[1:-1] + b"," + ending[1:-1],
            lines=b"".join(b"%b: %b\r\n" % pair for pair in self._headers(plan, target)),
            returned=list(RETURNED),
            log_asked=_members(asked),
            log_who=_members(who),
            tally=self._tally((exchange.route, 200, label, target.provider, b"ALLOWED")),
        )

    def _tally(self, labels: Labels) -> FastTally:
        found = self._tallies.get(labels)
        if found is None:
            found = self._tallies[labels] = FastTally(durations=list(LATENCY_NS), overheads=list(OVERHEAD_NS))
        return found

    def hand_on(self) -> None:
        """What was counted goes to the stages that count. May be called in any thread."""
        for labels, tally in tuple(self._tallies.items()):
            counted = tally.counted()
            if counted is not None:
                requests, durations, duration_ns, overheads, overhead_ns, tokens, cost, unpriced = counted
                self._metrics.add(labels, requests, durations, duration_ns, overheads, overhead_ns, tokens)
                self._spent.add(labels[2:4], cost=cost, unpriced=unpriced)


class Errand(Call):
    """A plain request: what its connection sees of it, and the call to its upstream."""

    __slots__ = ("_fast", "connection", "found", "is_done", "is_over", "way")

    awaits_body = False

    def __init__(self, fast: FastPath, connection: HttpConnection, found: FastRequest, way: Way) -> None:
        super().__init__(ResponseReader(way.kind), way.timeouts)
        self._fast = fast
        self.connection = connection
        self.found = found
        self.way = way
        self.hidden = way.hidden
        self.is_done = False  # its response is complete
        self.is_over = False
        self.watch(FIRST, self._answered)

    def advance(self, flags: int) -> None:
        """More has come, of what follows this request."""

    def disconnect(self) -> None:
        """The client has gone."""
        if self.is_done:
            return
        try:
            self._fast.unfold(self)
        except BaseException:
            self._lose()
            raise
        http, self.connection.exchange = self.connection.exchange, None
        assert http is not None
        http.disconnect()

    def _answered(self) -> None:
        """The end of the answer has come, or whatever else there is to see to."""
        fast, connection = self._fast, self.connection
        response: bytes | None = None
        try:
            response = fast.end(self)
        except BaseException as error:  # noqa: BLE001 - a panic, too: the ordinary way makes the best of it
            logger.error("unexpected %s at the end of a request", type(error).__name__)  # noqa: TRY400
        if response is None:
            try:
                request = fast.unfold(self)
            except BaseException:
                self._lose()
                raise
            request.answered()
            return
        self.is_done = True
        connection.transport.write(response)
        try:
            fast.ended(self)
        finally:
            connection.finished(reusable=True)

    def _lose(self) -> None:
        """Nothing can be said any more: at least nobody is to wait for it. The hold ends by itself."""
        self._fast.left(self)
        self.close()
        self.connection.break_off()


def _members(fields: dict[str, Any]) -> str:
    """As they stand in a JSON object."""
    return orjson.dumps(fields)[1:-1].decode()
