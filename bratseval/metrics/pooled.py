"""Pooled metrics: one number a team over all its cases, from a sum and a count that each case gives.

Metrics: global_dice, tumor_burden_rmse, tumor_burden_max. Any metric of masks, distances or shares of
lesions can be pooled beside them (`MetricSpec.pooled`). What a case gives is stated with each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bratseval.metrics.detection import Detection
from bratseval.metrics.overlap import Overlap, ratio
from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Pooled:
    """What the cases of a team give: sums, counts : (cases,) float64, sorted by case."""

    sums: np.ndarray
    counts: np.ndarray


def pooled_mean(pooled: Pooled) -> float:
    """Sum of all sums over the sum of all counts; nan where nothing was counted."""
    return ratio(float(pooled.sums.sum()), float(pooled.counts.sum()))


@metric("global_dice", reads="pooled", best=1.0, worst=0.0)
def global_dice(pooled: Pooled) -> float:
    """Dice over the voxels of all cases, 0 to 1; nan if both sides of all are empty.

    A case gives 2|R∩P| and |R|+|P| in voxels, so a large lesion weighs more than a small one.
    """
    return pooled_mean(pooled)


@metric("tumor_burden_rmse", reads="pooled", best=0.0, worst=float("inf"))
def tumor_burden_rmse(pooled: Pooled) -> float:
    """Root mean square of the differences in burden over cases; nan without a case.

    A case gives its difference, reference minus prediction, and 1, or 0 and 0 where the reference lacks
    the organ. The burden is the share of the organ that is lesion.
    """
    return float(np.sqrt(pooled_mean(Pooled(pooled.sums**2, pooled.counts))))


@metric("tumor_burden_max", reads="pooled", best=0.0, worst=float("inf"))
def tumor_burden_max(pooled: Pooled, sign: Literal["kept", "dropped"] = "kept") -> float:
    """Largest difference in burden over cases; nan without a case. A case gives what it does to the RMSE.

    ``kept`` (LiTS): of the signed differences, so that too large a predicted burden never counts and the
    result may be negative; only its absolute value can be ranked. ``dropped``: the largest error.
    """
    differences = pooled.sums[pooled.counts > 0]
    if not differences.size:
        return float("nan")
    return float((differences if sign == "kept" else np.abs(differences)).max())


def of_masks(overlap: Overlap) -> tuple[float, int]:
    """What a case gives to global_dice."""
    return 2 * overlap.tp, 2 * overlap.tp + overlap.fp + overlap.fn


def of_burden(lesion: Overlap, organ: Overlap, absent: float) -> tuple[float, int]:
    """What a case gives to the metrics of tumor burden; absent : the burden of a prediction without organ."""
    reference, prediction = organ.tp + organ.fn, organ.tp + organ.fp
    if not reference:
        return 0.0, 0
    predicted = (lesion.tp + lesion.fp) / prediction if prediction else absent
    return (lesion.tp + lesion.fn) / reference - predicted, 1


# What a case gives where a share of lesions is pooled: numerator and denominator.
OF_LESIONS: dict[str, Callable[[Detection], tuple[float, int]]] = {
    "lesion_precision": lambda lesions: (lesions.tp, lesions.tp + lesions.fp),
    "lesion_recall": lambda lesions: (lesions.tp, lesions.tp + lesions.fn),
    "lesion_f1": lambda lesions: (2 * lesions.tp, 2 * lesions.tp + lesions.fp + lesions.fn),
}
