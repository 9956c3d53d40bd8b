"""Legacy completions, and what chat has in common with them: choices, their ends, usage, errors, [DONE].

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.grammar.broken import ERROR_KEYS, Grammar

if TYPE_CHECKING:
    from tests.support.grammar.broken import Event

DONE = b"[DONE]"
REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}


class CompletionsGrammar(Grammar):
    """Chunks until every choice has its reason, at most one chunk of usage, [DONE]; or an error instead of all that."""

    object_name = "text_completion"

    def __init__(self, *, strict: bool = True, include_usage: bool | None = None) -> None:
        super().__init__(strict=strict, include_usage=include_usage)
        self._id = ""
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._has_usage = False

    def _take(self, event: Event) -> None:
        if event.name is not None:
            self.must_strictly(event.name == "error", "has an event: line, which this dialect has not")
        if event.data.strip() == DONE:
            self._done()
            return
        chunk = self.parsed(event)
        if chunk.get("error"):
            self._error(self.object_of(chunk, "error"))
            return
        choices = self.list_of(chunk, "choices")
        self.must(not self._has_usage, "comes after the usage, which is last before [DONE]")
        if self.strict:
            self._frame(chunk)
        self._usage(chunk, is_alone=not choices)
        for choice in choices:
            self._one(choice)

    def _one(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            self.broken("a choice is no object")
        index = self.number(choice, "index") if self.strict or "index" in choice else 0
        self.must(index not in self._finished, f"choice {index} goes on after its finish_reason")
        is_first = index not in self._begun
        self._begun.add(index)
        self._content(index, choice, is_first=is_first)
        reason = choice.get("finish_reason")
        if reason or (self.strict and reason is not None):
            self.must(reason in REASONS or not self.strict, f"finish_reason is {reason!r}")
            self._finished.add(index)
            self._finish(index, str(reason))

    def _content(self, index: int, choice: dict[str, Any], *, is_first: bool) -> None:
        del index, is_first
        self.text(choice, "text")

    def _finish(self, index: int, reason: str) -> None:
        """A choice is complete."""

    def _frame(self, chunk: dict[str, Any]) -> None:
        self.must(chunk.get("object") == self.object_name, f"object is {chunk.get('object')!r}")
        name = self.text(chunk, "id", is_empty_fine=False)
        self.must(self._id in {"", name}, f"the id changes from {self._id!r} to {name!r}")
        self._id = name
        self.number(chunk, "created")
        self.text(chunk, "model", is_empty_fine=False)

    def _usage(self, chunk: dict[str, Any], *, is_alone: bool) -> None:
        usage = chunk.get("usage")
        if not is_alone:
            self.must_strictly(usage is None, "usage stands in a chunk that has choices")
            return
        if not isinstance(usage, dict):
            # Azure begins with what its filter says of the prompt.
            self.must(not self.strict, "has neither choices nor usage")
            return
        self.must_strictly(self.include_usage is not False, "usage comes unasked for")
        self.must(self._begun == self._finished, "usage comes before all choices are complete")
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.number(usage, name)
        self.must_strictly(
            usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], "usage does not add up"
        )
        self._has_usage = True

    def _error(self, error: dict[str, Any]) -> None:
        self.must(set(error) >= ERROR_KEYS or not self.strict, f"the error lacks {ERROR_KEYS - set(error)}")
        self.text(error, "message", is_empty_fine=False)
        self.ended_by = "an error"

    def _done(self) -> None:
        # Some servers end with it alone.
        if self.strict:
            self._complete("[DONE]")
        if self.include_usage:
            self.must_strictly(self._has_usage, "[DONE] comes without the usage that was asked for")
        self.ended_by = "[DONE]"

    def _complete(self, what: str) -> None:
        self.must(self._begun, f"{what} comes without any choice")
        left = sorted(self._begun - self._finished)
        self.must(not left, f"{what} comes before choices {left} have a finish_reason")

    def _end_without_last(self) -> None:
        self.must_strictly(fact=False, why="neither [DONE] nor an error")
        self._complete("the end")
