"""What a sweep is: points, what is measured at each, how that is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.scale.bench import Bench

Row = dict[str, float | str]


@dataclass(frozen=True)
class Sweep:
    """`measure` yields a row at a time, so that those that were measured are kept when a later one fails.

    columns: {name of a figure: (heading, decimals)}; plots: {title: (figure on x, figures on y)}, `by` the figure that
    tells one line from another.
    """

    name: str
    title: str
    measure: Callable[[Bench], Iterator[Row]]
    columns: dict[str, tuple[str, int]]
    plots: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    by: str = ""
