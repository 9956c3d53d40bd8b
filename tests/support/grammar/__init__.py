"""What a stream must look like to the clients of each dialect, said as checkers that name the event at fault.

A stream that the gateway writes itself (translated, or of the built-in model) is held to all of it (`strict`). One that
it passes on byte for byte is the upstream's own: that one is held to what no client survives without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.grammar.broken import Broken, Event
from tests.support.grammar.chat import ChatGrammar
from tests.support.grammar.completions import CompletionsGrammar
from tests.support.grammar.frames import frames
from tests.support.grammar.messages import MessagesGrammar
from tests.support.grammar.responses import ResponsesGrammar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.grammar.broken import Grammar

__all__ = ["KINDS", "Broken", "Event", "check", "check_events", "kind_of"]

KINDS: dict[str, type[Grammar]] = {
    "/v1/chat/completions": ChatGrammar,
    "/v1/completions": CompletionsGrammar,
    "/v1/messages": MessagesGrammar,
    "/v1/responses": ResponsesGrammar,
}


def kind_of(path: str) -> type[Grammar] | None:
    """The grammar of the streams of a route; None for one that has no streams of a known grammar."""
    return KINDS.get(path.partition("?")[0])


def check(
    grammar: type[Grammar],
    body: bytes,
    *,
    complete: bool = True,
    strict: bool = True,
    include_usage: bool | None = None,
) -> list[Event]:
    """The events of a stream; raises Broken for the first that must not stand where it does.

    complete: the body was read to its end, so it must have ended well. include_usage: what the caller asked for; None
    where that is not known.
    """
    return check_events(grammar, frames(body), complete=complete, strict=strict, include_usage=include_usage)


def check_events(
    grammar: type[Grammar],
    events: Iterable[Event],
    *,
    complete: bool = True,
    strict: bool = True,
    include_usage: bool | None = None,
) -> list[Event]:
    """The same, for events that were framed already."""
    checker = grammar(strict=strict, include_usage=include_usage)
    found = list(events)
    for event in found:
        checker.take(event)
    if complete:
        checker.end()
    return found
