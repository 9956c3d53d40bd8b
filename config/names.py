"""Which names of models there are: those of deployments, patterns, and aliases of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.config.routing_schema import AliasTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.config.document import Document
    from tollhouse.config.problems import Place
    from tollhouse.config.routing_schema import RouterSettings
    from tollhouse.config.settings import Deployment


class Known:
    """Which names lead to a deployment."""

    def __init__(self, deployments: Sequence[Deployment], aliases: dict[str, str], source: Document) -> None:
        names = {deployment.model_name for deployment in deployments}
        self._exact = names | aliases.keys()
        self._prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
        self._aliases = aliases
        self.source = source

    def has(self, model: str) -> bool:
        return model in self._exact or model.startswith(self._prefixes)

    def leads(self, model: str, place: Place, *, warning: bool = True) -> bool:
        """Whether a request may be sent on to it: as `check`, and it is no pattern, which names nobody."""
        if model.endswith("*"):
            self.source.report(place, f"{model} is a pattern and no model to go to, so it is left out", warning=warning)
            return False
        return self.check(model, place, warning=warning)

    def named(self, model: str) -> str:
        return self._aliases.get(model, model)

    def check(self, model: str, place: Place, *, warning: bool = True) -> bool:
        """Whether there is such a model; one that is missing is told, and the rule goes without it."""
        if self.has(model):
            return True
        self.source.report(place, f"there is no model {model}, so it is left out", warning=warning)
        return False


def aliases(router: RouterSettings, names: set[str], source: Document) -> dict[str, str]:
    """Each with the model that it leads to in the end."""
    given = {
        alias: to.model if isinstance(to, AliasTarget) else to for alias, to in (router.model_group_alias or {}).items()
    }
    found: dict[str, str] = {}
    for alias, to in given.items():
        place: Place = ("router_settings", "model_group_alias", alias)
        if alias in names:
            source.report(place, f"there is a model {alias}, so the alias is left out", warning=True)
            continue
        seen, model = {alias}, to
        while model in given and model not in names and model not in seen:
            seen.add(model)
            model = given[model]
        if model in seen:
            source.report(place, f"{alias} stands for itself")
        else:
            found[alias] = model
    return found
