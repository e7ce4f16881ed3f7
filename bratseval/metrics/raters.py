"""QUBIQ: a probability map against the masks of several raters.

No official scoring code was found; each choice is a parameter. Metrics: averaged_dice, ece, brier, ged2,
rater_variance, variance_correlation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bratseval.metrics.registry import metric

Count = Annotated[int, Field(ge=1, le=1000)]
Comparison = Literal["at_least", "above"]


@dataclass(frozen=True, slots=True)
class Raters:
    """One task of one case.

    masks : (R, ...) bool, a mask of every rater. probability : (...) floating, 0 to 1, the prediction.
    """

    masks: np.ndarray
    probability: np.ndarray

    @property
    def votes(self) -> np.ndarray:
        """Number of raters that marked each voxel."""
        return self.masks.sum(axis=0)

    @property
    def mean(self) -> np.ndarray:
        """Share of raters that marked each voxel, float64."""
        return self.votes / len(self.masks)


def _predicted(probability: np.ndarray, levels: int, comparison: Comparison) -> list[np.ndarray]:
    """Predicted masks at the levels 1/(levels+1), 2/(levels+1), ..."""
    probability = probability.astype(np.float64)  # a stored 32-bit 0.7 lies below 0.7, and stays there
    values = [k / (levels + 1) for k in range(1, levels + 1)]
    return [probability >= v if comparison == "at_least" else probability > v for v in values]


@metric("averaged_dice", reads="raters", best=1.0, worst=0.0)
def averaged_dice(raters: Raters, levels: Count = 9, comparison: Comparison = "at_least") -> float:
    """Mean Dice of prediction and raters' mean, both thresholded at 0.1, 0.2, ..., 0.9; 0 to 1.

    levels: their number, evenly spaced between 0 and 1. comparison: whether a value at a level is in the mask
    (the challenge does not say). The raters' side is compared in whole numbers, votes x (levels + 1)
    against level x raters. Both masks empty: 1.
    """
    votes, count = raters.votes * (levels + 1), len(raters.masks)
    total = 0.0
    for level, predicted in enumerate(_predicted(raters.probability, levels, comparison), start=1):
        marked = votes >= level * count if comparison == "at_least" else votes > level * count
        size = np.count_nonzero(marked) + np.count_nonzero(predicted)
        total += 2 * np.count_nonzero(marked & predicted) / size if size else 1.0
    return float(total / levels)


@metric("ece", reads="raters", best=0.0, worst=1.0)
def ece(raters: Raters, bins: Count = 10, closed: Literal["left", "right"] = "left") -> float:
    """Expected calibration error of the foreground probability against the raters' mean, 0 to 1.

    Sum over bins of their share of the voxels x |mean probability - mean label|. closed: left for bins
    [k/10, (k+1)/10), the last one closed; right for (k/10, (k+1)/10], which leaves probabilities of 0
    out of the sum but not out of the share, as Metrics Reloaded does.
    """
    probability = raters.probability.astype(np.float64).ravel()
    edges = np.arange(bins + 1) / bins
    if closed == "left":
        place = np.minimum(np.searchsorted(edges, probability, side="right") - 1, bins - 1)
    else:
        place = np.searchsorted(edges, probability, side="left") - 1
    inside = place >= 0
    off = np.bincount(
        place[inside], weights=(probability - raters.mean.ravel())[inside], minlength=bins
    )  # |B| (mean p - mean label)
    return float(np.abs(off).sum() / probability.size)


@metric("brier", reads="raters", best=0.0, worst=1.0)
def brier(raters: Raters) -> float:
    """Mean squared difference of probability and raters' mean, 0 to 1."""
    return float(((raters.probability.astype(np.float64) - raters.mean) ** 2).mean())


@metric("rater_variance", reads="raters", best=None, worst=None)
def rater_variance(raters: Raters) -> float:
    """Mean over voxels of the variance between raters (ddof 0), 0 to 0.25: a fact of the case."""
    mean = raters.mean
    return float((mean * (1 - mean)).mean())


@metric("variance_correlation", reads="raters", best=1.0, worst=-1.0)
def variance_correlation(raters: Raters) -> float:
    """Pearson correlation over voxels of predicted variance p(1-p) and raters' variance, -1 to 1.

    0 where the predicted one is constant, nan where the raters' is.
    """
    probability = raters.probability.astype(np.float64).ravel()
    votes = raters.votes.ravel()
    observed = votes * (len(raters.masks) - votes)  # whole numbers: a constant is seen as one
    if observed.min() == observed.max():
        return float("nan")
    predicted = probability * (1 - probability)
    predicted, observed = predicted - predicted.mean(), observed - observed.mean()
    scale = np.sqrt((predicted @ predicted) * (observed @ observed))
    return float(predicted @ observed / scale) if scale else 0.0


@metric("ged2", reads="raters", best=0.0, worst=2.0)
def ged2(
    raters: Raters, levels: Count = 9, comparison: Comparison = "at_least", estimator: Literal["v", "u"] = "v"
) -> float:
    """Squared generalized energy distance of prediction and raters with d = 1 - IoU, 0 to 2.

    2 E d(S, Y) - E d(S, S') - E d(Y, Y'); Y are the raters' masks, S the masks of the map at its levels,
    d of two empty masks is 0. estimator: v takes every pair, u leaves out a mask with itself (and may
    fall below 0). Source: Kohl et al. 2018; the samples of a single map are our reading.
    """
    predicted = np.stack(_predicted(raters.probability, levels, comparison)).reshape(levels, -1)
    marked = raters.masks.reshape(len(raters.masks), -1)
    within = [_mean_distance(masks, masks, estimator) for masks in (predicted, marked)]
    return 2 * _mean_distance(predicted, marked, "v") - sum(within)


def _mean_distance(masks: np.ndarray, others: np.ndarray, estimator: str) -> float:
    """Mean of 1 - IoU over all pairs of two stacks (n, voxels), (m, voxels)."""
    first, second = masks.astype(np.float32), others.astype(np.float32)
    both = (first @ second.T).astype(np.float64)  # whole numbers below 2^24: exact
    either = masks.sum(axis=1)[:, None] + others.sum(axis=1)[None, :] - both
    distances = np.where(either > 0, 1 - both / np.maximum(either, 1), 0.0)
    pairs = distances.size if estimator == "v" else distances.size - len(distances)
    return float(distances.sum() / pairs) if pairs else 0.0
