"""Windows of time for budgets: the hour, the day and the month that a moment lies in, and all of time."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
NAMES = ("1h", "1d", "month", "total")


def window(name: str, time_zone: str, now_ms: int) -> tuple[int, int]:
    """The window of `name` around `now_ms`: start and end (not included) in ms since the epoch; end 0: it never ends.

    Days and months are those of the time zone, so a day has 23 to 25 hours; hours are the same everywhere. Windows of
    one name follow each other without gap or overlap. Raises ValueError for another name.
    """
    if name == "total":
        return 0, 0
    if name == "1h":
        start = now_ms - now_ms % HOUR_MS
        return start, start + HOUR_MS
    zone = ZoneInfo(time_zone)
    day = datetime.fromtimestamp(now_ms / 1000, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if name == "1d":
        following = day + timedelta(days=1)
    elif name == "month":
        day = day.replace(day=1)
        following = (day + timedelta(days=32)).replace(day=1)
    else:
        raise ValueError(f"a window is one of {', '.join(NAMES)}, not {name!r}")
    start, end = (int(moment.timestamp() * 1000) for moment in (day, following))
    # Where midnight comes twice, what lies behind the second one is the same day.
    return start, end
