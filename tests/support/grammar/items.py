"""Items of a response while they are streamed: their parts, and what all deltas of each come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# How a piece is told: prefix of its events -> (the list it stands in, its number there, its type, its text's member).
PIECES = {
    "response.output_text": ("content", "content_index", "output_text", "text"),
    "response.refusal": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "summary_text", "text"),
}


# What a call was given: prefix of its events -> (type of its item, the member that holds it).
GIVEN = {
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
}
MEMBERS = dict(GIVEN.values())


@dataclass
class Piece:
    """A part of a message, of a thought, or of its summary."""

    type: str
    texts: list[str] = field(default_factory=list)
    told: str | None = None  # by its `...done`
    is_done: bool = False

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass
class Item:
    """What was said of an item so far."""

    id: str
    type: str
    pieces: dict[str, list[Piece]] = field(default_factory=lambda: {"content": [], "summary": []})
    arguments: list[str] = field(default_factory=list)
    told_arguments: str | None = None
    done: dict[str, Any] | None = None

    def open_pieces(self) -> list[str]:
        return [piece.type for pieces in self.pieces.values() for piece in pieces if not piece.is_done]

    def difference(self, final: dict[str, Any]) -> str | None:
        """What in `final`, the item as a whole, is not what its events have said."""
        for name, pieces in self.pieces.items():
            said = [piece.text for piece in pieces]
            held = [part.get("text", part.get("refusal")) for part in final.get(name) or []]
            if said != held:
                return f"{name} is {held}, but its deltas came to {said}"
        member = MEMBERS.get(self.type)
        if member is not None and final.get(member) != "".join(self.arguments):
            return f"{member} is {final.get(member)!r}, but its deltas came to {''.join(self.arguments)!r}"
        return None
