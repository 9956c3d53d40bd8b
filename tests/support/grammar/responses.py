"""Events of the Responses API: https://platform.openai.com/docs/api-reference/responses-streaming"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.grammar.broken import Grammar
from tests.support.grammar.items import GIVEN, MEMBERS, PIECES, Item, Piece

if TYPE_CHECKING:
    from tests.support.grammar.broken import Event

LAST = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_USAGE = ("input_tokens", "output_tokens", "total_tokens")
# Members without which the official clients do not take an object for a response.
_MEMBERS = ("id", "created_at", "model", "output", "parallel_tool_calls", "tool_choice", "tools", "error")


class ResponsesGrammar(Grammar):
    """response.created, items one after the other with all that is in them, and one last event that repeats it all."""

    def __init__(self, *, strict: bool = True, include_usage: bool | None = None) -> None:
        super().__init__(strict=strict, include_usage=include_usage)
        self._id = ""
        self._sequence = -1
        self._items: list[Item] = []

    def _take(self, event: Event) -> None:
        if not self.strict and event.data.strip() == b"[DONE]":
            return
        kind, value = self.typed(event)
        if self.strict or "sequence_number" in value:
            number = self.number(value, "sequence_number")
            self.must(number > self._sequence, f"sequence_number {number} comes after {self._sequence}")
            self._sequence = number
        if kind == "error":
            self._error(value)
            return
        if kind in {"response.created", "response.queued", "response.in_progress"}:
            self._snapshot(kind, self.object_of(value, "response"))
            return
        self.must(self._id, f"{kind} comes before response.created")
        if kind in LAST:
            self._last(kind, self.object_of(value, "response"))
        elif self.strict:
            self._inside(kind, value)

    def _snapshot(self, kind: str, response: dict[str, Any]) -> None:
        name = self.text(response, "id", is_empty_fine=False)
        self.must((kind == "response.created") == (not self._id), f"{kind} comes at the wrong place")
        self.must(self._id in {"", name}, f"the id changes from {self._id!r} to {name!r}")
        self._id = name
        status = response.get("status")
        self.must(status in {"in_progress", "queued"}, f"the status of a response that begins is {status!r}")
        self.must_strictly(not self._items, f"{kind} comes after the first item")
        self._members(response)
        self.must_strictly(response.get("output") == [], "the output of a response that begins is not empty")

    def _members(self, response: dict[str, Any]) -> None:
        self.must(response.get("object") == "response", f"object is {response.get('object')!r}")
        left = [name for name in _MEMBERS if name not in response]
        self.must_strictly(not left, f"the response lacks {left}")

    def _inside(self, kind: str, value: dict[str, Any]) -> None:
        prefix, _, step = kind.rpartition(".")
        if kind == "response.output_item.added":
            self._add_item(value)
        elif kind == "response.output_item.done":
            self._end_item(value)
        elif prefix in {"response.content_part", "response.reasoning_summary_part"}:
            name = "content" if prefix.endswith("content_part") else "summary"
            self._part(name, step, value)
        elif prefix in GIVEN:
            self._arguments(step, value, *GIVEN[prefix])
        elif prefix in PIECES:
            self._piece(prefix, step, value)
        elif kind == "response.output_text.annotation.added":
            self._item(value)
        else:
            self.broken(f"the gateway writes no {kind}")

    def _add_item(self, value: dict[str, Any]) -> None:
        index = self.number(value, "output_index")
        self.must(index == len(self._items), f"item {index} is added, but {len(self._items)} would be next")
        still = [item.id for item in self._items if item.done is None]
        self.must(not still, f"item {index} is added before {still} are done")
        item = self.object_of(value, "item")
        name = self.text(item, "id", is_empty_fine=False)
        self.must(all(name != known.id for known in self._items), f"two items have the id {name!r}")
        kind = self.text(item, "type", is_empty_fine=False)
        if kind == "message":
            self.must(item.get("role") == "assistant", "a message is not the assistant's")
            self.must(item.get("content") == [], "a message does not begin empty")
        if kind in MEMBERS:
            self.text(item, "call_id", is_empty_fine=False)
            self.text(item, "name", is_empty_fine=False)
            self.must(item.get(MEMBERS[kind]) == "", "a call does not begin empty")
        if kind == "reasoning":
            self.must(item.get("summary") == [], "a thought does not begin empty")
        else:
            status = item.get("status")
            self.must(status == "in_progress", f"the status of an item that begins is {status!r}")
        self._items.append(Item(name, kind))

    def _item(self, value: dict[str, Any], kind: str | None = None) -> Item:
        """The item that an event is about; it must be the one that is open."""
        index = self.number(value, "output_index")
        self.must(index == len(self._items) - 1, f"about item {index}, which is not the one that is open")
        item = self._items[index]
        self.must(item.done is None, f"about item {index}, which is done")
        if kind is not None:
            self.must(item.type == kind, f"about a {kind}, but item {index} is a {item.type}")
        if "item" not in value:
            self.must(value.get("item_id") == item.id, f"item_id is {value.get('item_id')!r}, not {item.id!r}")
        return item

    def _part(self, name: str, step: str, value: dict[str, Any]) -> None:
        item = self._item(value, None if name == "content" else "reasoning")
        parts = item.pieces[name]
        index = self.number(value, f"{name}_index")
        part = self.object_of(value, "part")
        kind = self.text(part, "type", is_empty_fine=False)
        text = part.get("refusal") if kind == "refusal" else part.get("text")
        if step == "added":
            self.must(index == len(parts), f"part {index} is added, but {len(parts)} would be next")
            self.must(not item.open_pieces(), f"part {index} is added before {item.open_pieces()} are done")
            self.must(text == "", "a part does not begin empty")
            if kind == "output_text":
                self.must(part.get("annotations") == [], "a text has no list of annotations")
            parts.append(Piece(kind))
            return
        self.must(step == "done", f"parts have no step {step}")
        self.must(index < len(parts) and not parts[index].is_done, f"part {index} is done, but is not open")
        piece = parts[index]
        self.must(kind == piece.type, f"a {piece.type} ends as a {kind}")
        self.must(piece.told is not None, "a part is done before its text is")
        self.must(text == piece.text, f"the part holds {text!r}, but its deltas came to {piece.text!r}")
        piece.is_done = True

    def _piece(self, prefix: str, step: str, value: dict[str, Any]) -> None:
        name, number, kind, member = PIECES[prefix]
        item = self._item(value)
        index = self.number(value, number)
        pieces = item.pieces[name]
        self.must(index < len(pieces) and not pieces[index].is_done, f"{prefix}: part {index} is not open")
        piece = pieces[index]
        self.must(piece.type == kind, f"{prefix} in a part of type {piece.type}")
        self.must(piece.told is None, f"{prefix} goes on after it was done")
        if step == "delta":
            piece.texts.append(self.text(value, "delta", is_empty_fine=False))
        else:
            self.must(step == "done", f"texts have no step {step}")
            piece.told = self.text(value, member)
            self.must(piece.told == piece.text, f"done says {piece.told!r}, but the deltas came to {piece.text!r}")
        if prefix == "response.output_text":
            self.list_of(value, "logprobs")

    def _arguments(self, step: str, value: dict[str, Any], kind: str, member: str) -> None:
        item = self._item(value, kind)
        self.must(item.told_arguments is None, f"{member} goes on after it was done")
        if step == "delta":
            item.arguments.append(self.text(value, "delta", is_empty_fine=False))
            return
        self.must(step == "done", f"{member} has no step {step}")
        item.told_arguments = self.text(value, member)
        said = "".join(item.arguments)
        self.must(item.told_arguments == said, f"done says {item.told_arguments!r}, but the deltas came to {said!r}")

    def _end_item(self, value: dict[str, Any]) -> None:
        item = self._item(value)
        self.must(not item.open_pieces(), f"an item is done before its parts {item.open_pieces()} are")
        final = self.object_of(value, "item")
        self.must((final.get("id"), final.get("type")) == (item.id, item.type), "another item is done than was added")
        if item.type in MEMBERS:
            self.must(item.told_arguments is not None, "a call is done before its arguments are")
        if item.type != "reasoning":
            known = final.get("status")
            self.must(known in {"completed", "incomplete"}, f"the status of an item that is done is {known!r}")
            if item.type == "function_call" and known == "completed":
                self.must(self.is_json("".join(item.arguments)), "the arguments of a call are no JSON object")
        difference = item.difference(final)
        self.must(difference is None, str(difference))
        item.done = final

    def _last(self, kind: str, response: dict[str, Any]) -> None:
        self.must(response.get("id") == self._id, f"the id changes from {self._id!r} to {response.get('id')!r}")
        self.must(response.get("status") == LAST[kind], f"{kind} has the status {response.get('status')!r}")
        self.ended_by = kind
        self._members(response)
        if kind == "response.failed":
            error = self.object_of(response, "error")
            self.text(error, "code", is_empty_fine=False)
            self.text(error, "message", is_empty_fine=False)
            return
        self.must_strictly(response.get("error") is None, "an answer that did not fail has an error")
        if self.strict:
            left = [item.id for item in self._items if item.done is None]
            self.must(not left, f"{kind} comes before items {left} are done")
            self.must(response["output"] == [item.done for item in self._items], "the output is not what was streamed")
        if kind == "response.incomplete":
            self.text(self.object_of(response, "incomplete_details"), "reason", is_empty_fine=False)
        usage = response.get("usage")
        if usage is not None:
            for name in _USAGE:
                self.number(self.object_of(response, "usage"), name)

    def _error(self, value: dict[str, Any]) -> None:
        """Flat, as the API has it; some servers nest it."""
        fault = value if self.strict else value.get("error") or value
        self.text(fault, "message", is_empty_fine=False)
        self.must_strictly({"code", "param"} <= set(value), "the error lacks code or param")
        self.ended_by = "an error"

    def _end_without_last(self) -> None:
        self.broken("neither response.completed nor any other last event")
