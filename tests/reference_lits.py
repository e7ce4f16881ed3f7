"""A plain second implementation of the LiTS scores, written from the specification: loops over whole volumes.

It shares no code with bratseval. Lesion maps are relabeled voxel by voxel, borders are sought neighbor by
neighbor, and distances are taken between all pairs of border voxels.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import ndimage

ABSENT = 9001.0
Spacing = tuple[float, float, float]
Parts = dict[tuple[str, str], tuple[float, int]]

NEIGHBORS = [step for step in itertools.product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, step)) < 3]


def border(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Voxels with one of 18 neighbors outside the mask; what lies outside the volume is outside."""
    found = []
    inside = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    for x, y, z in sorted(inside):
        if any((x + a, y + b, z + c) not in inside for a, b, c in NEIGHBORS):
            found.append((x, y, z))
    return found


def between(first: np.ndarray, second: np.ndarray, spacing: Spacing) -> list[float]:
    """Distances in mm of all border voxels of either mask to the nearest of the other."""
    scaled = [np.array(border(mask)) * np.array(spacing) for mask in (first, second)]
    table = np.sqrt(((scaled[0][:, None] - scaled[1][None]) ** 2).sum(axis=2))
    return [*table.min(axis=1).tolist(), *table.min(axis=0).tolist()]


def compare(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> dict[str, float]:
    """The scores of one object."""
    r, p, both = (int(np.count_nonzero(m)) for m in (reference, prediction, reference & prediction))
    if not r or not p:
        infinite = dict.fromkeys(("rvd", "assd", "rmsd", "hd100"), ABSENT)
        return {"dice": 0.0, "voe": 1.0, **infinite}
    dice = 2 * both / (r + p)
    distances = between(reference, prediction, spacing)
    return {
        "dice": dice,
        "voe": 1 - dice / (2 - dice),
        "rvd": (r - p) / p,
        "assd": sum(distances) / len(distances),
        "rmsd": math.sqrt(sum(d * d for d in distances) / len(distances)),
        "hd100": max(distances),
    }


def detect(
    references: np.ndarray, predictions: np.ndarray, least: float, slip: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Maps of reference and of detected predicted lesions that share numbers, and the number detected."""
    numbers = range(1, int(references.max()) + 1)

    def shared(a: np.ndarray, b: np.ndarray) -> int:
        return int(np.count_nonzero(a & b))

    touching = [p for p in range(1, int(predictions.max()) + 1) if references[predictions == p].any()]
    merged = references.copy()
    weight = dict.fromkeys(numbers, 1)
    for p in touching:
        joining = []
        for r in numbers:
            counts = [shared(references == r, predictions == other) for other in touching]
            if max(counts) > 0 and touching[counts.index(max(counts))] == p:
                joining.append(r)
        for r in joining:
            merged[references == r] = joining[0]
            weight[joining[0]] = len(joining)
    left = [r for r in numbers if (merged == r).any()]
    found = np.zeros_like(references)
    pairs: dict[int, int] = {}  # reference -> its first predicted lesion
    for p in touching:
        counts = [shared(merged == r, predictions == p) for r in left]
        owner = left[counts.index(max(counts))]
        found[predictions == p] = owner
        pairs.setdefault(owner, p)
    count = len(pairs)
    own = {r: found == r for r in pairs}  # before any is deleted
    for r, p in sorted(pairs.items(), key=lambda pair: pair[1]):
        looked_up = found == (p if slip else r)
        union = int(np.count_nonzero(looked_up | (merged == r)))
        if shared(own[r], merged == r) / union <= least:
            found[found == r] = 0
            count -= weight[r]
    return merged, found, count


def score_lits(
    reference: np.ndarray, prediction: np.ndarray, spacing: Spacing, *, slip: bool
) -> tuple[dict[tuple[str, str], float], Parts]:
    """Scores of the case, and what it gives to those over all cases, by region and metric."""
    liver = [volume >= 1 for volume in (reference, prediction)]
    if not (prediction == 1).any():
        liver[1] = np.zeros_like(liver[1])
    lesion = [volume == 2 for volume in (reference, prediction)]
    scores = {("liver", name): value for name, value in compare(*liver, spacing).items()}
    scores["lesion", "dice"] = 1.0 if not (lesion[0] | lesion[1]).any() else dice_of(*lesion)
    parts: Parts = {}
    for name, masks in (("liver", liver), ("lesion", lesion)):
        sizes = [int(np.count_nonzero(mask)) for mask in (masks[0] & masks[1], *masks)]
        parts[name, "global_dice"] = (2 * sizes[0], sizes[1] + sizes[2])
    burden = [
        np.count_nonzero(volume == 2) / max(1, np.count_nonzero(volume >= 1))
        for volume in (reference, prediction)
    ]
    if not (prediction == 1).any():
        burden[1] = ABSENT
    for name in ("tumor_burden_rmse", "tumor_burden_max"):
        parts["lesion", name] = (burden[0] - burden[1], 1)
    maps, (n_reference, n_prediction) = zip(*(ndimage.label(mask) for mask in lesion), strict=True)
    for least, suffix in ((0.0, "_any"), (0.5, "")):
        merged, found, count = detect(*maps, least, slip) if n_reference else (maps[0], 0 * maps[1], 0)
        parts["lesion", f"lesion_precision{suffix}"] = (count, n_prediction)
        parts["lesion", f"lesion_recall{suffix}"] = (count, n_reference)
    objects = [int(r) for r in np.unique(found) if r] if count > 0 else []
    each = [compare(merged == r, found == r, spacing) for r in objects]
    for name in ("dice", "voe", "rvd", "assd", "rmsd", "hd100"):
        column = "detected_dice" if name == "dice" else name
        parts["lesion", column] = (sum(one[name] for one in each), len(each))
    return scores, parts


def dice_of(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Dice of two masks that are not both empty."""
    both = np.count_nonzero(reference & prediction)
    return float(2 * both / (np.count_nonzero(reference) + np.count_nonzero(prediction)))
