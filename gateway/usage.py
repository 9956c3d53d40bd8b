"""Usage as it is shown: by `tollhouse usage` and by the admin endpoint."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tollhouse._native import usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollhouse.middlewares.stores.ledger import UsageRow


def moment(text: str | None) -> int | None:
    """A day or a time (ISO 8601, UTC unless it says otherwise) in ms since the epoch. Raises ValueError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no day or time like 2026-11-21 or 2026-11-21T10:00:00Z") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)


def shown(row: UsageRow) -> dict[str, Any]:
    """The group, then requests, dollars (a string, exact) and tokens by kind."""
    return {**row.group, "requests": row.requests, "cost_usd": usd(row.cost), "unpriced": row.unpriced, **row.tokens}


def table(rows: Sequence[UsageRow]) -> str:
    """For people: columns by width, numbers to the right, a line of totals."""
    if not rows:
        return "no usage"
    shown_rows = [shown(row) for row in rows]
    groups = list(rows[0].group)
    names = [name for name in shown_rows[0] if name in groups or any(row[name] for row in shown_rows)]
    total = {name: sum(row[name] for row in shown_rows) for name in names if isinstance(shown_rows[0][name], int)}
    if "cost_usd" in names:
        total["cost_usd"] = usd(sum(row.cost for row in rows))
    if groups:
        total[groups[0]] = "total"
        shown_rows.append(total)
    cells = [names, *([str("-" if row.get(name) is None else row[name]) for name in names] for row in shown_rows)]
    if groups:
        cells[-1] = ["" if name in groups[1:] else cell for name, cell in zip(names, cells[-1], strict=True)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = (
        "  ".join(
            cell.ljust(width) if name in groups else cell.rjust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        ).rstrip()
        for line in cells
    )
    return "\n".join(lines)
