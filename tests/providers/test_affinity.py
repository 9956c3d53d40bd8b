from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tollhouse.providers.affinity import Remembered, rendezvous
from tollhouse.providers.echo import EchoUpstream
from tollhouse.providers.router import Target
from tollhouse.providers.timeouts import Timeouts

UPSTREAM = EchoUpstream(timeouts=Timeouts())
TARGETS = [
    Target(name="m", provider=name, model="m", upstream=UPSTREAM, weight=weight, id=name)
    for name, weight in (("a", 1), ("b", 2), ("c", 1))
]
SESSIONS = [b"session %d" % number for number in range(2000)]


def test_a_session_has_one_order():
    for session in SESSIONS[:50]:
        assert rendezvous(TARGETS, session) == rendezvous(TARGETS[::-1], session)


def test_shares_go_by_weight():
    seen = Counter(rendezvous(TARGETS, session)[0].id for session in SESSIONS)
    assert 900 < seen["b"] < 1100
    assert 430 < seen["a"] < 570


def test_long_names_that_begin_alike_share_too():
    name = "a-name-as-long-as-those-of-models-in-a-region-of-some-cloud-are@provider"
    targets = [replace(target, id=f"{name}#{number}", weight=1) for number, target in enumerate(TARGETS)]
    assert len({rendezvous(targets, session)[0].id for session in SESSIONS[:50]}) == 3


def test_when_one_goes_only_its_sessions_move():
    left = [target for target in TARGETS if target.id != "a"]
    for session in SESSIONS:
        before = rendezvous(TARGETS, session)
        assert rendezvous(left, session) == [target for target in before if target.id != "a"]


def test_who_made_a_response_is_remembered_per_owner_and_not_for_ever():
    remembered = Remembered(most=2)
    remembered.note("alice", "resp_1", "a")
    remembered.note("bob", "resp_1", "b")
    assert (remembered.find("alice", "resp_1"), remembered.find("bob", "resp_1")) == ("a", "b")
    remembered.find("alice", "resp_1")
    remembered.note("alice", "resp_2", "c")
    assert remembered.find("alice", "resp_1") == "a"
    assert remembered.find("bob", "resp_1") is None
