"""Chat completions in chunks: https://platform.openai.com/docs/api-reference/chat-streaming"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.support.grammar.completions import CompletionsGrammar

_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


class ChatGrammar(CompletionsGrammar):
    """The role once per choice and first; calls numbered from 0 on, each begun with its id and name."""

    object_name = "chat.completion.chunk"

    def __init__(self, *, strict: bool = True, include_usage: bool | None = None) -> None:
        super().__init__(strict=strict, include_usage=include_usage)
        self._has_role: set[int] = set()
        self._calls: dict[int, dict[int, list[str]]] = defaultdict(dict)
        self._ids: set[str] = set()

    def _content(self, index: int, choice: dict[str, Any], *, is_first: bool) -> None:
        delta = self.object_of(choice, "delta")
        if delta.get("role") is not None:
            self.must(delta["role"] == "assistant", f"the role is {delta['role']!r}")
            self.must_strictly(is_first, "the role is not in the first delta")
            self.must(index not in self._has_role, "the role is told twice")
            self._has_role.add(index)
        self.must_strictly(index in self._has_role, f"choice {index} begins without its role")
        for name in _TEXTS:
            if delta.get(name) is not None:
                self.text(delta, name)
        if delta.get("tool_calls") is not None:
            for call in self.list_of(delta, "tool_calls"):
                self._call(index, call)

    def _call(self, choice: int, call: Any) -> None:
        if not isinstance(call, dict):
            self.broken("a tool call is no object")
        calls = self._calls[choice]
        number = self.number(call, "index")
        function = call.get("function") or {}
        if number not in calls:
            self.must(number == len(calls), f"call {number} begins, but {len(calls)} would be next")
            name = self.text(call, "id", is_empty_fine=False)
            self.must(name not in self._ids, f"two calls have the id {name!r}")
            self._ids.add(name)
            self.must_strictly(call.get("type") == "function", "a call begins without its type")
            self.text(function, "name", is_empty_fine=False)
            calls[number] = []
        else:
            self.must_strictly(not call.get("id"), f"call {number} is given its id twice")
            self.must_strictly(not function.get("name"), f"call {number} is given its name twice")
            self.must_strictly(number == len(calls) - 1, f"call {number} goes on after the next one has begun")
        if function.get("arguments") is not None:
            calls[number].append(self.text(function, "arguments"))

    def _finish(self, index: int, reason: str) -> None:
        calls = self._calls[index]
        if reason == "tool_calls":
            self.must(calls, "finish_reason is tool_calls, but nothing was called")
        if reason == "length":
            return
        for number, pieces in calls.items():
            self.must(self.is_json("".join(pieces)), f"the arguments of call {number} are no JSON object")
