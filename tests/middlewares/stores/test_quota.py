from __future__ import annotations

from typing import Any

import pytest

from tollhouse.middlewares.stores.quota import (
    HALF,
    LIMIT,
    Bucket,
    Budget,
    Parallel,
    StoreUnavailable,
    StoreUnsuitable,
    check_admission,
    check_plan,
    check_settlement,
)

WRONG: Any = Bucket  # takes what a type checker would not let pass


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Bucket("", 1, 1, 1), "meter '': a name has 1 to 200 printable characters"),
        (lambda: Bucket("a\nb", 1, 1, 1), "printable"),
        (lambda: Bucket("x" * 201, 1, 1, 1), "1 to 200"),
        (lambda: Bucket("b", 0, 1, 1), "meter 'b': capacity is a whole number from 1"),
        (lambda: WRONG("b", 1.0, 1, 1), "meter 'b': capacity .* not 1.0"),
        (lambda: Bucket("b", True, 1, 1), "meter 'b': capacity"),
        (lambda: Bucket("b", 1, 0, 1), "meter 'b': amount"),
        (lambda: Bucket("b", 1, 1, 0), "meter 'b': period_ms"),
        (lambda: WRONG("b", 1, 1, 1, refill="daily"), "meter 'b': refill is continuous or interval"),
        (lambda: WRONG("b", 1, 1, 1, unit="words"), "meter 'b': unit is requests or tokens"),
        (lambda: Bucket("b", 2, 1, HALF), "meter 'b': capacity times period"),
        (lambda: Bucket("b", HALF + 1, HALF, 1, refill="interval"), "meter 'b': capacity times period"),
        (lambda: Bucket("b", 3, 1, HALF // 2, refill="interval"), "meter 'b': capacity times period"),
        (lambda: Parallel("p", 0), "meter 'p': capacity"),
        (lambda: Budget("u", -1, 0), "meter 'u': cap"),
        (lambda: Budget("u", LIMIT, 0), "meter 'u': cap"),
        (lambda: Budget("u", 1, 10, 10), "meter 'u': end_ms 10 is not after start_ms 10"),
        (lambda: check_plan(()), "1 to 64 meters, not 0"),
        (lambda: check_plan((Parallel("p", 1), Bucket("p", 1, 1, 1))), "meter 'p' is in the plan twice"),
        (lambda: check_admission(-1, 0, 0, 1), "tokens"),
        (lambda: check_admission(0, 1, 2, 1), "minimum is not above want"),
        (lambda: check_admission(0, LIMIT, 0, 1), "want"),
        (lambda: check_admission(0, 0, 0, 0), "expires_in_ms"),
        (lambda: check_admission(0, 0, 0, 86_400_001), "expires_in_ms"),
        (lambda: check_settlement(-1, 0), "amount"),
        (lambda: check_settlement(0, LIMIT), "tokens"),
    ],
)
def test_what_cannot_be_counted_is_refused_by_name(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_only_meters_are_planned():
    with pytest.raises(TypeError, match="str is no meter"):
        check_plan(("a",))  # type: ignore[arg-type]


def test_a_rate_is_in_lowest_terms_where_only_the_ratio_matters():
    assert Bucket("b", 10**9, 10**9, 86_400_000).rate == (625, 54)
    assert Bucket("b", 10**9, 10**9, 86_400_000, refill="interval").rate == (10**9, 86_400_000)


def test_the_largest_meters_are_accepted():
    Bucket("b", HALF, 1, 1)
    Bucket("b", 1, 1, HALF)
    Bucket("b", HALF, LIMIT - 1, HALF, refill="interval")
    Budget("u", LIMIT - 1, LIMIT - 2, LIMIT - 1)


def test_an_unsuitable_store_is_an_unavailable_one():
    error = StoreUnsuitable("maxmemory-policy")
    assert isinstance(error, StoreUnavailable)
    assert error.kind == "unsuitable"
