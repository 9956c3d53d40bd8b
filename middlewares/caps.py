"""The caps of a policy on one request: what it asks for is lowered to them, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tollhouse._native import usd
from tollhouse.middlewares.errors import Forbidden
from tollhouse.middlewares.guard import decide

if TYPE_CHECKING:
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.quote import Quote
    from tollhouse.middlewares.rulebook import Caps

OVER = "policy_cap_exceeded"


def caps_of(exchange: Exchange) -> Caps | None:
    """Those of the rule that the request was allowed by."""
    verdict = exchange.verdict
    return None if verdict is None or verdict.rule is None else verdict.rule.caps


def within(exchange: Exchange, quote: Quote, caps: Caps, *, is_counted: bool = False) -> Quote | None:
    """The quote of what may be asked for. None: its prompt has to be counted before it can be said to be too dear.

    Raises Forbidden for what is over a cap and cannot or must not be lowered, and for what has no price to compare.
    """
    output, most = quote.output, caps.max_tokens
    if most is not None and output > most:
        view = exchange.view
        if caps.refuse and view is not None and (view.max_tokens or 0) > most:
            raise _over(exchange, f"at most {most} tokens may be asked for", "max_tokens")
        output = most
    if caps.max_cost is not None:
        price = quote.price
        if price is None:
            msg = "the model has no price, and policy has a cap on what a request may cost"
            raise _refused(exchange, msg, "model_unpriced", "model")
        if price.bound(quote.prompt, output * quote.choices) > caps.max_cost:
            if quote.may_be_counted and not is_counted:
                return None
            left = price.affordable_output(quote.prompt, caps.max_cost, quote.choices)
            if caps.refuse or not left or not output:
                raise _over(exchange, f"a request may cost at most {usd(caps.max_cost)} USD", "max_cost")
            output = min(output, left)
    if output == quote.output:
        # What was compared with the caps is a bound that nobody else enforces: then the upstream is told it.
        return quote.lowered(output) if quote.must_limit and output else quote
    decide(exchange, b"TRANSFORMED")
    exchange.because("max_tokens-lowered")
    return quote.lowered(output)


def _over(exchange: Exchange, limit: str, reason: str) -> Forbidden:
    return _refused(exchange, f"refused by policy: {limit}", OVER, None, reason)


def _refused(
    exchange: Exchange, message: str, code: str, param: str | None, reason: str = "model_unpriced"
) -> Forbidden:
    decide(exchange, b"BLOCKED")
    exchange.because(reason)
    return Forbidden(message, code=code, param=param, retry=False, headers=[(b"x-gateway-decision", b"BLOCKED")])
