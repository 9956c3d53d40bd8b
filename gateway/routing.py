"""Where a request goes, decided before anything is charged for it: who answers, who else may, and what is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollhouse.gateway.defaults import filled
from tollhouse.gateway.planning import may_use
from tollhouse.middlewares.errors import BadRequest
from tollhouse.middlewares.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tollhouse.config.settings import HeaderRoute
    from tollhouse.gateway.escalation import Escalations
    from tollhouse.gateway.planning import Planner
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.plan import Plan


class RouteStage(Stage):
    """Gives a request its plan: of the model that it names, or that an alias, a header or its length leads to."""

    def __init__(
        self,
        planner: Planner,
        *,
        default_model: str | None = None,
        header_routes: Sequence[HeaderRoute] = (),
        escalations: Escalations | None = None,
        completion_params: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        self._plan = planner.plan
        self._named = planner.router.named
        self._resolve = planner.router.resolve
        self._default_model = default_model
        self._header_routes = [
            (route.header.encode(), None if route.value is None else route.value.encode(), route.models)
            for route in header_routes
        ]
        self._escalations = escalations
        self._completion_params = completion_params or {}

    @property
    def is_plain(self) -> bool:
        """Whether a key and the name of a model are all that decides."""
        return not (self._header_routes or self._escalations is not None or self._completion_params)

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        view = exchange.view
        if view is None:
            return None
        model = view.model or self._default_model
        if model is None:
            msg = "model is required"
            raise BadRequest(msg, param="model", code="missing_required_parameter")
        name = meant = self._named(model)
        if self._header_routes:
            name = self._by_header(exchange, meant)
        plan = self._plan(name, exchange.principal, model if name == meant else name, exchange.verdict)
        if self._escalations is not None:
            pending = self._escalations.of(exchange, name, plan.first.group.label)
            if pending is not None:
                return self._escalate(exchange, pending, plan)
        self._take(exchange, plan)
        return None

    async def _escalate(self, exchange: Exchange, pending: Callable[[], Awaitable[str | None]], plan: Plan) -> None:
        larger = await pending()
        if larger is not None and may_use(exchange.principal, exchange.verdict, larger):
            plan = self._plan(larger, exchange.principal, larger, exchange.verdict)
        self._take(exchange, plan)

    def _take(self, exchange: Exchange, plan: Plan) -> None:
        view = exchange.view
        assert view is not None
        model, label = plan.first.model, plan.first.group.label
        exchange.plan = plan
        exchange.model = label
        exchange.asked_model = model
        exchange.stream = view.stream
        if self._completion_params:
            params = self._completion_params.get(model) or self._completion_params.get(label)
            if params is not None:
                exchange.view = filled(view, exchange.kind or "", params)

    def _by_header(self, exchange: Exchange, name: str) -> str:
        """The model that a header asks for, if there is one."""
        for header, value, models in self._header_routes:
            given = exchange.headers.get(header)
            if given is not None and (value is None or given.strip() == value):
                group = self._resolve(name)
                is_one = name in models or (group is not None and group.label in models)
                return name if is_one else models[0]
        return name
