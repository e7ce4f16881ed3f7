"""What the tables behind the scores add up to: lesions found by size, false lesions, mean curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bratseval.detail_table import DetailTable
from bratseval.errors import printable
from bratseval.tables import DETAIL_COLUMNS

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

    cases: of which they come; every: one of so many cases was read.
    """

    regions: Sequence[str]
    hit: np.ndarray
    total: np.ndarray
    false: np.ndarray
    cases: int
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


def detections(table: DetailTable, teams: Sequence[str], regions: Sequence[str]) -> Detections | None:
    """Found, missed and false lesions by region, of lesions.csv; None where no lesion is in it."""
    cases, every = _chosen(table)
    place = {team: at for at, team in enumerate(teams)}
    known = {region: at for at, region in enumerate(regions)}
    columns = ("team", "case", *DETAIL_COLUMNS["lesions.csv"])
    region_at, kind_at, volume_at = (
        columns.index(name) for name in ("region", "kind", "reference_volume_mm3")
    )
    counts = np.zeros((3, len(teams), len(regions), len(BINS)), np.int64)  # hit, missed, false
    kinds = {"tp": 0, "fn": 1, "fp": 2}
    for team, text in cases:
        i = place.get(team)
        for row in csv.reader(io.StringIO(text)):
            kind, k = kinds.get(row[kind_at]), known.get(row[region_at])
            if i is not None and kind is not None and k is not None:
                size = int(np.searchsorted(EDGES_MM3, float(row[volume_at]), "right")) if kind < 2 else 0
                counts[kind, i, k, size] += 1
    used = np.flatnonzero(counts.sum(axis=(0, 1, 3))).tolist()
    if not used:
        return None
    hit, missed, false = counts[:, :, used]
    read = len({case for _, case, _ in table.cases})
    return Detections(
        [regions[k] for k in used], hit, hit + missed, false.sum(axis=2), max(read // every, 1), every
    )


def _chosen(table: DetailTable) -> tuple[Iterator[tuple[str, str]], int]:
    """Team and text of every case, or, of a very long table, of one in so many cases."""
    length = sum(len(text) for *_, text in table.cases)
    every = 1 + length // MOST_TEXT
    number = {case: at for at, case in enumerate(sorted({case for _, case, _ in table.cases}))}
    return ((printable(team), text) for team, case, text in table.cases if number[case] % every == 0), every


def curve_means(table: DetailTable, teams: Sequence[str]) -> list[CurveMeans]:
    """Means over cases of the curves in curves.csv, for those points that all curves of a kind share."""
    cases, _ = _chosen(table)
    place = {team: at for at, team in enumerate(teams)}
    sums: dict[tuple[str, str], dict[float, np.ndarray]] = {}
    for team, text in cases:
        i = place.get(team)
        for _, _, region, curve, x, value in csv.reader(io.StringIO(text)):
            if i is not None and value:
                point = sums.setdefault((region, curve), {}).setdefault(float(x), np.zeros((2, len(teams))))
                point[:, i] += float(value), 1
    found = []
    for (region, curve), points in list(sums.items())[:MOST_CURVES]:
        at = sorted(points)
        total, count = np.stack([points[one] for one in at], axis=2)
        with np.errstate(invalid="ignore"):
            means = total / count
        axis = "threshold (mm)" if curve.startswith("hit_rate") else "threshold"
        found.append(CurveMeans(f"{curve} {region}".strip(), curve.replace("_", " "), axis, at, means))
    return found
