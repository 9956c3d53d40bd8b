"""Anthropic's messages in events: https://docs.anthropic.com/en/docs/build-with-claude/streaming"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.grammar.broken import Grammar

if TYPE_CHECKING:
    from tests.support.grammar.broken import Event

# Which deltas a block of a type may have.
DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
    "mcp_tool_use": {"input_json_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "redacted_thinking": set[str](),
}
# The member of a delta that is a string.
_STRINGS = {
    "text_delta": "text",
    "input_json_delta": "partial_json",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}
STOP_REASONS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
}


class MessagesGrammar(Grammar):
    """message_start, blocks one after the other, message_delta, message_stop; or an error instead of what is left."""

    def __init__(self, *, strict: bool = True, include_usage: bool | None = None) -> None:
        super().__init__(strict=strict, include_usage=include_usage)
        self._has_start = False
        self._blocks: list[str] = []
        self._open: int | None = None
        self._json: list[str] = []
        self._is_signed = False
        self._cut_calls: list[int] = []
        self._stop_reason: str | None = None
        self._ids: set[str] = set()

    def _take(self, event: Event) -> None:
        kind, value = self.typed(event)
        if kind == "ping":
            return
        if kind == "error":
            error = self.object_of(value, "error")
            self.text(error, "type", is_empty_fine=False)
            self.text(error, "message", is_empty_fine=False)
            self.ended_by = "an error"
            return
        if kind == "message_start":
            self._start(self.object_of(value, "message"))
            return
        self.must(self._has_start, f"{kind} comes before message_start")
        steps = {
            "content_block_start": self._begin_block,
            "content_block_delta": self._delta,
            "content_block_stop": self._end_block,
            "message_delta": self._message_delta,
            "message_stop": self._stop,
        }
        step = steps.get(kind)
        if step is None:
            self.broken(f"{kind} is no event of this dialect")
        step(value)

    def _start(self, message: dict[str, Any]) -> None:
        self.must(not self._has_start, "message_start comes twice")
        self._has_start = True
        self.text(message, "id", is_empty_fine=False)
        self.text(message, "model", is_empty_fine=not self.strict)
        wanted: dict[str, Any] = {"type": "message", "role": "assistant", "content": [], "stop_reason": None}
        for name, known in wanted.items():
            self.must(message.get(name) == known, f"message.{name} is {message.get(name)!r}, not {known!r}")
        usage = self.object_of(message, "usage")
        self.number(usage, "input_tokens")
        self.number(usage, "output_tokens")

    def _begin_block(self, value: dict[str, Any]) -> None:
        index = self.number(value, "index")
        self.must(self._open is None, f"block {index} begins before block {self._open} has stopped")
        self.must(index == len(self._blocks), f"block {index} begins, but {len(self._blocks)} would be next")
        self.must(self._stop_reason is None, "a block begins after message_delta")
        block = self.object_of(value, "content_block")
        kind = self.text(block, "type", is_empty_fine=False)
        self.must_strictly(kind in DELTAS, f"the gateway writes no block of type {kind}")
        if kind == "text":
            self.must(block.get("text") == "", "a text does not begin empty")
        if kind == "thinking":
            self.must(block.get("thinking") == "", "a thought does not begin empty")
        if kind == "redacted_thinking":
            self.text(block, "data", is_empty_fine=False)
        if kind == "tool_use":
            name = self.text(block, "id", is_empty_fine=False)
            self.must(name not in self._ids, f"two calls have the id {name!r}")
            self._ids.add(name)
            self.text(block, "name", is_empty_fine=False)
            self.must(block.get("input") == {}, "a call does not begin with an empty input")
        self._blocks.append(kind)
        self._open = index
        self._json = []
        self._is_signed = False

    def _delta(self, value: dict[str, Any]) -> None:
        index = self.number(value, "index")
        self.must(self._open == index, f"a delta for block {index}, but block {self._open} is open")
        delta = self.object_of(value, "delta")
        kind = self.text(delta, "type", is_empty_fine=False)
        block = self._blocks[index]
        allowed = DELTAS.get(block)
        self.must(allowed is None or kind in allowed, f"a {kind} in a block of type {block}")
        piece = self.text(delta, _STRINGS[kind]) if kind in _STRINGS else ""
        if kind == "input_json_delta":
            self._json.append(piece)
        if kind == "thinking_delta":
            self.must(not self._is_signed, "a thought goes on after its signature")
        self._is_signed |= kind == "signature_delta"

    def _end_block(self, value: dict[str, Any]) -> None:
        index = self.number(value, "index")
        self.must(self._open == index, f"block {index} stops, but block {self._open} is open")
        self._open = None
        if self._json and not self.is_json("".join(self._json)):
            self._cut_calls.append(index)

    def _message_delta(self, value: dict[str, Any]) -> None:
        self.must(self._open is None, f"message_delta comes before block {self._open} has stopped")
        self.must(self._stop_reason is None, "message_delta comes twice")
        delta = self.object_of(value, "delta")
        reason = delta.get("stop_reason")
        self.must(reason in STOP_REASONS, f"stop_reason is {reason!r}")
        self.must("stop_sequence" in delta or not self.strict, "stop_sequence is missing")
        self.number(self.object_of(value, "usage"), "output_tokens")
        self._stop_reason = str(reason)
        if reason == "tool_use":
            self.must("tool_use" in self._blocks, "stop_reason is tool_use, but nothing was called")
            self.must(not self._cut_calls, f"the arguments in blocks {self._cut_calls} are no JSON objects")

    def _stop(self, value: dict[str, Any]) -> None:
        del value
        self.must(self._stop_reason is not None, "message_stop comes before a stop_reason")
        self.ended_by = "message_stop"

    def _end_without_last(self) -> None:
        self.broken("neither message_stop nor an error")
