"""Where a request goes, decided before anything is charged for it: who answers, who else may, and what is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollhouse.gateway.defaults import filled
from tollhouse.middlewares.errors import BadRequest, Forbidden
from tollhouse.middlewares.stage import Stage
from tollhouse.providers.plan import Leg, Plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tollhouse.config.settings import Fallback, HeaderRoute
    from tollhouse.gateway.escalation import Escalations
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.router import Router

_KEPT = 10_000


class RouteStage(Stage):
    """Makes the plan of a request, and refuses models that the caller's key may not use.

    A key's allow-list holds for everything that a name can lead to: aliases, headers, escalations and fallbacks. What
    it does not have is refused where the caller asked for it, and left out of the plan where the operator did.
    """

    def __init__(
        self,
        router: Router,
        *,
        default_model: str | None = None,
        fallbacks: Sequence[Fallback] = (),
        header_routes: Sequence[HeaderRoute] = (),
        escalations: Escalations | None = None,
        completion_params: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        self._router = router
        self._default_model = default_model
        self._fallbacks = fallbacks
        self._header_routes = [
            (route.header.encode(), None if route.value is None else route.value.encode(), route.models)
            for route in header_routes
        ]
        self._escalations = escalations
        self._completion_params = completion_params or {}
        # By model and allow-list. Plans are told apart by identity: prices are kept by them.
        self._plans: dict[tuple[str, tuple[str, ...] | None], Plan] = {}

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        view = exchange.view
        if view is None:
            return None
        model = view.model or self._default_model
        if model is None:
            msg = "model is required"
            raise BadRequest(msg, param="model", code="missing_required_parameter")
        name = meant = self._router.named(model)
        if self._header_routes:
            name = self._by_header(exchange, meant)
        plan = self._plan(name, exchange.principal, model if name == meant else name)
        if self._escalations is not None:
            pending = self._escalations.of(exchange, name)
            if pending is not None:
                return self._escalate(exchange, pending, plan)
        self._take(exchange, plan)
        return None

    async def _escalate(self, exchange: Exchange, pending: Callable[[], Awaitable[str | None]], plan: Plan) -> None:
        larger = await pending()
        if larger is not None and (exchange.principal is None or exchange.principal.allows(larger)):
            plan = self._plan(larger, exchange.principal, larger)
        self._take(exchange, plan)

    def _take(self, exchange: Exchange, plan: Plan) -> None:
        view = exchange.view
        assert view is not None
        group, model, _ = plan.first
        exchange.plan = plan
        exchange.model = group.label
        exchange.asked_model = model
        exchange.stream = view.stream
        if self._completion_params and model in self._completion_params:
            exchange.view = filled(view, exchange.kind or "", self._completion_params[model])

    def _by_header(self, exchange: Exchange, name: str) -> str:
        """The model that a header asks for, if there is one."""
        for header, value, models in self._header_routes:
            given = exchange.headers.get(header)
            if given is not None and (value is None or given.strip() == value):
                return name if name in models else models[0]
        return name

    def _plan(self, name: str, principal: Principal | None, asked: str) -> Plan:
        """Raises BadRequest for what does not exist, Forbidden for what the key may not use."""
        key = name, None if principal is None else principal.models
        plan = self._plans.get(key)
        if plan is not None:
            return plan
        group = self._router.resolve(name)
        if group is None:
            msg = f"the model {shown(asked)} does not exist"
            raise BadRequest(msg, status=404, param="model", code="model_not_found", retry=False)
        if principal is not None and not principal.allows(name):
            msg = f"this API key may not use the model {shown(asked)}"
            raise Forbidden(msg, param="model", code="model_not_allowed")
        if len(self._plans) >= _KEPT:
            self._plans.clear()
        plan = self._plans[key] = Plan(Leg(group, name), tuple(self._backups(name, group.label, principal)))
        return plan

    def _backups(self, name: str, label: str, principal: Principal | None) -> list[Leg]:
        own = [rule for rule in self._fallbacks if rule.model in {name, label} and rule.model != "*"]
        told = {cause for rule in own for cause in rule.causes}
        legs: dict[str, Leg] = {}
        for rule in (*own, *(rule for rule in self._fallbacks if rule.model == "*")):
            causes = rule.causes - told if rule.model == "*" else rule.causes
            for to in rule.to:
                group = self._router.resolve(to)
                if group is None or to == name or not causes or (principal is not None and not principal.allows(to)):
                    continue
                known = legs.get(to)
                legs[to] = Leg(group, to, causes | (known.causes if known is not None else frozenset()))
        return list(legs.values())


def shown(model: str) -> str:
    """A model's name in a message: quoted, and cut where somebody sent an essay."""
    return repr(model if len(model) <= 100 else model[:100] + "...")
