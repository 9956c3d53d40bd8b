"""Which group of upstreams a request is for, decided before anything is charged for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.middlewares.errors import BadRequest, Forbidden
from tollhouse.middlewares.stage import Stage

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.router import Router


class RouteStage(Stage):
    """Finds the group of the model that the body names, and refuses models that the caller's key may not use."""

    def __init__(self, router: Router, *, default_model: str | None = None) -> None:
        self._router = router
        self._default_model = default_model

    def enter(self, exchange: Exchange) -> None:
        view = exchange.view
        if view is None:
            return
        model = view.model or self._default_model
        if model is None:
            msg = "model is required"
            raise BadRequest(msg, param="model", code="missing_required_parameter")
        group = self._router.resolve(model)
        if group is None:
            msg = f"the model {shown(model)} does not exist"
            raise BadRequest(msg, status=404, param="model", code="model_not_found", retry=False)
        principal = exchange.principal
        if principal is not None and not principal.allows(model):
            msg = f"this API key may not use the model {shown(model)}"
            raise Forbidden(msg, param="model", code="model_not_allowed")
        exchange.model = group.label
        exchange.asked_model = model
        exchange.group = group
        exchange.stream = view.stream


def shown(model: str) -> str:
    """A model's name in a message: quoted, and cut where somebody sent an essay."""
    return repr(model if len(model) <= 100 else model[:100] + "...")
