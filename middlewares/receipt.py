"""A receipt per decision: who asked for what, what was decided and why, what it came to. No content, no secret."""

from __future__ import annotations

import re
from functools import lru_cache
from time import perf_counter_ns, time
from typing import TYPE_CHECKING, Any, Protocol

from tollhouse._native import DigestedSend
from tollhouse.middlewares.errors import Unavailable
from tollhouse.middlewares.exchange import GONE
from tollhouse.middlewares.guard import decide
from tollhouse.middlewares.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from tollhouse._native import KeyedDigest
    from tollhouse.middlewares.exchange import Exchange

NO_RECEIPT = "receipts_unavailable"
# Names of models and codes of errors may be somebody else's words; what does not look like a name is not written down.
_NAME = re.compile(r"[A-Za-z0-9._:/@+*-]{1,120}").fullmatch
_DECISIONS = {name.encode(): name for name in ("ALLOWED", "TRANSFORMED", "BLOCKED")}
_REFUSED = frozenset({400, 401, 403, 413, 415, 429})
_QUOTA = frozenset({"rate_limit_exceeded", "budget_exceeded", "store_unavailable"})


class Book(Protocol):
    """Where receipts are kept."""

    def has_room(self) -> bool:
        """Whether what is decided now can be written down."""

    @property
    def digest(self) -> KeyedDigest | None:
        """Of answers that go out in pieces; None: they get none."""

    def take(self, receipt: dict[str, Any], body: bytes, answer: bytes | DigestedSend) -> None:
        """Write it down, soon. Must not raise or block.

        `body` is what came, `answer` what went out, or what that went through; the receipt gets digests of both.
        """


class ReceiptStage(Stage):
    """Outermost of what decides, so that no decision is without a receipt. Requests to `public` paths have none.

    Where the book has no room, nothing is decided at all: 503. `exempt` paths (those of the operator) go on. knows:
    whether a model of that name is configured, so that it is no secret.
    """

    def __init__(
        self,
        book: Book,
        *,
        public: Collection[str] = (),
        exempt: tuple[str, ...] = (),
        knows: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._book = book
        self._public = frozenset(public)
        self._exempt = exempt
        self._knows = knows

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        path = exchange.scope["path"]
        if path in self._public:
            return None
        if not self._book.has_room() and not path.startswith(self._exempt):
            msg = "the gateway cannot write receipts at the moment, and decides nothing without"
            raise Unavailable(msg, code=NO_RECEIPT, retry=True, headers=[(b"retry-after", b"1")])
        exchange.received = exchange.answered = b""
        digest = self._book.digest
        if digest is not None:
            exchange.raw_send = digest.passing(exchange.raw_send)
        return None

    def leave(self, exchange: Exchange) -> None:
        body, answer = exchange.received, exchange.answered
        if body is not None:
            exchange.received = exchange.answered = None
            send = exchange.raw_send
            self._book.take(
                receipt(exchange, self._knows), body, answer or (send if isinstance(send, DigestedSend) else b"")
            )


def receipt(exchange: Exchange, knows: Callable[[str], bool] = lambda _: False) -> dict[str, Any]:
    """All that is known of an exchange that has ended. `seq` and `prev` are the book's."""
    principal, verdict, outcome = exchange.principal, exchange.verdict, exchange.outcome
    now = perf_counter_ns()
    duration_ns = now - exchange.started_ns
    status = exchange.status
    if status in _REFUSED and outcome is None:
        decide(exchange, b"BLOCKED")
    found: dict[str, Any] = {
        "seq": 0,
        "prev": "",
        "type": "decision",
        "at_ms": int(time() * 1000) - duration_ns // 1_000_000,
        "request": exchange.request_id,
        "tenant": None,
        "key": None,
        "user": None,
        "method": exchange.scope["method"],
        "route": exchange.route,
        "asked": _asked(exchange, knows),
        "model": exchange.model,
        "provider": exchange.provider,
        "stream": exchange.stream,
        "policy": None,
        "policy_sha256": None,
        "decision": _DECISIONS[exchange.decision],
        "reasons": exchange.reasons,
        "guards": _guards(exchange),
        "findings": exchange.findings or {},
        "status": status or GONE,
        "error": _named(exchange.error_code),
        "gone": exchange.gone,
        "tokens": exchange.usage,
        "estimated": exchange.usage_estimated,
        "nano_usd": exchange.cost,
        "duration_us": duration_ns // 1000,
        "overhead_us": exchange.overhead_ns // 1000,
        "upstream_us": exchange.upstream_ns // 1000,
    }
    if principal is not None:
        found["tenant"], found["key"], found["user"] = principal.team, principal.id, principal.user
    if verdict is not None:
        found["policy"], found["policy_sha256"] = verdict.policy.version, verdict.policy.digest
        if exchange.shadows is not None:
            found["shadow"] = exchange.shadows
    return found


def _asked(exchange: Exchange, knows: Callable[[str], bool]) -> str | None:
    """What the caller has called the model, where an operator or a provider has one of that name; else it may be
    anything.
    """
    name, outcome = exchange.asked_model, exchange.outcome
    if name and not (name == exchange.model or knows(name) or (outcome is not None and outcome.answered)):
        return "?"
    return _named(name)


def _guards(exchange: Exchange) -> list[str]:
    """Those that ran, as far as the request came."""
    ran = []
    if exchange.principal is not None or exchange.error_code in {"invalid_api_key", "admin_required"}:
        ran.append("auth")
    if exchange.verdict is not None:
        ran.append("policy")
    if exchange.scanned:
        ran.append("scan")
    if exchange.outcome is not None or exchange.error_code in _QUOTA:
        ran.append("quota")
    return ran


@lru_cache(maxsize=1024)
def _named(text: str) -> str | None:
    if not text:
        return None
    return text if _NAME(text) else "?"
