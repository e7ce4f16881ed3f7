"""Ratings: how predicted numbers agree with an expert's. Metrics: rating_mae, pearson, spearman, kendall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Ratings:
    """The expert's and the predicted rating (n,), (n,) of every subject, of one unit."""

    reference: np.ndarray
    prediction: np.ndarray


@metric("rating_mae", reads="ratings", best=0.0, worst=float("inf"))
def rating_mae(ratings: Ratings) -> float:
    """Mean absolute error, in the unit of the ratings; nan without a subject."""
    apart = np.abs(ratings.reference - ratings.prediction)
    return float(apart.mean()) if apart.size else float("nan")


@metric("pearson", reads="ratings", best=1.0, worst=-1.0)
def pearson(ratings: Ratings) -> float:
    """Pearson's correlation, -1 to 1; nan where one side is constant or has less than two subjects."""
    return _correlation(ratings.reference, ratings.prediction)


@metric("spearman", reads="ratings", best=1.0, worst=-1.0)
def spearman(ratings: Ratings) -> float:
    """Spearman's rank correlation, -1 to 1, equal ratings sharing the mean rank; nan as for pearson."""
    from scipy.stats import rankdata

    return _correlation(rankdata(ratings.reference), rankdata(ratings.prediction))


@metric("kendall", reads="ratings", best=1.0, worst=-1.0)
def kendall(ratings: Ratings) -> float:
    """Kendall's tau-b, -1 to 1, corrected for ties; nan as for pearson."""
    from scipy.stats import kendalltau

    if _constant(ratings.reference) or _constant(ratings.prediction):
        return float("nan")
    return float(kendalltau(ratings.reference, ratings.prediction).statistic)


def _constant(values: np.ndarray) -> bool:
    return values.size < 2 or bool((values == values[0]).all())


def _correlation(reference: np.ndarray, prediction: np.ndarray) -> float:
    if _constant(reference) or _constant(prediction):
        return float("nan")
    a, b = reference - reference.mean(), prediction - prediction.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))
