"""Ratings: how predicted numbers agree with an expert's. Metrics: rating_mae, pearson, spearman, kendall.

A rating that is missing may have been any of the scale. The mean error takes the one that is farthest off.
A correlation is a numerator over the root of two variances: the numerator takes the least value that ratings
in the missing places could give it, and the variance of the predictions the largest that they could (the
least, where the numerator is below 0). So no rating in a missing place could have given less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Ratings:
    """The expert's and the predicted rating (n,), (n,) of every subject, of one unit; nan: none predicted.

    low, high: the ends of the scale, which hold all of them.
    """

    reference: np.ndarray
    prediction: np.ndarray
    low: float
    high: float


@metric("rating_mae", reads="ratings", best=0.0, worst=float("inf"))
def rating_mae(ratings: Ratings) -> float:
    """Mean absolute error, in the unit of the ratings; a missing one is off as far as the scale allows.

    nan without a subject.
    """
    reference = ratings.reference
    farthest = np.maximum(reference - ratings.low, ratings.high - reference)
    apart = np.abs(reference - ratings.prediction)
    apart = np.where(np.isnan(apart), farthest, apart)
    return float(apart.mean()) if apart.size else float("nan")


@metric("pearson", reads="ratings", best=1.0, worst=-1.0)
def pearson(ratings: Ratings) -> float:
    """Pearson's correlation, -1 to 1; nan where one side is constant or has less than two ratings.

    For missing ratings the least possible covariance counts, over the largest possible variance.
    """
    there, given = _given(ratings)
    if _constant(ratings.reference) or _constant(given):
        return float("nan")
    a, b = ratings.reference - ratings.reference.mean(), given - given.mean()
    low, high = ratings.low - given.mean(), ratings.high - given.mean()
    covariance = a[there] @ b + np.minimum(a[~there] * low, a[~there] * high).sum()
    # The variance is convex in every rating, so that it is largest with each at one of the two ends.
    lost = len(a) - len(b)
    at_high = np.arange(lost + 1)
    at_low = lost - at_high
    shift = at_high * high + at_low * low
    added = at_high * high**2 + at_low * low**2 - shift**2 / len(a)
    return _least(covariance, a @ a, b @ b, b @ b + added.max())


@metric("spearman", reads="ratings", best=1.0, worst=-1.0)
def spearman(ratings: Ratings) -> float:
    """Spearman's rank correlation, -1 to 1, equal ratings sharing the mean rank; nan as for pearson.

    A missing rating lies on the wrong side of every other one, and is equal to none.
    """
    from scipy.stats import rankdata

    there, given = _given(ratings)
    if _constant(ratings.reference) or _constant(given):
        return float("nan")
    ranks = rankdata(ratings.reference)
    a, b = ranks - ranks.mean(), rankdata(given) - (len(given) + 1) / 2
    # A pair adds half the difference of its ranks in the reference, with the sign of its order.
    lost_pairs = (_differences(ranks) - _differences(ranks[there])) / 2
    n, m = len(a), len(b)
    untied = ((n**3 - n) - (m**3 - m)) / 12
    return _least(a[there] @ b - lost_pairs, a @ a, b @ b, b @ b + untied)


@metric("kendall", reads="ratings", best=1.0, worst=-1.0)
def kendall(ratings: Ratings) -> float:
    """Kendall's tau-b, -1 to 1, corrected for ties; nan as for pearson.

    A missing rating lies on the wrong side of every other one, and is equal to none.
    """
    from scipy.stats import kendalltau

    there, given = _given(ratings)
    if _constant(ratings.reference) or _constant(given):
        return float("nan")
    known = ratings.reference[there]
    of_reference, of_known, of_given = (_untied(side) for side in (ratings.reference, known, given))
    order = 0.0  # pairs in the right order, less those in the wrong one
    if of_known:
        order = round(kendalltau(known, given).statistic * math.sqrt(of_known * of_given))
    lost_pairs = _pairs(len(there)) - _pairs(len(given))
    return _least(order - (of_reference - of_known), of_reference, of_given, of_given + lost_pairs)


def _given(ratings: Ratings) -> tuple[np.ndarray, np.ndarray]:
    """Where a rating was predicted, (n,) bool, and those that were."""
    there = ~np.isnan(ratings.prediction)
    return there, ratings.prediction[there]


def _constant(values: np.ndarray) -> bool:
    return values.size < 2 or bool((values == values[0]).all())


def _least(numerator: float, of_reference: float, smallest: float, largest: float) -> float:
    """The least correlation of a numerator, the reference's variance and the bounds of the other one."""
    spread = math.sqrt(of_reference * (largest if numerator > 0 else smallest))
    if not spread:  # ratings so close that their squares are no numbers
        return float("nan")
    return float(np.clip(numerator / spread, -1.0, 1.0))


def _differences(values: np.ndarray) -> float:
    """Sum over all pairs of how far they are apart."""
    n = len(values)
    return float(np.sort(values) @ (2 * np.arange(n) - n + 1))


def _pairs(n: int) -> int:
    return n * (n - 1) // 2


def _untied(values: np.ndarray) -> int:
    """Number of pairs that are not equal."""
    alike = np.unique(values, return_counts=True)[1]
    return _pairs(len(values)) - int((alike * (alike - 1) // 2).sum())
