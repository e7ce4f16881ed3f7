"""What of a case a picture shows: the worst region, its worst lesion, the planes through it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import cc3d
import numpy as np

from bratseval.challenge import Challenge
from bratseval.metrics.registry import Facts
from bratseval.model import Score

Kind = Literal["missed", "spurious", "found"]


class LesionFacts(NamedTuple):
    """A lesion as far as the choice goes; Dice of a found one with what it was matched to."""

    kind: Kind
    number: int
    voxels: int
    dice: float = 0.0


def shown_metrics(challenge: Challenge, scores: Iterable[Score]) -> list[str]:
    """The ranked metrics that the case has, in order; all of them where none is ranked."""
    there = {score.metric for score in scores}
    ranked = [name for name in challenge.ranking.metrics if name in there]
    return ranked or [name for name in challenge.metrics if name in there]


def by_badness(challenge: Challenge, scores: Sequence[Score]) -> list[str]:
    """The regions of a case, the worst first.

    A metric with two bounds says how far its value lies from the best one as a share of the way to the
    worst; another one says only how the regions are ordered. A region has the mean over its ranked metrics;
    those without a value come last, equal ones in the order of the challenge.
    """
    regions = list(dict.fromkeys(score.region for score in scores))
    shares: dict[str, list[float]] = {region: [] for region in regions}
    for metric in shown_metrics(challenge, scores):
        facts = challenge.facts(metric)
        own = [(s.region, s.value) for s in scores if s.metric == metric and s.value is not None]
        for (region, _), share in zip(own, _badness([value for _, value in own], facts), strict=True):
            shares[region].append(share)
    order = {name: index for index, name in enumerate(challenge.regions)}
    mean = {region: sum(found) / len(found) if found else -1.0 for region, found in shares.items()}
    return sorted(regions, key=lambda region: (-mean[region], order.get(region, len(order))))


def _badness(values: Sequence[float], facts: Facts) -> list[float]:
    best, worst = facts.best, facts.worst
    if (
        best is not None
        and worst is not None
        and math.isfinite(worst)
        and math.isfinite(best)
        and best != worst
    ):
        return [min(max((value - best) / (worst - best), 0.0), 1.0) for value in values]
    if len(values) < 2:
        return [0.5] * len(values)
    order = sorted(values, reverse=not facts.smaller)
    return [order.index(value) / (len(values) - 1) for value in values]


def worst_lesion(lesions: Iterable[LesionFacts]) -> LesionFacts | None:
    """The largest missed or spurious lesion, else the found one of the smallest Dice; None of none."""
    listed = list(lesions)
    failed = [lesion for lesion in listed if lesion.kind != "found"]
    if failed:
        return max(failed, key=lambda lesion: (lesion.voxels, lesion.kind == "missed", -lesion.number))
    return min(listed, key=lambda lesion: (lesion.dice, -lesion.voxels, lesion.number), default=None)


def largest_component(*masks: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Which of some masks (x, y, z) has the largest connected part, and that part; None of empty ones."""
    best: tuple[int, int, np.ndarray] | None = None
    for which, mask in enumerate(masks):
        if not mask.any():
            continue
        labels = cc3d.connected_components(np.ascontiguousarray(mask, np.uint8), connectivity=26)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        number = int(sizes.argmax())
        if best is None or sizes[number] > best[0]:
            best = int(sizes[number]), which, labels == number
    return None if best is None else best[1:]


def component_with(mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The connected part of a mask (x, y, z) that holds another part of it."""
    labels = cc3d.connected_components(np.ascontiguousarray(mask, np.uint8), connectivity=26)
    return np.asarray(labels == labels[tuple(np.argwhere(part)[0])])


def heaviest_planes(weights: np.ndarray, through: np.ndarray | None = None) -> tuple[int, int, int]:
    """For each axis the index of the plane with the largest sum, of a mask that with most voxels.

    Of several equal ones it is the middle. through : a mask that the planes must meet, where any does.
    """
    found = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        sums = weights.sum(axis=others)
        if through is not None and (met := through.any(axis=others)).any():
            sums = np.where(met, sums, -1)
        best = np.flatnonzero(sums == sums.max())
        found.append(int(best[len(best) // 2]))
    return found[0], found[1], found[2]


def bounds(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Start and stop of a mask along each axis; all of it where it is empty."""
    found = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        found.append((int(used[0]), int(used[-1]) + 1) if used.size else (0, mask.shape[axis]))
    return tuple(found)
