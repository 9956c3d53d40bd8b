"""A scanner that fails where it is told to, and otherwise is the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollhouse import Scanner

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "boom"


class Panic(BaseException):
    """As PyO3 tells of a panic that nobody caught in Rust."""


class Faulty:
    """`faults`: methods, of the scanner or of what it makes, that raise when they meet the mark (or take no text)."""

    def __init__(self, real: Any, faults: Mapping[str, BaseException]) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name in self._faults:
            return self._failing(real, self._faults[name])
        if name == "event_redactor":
            return lambda *args: Faulty(real(*args), self._faults)
        return real

    @staticmethod
    def _failing(real: Any, error: BaseException) -> Any:
        def call(*args: Any) -> Any:
            texts = [getattr(arg, "body", arg) for arg in args]
            if not any(isinstance(text, bytes) for text in texts) or MARK.encode() in texts[0]:
                raise error
            return real(*args)

        return call


def scanner_with(faults: Mapping[str, BaseException]) -> Any:
    """In place of the class."""
    return lambda *args: Faulty(Scanner(*args), faults)
