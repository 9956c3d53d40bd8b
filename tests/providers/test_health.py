from __future__ import annotations

import pytest

from tollhouse.providers.health import Health, is_alive


def test_the_first_check_decides():
    for is_up in (True, False):
        health = Health()
        assert health.is_up is None
        assert health.note(is_up=is_up)
        assert health.is_up is is_up


def test_one_bad_check_is_not_enough():
    health = Health(unhealthy_threshold=3, healthy_threshold=2)
    health.note(is_up=True)
    row = [False, False, True, False, False, False, True, True]
    assert [health.note(is_up=is_up) for is_up in row] == [False] * 5 + [True, False, True]


@pytest.mark.parametrize(
    ("status", "alive"), [(200, True), (204, True), (404, True), (401, False), (429, False), (500, False), (0, False)]
)
def test_a_server_that_knows_no_such_path_is_there_all_the_same(status, alive):
    assert is_alive(status) is alive
