"""Overlap metrics: what two masks share, counted in voxels.

Conventions: the reference comes first; a value that is 0/0 is nan, and the challenge says
what nan costs. Metrics: dice, iou, voe, sensitivity, specificity, precision, volume_similarity,
relative_volume_difference, rvd, reference_volume_mm3, predicted_volume_mm3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Overlap:
    """Voxel counts of a reference and a predicted mask on one grid.

    tp: in both; fp: in the prediction only; fn: in the reference only; tn: in neither.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    voxel_volume_mm3: float = 1.0


def count_overlap(reference: np.ndarray, prediction: np.ndarray, voxel_volume_mm3: float = 1.0) -> Overlap:
    """Count the four kinds of voxels of two bool masks of the same shape."""
    both = int(np.count_nonzero(reference & prediction))
    only_prediction = int(np.count_nonzero(prediction)) - both
    only_reference = int(np.count_nonzero(reference)) - both
    neither = reference.size - both - only_prediction - only_reference
    return Overlap(both, only_prediction, only_reference, neither, voxel_volume_mm3)


def ratio(numerator: float, denominator: float) -> float:
    """The quotient, nan where it is undefined."""
    return numerator / denominator if denominator else float("nan")


@metric("dice", reads="overlap", best=1.0, worst=0.0)
def dice(overlap: Overlap) -> float:
    """Dice similarity coefficient 2|R∩P| / (|R|+|P|), 0 to 1; nan if both are empty (Dice 1945)."""
    return ratio(2 * overlap.tp, 2 * overlap.tp + overlap.fp + overlap.fn)


@metric("iou", reads="overlap", best=1.0, worst=0.0)
def iou(overlap: Overlap) -> float:
    """Intersection over union (Jaccard index), 0 to 1; nan if both are empty."""
    return ratio(overlap.tp, overlap.tp + overlap.fp + overlap.fn)


@metric("voe", reads="overlap", best=0.0, worst=1.0)
def voe(overlap: Overlap) -> float:
    """Volumetric overlap error 1 - IoU, 0 to 1; nan if both are empty (Heimann et al. 2009)."""
    return 1.0 - iou(overlap)


@metric("thresholded_iou", reads="overlap", best=1.0, worst=0.0)
def thresholded_iou(overlap: Overlap, threshold: float = 0.65) -> float:
    """Intersection over union, 0 where it lies below a threshold (ISIC 2018); nan if both are empty."""
    value = iou(overlap)
    return 0.0 if value < threshold else value


@metric("pixel_accuracy", reads="agreement", best=1.0, worst=0.0)
def pixel_accuracy(overlap: Overlap) -> float:
    """Share of all voxels of the grid that are right, (TP+TN)/all; background decides it in most images."""
    right = overlap.tp + overlap.tn
    return ratio(right, right + overlap.fp + overlap.fn)


@metric("sensitivity", reads="agreement", best=1.0, worst=0.0)
def sensitivity(overlap: Overlap) -> float:
    """Share of reference voxels that were predicted, TP/(TP+FN); nan for an empty reference."""
    return ratio(overlap.tp, overlap.tp + overlap.fn)


@metric("specificity", reads="agreement", best=1.0, worst=0.0)
def specificity(overlap: Overlap) -> float:
    """Share of background voxels left as background on the whole grid, TN/(TN+FP)."""
    return ratio(overlap.tn, overlap.tn + overlap.fp)


@metric("precision", reads="agreement", best=1.0, worst=0.0)
def precision(overlap: Overlap) -> float:
    """Share of predicted voxels that are reference, TP/(TP+FP); nan for an empty prediction."""
    return ratio(overlap.tp, overlap.tp + overlap.fp)


@metric("volume_similarity", reads="overlap", best=1.0, worst=0.0)
def volume_similarity(overlap: Overlap) -> float:
    """1 - ||P|-|R|| / (|P|+|R|), 0 to 1; nan if both are empty (Taha and Hanbury 2015)."""
    total = 2 * overlap.tp + overlap.fp + overlap.fn
    return 1.0 - abs(overlap.fp - overlap.fn) / total if total else float("nan")


@metric("relative_volume_difference", reads="overlap", best=0.0, worst=float("inf"))
def relative_volume_difference(overlap: Overlap) -> float:
    """Signed (|P|-|R|) / |R|, -1 to infinity, 0 is best; nan for an empty reference."""
    return ratio(overlap.fp - overlap.fn, overlap.tp + overlap.fn)


@metric("rvd", reads="overlap", best=0.0, worst=float("inf"))
def rvd(overlap: Overlap) -> float:
    """Signed (|R|-|P|) / |P|, -1 to infinity, 0 is best; nan if one side is empty.

    The roles are those of LiTS, whose code swaps them; `relative_volume_difference` has the usual ones.
    Only its absolute value can be ranked.
    """
    if not (overlap.tp + overlap.fn and overlap.tp + overlap.fp):
        return float("nan")
    return (overlap.fn - overlap.fp) / (overlap.tp + overlap.fp)


@metric("reference_volume_mm3", reads="overlap", unit="mm^3", best=None, worst=None)
def reference_volume_mm3(overlap: Overlap) -> float:
    """Volume of the reference mask in mm^3."""
    return (overlap.tp + overlap.fn) * overlap.voxel_volume_mm3


@metric("predicted_volume_mm3", reads="overlap", unit="mm^3", best=None, worst=None)
def predicted_volume_mm3(overlap: Overlap) -> float:
    """Volume of the predicted mask in mm^3."""
    return (overlap.tp + overlap.fp) * overlap.voxel_volume_mm3
