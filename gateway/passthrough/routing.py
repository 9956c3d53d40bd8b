"""Which upstreams a request is for: by the model that its body names, or by the provider that keeps a file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlencode

from tollhouse.gateway.defaults import members_of
from tollhouse.gateway.planning import shown
from tollhouse.middlewares.errors import BadRequest, Forbidden
from tollhouse.providers.ask import PASSED
from tollhouse.providers.plan import Leg, Plan
from tollhouse.providers.router import Group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.gateway.passthrough.owners import Owners
    from tollhouse.gateway.passthrough.payload import Payload
    from tollhouse.gateway.passthrough.table import Passage
    from tollhouse.gateway.planning import Planner
    from tollhouse.middlewares.auth import Principal
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.router import Target

PROVIDER_HEADER = b"custom-llm-provider"
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,255}").fullmatch
_MOST_QUERY = 20


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request goes."""

    plan: Plan
    path: str  # what follows /v1
    query: str
    owner: str = ""  # of what this makes or reads
    name: str | None = None  # under which that is kept


class Passed(NamedTuple):
    """What is passed through in one exchange."""

    passage: Passage
    way: Way
    payload: Payload
    owners: Owners


class Ways:
    """default_provider: keeps the files of requests that name none."""

    def __init__(
        self, planner: Planner, targets: Sequence[Target], owners: Owners, *, default_provider: str | None
    ) -> None:
        self._planner = planner
        self._owners = owners
        # Files belong to an account: the first deployment of a provider has all of them.
        self._keepers: dict[str, Target] = {}
        for target in targets:
            if PASSED in target.upstream.kinds and target.provider not in self._keepers:
                # Asked without a model, which is nothing that it was to be spared.
                self._keepers[target.provider] = replace(target, model="*", usage=None)
        only = next(iter(self._keepers)) if len(self._keepers) == 1 else None
        self._default = default_provider if default_provider in self._keepers else only

    async def find(self, passage: Passage, exchange: Exchange, payload: Payload) -> Way:
        """Raises Refusal: nobody serves it, or the key may not use it."""
        path, query = _address(passage, exchange)
        if passage.keeps:
            return await self._kept(passage, exchange, payload, (path, query))
        model = payload.model or passage.default_model
        if model is None:
            msg = "model is required"
            raise BadRequest(msg, param="model", code="missing_required_parameter")
        named = self._planner.router.named(model)
        plan = self._planner.plan(named, exchange.principal, model, exchange.verdict)
        group = plan.first.group
        if not any(PASSED in target.upstream.kinds for target in group.targets):
            msg = f"the model {shown(model)} is not served at {passage.path}"
            raise BadRequest(msg, param="model", code="unsupported_endpoint", retry=False)
        exchange.model, exchange.asked_model = group.label, named
        return Way(plan, path, query)

    async def _kept(self, passage: Passage, exchange: Exchange, payload: Payload, address: tuple[str, str]) -> Way:
        principal = exchange.principal
        assert principal is not None
        exchange.model = passage.name
        owner = principal.id
        name = exchange.scope.get("path_params", {}).get("id")
        provider = None
        if name is not None:
            owner, provider = await self._owner(passage.keeps, name, principal)
        keeper = self._keeper(exchange, provider)
        if passage.costs:
            await self._check_batch(keeper, payload, principal)
        return Way(Plan(Leg(Group(passage.name, [keeper]), "")), *address, owner=owner, name=name)

    async def _owner(self, what: str, name: str, principal: Principal) -> tuple[str, str | None]:
        """Of what is kept under that id: who may read it, and who keeps it. Everybody else's is not there at all."""
        kept = await self._owners.find(name)
        if kept is not None and (principal.admin or kept.owner == principal.id):
            return kept.owner, kept.provider
        if kept is None and principal.admin:
            return principal.id, None
        msg = f"there is no such {what}"
        raise BadRequest(msg, status=404, code="not_found", retry=False)

    def _keeper(self, exchange: Exchange, provider: str | None) -> Target:
        asked = dict(parse_qsl(exchange.scope["query_string"].decode("latin-1"))).get("provider")
        given = exchange.headers.get(PROVIDER_HEADER)
        name = provider or asked or (given.decode("latin-1") if given else None) or self._default
        keeper = self._keepers.get(name) if name is not None else None
        if keeper is None:
            known = ", ".join(sorted(self._keepers)) or "none is configured"
            msg = f"say with ?provider= which provider keeps this: {known}"
            raise BadRequest(msg, param="provider", code="unknown_provider", retry=False)
        return keeper

    async def _check_batch(self, keeper: Target, payload: Payload, principal: Principal) -> None:
        """A batch runs requests that nobody here sees: for keys that may use any model of its provider only."""
        if not principal.allows(f"{keeper.provider}/*"):
            msg = f"this API key may use some models only, and a batch may name any model of {keeper.provider}"
            raise Forbidden(msg, code="model_not_allowed")
        given = members_of(payload.with_model(""))
        name = given.get("input_file_id")
        if not isinstance(name, str):
            msg = "input_file_id must be a string"
            raise BadRequest(msg, param="input_file_id", code="invalid_type")
        await self._owner("file", name, principal)


def _address(passage: Passage, exchange: Exchange) -> tuple[str, str]:
    """Path and query upstream. Raises BadRequest for an id that is none."""
    path = passage.path.removeprefix("/v1")
    name = exchange.scope.get("path_params", {}).get("id")
    if name is not None:
        if _ID(name) is None:
            msg = "there is no such id"
            raise BadRequest(msg, status=404, code="not_found", retry=False)
        path = path.replace("{id}", name)
    try:
        given = parse_qsl(exchange.scope["query_string"].decode("ascii"), max_num_fields=_MOST_QUERY)
    except ValueError:
        msg = "the query cannot be read"
        raise BadRequest(msg, code="invalid_query") from None
    return path, urlencode([pair for pair in given if pair[0] != "provider"])
