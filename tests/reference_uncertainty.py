"""shared/spec/uncertainty.md as plainly as possible: the oracle of tests, the opponent of `make bench`.

QU-BraTS: one pass over the whole volume for every threshold, masks as float32, images as nibabel reads them.
QUBIQ: loops over voxels, bins and pairs of masks, exact fractions on the raters' side. Slow on purpose, and
independent of bratseval. Names of results are those of bratseval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

EPSILON = float(np.finfo(np.float32).eps)
REGIONS = {"WT": None, "TC": (1, 4), "ET": (4,)}  # None: every positive label
MAPS = {"WT": "whole", "TC": "core", "ET": "enhance"}
CURVES = ("dice", "ftp_ratio", "ftn_ratio")
Curves = dict[str, list[float]]


def thresholds(points: int) -> list[float]:
    """100 down to 0 in equal steps, 100 included as with NumPy 1."""
    return np.arange(0.0, 100.0 + EPSILON, 100.0 / points).tolist()[::-1]


def region_mask(labels: np.ndarray, region: str) -> np.ndarray:
    wanted = REGIONS[region]
    return labels > 0 if wanted is None else np.isin(labels, wanted)


def filtered_curves(
    reference: np.ndarray,
    prediction: np.ndarray,
    uncertainty: np.ndarray,
    brain: np.ndarray,
    points: int = 40,
) -> Curves:
    """Dice, FTP and FTN ratio at every threshold, from 100 down to 0."""
    truth, found, inside = (np.asarray(mask).astype(np.float32) for mask in (reference, prediction, brain))
    values = np.asarray(uncertainty).astype(np.float64)
    hits = truth * found * inside
    rejections = (1 - truth) * (1 - found) * inside
    curves: Curves = {name: [] for name in CURVES}
    for threshold in thresholds(points):
        kept = (~(values > threshold)).astype(np.float32)
        left, right = truth * kept, found * kept
        size = float(left.sum(dtype=np.float64) + right.sum(dtype=np.float64))
        overlap = float((left * right).sum(dtype=np.float64))
        curves["dice"].append(2 * overlap / size if size else 1.0)
        for name, all_of_them in (("ftp_ratio", hits), ("ftn_ratio", rejections)):
            before = float(all_of_them.sum(dtype=np.float64))
            after = float((all_of_them * kept).sum(dtype=np.float64))
            curves[name].append((before - after) / (before + EPSILON))
    return curves


def area(curve: Sequence[float], points: int) -> float:
    """Trapezoids over the thresholds, which descend, divided by 100."""
    at = thresholds(points)
    strips = [
        (at[i] - at[i + 1]) * (curve[i] + curve[i + 1]) / 2 for i in range(points)
    ]  # points + 1 thresholds
    return math.fsum(strips) / 100.0


def summary(curves: Mapping[str, Sequence[float]], points: int = 40) -> dict[str, float]:
    """The three areas and the paper's score of one region."""
    areas = {f"{name}_auc": area(curves[name], points) for name in CURVES}
    score = (areas["dice_auc"] + 1 - areas["ftp_ratio_auc"] + 1 - areas["ftn_ratio_auc"]) / 3
    return {**areas, "qu_score": score}


def score_qu_brats(
    reference: Path, prediction: Path, maps: Mapping[str, Path], brain: Path, points: int = 40
) -> dict[str, dict[str, float]]:
    """Region -> metric -> value, from files: maps holds WT, TC and ET."""
    images: Any = nibabel
    truth, found, inside = (images.load(path).get_fdata() for path in (reference, prediction, brain))
    result = {}
    for region in REGIONS:
        masks = region_mask(truth, region), region_mask(found, region)
        uncertainty = images.load(maps[region]).get_fdata()
        result[region] = summary(filtered_curves(*masks, uncertainty, inside > 0, points), points)
    return result


# QUBIQ: masks is a list of flat sequences of booleans, one a rater; probability a flat sequence of floats.
Masks = Sequence[Sequence[bool]]


def marked_share(masks: Masks, voxel: int) -> Fraction:
    """Share of the raters that marked a voxel, exactly."""
    return Fraction(sum(bool(mask[voxel]) for mask in masks), len(masks))


def predicted_at(probability: Sequence[float], level: Fraction, strict: bool) -> list[bool]:
    at = float(level)
    return [float(p) > at if strict else float(p) >= at for p in probability]


def levels_between(levels: int) -> list[Fraction]:
    return [Fraction(k, levels + 1) for k in range(1, levels + 1)]


def averaged_dice(masks: Masks, probability: Sequence[float], levels: int = 9, strict: bool = False) -> float:
    shares = [marked_share(masks, voxel) for voxel in range(len(probability))]
    total = 0.0
    for level in levels_between(levels):
        found = predicted_at(probability, level, strict)
        truth = [share > level if strict else share >= level for share in shares]
        size = sum(found) + sum(truth)
        both = sum(a and b for a, b in zip(found, truth, strict=True))
        total += 2 * both / size if size else 1.0
    return total / levels


def ece(masks: Masks, probability: Sequence[float], bins: int = 10, right: bool = False) -> float:
    """right: bins (k/n, (k+1)/n], which 0 belongs to none of; else [k/n, (k+1)/n), the last one closed."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        members = [
            voxel
            for voxel, p in enumerate(map(float, probability))
            if (low < p <= high if right else low <= p < high or (number == bins - 1 and p == high))
        ]
        if members:
            confidence = math.fsum(float(probability[voxel]) for voxel in members) / len(members)
            frequency = float(sum(marked_share(masks, voxel) for voxel in members) / len(members))
            total += len(members) / len(probability) * abs(confidence - frequency)
    return total


def brier(masks: Masks, probability: Sequence[float]) -> float:
    off = [(float(p) - float(marked_share(masks, voxel))) ** 2 for voxel, p in enumerate(probability)]
    return math.fsum(off) / len(off)


def rater_variances(masks: Masks, voxels: int) -> list[float]:
    """Variance over raters in every voxel, ddof 0."""
    found = []
    for voxel in range(voxels):
        mean = marked_share(masks, voxel)
        found.append(float(sum((int(mask[voxel]) - mean) ** 2 for mask in masks) / len(masks)))
    return found


def rater_variance(masks: Masks, probability: Sequence[float]) -> float:
    found = rater_variances(masks, len(probability))
    return math.fsum(found) / len(found)


def variance_correlation(masks: Masks, probability: Sequence[float]) -> float:
    """Pearson; nan where the raters' variance is the same in every voxel, else 0 where the map's is."""
    predicted = [float(p) * (1 - float(p)) for p in probability]
    observed = rater_variances(masks, len(probability))
    if len(set(observed)) == 1:
        return math.nan
    if len(set(predicted)) == 1:
        return 0.0
    return float(np.corrcoef(predicted, observed)[0, 1])


def distance(first: Sequence[bool], second: Sequence[bool]) -> float:
    """1 - IoU, 0 for two empty masks."""
    both = sum(a and b for a, b in zip(first, second, strict=True))
    either = sum(a or b for a, b in zip(first, second, strict=True))
    return 1 - both / either if either else 0.0


def ged2(
    masks: Masks, probability: Sequence[float], levels: int = 9, strict: bool = False, self_pairs: bool = True
) -> float:
    samples = [predicted_at(probability, level, strict) for level in levels_between(levels)]
    raters = [[bool(value) for value in mask] for mask in masks]
    across = [distance(a, b) for a in samples for b in raters]

    def within(group: Sequence[Sequence[bool]]) -> float:
        unequal = 2 * math.fsum(distance(a, b) for a, b in combinations(group, 2))
        pairs = len(group) ** 2 if self_pairs else len(group) * (len(group) - 1)
        return unequal / pairs if pairs else 0.0

    return 2 * math.fsum(across) / len(across) - within(samples) - within(raters)
