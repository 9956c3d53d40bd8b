"""`tollhouse scan`: the detection engine over a file, as one text or as one record per line.

Plain text goes through a stream, so that its size costs no memory. Positions count characters.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import IO, BinaryIO, TextIO

    from tollhouse import Finding, Scanner

_CHUNK = 64 * 1024


class BadInput(Exception):
    """What came cannot be scanned; the message says where and why, without quoting it."""


def parse_policy(text: str) -> dict[str, Any]:
    """A policy from `pii=redact,EMAIL_ADDRESS=allow,github-token=flag`; types are what is written in capitals."""
    policy: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, action = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not action:
            msg = f"{part!r} is not name=action"
            raise ValueError(msg)
        if name in {"pii", "secrets", "injection"}:
            policy[name] = action
        else:
            policy.setdefault("types" if name.isupper() else "rules", {})[name] = action
    return policy


def scan_text(scanner: Scanner, source: IO[bytes], out: TextIO, report: TextIO) -> bool:
    """Write what passes to `out` and what was found to `report`. Returns whether the text passes."""
    stream = scanner.stream()
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := source.read(_CHUNK):
            out.write(stream.feed(decoder.decode(chunk)))
        out.write(stream.feed(decoder.decode(b"", final=True)))
    except UnicodeDecodeError as error:
        msg = f"the text is not UTF-8: {error.reason}"
        raise BadInput(msg) from None
    out.write(stream.finish())
    out.flush()
    findings = stream.findings
    report.writelines(
        f"{found.start}-{found.end} {found.type} {found.rule} {found.score:g} {found.action}\n" for found in findings
    )
    report.write(f"{stream.decision}{_counted(findings)}\n")
    return stream.decision != "BLOCKED"


def scan_lines(scanner: Scanner, source: Iterable[bytes], out: BinaryIO) -> None:
    """A line of JSON for each with `id` and `text`; empty lines are left out. Raises BadInput."""
    scan = scanner.scan
    for number, line in enumerate(source, 1):
        if line.isspace():
            continue
        record = _parsed(line, number)
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            msg = f"line {number}: needs an object with a string `text`"
            raise BadInput(msg)
        result = scan(text)
        answer = {
            "id": record.get("id"),
            "decision": result.decision,
            "findings": [
                {"type": found.type, "rule": found.rule, "start": found.start, "end": found.end, "score": found.score}
                for found in result.findings
            ],
            "redacted": result.redacted,
        }
        out.write(_line(answer))
    out.flush()


def _counted(findings: Sequence[Finding]) -> str:
    counts = Counter(found.type for found in findings).most_common()
    return ": " + ", ".join(f"{count} {kind}" for kind, count in counts) if counts else ""


def _parsed(line: bytes, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line)  # takes lone surrogates as well
    except UnicodeDecodeError as error:
        msg = f"line {number}: is not UTF-8: {error.reason}"
    except json.JSONDecodeError as error:
        msg = f"line {number}: is not JSON: {error.msg} (column {error.colno})"
    except RecursionError:
        msg = f"line {number}: is nested too deep"
    raise BadInput(msg)


def _line(answer: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # lone surrogates, or a number that only Python can hold
        return json.dumps(answer).encode() + b"\n"
