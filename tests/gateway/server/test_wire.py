from __future__ import annotations

import random
import sys
import time
from email.utils import formatdate

import pytest

from tollhouse.gateway.server import wire

DAY_S = 86_400


@pytest.mark.parametrize("at", [0, *range(1_767_225_600, 1_767_225_600 + 400 * DAY_S, DAY_S + 3_599), 4_102_444_799])
def test_the_date_is_as_mail_writes_it(monkeypatch, at):
    monkeypatch.setattr(wire, "gmtime", lambda: time.gmtime(at))
    assert wire.date_line() == f"date: {formatdate(at, usegmt=True)}\r\n".encode()


def test_a_date_every_second_leaves_nothing_behind():
    chance = random.Random(1)
    others = [f"{i:03x}" for i in range(4096)]  # a loop that did nothing else would get the same memory each time
    wire.date_line()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        wire.date_line()
        for _ in range(8):
            others[chance.randrange(len(others))] = f"{chance.randrange(256, 4096):03x}"
    assert sys.getallocatedblocks() - before < 50
