"""Who may use which model, route and tool, and on what conditions, by a compiled policy.

The gateway runs the stage; `PolicyMiddleware` does the same for any ASGI app. Shadow policies are asked as well and
decide nothing: what they would have said stands in the log and in the receipt, beside what was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse.middlewares.body import ReplayedBody, replayed_as
from tollhouse.middlewares.caps import caps_of, within
from tollhouse.middlewares.errors import Forbidden, Refusal, Unavailable
from tollhouse.middlewares.exchange import Exchange, exchange_for, route_path
from tollhouse.middlewares.guard import UNAVAILABLE, decide
from tollhouse.middlewares.guards import Guards
from tollhouse.middlewares.quote import quoted
from tollhouse.middlewares.rulebook import Caps, Policy, Rule, Verdict
from tollhouse.middlewares.scan import KINDS, ScanMiddleware
from tollhouse.middlewares.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tollhouse._native import Price
    from tollhouse.middlewares.types import ASGIApp, Receive, Scope, Send

__all__ = ["Caps", "Policy", "PolicyMiddleware", "PolicyStage", "Rule", "Verdict"]

DENIED = "policy_denied"


class PolicyStage(Stage):
    """Decides on exchanges whose body has been parsed; others are decided by their handlers, with `decide`.

    name: what the policy calls the model that a caller names, or "" for none. default_model: for bodies without one.
    has_room: whether receipts can be written now. count: told of every decision: "policy" or "shadow", the decision,
    the rule. policy: may be replaced at any time, and each request is decided by one; None: there is none yet, and
    is_closed says whether requests are refused until then.
    """

    def __init__(
        self,
        policy: Policy | None,
        *,
        is_closed: bool = True,
        shadows: Sequence[Policy] = (),
        name: Callable[[str | None], str] = lambda model: model or "",
        default_model: str | None = None,
        has_room: Callable[[], bool] | None = None,
        count: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self.policy = policy
        self._is_closed = is_closed
        self._shadows = tuple(shadows)
        self._name = name
        self._default_model = default_model
        self._has_room = has_room
        self._count = count

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        view = exchange.view
        if view is not None:
            self.decide(exchange, exchange.route, view.model or self._default_model)
        return None

    def decide(self, exchange: Exchange, route: str, model: str | None) -> None:
        """Raises Refusal. route: the template of the path."""
        policy = self.policy
        if policy is None:
            if self._is_closed:
                msg = "there is no policy yet to decide by"
                raise Unavailable(msg, code=UNAVAILABLE, retry=True, headers=[(b"retry-after", b"1")])
            return
        name = self._name(model)
        verdict = policy.verdict(exchange.principal, route, name)
        exchange.verdict = verdict
        exchange.asked_model = name
        exchange.guard = verdict.guard
        exchange.response_headers += verdict.headers
        exchange.because(verdict.why)
        tools = exchange.view.tools() if exchange.view is not None else []
        if self._shadows:
            exchange.shadows = [self._would(shadow, exchange, route, name, tools) for shadow in self._shadows]
        refusal = self._refusal(exchange, verdict, tools)
        if refusal is not None:
            decide(exchange, b"BLOCKED")
        if self._count is not None:
            self._count("policy", "ALLOWED" if refusal is None else "BLOCKED", verdict.why)
        if refusal is not None:
            raise refusal

    def _refusal(self, exchange: Exchange, verdict: Verdict, tools: list[str]) -> Refusal | None:
        if not verdict.is_allowed:
            by = "no rule allows it" if verdict.rule is None else f"by its rule {verdict.rule.id}"
            return _forbidden(f"this request is refused by policy {verdict.policy.version}: {by}", DENIED)
        tool = verdict.refused_tool(tools) if tools else None
        if tool is not None:
            exchange.because("tool")
            # What it is called is the caller's own word, and goes into no message.
            place = tools.index(tool)
            msg = f"policy {verdict.policy.version} does not allow the tool number {place + 1} of this request"
            return _forbidden(msg, "tool_not_allowed", param="tools")
        rule = verdict.rule
        if rule is not None and rule.needs_receipt and (self._has_room is None or not self._has_room()):
            msg = "policy wants a receipt of this request, and none can be written at the moment"
            return Unavailable(msg, code="receipts_unavailable", retry=True, headers=[(b"retry-after", b"1")])
        return None

    def _would(
        self, shadow: Policy, exchange: Exchange, route: str, name: str, tools: list[str]
    ) -> tuple[str, str, str]:
        """Version, decision and reason of a policy that decides nothing. Findings are not looked for again."""
        verdict = shadow.verdict(exchange.principal, route, name)
        decision, why = "ALLOWED" if verdict.is_allowed else "BLOCKED", verdict.why
        rule = verdict.rule
        if verdict.is_allowed and tools and verdict.refused_tool(tools) is not None:
            decision, why = "BLOCKED", f"{why} tool"
        elif verdict.is_allowed and rule is not None and rule.caps is not None and rule.caps.max_tokens is not None:
            asked = exchange.view.max_tokens if exchange.view is not None else None
            if asked is not None and asked > rule.caps.max_tokens:
                decision, why = ("BLOCKED" if rule.caps.refuse else "TRANSFORMED"), f"{why} max_tokens"
        if self._count is not None:
            self._count("shadow", decision, verdict.why)
        return shadow.version, decision, why


def _forbidden(message: str, code: str, *, param: str | None = None) -> Forbidden:
    return Forbidden(message, code=code, param=param, retry=False, headers=[(b"x-gateway-decision", b"BLOCKED")])


class PolicyMiddleware:
    """Asks a policy about the requests of any ASGI app; what no rule allows gets 403.

    rules: the first that fits decides; tenants, keys and users are those that AuthMiddleware has found.
    kinds: paths whose bodies are those of model APIs, with the API; what is asked at others has no model and no tools.
    prices: given a model, its `tollhouse._native.Price`; a cap on cost refuses what has none.
    shadow: rules that only say in `exchange.shadows` what they would have decided.

    Where a rule says what is done about findings, requests and answers are scanned as ScanMiddleware does.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: Sequence[Rule],
        version: str = "1",
        kinds: Mapping[str, str] = KINDS,
        prices: Callable[[str], Price | None] | None = None,
        shadow: Sequence[Rule] | None = None,
        max_bytes: int = 10 * 1024 * 1024,
        count: Callable[[str, str, str], None] | None = None,
    ) -> None:
        if any(rule.needs_receipt for rule in rules):
            msg = "receipts are the gateway's: a rule here cannot ask for them"
            raise ValueError(msg)
        guards = Guards(rules)
        self.app = ScanMiddleware(app, request=None, response=None, kinds=kinds, max_bytes=max_bytes) if guards else app
        policy = Policy(rules, version=version, prepare=guards.prepare)
        shadows = [] if shadow is None else [Policy(shadow, version=f"{version}-shadow")]
        self._stage = PolicyStage(policy, shadows=shadows, count=count)
        self._prices = prices
        self._body = ReplayedBody(kinds, max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, send = exchange_for(scope, receive, send)
        try:
            pending = self._body.enter(exchange)
            if pending is not None:
                await pending
            view = exchange.view
            self._stage.decide(exchange, route_path(scope), None if view is None else view.model)
            await self._cap(exchange)
        except Refusal as refusal:
            await exchange.refuse(refusal, send)
            return
        await self.app(scope, exchange.receive, send)

    async def _cap(self, exchange: Exchange) -> None:
        caps, view = caps_of(exchange), exchange.view
        if caps is None or view is None:
            return
        price = self._prices(view.model or "") if self._prices is not None else None
        quote = quoted(view, exchange.kind or "", price=price)
        found = within(exchange, quote, caps) or within(exchange, quote, caps, is_counted=True)
        if found is not None and found.is_capped:
            replayed_as(exchange, view.rewrite(max_tokens=(found.output, "max_tokens")))
