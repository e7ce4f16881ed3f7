"""The specification, written down as plainly as possible: the oracle of tests, the opponent of `make bench`.

Whole volumes, one lesion at a time, full distance transforms. Independent of bratseval but for the
surfel areas, which are data. Follows shared/spec/segmentation.md sections 1-3 (BraTS 2023) and 5
(panoptica, lesion-wise part); names of results are those of bratseval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage, optimize

from bratseval.surfel_table import surfel_areas

Spacing = tuple[float, float, float]
Scores = dict[str, float]
REGIONS_2023 = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
CUBE = np.ones((3, 3, 3), bool)
WITHOUT_CORNERS = ndimage.generate_binary_structure(3, 2)
CROSS = ndimage.generate_binary_structure(3, 1)
CORNER_WEIGHTS = np.array([[[128, 64], [32, 16]], [[8, 4], [2, 1]]])


def dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    return 2 * np.sum(reference & prediction) / (np.sum(reference) + np.sum(prediction))


def surfel_hd95(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> float:
    """Robust Hausdorff distance of DeepMind's surface-distance; inf if one mask is empty."""
    if not reference.any() or not prediction.any():
        return math.inf
    codes = [
        ndimage.correlate(np.pad(mask.astype(np.uint8), 1), CORNER_WEIGHTS, mode="constant", cval=0)
        for mask in (reference, prediction)
    ]
    borders = [(code != 0) & (code != 255) for code in codes]
    to_border = [ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders]
    directed = []
    for own, other in ((0, 1), (1, 0)):
        distances = to_border[other][borders[own]]
        areas = surfel_areas(spacing)[codes[own][borders[own]]]
        pairs = np.array(sorted(zip(distances, areas, strict=True)))
        share = np.cumsum(pairs[:, 1]) / np.sum(pairs[:, 1])
        directed.append(pairs[min(np.searchsorted(share, 0.95), len(pairs) - 1), 0])
    return float(max(directed))


def voxel_distances(
    reference: np.ndarray, prediction: np.ndarray, spacing: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """Distances between border voxels (mask minus its 6-neighbor erosion), in both directions."""
    borders = [mask & ~ndimage.binary_erosion(mask, CROSS) for mask in (reference, prediction)]
    to_border = [ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders]
    return to_border[1][borders[0]], to_border[0][borders[1]]


def score_2023(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Spacing,
    dilation: int,
    limit_mm3: float,
    penalty: float,
) -> dict[str, Scores]:
    """BraTS 2023: reference lesions merged by dilation, predictions plain components."""
    return {
        region: _region_2023(
            np.isin(reference, labels), np.isin(prediction, labels), spacing, dilation, limit_mm3, penalty
        )
        for region, labels in REGIONS_2023.items()
    }


def _region_2023(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Spacing,
    dilation: int,
    limit_mm3: float,
    penalty: float,
) -> Scores:
    voxel = math.prod(spacing)
    zones, count = ndimage.label(
        ndimage.binary_dilation(reference, WITHOUT_CORNERS, iterations=dilation), CUBE
    )
    predicted, _ = ndimage.label(prediction, CUBE)
    matched: set[int] = set()
    lesions: list[tuple[float, float, float, bool]] = []
    for number in range(1, count + 1):
        lesion = reference & (zones == number)
        zone = ndimage.binary_dilation(lesion, WITHOUT_CORNERS, iterations=dilation)
        partners = set(np.unique(predicted[zone])) - {0}
        matched |= partners
        union = np.isin(predicted, list(partners)) if partners else np.zeros_like(lesion)
        hd95 = surfel_hd95(lesion, union, spacing)
        lesions.append((lesion.sum() * voxel, dice(lesion, union), min(hd95, math.inf), bool(partners)))
    spurious = len(set(np.unique(predicted)) - {0} - matched)
    kept = [lesion for lesion in lesions if lesion[0] > limit_mm3]
    found = sum(lesion[3] for lesion in kept)
    rows = len(kept) + spurious
    distances = [penalty if math.isinf(lesion[2]) else lesion[2] for lesion in kept] + [penalty] * spurious
    tp, fp, fn = (
        np.sum(m) for m in (reference & prediction, prediction & ~reference, reference & ~prediction)
    )
    tn = np.sum(~reference & ~prediction)
    neither = not reference.any() and not prediction.any()
    whole_hd95 = 0.0 if neither else surfel_hd95(reference, prediction, spacing)
    return {
        "lesion_dice": sum(lesion[1] for lesion in kept) / rows if rows else 1.0,
        "lesion_hd95": sum(distances) / rows if rows else 0.0,
        "dice": 1.0 if neither else dice(reference, prediction),
        "hd95": penalty if math.isinf(whole_hd95) else whole_hd95,
        "sensitivity": 1.0 if neither else tp / (tp + fn) if tp + fn else 0.0,
        "specificity": tn / (tn + fp),
        "lesion_tp": found,
        "lesion_fp": spurious,
        "lesion_fn": len(kept) - found,
        "reference_volume_mm3": reference.sum() * voxel,
    }


def score_panoptica(
    reference: np.ndarray, prediction: np.ndarray, spacing: Spacing, regions: Mapping[str, Sequence[int]]
) -> dict[str, Scores]:
    """BraTS 2026, lesion-wise columns of the seg parser: one-to-one matches of largest Dice."""
    return {
        region: _region_panoptica(np.isin(reference, labels), np.isin(prediction, labels), spacing)
        for region, labels in regions.items()
    }


def _region_panoptica(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> Scores:
    ours, n_reference = ndimage.label(reference, CUBE)
    theirs, n_prediction = ndimage.label(prediction, CUBE)
    cost = np.full((n_reference, n_prediction), 1 + 1e-6)
    for i in range(n_reference):
        for j in set(np.unique(theirs[ours == i + 1])) - {0}:
            value = dice(ours == i + 1, theirs == j)
            if value >= 1e-6:
                cost[i, j - 1] = 1 - value
    pairs = [(i, j) for i, j in zip(*optimize.linear_sum_assignment(cost), strict=True) if cost[i, j] < 1]
    swapped = (spacing[2], spacing[1], spacing[0])
    values = []
    for i, j in pairs:
        masks = (ours == i + 1, theirs == j + 1)
        forward, backward = voxel_distances(*masks, swapped)
        close = ((forward <= min(spacing)).mean() + (backward <= min(spacing)).mean()) / 2
        values.append((dice(*masks), np.percentile(np.concatenate([forward, backward]), 95), close))
    tp, fp, fn = len(pairs), n_prediction - len(pairs), n_reference - len(pairs)
    empty = math.nan if not n_reference and not n_prediction else 0.0
    means = np.mean(values, axis=0) if pairs else (empty, empty if math.isnan(empty) else 373.0, empty)
    return {
        "lesion_dice": float(means[0]),
        "lesion_hd95": float(means[1]),
        "lesion_nsd": float(means[2]),
        "lesion_tp": tp,
        "lesion_fp": fp,
        "lesion_fn": fn,
        "lesion_precision": tp / (tp + fp) if tp + fp else math.nan,
        "lesion_recall": tp / (tp + fn) if tp + fn else math.nan,
        "lesion_f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan,
    }
