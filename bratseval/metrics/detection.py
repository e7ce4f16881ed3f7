"""Detection metrics: how many lesions were found, missed and invented.

Metrics: lesion_tp, lesion_fp, lesion_fn, lesion_precision, lesion_recall, lesion_f1 (also for
one size class as large_lesion_* and small_lesion_*), panoptic_quality.
"""

from __future__ import annotations

from dataclasses import dataclass

from bratseval.metrics.overlap import ratio
from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Detection:
    """Lesions of one region: tp found and fn missed reference lesions, fp spurious predicted ones.

    matched_dice is the sum of Dice over the tp lesions.
    """

    tp: int
    fp: int
    fn: int
    matched_dice: float = 0.0


@metric("lesion_tp", reads="detection", unit="lesions", best=None, worst=None)
def lesion_tp(detection: Detection) -> float:
    """Number of reference lesions that were found."""
    return float(detection.tp)


@metric("lesion_fp", reads="detection", unit="lesions", best=0.0, worst=float("inf"))
def lesion_fp(detection: Detection) -> float:
    """Number of predicted lesions without a reference lesion."""
    return float(detection.fp)


@metric("lesion_fn", reads="detection", unit="lesions", best=0.0, worst=float("inf"))
def lesion_fn(detection: Detection) -> float:
    """Number of reference lesions that were missed."""
    return float(detection.fn)


@metric("lesion_precision", reads="detection", best=1.0, worst=0.0)
def lesion_precision(detection: Detection) -> float:
    """TP/(TP+FP) over lesions; nan where nothing was predicted."""
    return ratio(detection.tp, detection.tp + detection.fp)


@metric("lesion_recall", reads="detection", best=1.0, worst=0.0)
def lesion_recall(detection: Detection) -> float:
    """TP/(TP+FN) over lesions; nan where there is no reference lesion."""
    return ratio(detection.tp, detection.tp + detection.fn)


@metric("lesion_f1", reads="detection", best=1.0, worst=0.0)
def lesion_f1(detection: Detection) -> float:
    """2TP/(2TP+FP+FN) over lesions, also called recognition quality; nan without any lesion."""
    return ratio(2 * detection.tp, 2 * detection.tp + detection.fp + detection.fn)


@metric("panoptic_quality", reads="detection", best=1.0, worst=0.0)
def panoptic_quality(detection: Detection) -> float:
    """Mean Dice of the found lesions times lesion F1 (Kirillov et al. 2019, with Dice for IoU)."""
    return ratio(2 * detection.matched_dice, 2 * detection.tp + detection.fp + detection.fn)
