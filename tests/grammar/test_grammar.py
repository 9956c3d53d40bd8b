"""The checkers of streams can fail: every rule meets a stream that breaks it, and names the event that does."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from tests.grammar import streams
from tests.grammar.streams import call, choice, chunk, wire
from tests.support.grammar import KINDS, Broken, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.grammar.streams import Events

GOOD: dict[str, Callable[[], Events]] = {
    "/v1/chat/completions": streams.chat,
    "/v1/completions": streams.completions,
    "/v1/messages": streams.messages,
    "/v1/responses": streams.responses,
}
CHAT, COMPLETIONS, MESSAGES, RESPONSES = GOOD


def broken(path: str, events: Events, **how: Any) -> int:
    """The index that the checker names."""
    with pytest.raises(Broken) as caught:
        check(KINDS[path], wire(events), **how)
    return caught.value.index


@pytest.mark.parametrize("path", GOOD)
def test_good_stream_passes(path: str) -> None:
    events = GOOD[path]()
    assert len(check(KINDS[path], wire(events))) == len(events)


@pytest.mark.parametrize("path", GOOD)
def test_beginning_of_a_good_stream_passes_only_as_incomplete(path: str) -> None:
    events = GOOD[path]()
    for count in range(1, len(events)):
        check(KINDS[path], wire(events[:count]), complete=False)
        assert broken(path, events[:count]) == -1


@pytest.mark.parametrize("path", GOOD)
def test_anything_after_the_last_event_is_named(path: str) -> None:
    events = GOOD[path]()
    assert broken(path, [*events, events[-1]]) == len(events)


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_leaving_out_any_event_but_those_that_may_be_missing_is_noticed(path: str) -> None:
    events = GOOD[path]()
    # A piece of text in a chat, a ping, a thought's piece: nothing else tells that it was there.
    free = {CHAT: {1, 4, 6}, MESSAGES: {2, 3, 5, 7, 10}, RESPONSES: {1}}[path]
    for index in range(len(events)):
        left = events[:index] + events[index + 1 :]
        if index in free:
            check(KINDS[path], wire(left))
        else:
            broken(path, left)


@pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
def test_swapping_neighbours_is_noticed(path: str) -> None:
    events = GOOD[path]()
    pings = {4, 5}
    for index in range(len(events) - 1):
        if path == MESSAGES and index in pings:
            continue
        swapped = deepcopy(events)
        swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
        assert broken(path, swapped) in range(index, index + 3)


@pytest.mark.parametrize(
    ("index", "instead"),
    [
        pytest.param(0, chunk(choice({"content": "x"})), id="no role first"),
        pytest.param(0, chunk(choice({"role": "user"})), id="another's role"),
        pytest.param(1, chunk(choice({"role": "assistant", "content": "x"})), id="role twice"),
        pytest.param(1, chunk(choice({"content": 1})), id="text is a number"),
        pytest.param(1, chunk(choice({"content": "x"}), id="other"), id="another id"),
        pytest.param(1, chunk(choice({"content": "x"}), object="chat.completion"), id="another object"),
        pytest.param(1, chunk(), id="neither choices nor usage"),
        pytest.param(1, chunk(choice({"content": "x"}), usage={}), id="usage beside choices"),
        pytest.param(2, chunk(choice(call(1, "{}", id="call_0"))), id="calls begin at 1"),
        pytest.param(2, chunk(choice(call(0, "{}"))), id="call without id"),
        pytest.param(3, chunk(choice(call(0, "1}", id="call_0"))), id="id twice"),
        pytest.param(4, chunk(choice(call(1, "{}", id="call_0"))), id="one id for two calls"),
        pytest.param(5, chunk(choice({}, "eos")), id="unknown reason"),
        pytest.param(5, chunk(choice({}, "")), id="empty reason"),
        pytest.param(6, chunk(choice({"content": "late"})), id="text after the finish"),
        pytest.param(6, chunk(choice({}, "stop")), id="finish twice"),
        pytest.param(6, chunk(usage=streams.USAGE | {"total_tokens": 9}), id="sum is wrong"),
        pytest.param(6, {"error": {"message": "no"}}, id="error without its keys"),
    ],
)
def test_chat_names_the_event_at_fault(index: int, instead: dict[str, Any]) -> None:
    events = streams.chat()
    events[index] = (None, instead)
    assert broken(CHAT, events) == index


def test_chat_arguments_must_be_json_in_the_end() -> None:
    events = streams.chat()
    del events[3]
    assert broken(CHAT, events) == 4


def test_chat_usage_comes_if_and_only_if_it_was_asked_for() -> None:
    events = streams.chat()
    check(KINDS[CHAT], wire(events), include_usage=True)
    assert broken(CHAT, events, include_usage=False) == 6
    del events[6]
    check(KINDS[CHAT], wire(events), include_usage=False)
    assert broken(CHAT, events, include_usage=True) == 6


def test_chat_has_no_done_after_an_error() -> None:
    error = {"error": {"message": "broke off", "type": "upstream_error", "param": None, "code": None}}
    begun = streams.chat()[:2]
    check(KINDS[CHAT], wire([*begun, (None, error)]))
    assert broken(CHAT, [*begun, (None, error), (None, b"[DONE]")]) == 3


def test_chat_done_waits_for_every_choice() -> None:
    events = streams.chat()
    events.insert(1, (None, chunk(choice({"role": "assistant"}, index=1))))
    del events[7]
    assert broken(CHAT, events) == 7


def test_chat_data_that_is_no_json_is_named() -> None:
    events = streams.chat()
    events[1] = (None, b'{"choices":[')
    assert broken(CHAT, events) == 1


def test_chat_of_an_upstream_may_lack_what_only_we_promise() -> None:
    events: Events = [(None, {"choices": [choice({"content": "a"})]}), (None, {"choices": [choice({}, "stop")]})]
    check(KINDS[CHAT], wire(events), strict=False)
    assert broken(CHAT, events[:1], strict=False) == -1
    assert broken(CHAT, [*events, events[0]], strict=False) == 2


def test_completions_go_on_after_no_finish() -> None:
    events = streams.completions()
    events[3:3] = [events[0]]
    assert broken(COMPLETIONS, events) == 3


def changed(events: Events, index: int, members: dict[str, Any]) -> Events:
    """With members of one event replaced; "a__b" is `b` inside of `a`."""
    name, data = deepcopy(events[index])
    for path, value in members.items():
        *outer, last = path.split("__")
        inner = data
        for step in outer:
            inner = inner[step]
        inner[last] = value
    return [*events[:index], (name, data), *events[index + 1 :]]


@pytest.mark.parametrize(
    ("index", "members", "named"),
    [
        pytest.param(0, {"message__content": [{"type": "text", "text": ""}]}, 0, id="message begins filled"),
        pytest.param(0, {"message__usage": None}, 0, id="no usage at the start"),
        pytest.param(0, {"message__stop_reason": "end_turn"}, 0, id="stopped at the start"),
        pytest.param(1, {"index": 1}, 1, id="blocks begin at 1"),
        pytest.param(1, {"content_block__thinking": "Hm"}, 1, id="thought begins filled"),
        pytest.param(2, {"delta__type": "text_delta"}, 2, id="text in a thought"),
        pytest.param(3, {"delta__signature": None}, 3, id="signature is null"),
        pytest.param(7, {"index": 0}, 7, id="delta for a closed block"),
        pytest.param(8, {"index": 2}, 8, id="another block stops"),
        pytest.param(9, {"content_block__input": ""}, 9, id="input is a string"),
        pytest.param(9, {"content_block__id": ""}, 9, id="call without id"),
        pytest.param(10, {"delta__partial_json": '{"a":'}, 12, id="input is cut short"),
        pytest.param(12, {"delta__stop_reason": "stop"}, 12, id="another dialect's reason"),
        pytest.param(12, {"usage": {}}, 12, id="no output tokens"),
    ],
)
def test_messages_name_the_event_at_fault(index: int, members: dict[str, Any], named: int) -> None:
    assert broken(MESSAGES, changed(streams.messages(), index, members)) == named


def test_messages_event_line_is_the_type() -> None:
    for name in (None, "message_delta"):
        events = streams.messages()
        events[7] = (name, events[7][1])
        assert broken(MESSAGES, events) == 7


def test_messages_may_end_with_an_error() -> None:
    error = streams.typed({"type": "error", "error": {"type": "api_error", "message": "broke off"}})
    check(KINDS[MESSAGES], wire(streams.messages()[:3] + error))
    assert broken(MESSAGES, streams.messages()[:3] + error + streams.messages()[-1:]) == 4


@pytest.mark.parametrize(
    ("index", "members", "named"),
    [
        pytest.param(0, {"response__output": [streams.CALL]}, 0, id="begins filled"),
        pytest.param(0, {"response__status": "completed"}, 0, id="begins completed"),
        pytest.param(1, {"sequence_number": 0}, 1, id="sequence stands still"),
        pytest.param(1, {"response__id": "resp_2"}, 1, id="another id"),
        pytest.param(2, {"output_index": 1}, 2, id="items begin at 1"),
        pytest.param(4, {"summary_index": 1}, 4, id="delta for a part that is not there"),
        pytest.param(5, {"text": "Hmm"}, 5, id="thought ends otherwise"),
        pytest.param(8, {"item__status": "completed"}, 8, id="item begins completed"),
        pytest.param(9, {"part__type": "refusal"}, 9, id="refusal without its member"),
        pytest.param(10, {"delta": ""}, 10, id="empty delta"),
        pytest.param(10, {"item_id": "fc_1"}, 10, id="delta for another item"),
        pytest.param(11, {"delta": "ly"}, 12, id="text ends otherwise"),
        pytest.param(13, {"part__text": ""}, 13, id="part ends empty"),
        pytest.param(14, {"item__content": []}, 14, id="item ends empty"),
        pytest.param(15, {"item__call_id": None}, 15, id="call without its id"),
        pytest.param(17, {"delta": "2}"}, 18, id="arguments end otherwise"),
        pytest.param(19, {"item__arguments": "{}"}, 19, id="call ends otherwise"),
        pytest.param(20, {"response__output": []}, 20, id="completed is empty"),
        pytest.param(20, {"response__status": "incomplete"}, 20, id="status is another"),
        pytest.param(20, {"response__usage": {}}, 20, id="usage is empty"),
        pytest.param(20, {"response__error": {"code": "x", "message": "y"}}, 20, id="error of a success"),
    ],
)
def test_responses_name_the_event_at_fault(index: int, members: dict[str, Any], named: int) -> None:
    assert broken(RESPONSES, changed(streams.responses(), index, members)) == named


def test_responses_may_end_with_an_error_or_a_failure() -> None:
    error = {"type": "error", "code": "x", "message": "broke off", "param": None, "sequence_number": 99}
    failed = {"type": "response.failed", "sequence_number": 99}
    failed["response"] = streams.response("failed", [], error={"code": "server_error", "message": "broke off"})
    for last in (error, failed):
        check(KINDS[RESPONSES], wire(streams.responses()[:4] + streams.typed(last)))
    del error["message"]
    failed["response"] = streams.response("failed", [])
    for last in (error, failed):
        assert broken(RESPONSES, streams.responses()[:4] + streams.typed(last)) == 4


def test_responses_have_no_done() -> None:
    assert broken(RESPONSES, [*streams.responses()[:-1], (None, b"[DONE]")]) == 20
