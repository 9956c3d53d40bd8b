"""Bytes of an event stream as events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.grammar.broken import Event

if TYPE_CHECKING:
    from collections.abc import Iterator


def frames(body: bytes) -> Iterator[Event]:
    """Every event that has data; an event at the end without its blank line is none, as in browsers."""
    name: bytes | None = None
    data: list[bytes] = []
    count = 0
    for line in re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf")):
        if not line:
            if data:
                yield Event(count, None if name is None else name.decode(), b"\n".join(data))
                count += 1
            name, data = None, []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
