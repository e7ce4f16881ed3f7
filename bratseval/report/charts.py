"""The shapes that the report draws, as numbers: where marks lie along an axis, in percent of its length.

Percent, so that a page of any width shows text at its own size: no picture is scaled. The template draws
them; nothing here is markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

LINEAR_UP_TO = 1.0  # of a scale that is logarithmic beyond it
MOST_TICKS = 8
SHORTEST = 1e-290  # axis with a round number in it that is no rounding error


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from low to high; bent: asinh, that is linear up to LINEAR_UP_TO and logarithmic beyond."""

    low: float
    high: float
    bent: bool = False

    def at(self, value: float) -> float:
        """Percent of the axis, 0 to 100; what lies beyond an end is drawn there."""
        # Halves, whose difference is finite for any two numbers.
        low, high, here = (self._along(one) / 2 for one in (self.low, self.high, value))
        share = (here - low) / (high - low) if high > low else 0.5
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def _along(self, value: float) -> float:
        return math.asinh(value / LINEAR_UP_TO) if self.bent else value

    def ticks(self) -> list[Tick]:
        """Round numbers on the axis; its ends where it is too short or too long to have any."""
        width = self.high - self.low
        if not SHORTEST < width < 1 / SHORTEST:
            return [Tick(self.at(end), short(end)) for end in dict.fromkeys((self.low, self.high))]
        if self.bent:
            steps = [
                0.0,
                *(sign * 10.0**power * digit for sign in (1, -1) for power in range(7) for digit in (1, 3)),
            ]
            numbers = sorted(step for step in steps if self.low <= step <= self.high)
        else:
            step = 10.0 ** math.floor(math.log10(width))
            step *= next(part for part in (0.2, 0.5, 1, 2) if width / (step * part) <= 6)
            first = math.ceil(self.low / step - 1e-9)
            count = math.floor(self.high / step - first + 1e-9) + 1
            numbers = [(first + index) * step for index in range(count)]
        texts = [short(number) for number in numbers]
        if len({*texts}) < len(texts):  # four digits do not tell them apart
            texts = [repr(round(number, 12)) for number in numbers]
        return [Tick(self.at(number), text) for number, text in zip(numbers, texts, strict=True)]


def scale_of(values: np.ndarray, best: float | None = None, worst: float | None = None) -> Scale:
    """An axis for all finite values: the range of the metric where it has one, bent where few are far out."""
    known = values[np.isfinite(values)]
    if not known.size:
        return Scale(0.0, 1.0)
    if best is not None and worst is not None and math.isfinite(best + worst):
        low, high = sorted((best, worst))
        return Scale(min(low, float(known.min())), max(high, float(known.max())))
    low, high = float(known.min()), float(known.max())
    spread = float(np.quantile(np.abs(known), 0.75))
    bent = max(abs(low), abs(high)) > 10 * max(spread, LINEAR_UP_TO)
    return Scale(min(low, 0.0) if low < high / 2 else low, high, bent)


@dataclass(frozen=True, slots=True)
class Tick:
    """A labeled place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A mark from start to end in a row; kind is its class in the style sheet."""

    row: int
    start: float
    end: float
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A round mark; radius in pixels."""

    row: int
    at: float
    kind: str
    title: str = ""
    radius: float = 4.0


@dataclass(frozen=True, slots=True)
class Chart:
    """Rows with names on the left, marks along one axis, and a note on the right.

    label names the axis; alt says in a sentence what the chart shows, for who does not see it. points:
    place of the column in the embedded numbers whose dots are drawn over the marks, -1 for none.
    """

    rows: Sequence[str]
    ticks: Sequence[Tick]
    bars: Sequence[Bar]
    dots: Sequence[Dot]
    label: str
    alt: str
    notes: Sequence[str] = ()
    points: int = -1


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points (percent from the left, percent from the top); None breaks it."""

    name: str
    points: Sequence[tuple[float, float, str] | None]  # x, y, what the point says


@dataclass(frozen=True, slots=True)
class LineChart:
    """A few lines over common axes."""

    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_label: str
    y_label: str
    alt: str


@dataclass(frozen=True, slots=True)
class Square:
    """One cell of a matrix: shade from 0 (as the page) to 1 (full color)."""

    text: str
    shade: float = 0.0
    title: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Named rows and columns of squares."""

    corner: str
    rows: Sequence[str]
    columns: Sequence[str]
    squares: Sequence[Sequence[Square]]


def short(value: float | None) -> str:
    """Four significant digits; a dash for no value."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share in whole percent; what is neither none nor all never looks so."""
    if 0 < share <= 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def rank_scale(teams: int) -> tuple[Scale, list[Tick]]:
    """An axis of ranks 1 to the number of teams, with room for a mark at each end."""
    scale = Scale(0.5, max(teams, 2) + 0.5)
    step = math.ceil(teams / MOST_TICKS)
    shown = sorted({1, *range(step, teams + 1, step)})
    return scale, [Tick(scale.at(place), str(place)) for place in shown]


def box(row: int, values: np.ndarray, scale: Scale) -> tuple[list[Bar], list[Dot]]:
    """Tukey's box plot: quartiles, median, whiskers to the last value within 1.5 box lengths; the mean.

    An infinite value counts, and lies at the end of the axis.
    """
    known = np.sort(values[~np.isnan(values)])
    if not known.size:
        return [], []
    low, middle, high = (quantile(known, share) for share in (0.25, 0.5, 0.75))
    reach = 1.5 * (high - low) if high > low else 0.0
    ends = [float(known[known >= low - reach].min()), float(known[known <= high + reach].max())]
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(known.mean())
    says = f"median {short(middle)}, quartiles {short(low)} to {short(high)}, mean {short(mean)}"
    bars = [
        Bar(
            row,
            scale.at(ends[0]),
            scale.at(ends[1]),
            "whisker",
            f"whiskers {short(ends[0])} to {short(ends[1])}",
        ),
        Bar(row, scale.at(low), scale.at(high), "box", says),
        Bar(row, scale.at(middle), scale.at(middle), "middle", f"median {short(middle)}"),
    ]
    dots = [Dot(row, scale.at(mean), "mean", f"mean {short(mean)}", 3.0)]
    return bars, [] if math.isnan(mean) else dots


def quantile(known: np.ndarray, share: float) -> float:
    """A quantile of sorted values, as numpy's but with infinite ones among them."""
    place = share * (len(known) - 1)
    below, above = float(known[math.floor(place)]), float(known[math.ceil(place)])
    share = place - math.floor(place)
    return below if below == above or math.isinf(below) else below * (1 - share) + above * share


def listed(names: Iterable[str], most: int = 10) -> str:
    """Some names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
