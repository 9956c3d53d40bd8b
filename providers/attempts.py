"""Who is asked next when a target has failed. Decides only: it neither sends nor waits, and is told the time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tollhouse.providers.causes import (
    AUTH,
    BUSY,
    CONNECTION,
    OF_MODEL,
    RATE_LIMIT,
    REQUEST,
    SERVER_ERROR,
    UNSUPPORTED,
    Failure,
)
from tollhouse.providers.plan import Try

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollhouse.providers.plan import Leg, Plan
    from tollhouse.providers.retry import Policy, RetryBudget
    from tollhouse.providers.router import Target

COUNTED = "count_tokens"  # which the gateway does itself where an upstream cannot
# Over in a moment, perhaps. Not BUSY: who has waited for a place, or found the queue full, would only wait once more,
# and while there is too much to do, be turned away twice.
_PASSING = frozenset({SERVER_ERROR, CONNECTION, RATE_LIMIT})
_ALIVE = OF_MODEL | {REQUEST}  # no fault of the target's, which has answered


class Attempts:
    """Of one request.

    First the other targets of its group, then the groups of its fallbacks, then those again that may only have been
    unlucky; with an eager policy the latter before the fallbacks. A fallback that fails has fallbacks of its own: they
    come first, then those that are left of the model before. in_flight: requests under way in this process.
    """

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        budget: RetryBudget,
        *,
        in_flight: Callable[[], int],
        kind: str = "",
        stream: bool = False,
        session: bytes | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._plan = plan
        self._policy = policy
        self._budget = budget
        self._in_flight = in_flight
        self._kind = kind
        self._stream = stream
        self._session = session
        self._chance = chance
        self._tried: list[Target] = []
        self._leg = plan.first
        self._failed: dict[str, str | None] = {}  # why a model did not answer; None: nobody knows
        self._retries = 0
        self._failure = Failure(REQUEST)

    def note(self, step: Try) -> None:
        """Somebody was asked without asking here."""
        self._tried.append(step.target)

    def first(self, now: float, *, prefer: str | None = None) -> Try | None:
        """Whom to ask; None: all of them are cooling. prefer: the id of a target that knows this request's past."""
        plan = self._plan
        order = self._order(plan.first, now)
        if not order and plan.is_alone:
            # Nobody is better off if it is not asked, unless it has had all that it may be asked.
            order = [one for one in plan.first.group.targets if one.usage is None or one.usage.has_room(now)]
        if not order:
            cause = _cooling_cause(plan.first, now)
            return self._elsewhere(cause, now) or self._elsewhere(None, now)
        chosen = next((target for target in order if target.id == prefer), order[0])
        return self._go(chosen, plan.first)

    def another(self, now: float) -> Try | None:
        """Somebody else of the same group, besides the one that is being asked."""
        if len(self._tried) >= self._policy.max_attempts:
            return None
        target = self._untried(now)
        return None if target is None else self._go(target, self._leg)

    def still(self, step: Try, now: float) -> bool:
        """Whether a retry that has waited may be made: nobody else is trying a deployment that was left alone."""
        return self._plan.is_alone or step.target.admits(now)

    def after(self, failure: Failure, now: float) -> Try | None:
        """Whom to ask once the last one has failed; None: nobody."""
        if failure.cause == REQUEST or len(self._tried) >= self._policy.max_attempts:
            return None
        if failure.cause == UNSUPPORTED:
            found = self._sibling(failure.cause, now)
            is_backup = self._leg is not self._plan.first  # then there was another reason to come here
            return self._elsewhere(failure.cause, now) if found is None and is_backup else found
        if failure.cause in OF_MODEL:
            return self._elsewhere(failure.cause, now)
        steps = [self._sibling, self._elsewhere, self._again_if]
        if self._policy.is_eager:
            steps = [self._sibling, self._again_if, self._elsewhere]
        self._failure = failure
        for step in steps:
            found = step(failure.cause, now)
            if found is not None:
                return found
        return None

    def _sibling(self, _: str, now: float) -> Try | None:
        target = self._untried(now)
        return None if target is None else self._go(target, self._leg)

    def _untried(self, now: float) -> Target | None:
        order = self._order(self._leg, now)
        return next((target for target in order if target not in self._tried), None)

    def _elsewhere(self, cause: str | None, now: float) -> Try | None:
        """A group that is there for what a model before it has failed with; `cause` is what this one did now."""
        failed = self._failed
        failed[self._leg.model] = cause
        for leg in self._plan.backups:
            of = leg.of or self._plan.first.model
            if of not in failed:
                continue
            why = failed[of]
            if why is not None and why not in leg.causes:
                continue
            order = self._order(leg, now)
            target = next((target for target in order if target not in self._tried), None)
            if target is not None:
                return self._go(target, leg)
            # Nobody of it can be asked, which is as good as having failed: what stands behind it is next.
            failed.setdefault(leg.model, _cooling_cause(leg, now))
        return None

    def _again_if(self, cause: str, now: float) -> Try | None:
        failure = self._failure
        target = self._tried[-1]
        # What may have been paid for already is not bought twice from the same seller.
        if cause not in _PASSING or failure.may_be_billed or self._retries >= self._policy.retries:
            return None
        if not (self._plan.is_alone or target.breaker.admits(now) or failure.retry_after_s is not None):
            return None
        if target.usage is not None and not target.usage.has_room(now):
            return None
        wait_s = self._policy.wait_s(self._retries, failure.retry_after_s, self._chance())
        if wait_s is None or not self._budget.take(self._in_flight()):
            return None
        self._retries += 1
        self._tried.append(target)
        return Try(target, self._leg, wait_s, is_retry=True)

    def _order(self, leg: Leg, now: float) -> list[Target]:
        """Those that can be asked this at all, even if they are cooling and the others are not. If there are none, all:
        one of them says why.
        """
        order = leg.group.order(now, stream=self._stream, session=self._session)
        fitting = [target for target in order if self._kind in target.upstream.kinds]
        if fitting or self._kind == COUNTED:
            return fitting or order
        if leg is not self._plan.first:
            return []  # what is to be told is why the first one failed
        return [] if any(self._kind in target.upstream.kinds for target in leg.group.targets) else order

    def _go(self, target: Target, leg: Leg) -> Try:
        self._tried.append(target)
        self._leg = leg
        return Try(target, leg)


def _cooling_cause(leg: Leg, now: float) -> str | None:
    """Why nobody of this group can be asked: what the first one says that will be."""
    last = min(leg.group.targets, key=lambda target: target.wait_s(now))
    if last.usage is not None and not last.usage.has_room(now):
        return RATE_LIMIT
    return last.breaker.cause or None


def blame(target: Target, failure: Failure, now: float, *, caller: str = "") -> None:
    """What a failure says of the target it happened at."""
    cause = failure.cause
    if cause in _ALIVE:
        target.breaker.succeed(now)
    elif cause in {BUSY, UNSUPPORTED}:
        return
    elif failure.is_doubtful:
        target.breaker.doubt(now, cause, caller)
    elif cause == AUTH:
        target.breaker.cool(now, None, cause)
    elif cause == RATE_LIMIT and failure.retry_after_s is not None:
        target.breaker.cool(now, failure.retry_after_s, cause)
    else:
        target.breaker.fail(now, cause)


def cooling(plan: Plan, now: float) -> tuple[float, bool]:
    """Seconds until the first target may be asked again, and whether all of them are waiting for a rate limit."""
    targets = [target for leg in (plan.first, *plan.backups) for target in leg.group.targets]
    return (
        min(target.wait_s(now) for target in targets),
        all(_is_limited(target, now) for target in targets),
    )


def _is_limited(target: Target, now: float) -> bool:
    if target.usage is not None and not target.usage.has_room(now):
        return True
    return target.breaker.cause == RATE_LIMIT and target.breaker.until is not None
