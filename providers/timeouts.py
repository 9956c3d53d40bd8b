"""How long an upstream may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, each bounding something of its own.

    connect: name resolution, TCP and TLS together. first_event: until a stream's first event. idle: silence in the
    middle of an answer, or before a whole one. total: everything. keepalive: silence after which a stream's client
    gets a comment (0: never).
    """

    connect_s: float = 5.0
    first_event_s: float = 120.0
    idle_s: float = 300.0
    total_s: float = 1800.0
    keepalive_s: float = 15.0
