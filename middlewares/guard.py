"""What stands between a text and its reader: the scanners of both directions, and what they decide.

Free of ASGI, so that the gateway's stage and the middleware share it. Whatever goes wrong, nothing passes unscanned.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from time import perf_counter_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from tollhouse._native import FastGuard, Scanner
from tollhouse.middlewares.errors import BadRequest, Refusal, Unavailable
from tollhouse.middlewares.stricter import stricter

if TYPE_CHECKING:
    from os import PathLike

    from tollhouse._native import BodyResult, EventRedactor, RequestView, Vault
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.types import Headers

Policy = Mapping[str, Any]
Rules = Sequence["str | PathLike[str] | Mapping[str, Any]"]
Count = Callable[[str, str, str, int], None]  # type, direction, action, how many
Saw = Callable[[str, str, int], None]  # direction, outcome (allowed, transformed, blocked, failed), ns or 0

DEFAULT: Policy = MappingProxyType({})
# A model that writes about attacks attacks nobody: in answers they are looked for only where a policy says so.
_ANSWER: Policy = MappingProxyType({"injection": "allow"})
_NOTHING: Policy = MappingProxyType({"pii": "allow", "secrets": "allow", "injection": "allow"})
POLICY_VIOLATION = "content_policy_violation"
UNAVAILABLE = "policy_unavailable"
_STOPS = {"blocked": POLICY_VIOLATION, "too_large": "answer_too_large", "failed": UNAVAILABLE}
_OWNERS = 1024  # whose pseudonyms' keys are kept
LONG = 256 * 1024  # bytes of a body that is not scanned in the event loop's thread
_ORDER = (b"ALLOWED", b"TRANSFORMED", b"BLOCKED")


class AnswerStopped(Exception):
    """A streamed answer must not go on. `last` is what still goes out; it ends with an error event."""

    def __init__(self, last: bytes) -> None:
        super().__init__("the answer was stopped")
        self.last = last


class Guard:
    """The scanners of one policy. Made once, used by every request.

    request, response: policies as `tollhouse.Scanner` takes them; None: that direction is not scanned. What a policy
    does not name keeps its default: pii redact, secrets redact, and injection block in requests, allow in answers.
    pseudonym_key: pseudonyms come from it and from who is asking; by default it is made anew with each guard.
    count: told of every finding: type, "request" or "response", action, how many.
    saw: told of every text that was looked at.
    headers: go with every refusal.
    """

    def __init__(
        self,
        *,
        request: Policy | None = DEFAULT,
        response: Policy | None = DEFAULT,
        rules: Rules | None = None,
        pseudonym_key: str | bytes | None = None,
        count: Count | None = None,
        saw: Saw | None = None,
        headers: Headers | None = None,
    ) -> None:
        self._request = None if request is None else Scanner(request, rules)
        self._response = None if response is None else Scanner({**_ANSWER, **response}, rules)
        self._key_for: Callable[[str], bytes] | None = None
        if request is not None and _pseudonymises(request):
            key = pseudonym_key or secrets.token_bytes(32)
            self._key_for = _keys(key.encode() if isinstance(key, str) else key)
            # Only restores, where answers have no policy of their own.
            self._restorer = self._response or Scanner(_NOTHING)
        self._given = request, response, rules, pseudonym_key
        self._count = count
        self._saw = saw or _nobody
        self.headers = [(b"x-gateway-guards", b"scan;ran")] if headers is None else headers

    def stricter(self, request: Policy | None, response: Policy | None) -> Guard:
        """One that does, of what this one does and what these policies say, the stricter. None adds nothing."""
        ours_in, ours_out, rules, pseudonym_key = self._given
        return Guard(
            request=_both(ours_in, request, rules, DEFAULT),
            response=_both(ours_out, response, rules, _ANSWER),
            rules=rules,
            pseudonym_key=pseudonym_key,
            count=self._count,
            saw=self._saw,
            headers=self.headers,
        )

    @property
    def types(self) -> frozenset[str]:
        """Of findings that a policy of it may name."""
        return frozenset(kind for _, kind, _ in Scanner(None, self._given[2]).rules)

    @property
    def reads_requests(self) -> bool:
        return self._request is not None

    def for_plain_requests(self, *, durations: list[int]) -> FastGuard:
        """What looks at plain requests and their answers as this one does, and counts by itself; refuses nothing.

        durations: bounds of a histogram, in nanoseconds.
        """
        restorer = None if self._key_for is None else self._restorer
        return FastGuard(
            request=self._request, response=self._response, restorer=restorer, longest=LONG, durations=durations
        )

    def check_view(self, exchange: Exchange, view: RequestView) -> RequestView:
        """The view that may go on: the same, or that of the body with everything replaced that has to be."""
        if self._request is None:
            self._arm(exchange, None)
            return view
        began = perf_counter_ns()
        exchange.scanned = True
        try:
            result = self._request.scan_request(view, self._key_of(exchange))
            passing = view if result.body is None else view.replaced(result.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing passes unscanned
            self.saw("request", "failed", began)
            unavailable(error)
        self.saw("request", _outcome(result), began)
        self._settle(exchange, result)
        return passing

    def check_json(self, exchange: Exchange, body: bytes) -> bytes:
        """The same for JSON of any shape. Raises ValueError for what is none."""
        if self._request is None:
            self._arm(exchange, None)
            return body
        began = perf_counter_ns()
        exchange.scanned = True
        try:
            result = self._request.scan_json(body, self._key_of(exchange))
        except ValueError:
            raise
        except Exception as error:  # noqa: BLE001
            self.saw("request", "failed", began)
            unavailable(error)
        self.saw("request", _outcome(result), began)
        self._settle(exchange, result)
        return body if result.body is None else result.body

    def arm(self, exchange: Exchange) -> None:
        """For requests without a body: the answer is looked at all the same."""
        self._arm(exchange, None)

    def take_over(
        self, exchange: Exchange, decision: str, counts: Sequence[tuple[str, str, int]], vault: Vault | None
    ) -> None:
        """A request that `for_plain_requests` has looked at and counted; its answer is for this one."""
        exchange.scanned = self._request is not None
        decide(exchange, decision.encode())
        for kind, _, number in counts:
            _add(exchange, kind, number)
        self._arm(exchange, vault)

    def note(self, exchange: Exchange, result: BodyResult, direction: str) -> None:
        """Take down what was found, by type, and what was decided."""
        decide(exchange, result.decision.encode())
        for kind, action, number in result.counts:
            self.count(exchange, kind, direction, action, number)
            if exchange.verdict is not None:
                exchange.because(f"{kind}={action}")

    def count(self, exchange: Exchange, kind: str, direction: str, action: str, number: int) -> None:
        _add(exchange, kind, number)
        if self._count is not None:
            self._count(kind, direction, action, number)

    def saw(self, direction: str, outcome: str, began_ns: int = 0) -> None:
        """began_ns: on `perf_counter_ns`; 0 for what was looked at in pieces."""
        self._saw(direction, outcome, perf_counter_ns() - began_ns if began_ns else 0)

    def pseudonym_key(self, owner: str) -> bytes | None:
        """Tenants get pseudonyms of their own, which nobody can link with those of others."""
        return None if self._key_for is None else self._key_for(owner)

    def _key_of(self, exchange: Exchange) -> bytes | None:
        return self.pseudonym_key(exchange.principal.id if exchange.principal is not None else "")

    def _settle(self, exchange: Exchange, result: BodyResult) -> None:
        if result.counts:
            self.note(exchange, result, "request")
            if result.decision == "BLOCKED":
                raise self.refusal("the request", result.counts)
        elif result.body is not None:
            decide(exchange, b"TRANSFORMED")
        self._arm(exchange, result.vault)

    def _arm(self, exchange: Exchange, vault: Vault | None) -> None:
        scanner = self._response if vault is None else self._restorer
        if scanner is not None:
            exchange.scanned = True
            exchange.answer_guard = AnswerGuard(self, scanner, vault)

    def refusal(self, what: str, counts: Sequence[tuple[str, str, int]]) -> Refusal:
        """Names types, never values."""
        kinds = ", ".join(sorted({kind for kind, action, _ in counts if action == "block"}))
        return self._refusal(f"{what} was blocked by policy: it contains {kinds}")

    def _refusal(self, message: str) -> Refusal:
        headers = [(b"x-gateway-decision", b"BLOCKED"), *self.headers]
        return BadRequest(message, code=POLICY_VIOLATION, retry=False, headers=headers)


class AnswerGuard:
    """Looks at the answer to one request."""

    __slots__ = ("_guard", "scanner", "vault")

    def __init__(self, guard: Guard, scanner: Scanner, vault: Vault | None) -> None:
        self._guard = guard
        self.scanner = scanner
        self.vault = vault

    def stream(self, exchange: Exchange) -> AnswerStream:
        """For an event stream. Raises Refusal."""
        try:
            redactor = self.scanner.event_redactor(exchange.kind or "raw", self.vault)
        except Exception as error:  # noqa: BLE001
            unavailable(error)
        return AnswerStream(self._guard, exchange, redactor)

    async def checked(self, exchange: Exchange, body: bytes) -> bytes:
        """`check`, for long answers outside the event loop's thread."""
        if len(body) <= LONG:
            return self.check(exchange, body)
        return await asyncio.get_running_loop().run_in_executor(None, self.check, exchange, body)

    def text(self, text: str) -> str:
        """A message of the upstream as it may be shown."""
        try:
            return self.scanner.scan(text).redacted
        except Exception:  # noqa: BLE001
            return "the upstream failed, and what it said could not be scanned"

    def check(self, exchange: Exchange, body: bytes) -> bytes:
        """A whole answer as it may go out. Raises Refusal."""
        began = perf_counter_ns()
        try:
            result = self.scanner.scan_answer(body, self.vault)
        except Exception as error:  # noqa: BLE001
            self._guard.saw("response", "failed", began)
            unavailable(error)
        self._guard.saw("response", _outcome(result), began)
        if result.counts:
            self._guard.note(exchange, result, "response")
            if result.decision == "BLOCKED":
                raise self._guard.refusal("the answer", result.counts)
        elif result.body is not None:
            decide(exchange, b"TRANSFORMED")
        return body if result.body is None else result.body


class AnswerStream:
    """One streamed answer on its way out."""

    __slots__ = ("_exchange", "_guard", "_redactor")

    def __init__(self, guard: Guard, exchange: Exchange, redactor: EventRedactor) -> None:
        self._guard = guard
        self._exchange = exchange
        self._redactor = redactor

    def feed(self, chunk: bytes, *, end: bool = False) -> bytes:
        """What may go out now; at the end, all that was held back. Raises AnswerStopped."""
        redactor = self._redactor
        try:
            passed = redactor.feed(chunk)
            if end and redactor.stopped is None:
                passed += redactor.finish()
        except Exception:  # noqa: BLE001
            raise AnswerStopped(redactor.fail()) from None
        if redactor.stopped is not None:
            raise AnswerStopped(passed)
        return passed

    def close(self) -> None:
        """Take down what was found, however the stream ended."""
        exchange, redactor = self._exchange, self._redactor
        decide(exchange, redactor.decision.encode())
        for kind, action, number in redactor.counts:
            self._guard.count(exchange, kind, "response", action, number)
        outcome = redactor.decision.lower()
        if redactor.stopped is not None:
            exchange.error_code = _STOPS[redactor.stopped]
            outcome = "blocked" if redactor.stopped == "blocked" else "failed"
        self._guard.saw("response", outcome)


def _outcome(result: BodyResult) -> str:
    return "transformed" if result.body is not None and result.decision == "ALLOWED" else result.decision.lower()


def _nobody(direction: str, outcome: str, took_ns: int) -> None:
    """Is told."""


def _add(exchange: Exchange, kind: str, number: int) -> None:
    if exchange.findings is None:
        exchange.findings = {}
    exchange.findings[kind] = exchange.findings.get(kind, 0) + number


def decide(exchange: Exchange, decision: bytes) -> None:
    """The strictest decision stays."""
    if _ORDER.index(decision) > _ORDER.index(exchange.decision):
        exchange.decision = decision


def unavailable(error: Exception) -> NoReturn:
    """The engine failed. Its error is not shown: it could quote what was scanned."""
    if isinstance(error, Refusal):
        raise error
    msg = "the content could not be scanned, so it does not pass"
    raise Unavailable(msg, code=UNAVAILABLE) from None


def _both(one: Policy | None, other: Policy | None, rules: Rules | None, defaults: Policy) -> Policy | None:
    if one is None or other is None:
        return one if other is None else other
    return stricter({**defaults, **one}, {**defaults, **other}, rules)


def _pseudonymises(policy: Policy) -> bool:
    return any(
        _pseudonymises(value) if isinstance(value, Mapping) else value == "pseudonymise" for value in policy.values()
    )


def _keys(key: bytes) -> Callable[[str], bytes]:
    """The key of each owner's pseudonyms, derived from this one."""

    @lru_cache(_OWNERS)
    def key_for(owner: str) -> bytes:
        return hmac.digest(key, owner.encode(), "sha256")

    return key_for
