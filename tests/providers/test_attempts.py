"""Which target follows on which failure, without sockets and on a clock of the tests' own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tollhouse.providers.attempts import Attempts, blame, cooling
from tollhouse.providers.causes import EVERY, GENERAL, Failure
from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.plan import Leg, Plan, Try
from tollhouse.providers.retry import Policy, RetryBudget
from tollhouse.providers.router import Router, Target
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.usage import WINDOW_S, Usage

UPSTREAM = EchoUpstream(timeouts=Timeouts())
DOWN = Failure("server_error")
SLOW = Failure("timeout", may_be_billed=True)


def _plan(*names, backups=()):
    """names: "model/provider", the first model's targets; backups: ("model/provider", causes, of which model)."""
    given = list(dict.fromkeys((*names, *(name for name, *_ in backups))))
    targets = [Target(n.partition("/")[0], n.partition("/")[2], "x", UPSTREAM, id=n) for n in given]
    router = Router(targets)

    def leg(name, causes=(), of=""):
        model = name.partition("/")[0]
        group = router.resolve(model)
        assert group is not None
        return Leg(group, model, frozenset(causes), of)

    return Plan(leg(names[0]), tuple(leg(*backup) for backup in backups))


def _attempts(plan, *, budget=None, in_flight=100, **policy):
    return Attempts(
        plan, Policy(**policy), budget or RetryBudget(), in_flight=lambda: in_flight, kind="chat", chance=lambda: 0.5
    )


def _walk(attempts, *failures):
    """The ids of the targets that are asked; None where nobody is."""
    seen = [attempts.first(0.0)]
    seen += [attempts.after(failure, 0.0) for failure in failures]
    return [None if step is None else step.target.id for step in seen]


def test_the_others_of_the_group_come_before_the_fallbacks():
    plan = _plan("m/a", "m/b", backups=[("n/c", GENERAL)])
    assert _walk(_attempts(plan), DOWN, DOWN, DOWN) == ["m/a", "m/b", "n/c", None]


def test_at_most_so_many_are_asked():
    plan = _plan("m/a", "m/b", "m/c", "m/d")
    assert _walk(_attempts(plan), DOWN, DOWN, DOWN) == ["m/a", "m/b", "m/c", None]
    plan = _plan("m/a", "m/b", "m/c", "m/d")
    assert _walk(_attempts(plan, max_attempts=4), DOWN, DOWN, DOWN) == ["m/a", "m/b", "m/c", "m/d"]


def test_one_that_cannot_be_asked_this_does_not_stand_in_for_one_that_cools():
    plan = _plan("m/a", "m/b", backups=[("n/c", GENERAL)])
    able, other = plan.first.group.targets
    plan.first.group.targets[1] = other = replace(other, upstream=_ChatOnly())
    able.breaker.cool(0.0, 9.0, "server_error")
    for kind, found in (("embeddings", "n/c"), ("chat", "m/b"), ("count_tokens", "m/b")):
        attempts = Attempts(plan, Policy(), RetryBudget(), in_flight=lambda: 1, kind=kind)
        step = attempts.first(0.0)
        assert step is not None
        assert step.target.id == found


class _ChatOnly(EchoUpstream):
    kinds = frozenset({"chat"})

    def __init__(self):
        super().__init__(timeouts=Timeouts())


@pytest.mark.parametrize("cause", sorted(EVERY))
def test_a_fallback_is_for_its_causes(cause):
    plan = _plan("m/a", backups=[("n/b", {cause}), ("o/c", EVERY - {cause})])
    assert _walk(_attempts(plan, retries=0), Failure(cause))[1] == "n/b"


def test_fallbacks_of_a_fallback_come_before_its_neighbours():
    plan = _plan("m/a", backups=[("n/b", GENERAL), ("o/c", GENERAL, "n"), ("p/d", GENERAL)])
    attempts = _attempts(plan, max_attempts=9, retries=0)
    assert _walk(attempts, DOWN, DOWN, DOWN, DOWN) == ["m/a", "n/b", "o/c", "p/d", None]
    assert _walk(_attempts(plan), DOWN, DOWN, DOWN) == ["m/a", "n/b", "o/c", None]


def test_each_model_falls_back_for_what_it_has_failed_with_itself():
    backups = [("n/b", {"timeout"}), ("o/c", {"rate_limit"}, "n"), ("p/d", {"timeout"}), ("q/e", {"rate_limit"})]
    limited = Failure("rate_limit")
    attempts = _attempts(_plan("m/a", backups=backups), max_attempts=9, retries=0)
    assert _walk(attempts, SLOW, limited, DOWN, DOWN) == ["m/a", "n/b", "o/c", "p/d", None]
    attempts = _attempts(_plan("m/a", backups=backups), max_attempts=9, retries=0)
    assert _walk(attempts, limited, DOWN) == ["m/a", "q/e", None]


def test_what_stands_behind_a_fallback_that_cools_is_asked_instead():
    plan = _plan("m/a", backups=[("n/b", GENERAL), ("o/c", {"auth"}, "n"), ("p/d", GENERAL)])
    plan.backups[0].group.targets[0].breaker.cool(0.0, 60.0, "auth")
    assert _walk(_attempts(plan), DOWN, DOWN) == ["m/a", "o/c", "p/d"]


def test_a_fallback_without_words_for_what_was_asked_does_not_end_the_search():
    plan = _plan("m/a", backups=[("n/b", GENERAL), ("o/c", GENERAL)])
    assert _walk(_attempts(plan), DOWN, Failure("unsupported")) == ["m/a", "n/b", "o/c"]


def test_a_fallback_that_cannot_be_asked_this_at_all_is_passed_over():
    plan = _plan("m/a", backups=[("n/b", GENERAL), ("o/c", GENERAL)])
    targets = plan.backups[0].group.targets
    targets[0] = replace(targets[0], upstream=_ChatOnly())
    attempts = Attempts(plan, Policy(), RetryBudget(), in_flight=lambda: 1, kind="embeddings")
    assert _walk(attempts, DOWN) == ["m/a", "o/c"]


def test_who_has_used_up_its_minute_is_waited_for_like_a_rate_limit():
    plan = _plan("m/a", "m/b", backups=[("n/c", {"rate_limit"})])
    for group in (plan.first.group, plan.backups[0].group):
        group.targets[:] = [replace(target, usage=Usage(rpm=1)) for target in group.targets]
    for target in plan.first.group.targets:
        target.usage.take(0.0, 1)
    assert _walk(_attempts(plan)) == ["n/c"]
    plan.backups[0].group.targets[0].usage.take(10.0, 1)
    assert _attempts(plan).first(20.0) is None
    assert cooling(plan, 20.0) == (WINDOW_S - 20.0, True)
    assert _attempts(plan).first(WINDOW_S) is not None


def test_one_that_is_alone_is_not_asked_more_than_it_may_be():
    plan = _plan("m/a")
    plan.first.group.targets[0] = alone = replace(plan.first.group.targets[0], usage=Usage(rpm=2))
    alone.usage.take(0.0, 1)
    attempts = _attempts(plan)
    assert attempts.first(0.0) is not None
    alone.usage.take(0.0, 1)
    assert attempts.after(DOWN, 0.0) is None, "a retry is a request as well"
    assert _attempts(plan).first(0.0) is None


def test_a_retry_that_has_waited_is_not_made_beside_a_probe():
    plan = _plan("m/a", "m/b")
    first, other = plan.first.group.targets
    other.breaker.cool(0.0, 60.0, "auth")
    attempts = _attempts(plan)
    step = attempts.first(0.0)
    blame(first, failure := Failure("rate_limit", retry_after_s=1.0), 0.0)
    step = attempts.after(failure, 0.0)
    assert (step.target, step.is_retry) == (first, True)
    assert attempts.still(step, 1.1)
    assert first.breaker.enter(1.1)
    assert not attempts.still(step, 1.2)


def test_what_another_deployment_would_refuse_as_well_goes_straight_to_another_model():
    plan = _plan("m/a", "m/b", backups=[("n/c", {"context_window"})])
    assert _walk(_attempts(plan), Failure("context_window")) == ["m/a", "n/c"]
    plan = _plan("m/a", "m/b", backups=[("n/c", GENERAL)])
    assert _walk(_attempts(plan), Failure("context_window")) == ["m/a", None]


def test_what_a_deployment_has_no_words_for_goes_to_another_deployment_only():
    assert _walk(_attempts(_plan("m/a", "m/b")), Failure("unsupported")) == ["m/a", "m/b"]
    plan = _plan("m/a", backups=[("n/b", EVERY)])
    assert _walk(_attempts(plan), Failure("unsupported")) == ["m/a", None]


def test_the_callers_own_mistakes_go_nowhere():
    assert _walk(_attempts(_plan("m/a", "m/b", backups=[("n/c", EVERY)])), Failure("request")) == ["m/a", None]


def test_alone_it_is_asked_again_with_full_jitter():
    attempts = _attempts(_plan("m/a"))
    attempts.first(0.0)
    waits = [attempts.after(DOWN, 0.0) for _ in range(3)]
    assert [(step.wait_s, step.is_retry) for step in waits[:2]] == [(0.05, True), (0.1, True)]
    assert waits[2] is None


@pytest.mark.parametrize("failure", [SLOW, Failure("connection", may_be_billed=True), Failure("auth")])
def test_what_may_have_been_paid_for_is_not_bought_twice_from_the_same_seller(failure):
    assert _walk(_attempts(_plan("m/a")), failure) == ["m/a", None]


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0.5, 0.55), (2.0, 2.05), (2.1, None), (30.0, None)])
def test_retry_after_is_waited_for_if_that_is_short(asked_s, wait_s):
    attempts = _attempts(_plan("m/a"))
    first = attempts.first(0.0)
    failure = Failure("rate_limit", retry_after_s=asked_s)
    blame(first.target, failure, 0.0)
    step = attempts.after(failure, 0.0)
    assert (None if step is None else step.wait_s) == wait_s


def test_whoever_found_the_queue_full_goes_elsewhere_and_does_not_queue_again():
    busy = Failure("busy")
    assert _walk(_attempts(_plan("m/a")), busy) == ["m/a", None]
    assert _walk(_attempts(_plan("m/a", "m/b")), busy, busy) == ["m/a", "m/b", None]


def test_retries_that_were_asked_for_come_before_fallbacks():
    plan = _plan("m/a", backups=[("n/b", GENERAL)])
    attempts = _attempts(plan, retries=1, is_eager=True)
    assert _walk(attempts, DOWN, DOWN) == ["m/a", "m/a", "n/b"]


def test_retries_of_all_requests_together_are_bounded():
    budget = RetryBudget(share=0.2)
    steps = []
    for _ in range(30):
        attempts = _attempts(_plan("m/a"), budget=budget, in_flight=50)
        attempts.first(0.0)
        steps.append(attempts.after(DOWN, 0.0))
    assert sum(step is not None for step in steps) == 10
    budget.give_back()
    attempts = _attempts(_plan("m/a"), budget=budget, in_flight=50)
    attempts.first(0.0)
    assert attempts.after(DOWN, 0.0) is not None


def test_a_few_retries_are_always_left():
    budget = RetryBudget(share=0.2)
    assert [budget.take(1) for _ in range(4)] == [True, True, True, False]


def test_other_targets_are_no_retries_and_cost_no_budget():
    budget = RetryBudget(share=0.0)
    while budget.take(0):
        pass
    assert _walk(_attempts(_plan("m/a", "m/b"), budget=budget), DOWN, DOWN) == ["m/a", "m/b", None]


def test_who_is_cooling_is_passed_over():
    plan = _plan("m/a", "m/b")
    plan.first.group.targets[0].breaker.cool(0.0, 5.0, "server_error")
    assert _walk(_attempts(plan)) == ["m/b"]
    assert plan.first.group.order(5.0)


def test_when_a_whole_group_is_cooling_its_fallbacks_are_asked_for_the_cause_of_that():
    plan = _plan("m/a", backups=[("n/b", {"timeout"}), ("o/c", {"rate_limit"})])
    plan.first.group.targets[0].breaker.cool(0.0, 5.0, "rate_limit")
    assert _walk(_attempts(plan)) == ["o/c"]


def test_when_everybody_is_cooling_the_shortest_wait_is_told():
    plan = _plan("m/a", "m/b", backups=[("n/c", GENERAL)])
    for target, seconds in zip([*plan.first.group.targets, *plan.backups[0].group.targets], (9, 4, 7), strict=True):
        target.breaker.cool(0.0, seconds, "rate_limit")
    assert _attempts(plan).first(1.0) is None
    assert cooling(plan, 1.0) == (3.0, True)


def test_who_is_alone_is_asked_though_it_is_cooling():
    plan = _plan("m/a")
    plan.first.group.targets[0].breaker.cool(0.0, 60.0, "server_error")
    assert _walk(_attempts(plan)) == ["m/a"]


def test_the_one_that_knows_a_conversation_is_preferred_while_it_is_well():
    plan = _plan("m/a", "m/b")
    assert _attempts(plan).first(0.0, prefer="m/b").target.id == "m/b"
    plan.first.group.targets[1].breaker.cool(0.0, 5.0, "timeout")
    assert _attempts(plan).first(0.0, prefer="m/b").target.id == "m/a"


def test_another_one_is_found_for_a_second_question_at_the_same_time():
    plan = _plan("m/a", "m/b")
    attempts = _attempts(plan)
    attempts.note(Try(plan.first.group.targets[0], plan.first))
    assert attempts.another(0.0).target.id == "m/b"
    assert attempts.another(0.0) is None


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        (Failure("auth"), 5.0),
        (Failure("rate_limit", retry_after_s=20.0), 20.0),
        (Failure("rate_limit"), 0.0),
        (Failure("server_error"), 0.0),
        (Failure("busy"), 0.0),
        (Failure("request"), 0.0),
    ],
)
def test_what_a_failure_says_of_its_target(failure, waits):
    target = Target("m", "a", "x", UPSTREAM)
    blame(target, failure, 0.0)
    assert target.breaker.wait_s(0.0) == waits


def test_a_doubtful_failure_falls_back_and_leaves_its_target_to_others():
    plan = _plan("m/a", backups=[("n/b", {"auth"})])
    doubtful = Failure("auth", is_doubtful=True)
    target = plan.first.group.targets[0]
    for _ in range(9):
        assert _walk(_attempts(plan), doubtful) == ["m/a", "n/b"]
        blame(target, doubtful, 0.0, caller="one")
    blame(target, doubtful, 0.0, caller="another")
    assert target.breaker.admits(0.0)
    blame(target, doubtful, 0.0, caller="a third")
    assert not target.breaker.admits(0.0)


def test_the_fourth_failure_in_a_minute_opens_the_breaker():
    target = Target("m", "a", "x", UPSTREAM)
    for at in range(4):
        assert target.breaker.admits(at)
        blame(target, DOWN, at)
    assert not target.breaker.admits(4)
