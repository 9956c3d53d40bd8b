"""Limits and budgets around a request: everything is reserved in one step before it, and settled once after it.

What a request may cost is bounded by a `Quote`, so that a reservation is always enough; what it did cost is read from
the answer. The gateway runs the stage; `LimitsMiddleware` and `BudgetMiddleware` are its shells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter_ns, time
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from tollhouse.middlewares import quota_errors
from tollhouse.middlewares.allowances import ANONYMOUS, Allowances, Charged, charged
from tollhouse.middlewares.caps import caps_of, within
from tollhouse.middlewares.quota_errors import standing, unavailable
from tollhouse.middlewares.stage import Stage
from tollhouse.middlewares.stores.quota import Admitted, Budget, Denied, Stale, StoreUnavailable

if TYPE_CHECKING:
    from tollhouse._native import Price, Tokens
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.middlewares.quote import Quote
    from tollhouse.middlewares.rulebook import Caps

HANDOVER_S = 5.0  # how long a request waits for a store that a predecessor is about to let go of
ATTEMPT = "attempt"  # status of what was paid for an answer that did not come; no request of its own
MOST_TRIES = 4  # of an admission: its window has passed, its prompt was counted
_KEPT_PLANS = 50_000
_MOST_BYTES_PER_TOKEN = 8  # of text; a report of fewer tokens than that is one of an earlier time
_THOUGHTS_PER_S = 2000  # tokens; several times what models write that hide them
logger = logging.getLogger("tollhouse.quota")

Quoter = Callable[["Exchange"], "Quote | None"]
Who = tuple[str, str | None, str | None, str]  # key, user, team, model
Found = tuple[Charged, Any, Any]  # what is charged, what the store calls that, the store


class Store(Protocol):
    """What both stores offer; the embedded one answers at once, Redis' answers are awaited."""

    def plan(self, meters: Any) -> Any: ...
    def admit(self, plan: Any, **asked: Any) -> Any: ...
    def settle(self, hold: Any, *, amount: int, tokens: int, entry: bytes) -> Any: ...
    def release(self, hold: Any) -> Any: ...


class Charge:
    """What one request is charged on and has reserved. `output`: the most tokens of each answer, if that is bounded."""

    __slots__ = (
        "charged",
        "granted",
        "hold",
        "meta",
        "output",
        "plan",
        "quote",
        "stage",
        "started_ns",
        "store",
        "who",
    )

    def __init__(
        self, stage: QuotaStage, who: Who, found: Found, quote: Quote, exchange: Exchange, tenant: str | None
    ) -> None:
        self.stage = stage
        self.who = who
        self.charged, self.plan, self.store = found
        self.quote = quote
        key, user, team, model = who
        # As the detail of a ledger's record begins.
        self.meta = (exchange.request_id, key, team, user, model, tenant)
        self.started_ns = exchange.started_ns
        self.hold: Any = None
        self.granted = 0
        self.output: int | None = None


class Outcome:
    """What became of a request, for its settlement. Whoever answers it fills this in."""

    __slots__ = (
        "answered",
        "asked",
        "completed",
        "price",
        "provider",
        "refused",
        "text_bytes",
        "tokens",
        "upstream_model",
    )

    def __init__(self) -> None:
        self.asked = False  # an upstream may have worked for it
        self.refused = False  # an upstream has refused it, so nothing is to be paid
        self.answered = False  # an answer, or the beginning of a stream, has come
        self.completed = False  # it came to its end
        self.tokens: Tokens | None = None
        self.text_bytes = 0  # of generated text in a stream
        self.price: Price | None = None
        self.provider = ""
        self.upstream_model = ""

    @property
    def may_be_billed(self) -> bool:
        """Whether there is anything that it may have to be paid for."""
        return self.asked and not self.refused


class Tally:
    """Counts for metrics; plain numbers, read when somebody looks. By (level, what) and (model, provider)."""

    def __init__(self) -> None:
        self.denied: dict[tuple[str, str], int] = {}
        self.unavailable = 0
        self.cost: dict[tuple[str, str], int] = {}  # nano-USD
        self.unpriced: dict[tuple[str, str], int] = {}
        self.excess = 0  # nano-USD that answers came to beyond what was reserved for them


class QuotaStage(Stage):
    """Admits, and settles.

    quote: what a request may come to; None for one that costs nothing. expires_in_ms: after so long a hold that nobody
    has ended is charged in full. price_version: goes into the ledger. soft: the store for requests whose budgets are
    all soft, if that is another one. handover_s: how long a request waits for the store while a predecessor has it.
    """

    def __init__(
        self,
        store: Store,
        allowances: Allowances,
        quote: Quoter,
        *,
        expires_in_ms: int,
        price_version: str = "",
        tally: Tally | None = None,
        soft: Store | None = None,
        handover_s: float = HANDOVER_S,
    ) -> None:
        self._store = store
        self._handover_s = handover_s
        self._soft = store if soft is None else soft
        self._allowances = allowances
        self._quote = quote
        self.expires_in_ms = expires_in_ms
        self.price_version = price_version
        self.tally = tally or Tally()
        # By (key, user, team, model): what is charged, and how the store calls that.
        self._plans: dict[Who, Found] = {}
        self._ending: set[asyncio.Future[Any]] = set()

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        quote = self._quote(exchange)
        if quote is None:
            return None
        caps = caps_of(exchange)
        if caps is not None:
            found = within(exchange, quote, caps)
            if found is None:
                return self._enter_counted(exchange, quote, caps)
            quote = found
        return self._enter(exchange, quote)

    async def _enter_counted(self, exchange: Exchange, quote: Quote, caps: Caps) -> None:
        """The bound of a prompt is cheap and wide: before it is refused by one, it is counted."""
        found = within(exchange, await quote.refined() or quote, caps, is_counted=True)
        assert found is not None
        pending = self._enter(exchange, found)
        if pending is not None:
            await pending

    def _enter(self, exchange: Exchange, quote: Quote) -> Awaitable[None] | None:
        principal = exchange.principal
        if principal is None:
            who: Who = (ANONYMOUS, None, None, exchange.model)
            tenant = None
        else:
            who = (principal.id, principal.user, principal.team, exchange.model)
            tenant = principal.tenant
        found = self._plans.get(who)
        if found is None:
            found = self._make(exchange, who, int(time() * 1000))
        charge = Charge(self, who, found, quote, exchange, tenant)
        answer = exchange.admitted or self._ask(charge)
        if type(answer) is Admitted:
            self._admitted(exchange, charge, answer)
            return None
        return self._decide(exchange, charge, answer)

    def leave(self, exchange: Exchange) -> None:
        charge = exchange.charge
        if charge is None:
            return
        exchange.charge = None
        outcome = exchange.outcome
        if outcome is None or not outcome.asked:
            self._end(charge.store.release, charge.hold)
            return
        exchange.cost = (exchange.cost or 0) + self._settle(charge, charge.hold, outcome)

    async def reserve_another(self, exchange: Exchange) -> Any:
        """A hold for one more attempt at a request, as large as its first, on its budgets alone.

        None: there is not enough for that, or nobody can say. The attempt must not be made then.
        """
        charge = exchange.charge
        assert charge is not None
        about = charge.charged
        for _ in range(MOST_TRIES):
            meters = [meter for meter in about.meters if isinstance(meter, Budget)]
            try:
                answer = charge.store.admit(
                    charge.store.plan(meters),
                    want=charge.granted,
                    minimum=charge.granted,
                    expires_in_ms=self.expires_in_ms,
                    meta=orjson.dumps(charge.meta),
                )
                while not isinstance(answer, (Admitted, Denied, Stale)):
                    answer = await answer
            except StoreUnavailable:
                return None
            if not isinstance(answer, Stale):
                return answer.hold if isinstance(answer, Admitted) else None
            about = charged(self._allowances.of(exchange.principal, exchange.model), answer.now_ms)
        return None

    def settle_another(self, exchange: Exchange, hold: Any, outcome: Outcome) -> None:
        """An attempt whose answer nobody waits for has ended: what it may have cost, in a record of its own."""
        charge = exchange.charge
        assert charge is not None
        if outcome.may_be_billed:
            exchange.cost = (exchange.cost or 0) + self._settle(charge, hold, outcome, status=ATTEMPT)
        else:
            self._end(charge.store.release, hold)

    def _settle(self, charge: Charge, hold: Any, outcome: Outcome, *, status: str | None = None) -> int:
        """Nano-USD that an attempt came to."""
        amount, tokens, found_status = came_to(charge, outcome)
        model = charge.who[3]
        if charge.charged.has_budget and amount > charge.granted:
            self.tally.excess += amount - charge.granted
            logger.warning("an answer of %s came to more than was reserved for it", model)
        priced = outcome.price is not None or outcome.refused
        where = (model, outcome.provider)
        sums = self.tally.cost if priced else self.tally.unpriced
        sums[where] = sums.get(where, 0) + (amount if priced else 1)
        found = outcome.tokens
        counts: tuple[int, ...]
        if found is not None:
            counts = found.summary
        else:
            counts = (min(tokens, charge.quote.estimate), 0, 0, max(0, tokens - charge.quote.estimate))
        provider, upstream_model, prices = outcome.provider, outcome.upstream_model, self.price_version
        status = status or found_status
        entry = orjson.dumps((*charge.meta, provider, upstream_model, prices, status, priced, *counts))
        self._end(charge.store.settle, hold, amount=amount, tokens=tokens, entry=entry)
        return amount

    async def settled(self) -> None:
        """Wait until every end that was told to the store so far has arrived there, or is kept to be told again."""
        while self._ending:
            await asyncio.wait(set(self._ending))

    def _make(self, exchange: Exchange, who: Who, now_ms: int) -> Found:
        if len(self._plans) >= _KEPT_PLANS:
            self._plans.clear()
        found = charged(self._allowances.of(exchange.principal, exchange.model), now_ms)
        store = self._soft if found.has_budget and not found.has_hard else self._store
        made = self._plans[who] = found, store.plan(found.meters), store
        return made

    def _ask(self, charge: Charge) -> Any:
        """The store's answer, or what is to be awaited for it."""
        want = minimum = 0
        quote = charge.quote
        if charge.charged.has_budget:
            if quote.price is not None:
                want, minimum = quote.want, quote.minimum
            elif charge.charged.has_hard:
                raise quota_errors.unpriced(charge.who[3], charge.charged)
        try:
            return charge.store.admit(
                charge.plan,
                tokens=quote.tokens,
                want=want,
                minimum=minimum,
                expires_in_ms=self.expires_in_ms,
                meta=orjson.dumps(charge.meta),
            )
        except StoreUnavailable as error:
            if error.kind == "handover":
                return self._after_handover(charge)
            self.tally.unavailable += 1
            raise unavailable() from error

    async def _after_handover(self, charge: Charge) -> Any:
        """The store is about to become this process's."""
        opened: Callable[[], Awaitable[None]] = self._store.opened  # type: ignore[attr-defined]
        try:
            await asyncio.wait_for(opened(), self._handover_s)
        except TimeoutError:
            self.tally.unavailable += 1
            raise unavailable() from None
        return self._ask(charge)

    async def _decide(self, exchange: Exchange, charge: Charge, answer: Any) -> None:
        """What is left to do where the first answer has not come yet, or was no admission."""
        for tries in range(MOST_TRIES):
            if tries:
                answer = self._ask(charge)
            while not isinstance(answer, (Admitted, Denied, Stale)):
                try:
                    answer = await answer
                except StoreUnavailable as error:
                    self.tally.unavailable += 1
                    raise unavailable() from error
            if isinstance(answer, Admitted):
                self._admitted(exchange, charge, answer)
                return
            if isinstance(answer, Stale):
                charge.charged, charge.plan, charge.store = self._make(exchange, charge.who, answer.now_ms)
            else:
                label = charge.charged.labels[answer.index]
                is_money = label.what == "budget"
                # The bound of a prompt is cheap and wide: before it is refused by one, it is counted.
                exact = await charge.quote.refined() if is_money else None
                if exact is None:
                    where = (label.level, label.what)
                    self.tally.denied[where] = self.tally.denied.get(where, 0) + 1
                    needed = charge.quote.minimum if is_money else charge.quote.tokens
                    raise quota_errors.denied(charge.charged, answer, needed)
                charge.quote = exact
        raise unavailable()

    def _admitted(self, exchange: Exchange, charge: Charge, answer: Admitted) -> None:
        charge.hold = answer.hold
        charge.granted = answer.granted
        exchange.charge = charge
        exchange.outcome = Outcome()
        about, quote = charge.charged, charge.quote
        if about.requests or about.tokens:
            standing(about, answer.meters, exchange.response_headers)
        if about.has_budget and quote.price is not None and (quote.must_limit or answer.granted < quote.want):
            charge.output = quote.affordable(answer.granted)
        elif quote.is_capped:
            charge.output = quote.output

    def _end(self, tell: Callable[..., Any], hold: Any, **end: Any) -> None:
        """Tell the store of an end. What cannot be told is charged in full when the hold expires, never lost."""
        try:
            told = tell(hold, **end)
        except StoreUnavailable as error:
            self.tally.unavailable += 1
            logger.error("an end could not be written down: %s", error)  # noqa: TRY400
            return
        if isinstance(told, str):
            return
        task = asyncio.ensure_future(told)
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # The store keeps it and tells it again; it has logged that it is away.
            self.tally.unavailable += 1


def came_to(charge: Charge, outcome: Outcome) -> tuple[int, int, str]:
    """Nano-USD, tokens for the buckets, and the status of the ledger's record."""
    if outcome.tokens is not None:
        return _reported(charge, outcome, outcome.tokens)
    price, quote = outcome.price, charge.quote
    if outcome.refused:
        return 0, 0, "failed"
    if not outcome.answered:
        # Nobody knows whether the upstream has worked for it.
        return charge.granted, quote.tokens, "incomplete"
    if outcome.completed:
        if quote.output and not outcome.text_bytes:
            # Neither usage nor text: it may go on where nobody looks (`background` of a response).
            return charge.granted if charge.charged.has_budget else quote.want, quote.tokens, "estimated"
        written = -(-outcome.text_bytes // quote.bytes_per_token) if quote.output else 0
        read = quote.estimate
        amount = price.bound(read, written) if price is not None else 0
        return amount, read + written, "estimated"
    # It broke off: at most a token for each byte that came, and what nobody saw.
    written = min(outcome.text_bytes + _unseen(charge, outcome), quote.output * quote.choices)
    amount = price.bound(quote.prompt, written) if price is not None else 0
    if charge.charged.has_budget:
        amount = min(amount, charge.granted)
    return amount, quote.estimate + -(-outcome.text_bytes // quote.bytes_per_token), "incomplete"


def _reported(charge: Charge, outcome: Outcome, tokens: Tokens) -> tuple[int, int, str]:
    """The same where the upstream has reported usage."""
    price, quote = outcome.price, charge.quote
    amount = price.cost(tokens) if price is not None else 0
    total = tokens.prompt + tokens.completion
    if outcome.completed:
        if tokens.completion or not outcome.text_bytes or not quote.output:
            return amount, total, "complete"
        # The report is of the prompt alone, and yet there is a text.
        written = -(-outcome.text_bytes // quote.bytes_per_token)
        return amount + (price.bound(0, written) if price is not None else 0), total + written, "estimated"
    unseen = _unseen(charge, outcome)
    if outcome.text_bytes > tokens.completion * _MOST_BYTES_PER_TOKEN or (unseen and not outcome.text_bytes):
        # The report is of the beginning (Anthropic's `message_start`), and that of the end has not come.
        unsaid = max(0, min(outcome.text_bytes + unseen, quote.output * quote.choices) - tokens.completion)
        amount += price.bound(0, unsaid) if price is not None else 0
        if charge.charged.has_budget:
            amount = max(min(amount, charge.granted), price.cost(tokens) if price is not None else 0)
        total = tokens.prompt + max(tokens.completion, -(-outcome.text_bytes // quote.bytes_per_token))
    return amount, total, "incomplete"


def _unseen(charge: Charge, outcome: Outcome) -> int:
    """At most so many tokens of thoughts may have been written since the request came that its answer did not show."""
    quote, price = charge.quote, outcome.price
    thinks = quote.thinks
    if thinks is None:
        thinks = price is not None and price.hides_thoughts
    seconds = (perf_counter_ns() - charge.started_ns) / 1e9
    return int(seconds * _THOUGHTS_PER_S) * quote.choices if thinks else 0
