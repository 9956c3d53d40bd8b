"""What a deployment was asked in a minute, on a clock of the tests' own."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.router import Group, Target
from tollhouse.providers.strategies import LeastUsed
from tollhouse.providers.timeouts import Timeouts
from tollhouse.providers.usage import WINDOW_S, Usage

UPSTREAM = EchoUpstream(timeouts=Timeouts())
STEPS = st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(0, 500), st.integers(0, 500)), max_size=60)


def _group(*usages: Usage | None) -> Group:
    targets = [Target("m", str(n), "m", UPSTREAM, usage=usage, id=str(n)) for n, usage in enumerate(usages)]
    return Group("m", targets, LeastUsed())


@example([(1.2248015996450392, 0, 0), (0.0, 0, 0)], 1)  # where rounding once made a wait of more than a minute
@given(STEPS, st.integers(1, 5))
def test_no_minute_has_more_requests_than_its_limit(steps, rpm):
    usage, now, sent = Usage(rpm=rpm), 100.0, []
    for wait, _, _ in steps:
        now += wait
        if usage.has_room(now):
            usage.take(now, 0)
            sent.append(now)
            assert usage.used(now)[1] <= rpm
        else:
            assert 0 < usage.wait_s(now) <= WINDOW_S
            assert usage.has_room(now + usage.wait_s(now) + 1e-6)
    # A minute begins with its first request: so many in it, and all of the next one's at its beginning.
    assert all(late - early >= WINDOW_S for early, late in zip(sent, sent[2 * rpm :], strict=False))


@given(STEPS, st.integers(1, 1000))
def test_tokens_are_those_of_this_minute_and_only_its_last_request_goes_beyond(steps, tpm):
    usage, now = Usage(tpm=tpm), 0.0
    came: list[int] = []
    for wait, estimate, tokens in steps:
        now += wait
        if not usage.has_room(now):
            assert usage.used(now)[0] >= tpm
            continue
        begun = usage.used(now)[1] == 0
        taken = usage.take(now, estimate)
        came = [tokens] if begun else [*came, tokens]
        usage.settle(taken, tokens)
        assert usage.used(now) == (sum(came), len(came))
        assert sum(came[:-1]) < tpm


def test_what_is_under_way_counts_as_much_as_it_may_come_to():
    usage = Usage(tpm=100)
    first = usage.take(0.0, 60)
    second = usage.take(0.0, 60)
    assert not usage.has_room(0.0)
    usage.settle(first, 10)
    assert usage.has_room(0.0)
    usage.settle(second, 95)
    assert not usage.has_room(0.0)


def test_what_ends_in_another_minute_is_history():
    usage = Usage(tpm=100)
    old = usage.take(0.0, 50)
    usage.take(WINDOW_S, 10)
    usage.settle(old, 5000)
    assert usage.used(WINDOW_S) == (10, 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300)), max_size=40))
def test_the_least_used_is_first_by_tokens_then_by_requests(asked):
    usages = [Usage(), Usage(), Usage()]
    group = _group(*usages)
    for index, tokens in asked:
        usages[index].take(1.0, tokens)
    order = [int(target.id) for target in group.order(2.0)]
    assert sorted(order) == [0, 1, 2]
    used = [usages[index].used(2.0) for index in order]
    assert used == sorted(used)


def test_those_that_are_alike_take_turns():
    group = _group(Usage(), Usage(), Usage())
    assert {group.order(0.0)[0].id for _ in range(3)} == {"0", "1", "2"}


def test_who_has_had_its_share_is_passed_over_by_every_strategy_and_session():
    full = Usage(rpm=1)
    group = _group(full, Usage(rpm=9), None)
    full.take(0.0, 0)
    for session in (None, b"a", b"b", b"c"):
        assert {target.id for target in group.order(1.0, session=session)} == {"1", "2"}
    assert len(group.order(WINDOW_S)) == 3
