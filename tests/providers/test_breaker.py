from __future__ import annotations

import pytest

from tollhouse.providers.breaker import CLOSED, HALF_OPEN, LONGEST_S, OPEN, Breaker


def _opened(now=0.0):
    breaker = Breaker(allowed_fails=2, window_s=10, cooldown_s=5)
    for _ in range(3):
        breaker.fail(now, "server_error")
    return breaker


def test_it_opens_after_more_failures_than_are_allowed():
    breaker = Breaker(allowed_fails=2, window_s=10, cooldown_s=5)
    for at in (0, 4):
        breaker.fail(at, "server_error")
        assert breaker.admits(at)
        assert not breaker.is_quiet
    breaker.fail(9, "timeout")
    assert (breaker.admits(9), breaker.state(9), breaker.cause, breaker.wait_s(10)) == (False, OPEN, "timeout", 4)


def test_failures_count_within_a_sliding_window():
    breaker = Breaker(allowed_fails=2, window_s=10, cooldown_s=5)
    for at in (0, 6, 12, 18, 24):
        breaker.fail(at, "server_error")
    assert breaker.state(24) == CLOSED
    breaker.fail(25, "server_error")
    breaker.fail(26, "server_error")
    assert breaker.state(26) == OPEN


def test_after_its_time_one_probe_finds_out():
    breaker = _opened()
    assert not breaker.enter(4.9)
    assert breaker.state(5) == HALF_OPEN
    assert breaker.admits(5)
    assert breaker.enter(5)
    assert not breaker.admits(5)
    assert not breaker.enter(5)


def test_a_good_probe_closes_it():
    breaker = _opened()
    breaker.enter(5)
    breaker.succeed(6)
    assert (breaker.state(6), breaker.is_quiet, breaker.admits(6)) == (CLOSED, True, True)
    breaker.fail(6, "server_error")
    assert breaker.state(6) == CLOSED


def test_a_bad_probe_opens_it_again():
    breaker = _opened()
    breaker.enter(5)
    breaker.fail(7, "timeout")
    assert (breaker.state(7), breaker.wait_s(7)) == (OPEN, 5)
    assert breaker.enter(12)


def test_a_probe_that_told_nothing_makes_room_for_the_next():
    breaker = _opened()
    breaker.leave(breaker.enter(5))
    assert breaker.enter(5)


def test_a_probe_of_before_makes_no_room_beside_the_current_one():
    breaker = _opened()
    before = breaker.enter(5)
    breaker.fail(6, "timeout")  # of a request that was under way
    assert breaker.enter(11)
    breaker.leave(before)  # its client has gone
    assert not breaker.admits(11)
    assert not breaker.enter(11)


def test_old_answers_do_not_close_it():
    breaker = _opened()
    breaker.succeed(1)
    assert breaker.state(1) == OPEN


@pytest.mark.parametrize(("seconds", "waits"), [(30, 30), (None, 5), (10 * LONGEST_S, LONGEST_S)])
def test_one_failure_may_say_enough(seconds, waits):
    breaker = Breaker(cooldown_s=5)
    breaker.cool(100, seconds, "rate_limit")
    assert (breaker.wait_s(100), breaker.cause) == (waits, "rate_limit")


def test_a_shorter_wait_does_not_shorten_a_longer_one():
    breaker = Breaker()
    breaker.cool(0, 30, "rate_limit")
    breaker.cool(1, 2, "rate_limit")
    assert breaker.wait_s(1) == 29


def test_failures_that_are_long_past_are_forgotten_by_an_answer():
    breaker = Breaker(window_s=10)
    breaker.fail(0, "timeout")
    breaker.succeed(5)
    assert not breaker.is_quiet
    breaker.succeed(11)
    assert breaker.is_quiet


def test_a_health_check_opens_and_closes_it():
    breaker = Breaker()
    breaker.check(is_up=False)
    assert (breaker.admits(0), breaker.state(0), breaker.is_quiet) == (False, OPEN, False)
    breaker.check(is_up=True)
    assert (breaker.admits(0), breaker.state(0), breaker.is_quiet) == (True, CLOSED, True)


def test_it_can_be_switched_off():
    breaker = Breaker(allowed_fails=0, is_off=True)
    for _ in range(5):
        breaker.fail(0, "server_error")
    breaker.cool(0, 30, "rate_limit")
    for caller in ("a", "b", "c"):
        breaker.doubt(0, "auth", caller)
    assert breaker.admits(0)


def test_what_may_be_a_callers_own_doing_opens_it_once_several_saw_it_and_nobody_was_served():
    breaker = Breaker(cooldown_s=5, window_s=10)
    for at, caller in enumerate(("a", "b", "a", "a", "b", "b")):
        breaker.doubt(at, "auth", caller)
        assert breaker.admits(at)
    breaker.succeed(6)
    assert breaker.is_quiet
    for caller in ("c", "a", "b"):
        assert breaker.admits(7)
        breaker.doubt(7, "auth", caller)
    assert (breaker.admits(7), breaker.wait_s(7), breaker.cause) == (False, 5, "auth")


def test_doubts_of_long_ago_do_not_count():
    breaker = Breaker(window_s=10)
    for at, caller in ((0, "a"), (9, "b"), (11, "c"), (12, "a")):
        breaker.doubt(at, "auth", caller)
    assert breaker.admits(12)
    breaker.doubt(13, "auth", "b")
    assert not breaker.admits(13)


def test_a_doubt_does_not_open_it_again_and_tells_nothing_of_a_probe():
    breaker = _opened()
    probe = breaker.enter(5)
    for caller in ("a", "b", "c"):
        breaker.doubt(6, "auth", caller)
    assert (breaker.state(6), breaker.admits(6)) == (HALF_OPEN, False)
    breaker.leave(probe)
    assert breaker.admits(6)


def test_a_doubt_is_no_failure_and_forgets_none():
    breaker = Breaker(allowed_fails=1, window_s=10)
    breaker.fail(0, "timeout")
    breaker.doubt(1, "auth", "a")
    breaker.succeed(2)
    assert not breaker.is_quiet
    breaker.fail(3, "timeout")
    assert not breaker.admits(3)
