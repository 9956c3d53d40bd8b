"""What can go wrong with a service next door.

Away                no usable answer; `cause` says why, and never quotes what was sent or came back
└── Rejected        an answer that another try would not change (a 4xx)
"""

from __future__ import annotations


class Away(Exception):
    """`service` is its name in metrics.

    `cause`: unset, breaker, busy, unreachable, timeout, status, malformed or rejected.
    """

    def __init__(self, service: str, cause: str, status: int = 0) -> None:
        super().__init__(f"the {service.replace('_', ' ')} service gave no usable answer: {cause}")
        self.service = service
        self.cause = cause
        self.status = status


class Rejected(Away):
    """What was sent is wrong, or the gateway may not send it; `status` is the service's."""

    def __init__(self, service: str, status: int) -> None:
        super().__init__(service, "rejected", status)
