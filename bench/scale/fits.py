"""Straight lines through measured points, and how sure their slopes are."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Z_95 = 1.96
# Blocks of neighbours that are taken together: what follows upon each other within one is no news of its own.
BLOCKS = 12


class Line(NamedTuple):
    """y = base + slope * x; `margin`: the slope is within that of `slope`, with 95 % unless said otherwise."""

    base: float
    slope: float
    margin: float

    @property
    def is_flat(self) -> bool:
        """Whether a slope of 0 is within the margin."""
        return abs(self.slope) <= self.margin


def line(points: Sequence[tuple[float, float]], *, z: float = Z_95) -> Line:
    """Least squares. With two points there is a slope and no margin; with fewer there is nothing to fit: ValueError.

    z: of the normal distribution, for the margin.
    """
    if len(points) < 2:
        raise ValueError("a line needs two points")
    count = len(points)
    mean_x, mean_y = (sum(values) / count for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        raise ValueError("all points have the same x")
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    base = mean_y - slope * mean_x
    if count == 2:
        return Line(base, slope, inf)
    left = sum((y - base - slope * x) ** 2 for x, y in points)
    return Line(base, slope, _quantile(count - 2, z) * sqrt(left / (count - 2) / spread))


def trend(points: Sequence[tuple[float, float]], *, z: float = Z_95) -> Line:
    """The line through the means of blocks: samples of one process resemble their neighbours, and would feign to be
    more certain than they are.
    """
    size = max(1, len(points) // BLOCKS)
    blocks = [points[at : at + size] for at in range(0, len(points) - size + 1, size)]
    return line([tuple(sum(values) / len(block) for values in zip(*block, strict=True)) for block in blocks], z=z)


def _quantile(freedom: int, z: float) -> float:
    """Student's t where the normal distribution has z, by Cornish and Fisher (Abramowitz and Stegun 26.7.5)."""
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(freedom) ** power for power, term in enumerate(terms))


def plane(points: Sequence[tuple[Sequence[float], float]]) -> tuple[float, ...]:
    """Coefficients c of y = sum of c[i] * x[i], least squares of how far off each y is in parts of it.

    Raises ValueError where the points do not determine them.
    """
    size = len(points[0][0])
    rows = [[0.0] * (size + 1) for _ in range(size)]
    for xs, y in points:
        for i in range(size):
            for j in range(size):
                rows[i][j] += xs[i] * xs[j] / y**2
            rows[i][size] += xs[i] / y
    for i in range(size):
        pivot = max(range(i, size), key=lambda at: abs(rows[at][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        if abs(rows[i][i]) < 1e-12:
            raise ValueError("the points do not determine this")
        for j in range(size):
            if j != i:
                factor = rows[j][i] / rows[i][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    return tuple(rows[i][size] / rows[i][i] for i in range(size))
