"""What the tables behind the scores add up to: lesions found by size, false lesions, mean curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bratseval.detail_table import DetailTable
from bratseval.errors import Problem, UsageError
from bratseval.tables import DETAIL_COLUMNS, unescaped

EDGES_MM3 = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)
BINS = (
    f"<{EDGES_MM3[0]:g}",
    *(f"{low:g}–{high:g}" for low, high in pairwise(EDGES_MM3)),
    f"≥{EDGES_MM3[-1]:g}",
)
MOST_TEXT = 100_000_000  # characters of a table that are read; of a longer one every so many cases
MOST_CURVES = 24


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Counts of lesions. hit, total: (teams, regions, bins) of reference lesions; false: (teams, regions).

    cases: (teams,), of how many cases with a usable file they come; every: one of so many was read.
    """

    regions: Sequence[str]
    hit: np.ndarray
    total: np.ndarray
    false: np.ndarray
    cases: np.ndarray
    every: int
    bins: Sequence[str] = BINS


@dataclass(frozen=True, slots=True, eq=False)
class CurveMeans:
    """One curve of every team, mean over the cases: at (points,), means (teams, points)."""

    name: str
    curve: str
    axis: str
    at: Sequence[float]
    means: np.ndarray


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves that are drawn, and how many more there are."""

    shown: Sequence[CurveMeans]
    left_out: int = 0


def detections(
    table: DetailTable,
    teams: Sequence[str],
    regions: Sequence[str],
    cases: Sequence[str],
    usable: np.ndarray,
) -> Detections | None:
    """Found, missed and false lesions by region, of lesions.csv; None where no lesion is in it.

    usable : (teams, cases) bool, whether the team has a usable file of the case: one without any lesion has
    no row, and counts all the same. Raises UsageError where a volume is no number.
    """
    every = one_in(table)
    read = set(sorted(set(cases))[::every])
    place = {team: at for at, team in enumerate(teams)}
    known = {region: at for at, region in enumerate(regions)}
    columns = ("team", "case", *DETAIL_COLUMNS["lesions.csv"])
    region_at, kind_at, volume_at = (
        columns.index(name) for name in ("region", "kind", "reference_volume_mm3")
    )
    counts = np.zeros((3, len(teams), len(regions), len(BINS)), np.int64)  # hit, missed, false
    kinds = {"tp": 0, "fn": 1, "fp": 2}
    for team, text in _chosen(table, read):
        i = place.get(team)
        for row in csv.reader(io.StringIO(text)) if i is not None else ():
            kind, k = kinds.get(row[kind_at]), known.get(unescaped(row[region_at]))
            if kind is not None and k is not None:
                size = int(np.searchsorted(EDGES_MM3, _number(row[volume_at]), "right")) if kind < 2 else 0
                counts[kind, i, k, size] += 1
    used = np.flatnonzero(counts.sum(axis=(0, 1, 3))).tolist()
    if not used:
        return None
    hit, missed, false = counts[:, :, used]
    of_cases = usable[:, [case in read for case in cases]].sum(axis=1)
    return Detections([regions[k] for k in used], hit, hit + missed, false.sum(axis=2), of_cases, every)


def one_in(table: DetailTable) -> int:
    """Of a very long table one in so many cases is read."""
    return 1 + sum(len(text) for *_, text in table.cases) // MOST_TEXT


def _chosen(table: DetailTable, read: Collection[str]) -> Iterator[tuple[str, str]]:
    """Team and text of some cases, in one order, on which sums depend."""
    return ((team, text) for team, case, text in sorted(table.cases) if case in read)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        message = f"a table of lesions or curves has a cell that is no number ({error})"
        raise UsageError(Problem("error", "CSV005", message, "score it again")) from None


def curve_means(table: DetailTable, teams: Sequence[str]) -> Curves:
    """Means over cases of the curves in curves.csv: at every point over the cases that have a value there.

    The first MOST_CURVES are shown. Raises UsageError where a cell is no number.
    """
    read = set(sorted({case for _, case, _ in table.cases})[:: one_in(table)])
    place = {team: at for at, team in enumerate(teams)}
    sums: dict[tuple[str, str], dict[float, np.ndarray]] = {}
    for team, text in _chosen(table, read):
        i = place.get(team)
        for _, _, region, curve, x, value in csv.reader(io.StringIO(text)):
            if i is not None and value:
                points = sums.setdefault((unescaped(region), unescaped(curve)), {})
                points.setdefault(_number(x), np.zeros((2, len(teams))))[:, i] += _number(value), 1
    found = []
    for (region, curve), points in list(sums.items())[:MOST_CURVES]:
        at = sorted(points)
        total, count = np.stack([points[one] for one in at], axis=2)
        with np.errstate(invalid="ignore"):
            means = total / count
        axis = "threshold (mm)" if curve.startswith("hit_rate") else "threshold"
        found.append(CurveMeans(f"{curve} {region}".strip(), curve.replace("_", " "), axis, at, means))
    return Curves(found, len(sums) - len(found))
