from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollhouse.middlewares.windows import NAMES, window

HOUR = 3_600_000
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # midnight comes twice
    "America/Sao_Paulo",  # and was left out
    "Asia/Kathmandu",  # a quarter of an hour beside the others
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Pacific/Apia",  # a day was left out
]


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@given(
    name=st.sampled_from([name for name in NAMES if name != "total"]),
    zone=st.sampled_from(ZONES),
    now=st.integers(at("2000-01-01"), at("2037-12-31")),
)
def test_a_window_holds_its_moment_and_the_next_begins_where_it_ends(name, zone, now):
    start, end = window(name, zone, now)
    assert start <= now < end
    assert window(name, zone, start) == window(name, zone, end - 1) == (start, end)
    assert window(name, zone, end)[0] == end


@pytest.mark.parametrize(
    ("name", "zone", "now", "start", "end"),
    [
        ("1h", "UTC", "2026-11-21T10:59:59", "2026-11-21T10:00", "2026-11-21T11:00"),
        ("1d", "UTC", "2026-02-28T12:00", "2026-02-28T00:00", "2026-03-01T00:00"),
        ("1d", "Europe/Berlin", "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),
        ("1d", "Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:00", "2026-10-26T00:00"),
        ("month", "UTC", "2028-02-29T23:59", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("month", "America/New_York", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_days_and_months_are_those_of_the_place(name, zone, now, start, end):
    assert window(name, zone, at(now, zone)) == (at(start, zone), at(end, zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_a_day_has_as_many_hours_as_the_clock_gives_it(day, hours):
    start, end = window("1d", "Europe/Berlin", at(f"{day}T12:00", "Europe/Berlin"))
    assert end - start == hours * HOUR


def test_all_of_time_has_no_end():
    assert window("total", "UTC", int(datetime.now(UTC).timestamp() * 1000)) == (0, 0)


def test_another_window_is_refused():
    with pytest.raises(ValueError, match="1h, 1d, month, total"):
        window("week", "UTC", 0)
