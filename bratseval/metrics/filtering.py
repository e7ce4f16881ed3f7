"""QU-BraTS: what a segmentation is worth as its most uncertain voxels are filtered out.

Source: RagMeh11/QU-BraTS f174e55, BraTS_Seg_Uncertainty.py; Mehta et al., MELBA 2022 (arXiv 2112.10074).
Metrics: dice_auc, ftp_ratio_auc, ftn_ratio_auc, qu_score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Filtering:
    """Curves over the uncertainty thresholds of one region; all arrays (points + 1,), thresholds ascending.

    thresholds : 0 to 100; a voxel is filtered at t when its uncertainty is above t.
    dice : of the voxels left, in the whole volume. ftp_ratio, ftn_ratio : share of the brain's true
        positives and true negatives that are filtered.
    """

    thresholds: np.ndarray
    dice: np.ndarray
    ftp_ratio: np.ndarray
    ftn_ratio: np.ndarray


def filter_by_uncertainty(
    reference: np.ndarray, prediction: np.ndarray, uncertainty: np.ndarray, brain: np.ndarray, points: int
) -> Filtering:
    """All curves in one pass: every voxel is counted at the number of thresholds that filter it.

    reference, prediction, brain : bool, of one shape. uncertainty : the same shape, any number type.
        Voxels outside the brain that neither side marks may be left out. points : number of steps between
        the thresholds 0 and 100.

    Of the reference and prediction the whole volume counts, of the ratios only the brain, as officially.
    """
    thresholds = np.arange(points + 1) * (100.0 / points)
    steps = points + 2
    reference, prediction, uncertainty, brain = (
        side.ravel() for side in (reference, prediction, uncertainty, brain)
    )
    kind = reference + 2 * prediction.view(np.uint8) + 4 * brain.view(np.uint8)
    place = kind.astype(np.intp) * steps + _thresholds_below(uncertainty, thresholds)
    counts = np.bincount(place, minlength=8 * steps).reshape(2, 2, 2, steps)  # brain, prediction, reference
    left = counts.cumsum(axis=-1)[..., :-1]
    both, one = left[:, 1, 1].sum(axis=0), (left[:, 0, 1] + left[:, 1, 0]).sum(axis=0)
    masks = 2 * both + one
    dice = np.where(masks == 0, 1.0, 2 * both / np.maximum(masks, 1))
    true_positives, true_negatives = counts[1, 1, 1].sum(), counts[1, 0, 0].sum()
    return Filtering(
        thresholds,
        dice,
        _filtered_share(left[1, 1, 1], int(true_positives)),
        _filtered_share(left[1, 0, 0], int(true_negatives)),
    )


def _thresholds_below(uncertainty: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Number of thresholds below each value, which are those that filter it."""
    if uncertainty.dtype == np.uint8:
        return np.searchsorted(thresholds, np.arange(256))[uncertainty]
    # A division tells it but for rounding, which the neighbors set right: faster than a search.
    last = thresholds.size - 1
    below = np.clip(np.ceil(uncertainty * (last / 100.0)), 0, last).astype(np.intp)
    below += uncertainty > thresholds[below]
    below -= (below > 0) & (uncertainty <= thresholds[below - 1])
    return below


def _filtered_share(left: np.ndarray, total: int) -> np.ndarray:
    """Share that is filtered; 0 where there is nothing (the official code adds 1.2e-7 to the denominator)."""
    return (total - left) / total if total else np.zeros(left.size)


def _area(thresholds: np.ndarray, curve: np.ndarray) -> float:
    """Area under a curve over the thresholds 0 to 100 by trapezoids, divided by 100."""
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(thresholds)).sum() / 100.0)


@metric("dice_auc", reads="filtering", best=1.0, worst=0.0)
def dice_auc(filtering: Filtering) -> float:
    """Area under Dice of the voxels left against the threshold, 0 to 1.

    Nothing left on either side counts as Dice 1, so a false positive region gains when all of it is
    filtered; what that costs shows in ftn_ratio_auc alone.
    """
    return _area(filtering.thresholds, filtering.dice)


@metric("ftp_ratio_auc", reads="filtering", best=0.0, worst=1.0)
def ftp_ratio_auc(filtering: Filtering) -> float:
    """Area under the share of filtered true positives against the threshold, 0 to 1; 0 without any."""
    return _area(filtering.thresholds, filtering.ftp_ratio)


@metric("ftn_ratio_auc", reads="filtering", best=0.0, worst=1.0)
def ftn_ratio_auc(filtering: Filtering) -> float:
    """Area under the share of filtered true negatives of the brain against the threshold, 0 to 1."""
    return _area(filtering.thresholds, filtering.ftn_ratio)


@metric("qu_score", reads="filtering", best=1.0, worst=0.0)
def qu_score(filtering: Filtering) -> float:
    """(Dice AUC + (1 - FTP AUC) + (1 - FTN AUC)) / 3, 0 to 1; the paper's score, the script has none."""
    return (dice_auc(filtering) + (1 - ftp_ratio_auc(filtering)) + (1 - ftn_ratio_auc(filtering))) / 3
