"""Routes of plain requests: made of what the stages have found for one, for all of the same key and model."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tollhouse._native import FastGuard, FastPath, FastRefusal, FastRoute, FastTally, Price
from tollhouse.gateway.answer import RETURNED, who_answers
from tollhouse.gateway.errors import refusal_of
from tollhouse.gateway.shedding import members, noted, refused
from tollhouse.gateway.state_metrics import NS
from tollhouse.middlewares.auth import bearer
from tollhouse.middlewares.exchange import GONE, GONE_CODE
from tollhouse.middlewares.metrics import LATENCY_NS, OVERHEAD_NS
from tollhouse.middlewares.quota_errors import RateLimited, limited
from tollhouse.providers.openai import OpenAIUpstream

if TYPE_CHECKING:
    from tollhouse._native import RequestView
    from tollhouse.config.settings import BodyLimits
    from tollhouse.gateway.forward import Forwarder
    from tollhouse.gateway.pricing import Pricing
    from tollhouse.middlewares.allowances import Charged, Label
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.guard import AnswerGuard, Guard
    from tollhouse.middlewares.quota import Charge, QuotaStage
    from tollhouse.middlewares.stores.embedded import EmbeddedQuota
    from tollhouse.providers.plan import Plan
    from tollhouse.providers.router import Target
    from tollhouse.providers.timeouts import Timeouts
    from tollhouse.providers.transport import Origin

_KEPT = 10_000
_ONE_IN = 8
_LONGEST_NAME = 200
_KINDS = frozenset({"chat", "completions"})
_DECISIONS = (b"ALLOWED", b"TRANSFORMED")
logger = logging.getLogger("tollhouse.gateway")
Key = tuple[bytes, str, str]  # digest of the caller's key, path, what it calls the model
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


class FastRoutes:
    """`table` finds them. `tallies`: what was counted on them, by the labels of its metrics. `native_guard` looks at
    what they say, if anybody does: from the first route on.
    """

    def __init__(
        self,
        *,
        body: BodyLimits,
        store: EmbeddedQuota,
        quota: QuotaStage,
        pricing: Pricing,
        forwarder: Forwarder,
        guard: Guard | None,
    ) -> None:
        self._body = body
        self._store = store
        self._quota = quota
        self._pricing = pricing
        self._forwarder = forwarder
        self._guard = guard
        self.native_guard: FastGuard | None = None
        self.table = FastPath()
        self.tallies: dict[Labels, FastTally] = {}  # as many as there are configured models
        self.busy: set[Labels] = set()  # those of refusals by a full queue
        self._routes: dict[Key, FastRoute | None] = {}  # None: not for these; the oldest first
        self._passed_over = 0

    def learn(self, exchange: Exchange) -> None:
        """From one that the stages have let pass and that was sent: whether the next like it can take this way."""
        try:
            self._learn(exchange)
        except BaseException as error:  # noqa: BLE001 - a panic, too: this request is under way, and goes on
            logger.error("unexpected %s: requests go on the ordinary way", type(error).__name__)  # noqa: TRY400

    def _learn(self, exchange: Exchange) -> None:
        view, principal, charge = exchange.view, exchange.principal, exchange.charge
        key = _key(exchange)
        if view is None or principal is None or charge is None or key is None or self._store.native is None:
            return
        if key in self._routes:
            route = self._routes[key]
            if route is None:
                return
            if self._is_fresh(route.way, charge):
                route.reopen()
                return
            # Prices of another day, or a budget's next window.
            self.forget(key)
        elif len(self._routes) >= _KEPT:
            # Where more take turns than there is room for, most are not worth learning.
            self._passed_over += 1
            if self._passed_over % _ONE_IN:
                return
            self.forget(next(iter(self._routes)))
        self._routes[key] = None
        route = self._routes[key] = self._made(exchange, view, principal)
        if route is not None:
            self.table.learn(key[0], route)

    def limit(self, exchange: Exchange) -> None:
        """A limit has refused it: those that are alike are asked about it first."""
        key = _key(exchange)
        route = None if key is None else self._routes.get(key)
        if route is not None:
            route.limit()

    def _is_fresh(self, way: Way, charge: Charge) -> bool:
        return way.until_s == self._pricing.until_s and way.charged is charge.charged

    def forget(self, key: Key) -> None:
        """The stages are to say anew what is to be done about the next."""
        if self._routes.pop(key, None) is not None:
            self.table.forget(*key)

    def _lines(self, plan: Plan, target: Target, decision: bytes) -> bytes:
        said = [*self._forwarder.headers, (b"x-gateway-decision", decision), *who_answers(plan.first, target)]
        return b"".join(b"%b: %b\r\n" % pair for pair in said)

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
        if self._guard is not None and self.native_guard is None:
            self.native_guard = self._guard.for_plain_requests(durations=list(NS))
        fields = {"model": label, "provider": target.provider}
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
            bounds=[_bound(label, exchange.answer_guard) for label in about.labels],
            meta=b"," + detail[1:],
            entry=b"," + detail[1:-1] + b"," + ending[1:-1],
            lines=[self._lines(plan, target, decision) for decision in _DECISIONS],
            returned=list(RETURNED),
            log_asked=members(asked),
            log_who=members(who | {"stream": False}),
            tallies=[self._tally((exchange.route, 200, label, target.provider, one)) for one in _DECISIONS],
            limited=noted(
                asked | {"status": RateLimited.status},
                who | {"provider": ""},
                RateLimited.code,
                self._tally((exchange.route, RateLimited.status, label, "", b"ALLOWED")),
            ),
            busy=self._busy(upstream.origin, exchange, asked, who) if plan.is_alone else None,
            gone=noted(
                asked | {"status": GONE},
                who | {"provider": ""},
                GONE_CODE,
                self._tally((exchange.route, GONE, label, "", b"ALLOWED")),
            ),
            guard=self.native_guard,
            pseudonym_key=None if self._guard is None else self._guard.pseudonym_key(principal.id),
        )

    def _busy(
        self, origin: Origin, exchange: Exchange, asked: dict[str, Any], who: dict[str, Any]
    ) -> FastRefusal | None:
        """What is told when the queue is full, and nobody else can be asked."""
        refusal = refusal_of(origin.places.busy())
        if not _passes(refusal.message, exchange.answer_guard):
            return None
        labels: Labels = (asked["route"], refusal.status, who["model"], who["provider"], b"ALLOWED")
        self.busy.add(labels)
        return refused(refusal, exchange.kind or "", asked=asked, who=who, tally=self._tally(labels))

    def _tally(self, labels: Labels) -> FastTally:
        found = self.tallies.get(labels)
        if found is None:
            found = self.tallies[labels] = FastTally(durations=list(LATENCY_NS), overheads=list(OVERHEAD_NS))
        return found


def _key(exchange: Exchange) -> Key | None:
    """None: it is not for this way, whatever it says."""
    token, model = bearer(exchange), None if exchange.view is None else exchange.view.model
    if token is None or model is None or len(model) > _LONGEST_NAME or exchange.kind not in _KINDS:
        return None
    return sha256(token).digest(), exchange.route, model


def _bound(label: Label, guard: AnswerGuard | None) -> tuple[str, int, str | None]:
    """What it counts, how much of it, and the beginning of its refusals' messages as it stands in a JSON string.

    None for the last: they are the stages' to tell, because of what they are of, or of what names in them look like.
    """
    said = None if label.what == "budget" else limited(label)
    if said is None or not _passes(said, guard):
        return label.what, label.limit, None
    return label.what, label.limit, orjson.dumps(said)[1:-1].decode()


def _passes(message: str, guard: AnswerGuard | None) -> bool:
    """Whether nothing in it is what answers must not say."""
    return guard is None or guard.text(message) == message
