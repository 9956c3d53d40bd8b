"""One request's way through its targets: they are asked one after the other, and the first answer is passed on."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from tollhouse.gateway.answer import Answer, early_headers, shown, warned
from tollhouse.gateway.attempt import Attempt
from tollhouse.gateway.errors import refusal_of, refusal_of_cooling
from tollhouse.gateway.hedge import race
from tollhouse.gateway.sinks import ping_of
from tollhouse.middlewares.exchange import GONE_CODE, raised
from tollhouse.middlewares.quota import Outcome
from tollhouse.providers.ask import PASSED
from tollhouse.providers.attempts import Attempts
from tollhouse.providers.call import FIRST, SETTLED
from tollhouse.providers.errors import UpstreamError
from tollhouse.providers.plan import Try

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tollhouse.gateway.forward import Forwarder
    from tollhouse.gateway.lane import Ended
    from tollhouse.middlewares.exchange import Exchange
    from tollhouse.providers.call import Call
    from tollhouse.providers.causes import Failure
    from tollhouse.providers.plan import Plan
    from tollhouse.providers.retry import Policy

_UNCHARGED = object()


class Request:
    """Nothing has been sent to the client while another target may be tried.

    `asks` is what asks one of them, `answers` what passes on what came of it.
    """

    __slots__ = (
        "_attempt",
        "_attempts",
        "_call",
        "_ended",
        "_exchange",
        "_forwarder",
        "_is_due",
        "_is_started",
        "_loop",
        "_next",
        "_warned",
    )

    asks: ClassVar[type[Attempt]] = Attempt
    answers: ClassVar[type[Answer]] = Answer

    def __init__(self, forwarder: Forwarder, exchange: Exchange) -> None:
        self._forwarder = forwarder
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._attempt: Attempt | None = None
        self._next: Attempt | None = None  # has been chosen, and paid for
        self._attempts: Attempts | None = None
        self._call: Call | None = None  # that of an earlier attempt
        self._ended: Ended
        self._is_due = False  # a keepalive is, by the call that woke nobody yet
        self._is_started = False  # a stream's head has been sent, because of a keepalive
        self._warned: tuple[str, ...] = ()  # what that head says the upstream could not be told

    async def run(self) -> None:
        watch = self._forwarder.watch
        watch.add(self._exchange, self._loop)
        try:
            if self._exchange.gone:  # while a stage waited: nobody is to work for nobody
                raise asyncio.CancelledError
            await self._run()
        finally:
            watch.discard(self._exchange)
            attempt = self._attempt
            if attempt is not None:
                attempt.leave()

    def start(self, ended: Ended) -> Awaitable[None] | None:
        """Ask the obvious target, and see to its answer when that comes: None; else what is to be awaited."""
        forwarder = self._forwarder
        obvious = self._obvious()
        if obvious is None or forwarder.hedging is not None:
            return self.run()
        self._attempt = attempt = self.made(obvious)
        try:
            call = attempt.begin()
        except UpstreamError:
            return self.run()
        except BaseException:
            attempt.leave()
            raise
        if call.opening is not None or call.flags & SETTLED:
            return self.run()
        self._ended = ended
        call.watch(FIRST, self.answered)
        forwarder.watch.tell(self._exchange, self._gone)
        return None

    def take_over(self, call: Call, sent_ns: int, ended: Ended) -> None:
        """It was sent to the obvious target already, then (perf_counter_ns); `answered` sees to the rest."""
        obvious = self._exchange.plan.obvious
        self._attempt = attempt = self.made(obvious)
        attempt.take_over(call, sent_ns)
        self._ended = ended
        self._forwarder.watch.tell(self._exchange, self._gone)

    def answered(self) -> None:
        """In the call that brought the end of the answer, or anything else that is to be seen to."""
        exchange, attempt = self._exchange, self._attempt
        assert attempt is not None
        self._forwarder.watch.hush(exchange)
        failed: BaseException | None = None
        try:
            answer = self._complete(attempt)
            if answer is None:
                self._is_due = not (attempt.call is None or attempt.call.flags & FIRST)
                self._ended(exchange, self.run())
                return
            answer.send_at_once()
        except BaseException as error:  # noqa: BLE001 - a panic, too: the lane sees to it, and nobody waits for ever
            failed = error
        attempt.leave()
        self._ended(exchange, None if failed is None else raised(failed))

    def _complete(self, attempt: Attempt) -> Answer | None:
        """What passes the answer on at once, if it is one of which there is nothing to wait for."""
        try:
            if self._exchange.stream or not attempt.is_complete():
                return None
        except UpstreamError:
            return None
        answer = self.answers(self._forwarder, attempt, self._loop, is_started=False)
        return None if answer.takes_long else answer

    def _gone(self) -> None:
        """The client is."""
        exchange, attempt = self._exchange, self._attempt
        assert attempt is not None
        assert attempt.call is not None
        attempt.call.watcher = None
        self._forwarder.watch.hush(exchange)
        exchange.gone = True
        exchange.error_code = GONE_CODE
        attempt.leave()
        self._ended(exchange, None)

    async def _run(self) -> None:
        step = None if self._attempt is not None else self._first()
        while True:
            if step is None:  # asked already, and perhaps answered
                assert self._attempt is not None
                attempt = self._attempt
                if self._is_due:
                    self._is_due = False
                    await self.keep_alive()
                failure = None if attempt.body is not None else await attempt.run(self.keep_alive)
            elif step.wait_s or step.is_retry or self._forwarder.hedging is not None:
                attempt, failure = await self._try(step)
            else:
                self._attempt = attempt = self.made(step)
                failure = await attempt.run(self.keep_alive)
            if failure is None:
                break
            following = await self._following(attempt, failure)
            if following is None:
                break
            step = following
        if attempt.error is not None:
            await self._give_up(attempt, attempt.error)
        else:
            if self._is_started and attempt.call is not None and attempt.call.warnings != self._warned:
                # Somebody else answers than who was asked when the head went out.
                comment = warned(attempt.call)
                await self._exchange.raw_send({"type": "http.response.body", "body": comment, "more_body": True})
            await self.answers(self._forwarder, attempt, self._loop, is_started=self._is_started).send()

    def _first(self) -> Try:
        obvious = self._obvious()
        if obvious is not None:
            return obvious
        plan: Plan = self._exchange.plan
        now = monotonic()
        step = self._planned().first(now, prefer=self._forwarder.maker(self._exchange))
        if step is None:
            raise refusal_of_cooling(plan, now)
        if step.leg is not plan.first:
            self._forwarder.metrics.fell_back(plan.first.group.label, step.leg.group.label, "cooling")
        return step

    def _obvious(self) -> Try | None:
        """Whom to ask where there is no choice, and nothing is the matter."""
        plan: Plan = self._exchange.plan
        obvious = plan.obvious
        if obvious is None or not obvious.target.breaker.is_quiet:
            return None
        usage = obvious.target.usage
        return obvious if usage is None or usage.has_room(monotonic()) else None

    def _planned(self) -> Attempts:
        if self._attempts is None:
            exchange, forwarder = self._exchange, self._forwarder
            self._attempts = Attempts(
                exchange.plan,
                self._policy(),
                forwarder.budget,
                in_flight=lambda: forwarder.lifecycle.working,
                stream=exchange.stream,
                kind=exchange.kind or PASSED,
                session=None if exchange.plan.is_alone else forwarder.sessions.of(exchange),
            )
        return self._attempts

    def _policy(self) -> Policy:
        return self._forwarder.policy

    async def _try(self, step: Try) -> tuple[Attempt, Failure | None]:
        try:
            if step.wait_s:
                await asyncio.sleep(step.wait_s)
                self._exchange.upstream_ns += int(step.wait_s * 1e9)
                failed = self._attempt
                if failed is not None and not self._planned().still(step, monotonic()):
                    return failed, None  # somebody else is finding out how it is
            self._attempt = attempt = self.made(step)
            hedging = self._forwarder.hedging
            if hedging is not None:
                after_s = hedging.after_s(attempt)
                if after_s is not None:
                    attempt, failure = await race(self, attempt, after_s)
                    self._attempt = attempt
                    self._exchange.outcome = attempt.outcome
                    return attempt, failure
            return attempt, await attempt.run(self.keep_alive)
        finally:
            if step.is_retry:
                self._forwarder.budget.give_back()

    def made(self, step: Try) -> Attempt:
        exchange = self._exchange
        chosen = self._next
        if chosen is not None:
            self._next = None
            exchange.outcome = chosen.outcome
            return chosen
        # The stage of quotas has made the first one.
        if self._attempt is not None or exchange.outcome is None:
            exchange.outcome = Outcome()
        return self.asks(self._forwarder, exchange, step, self._loop, exchange.outcome)

    async def _following(self, attempt: Attempt, failure: Failure) -> Try | None:
        """What to do next; None: nothing, and the failure is what there is to tell."""
        if failure.cause == "request":
            return None
        if self._attempts is None:
            self._planned().note(Try(attempt.target, attempt.leg))
        step = self._planned().after(failure, monotonic())
        if step is None:
            return None
        if failure.may_be_billed and not await self._lost(attempt, step):
            return None
        attempt.leave()
        self._call = attempt.call or self._call
        metrics = self._forwarder.metrics
        if step.is_retry:
            metrics.retried(step.leg.group.label, failure.cause)
        elif step.leg is not attempt.leg:
            metrics.fell_back(attempt.leg.group.label, step.leg.group.label, failure.cause)
        return step

    async def _lost(self, attempt: Attempt, step: Try) -> bool:
        """What may have to be paid for nothing is put aside; False: then there is not enough for another attempt."""
        hold, following = await self._paid(step)
        if following is None:
            return False
        attempt.leave()
        self.account(attempt, hold)
        self._next = following
        return True

    async def beside(self, attempt: Attempt) -> tuple[Any, Attempt | None]:
        """Somebody who may be asked at the same time, besides the target of the first attempt, and a hold for that."""
        if self._attempts is None:
            self._planned().note(Try(attempt.target, attempt.leg))
        step = self._planned().another(monotonic())
        return (None, None) if step is None else await self._paid(step)

    async def _paid(self, step: Try) -> tuple[Any, Attempt | None]:
        """A hold for one attempt more, and that attempt; None where there is none to be had.

        It is made first: while the store is asked, its place (of the one who finds out, say) is taken.
        """
        exchange = self._exchange
        made = self.asks(self._forwarder, exchange, step, self._loop, Outcome())
        charge = exchange.charge
        hold = None
        try:
            hold = _UNCHARGED if charge is None else await charge.stage.reserve_another(exchange)
        finally:
            if hold is None:
                made.leave()
        return (None, None) if hold is None else (hold, made)

    def account(self, attempt: Attempt, hold: Any) -> None:
        """An attempt that was left is settled by a hold of another."""
        charge = self._exchange.charge
        if charge is not None:
            charge.stage.settle_another(self._exchange, hold, attempt.outcome)

    def hedged(self, *, is_won: bool) -> None:
        self._forwarder.metrics.hedged(self._exchange.plan.first.group.label, is_won=is_won)

    async def keep_alive(self) -> None:
        """Long silence before the first token: a sign of life for the client. Another target may still be tried."""
        exchange = self._exchange
        attempt = self._attempt
        assert attempt is not None
        if not self._is_started:
            self._is_started = True
            if attempt.call is not None:
                self._warned = attempt.call.warnings
            await exchange.start(200, early_headers(attempt, self._forwarder.headers))
        await exchange.raw_send({"type": "http.response.body", "body": ping_of(exchange.kind), "more_body": True})

    async def _give_up(self, attempt: Attempt, error: UpstreamError) -> None:
        exchange = self._exchange
        exchange.provider = attempt.target.provider
        call = attempt.call or self._call
        refusal = refusal_of(error, call.reader.error_event if call is not None else None)
        refusal.message = shown(attempt, refusal.message)
        if not self._is_started:
            raise refusal
        assert call is not None
        exchange.error_code = error.code
        event = call.reader.fault_event(refusal.message, error.code, refusal.status)
        await exchange.raw_send({"type": "http.response.body", "body": event, "more_body": False})
