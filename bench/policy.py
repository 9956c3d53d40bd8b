"""CPU of asking a policy about a request: rules, tools, caps, a shadow.

python -m bench.policy [REQUESTS]
"""

from __future__ import annotations

import sys
import time
from typing import Any

import orjson

from tollhouse._native import RequestView
from tollhouse.middlewares.auth import Principal
from tollhouse.middlewares.caps import caps_of, within
from tollhouse.middlewares.exchange import Exchange
from tollhouse.middlewares.policy import Caps, Policy, PolicyStage, Rule
from tollhouse.middlewares.quote import quoted

RULES = 200
CALLERS = [Principal(id=f"key-{i}", team=f"team-{i % 50}") for i in range(500)]
TOOL = {"type": "function", "function": {"name": "search_web", "parameters": {"type": "object", "properties": {}}}}


def _rules() -> list[Rule]:
    """One for each tenant and model; the last of a tenant is far down."""
    return [
        Rule(
            id=f"rule-{i}",
            tenants=(f"team-{i % 50}",),
            models=(f"gpt-{i // 50}*",),
            tools=("search_*",),
            caps=Caps(max_tokens=1000),
        )
        for i in range(RULES)
    ]


def _exchange(i: int, view: RequestView) -> Exchange:
    async def nothing(*_: Any) -> Any: ...

    exchange = Exchange({"type": "http", "path": "/", "method": "POST", "headers": []}, nothing, nothing)
    exchange.view, exchange.kind, exchange.route = view, "chat", "/v1/chat/completions"
    exchange.principal = CALLERS[i % len(CALLERS)]
    return exchange


def _measure(requests: int, stage: PolicyStage, body: dict[str, Any]) -> float:
    """Microseconds of CPU a request."""
    given = {"model": "gpt-3-mini", "messages": [{"role": "user", "content": "hello " * 200}]} | body
    view = RequestView.parse(orjson.dumps(given), "chat")
    exchanges = [_exchange(i, view) for i in range(requests)]
    quote = quoted(view, "chat", price=None)
    began = time.process_time()
    for exchange in exchanges:
        stage.enter(exchange)
        caps = caps_of(exchange)
        if caps is not None:
            within(exchange, quote, caps)
    return (time.process_time() - began) / requests * 1e6


def main(requests: int) -> None:
    policy = Policy(_rules(), version="2026-11-21.1")
    alone = PolicyStage(policy)
    beside = PolicyStage(policy, shadows=[Policy(_rules(), version="2026-11-21.2")])
    cases: list[tuple[str, PolicyStage, dict[str, Any]]] = [
        ("within its caps", alone, {"max_tokens": 500}),
        ("lowered to a cap", alone, {"max_tokens": 5000}),
        ("with five tools", alone, {"max_tokens": 500, "tools": [TOOL] * 5}),
        ("with a shadow", beside, {"max_tokens": 500}),
    ]
    print(f"{RULES} rules, {len(CALLERS)} keys; us of CPU a request, best of 60")
    for name, stage, body in cases:
        print(f"  {name:18} {min(_measure(requests, stage, body) for _ in range(60)):6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
