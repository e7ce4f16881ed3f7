"""The official method of BraTS 2023 as it was done, volume by volume: the opponent of `make bench`.

Our own writing of shared/spec/segmentation.md, sections 1 to 3, with the cost of the official code: every
region reads both files again as float64; every lesion copies, dilates, multiplies, sorts and compares the
whole volume; its distances come from two full distance transforms of the box of both masks. Slow on purpose:
the plain implementation of the tests says the same clearly, bratseval does it fast.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cc3d
import nibabel
import numpy as np
from scipy import ndimage

from bratseval.surfel_table import surfel_areas

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
DILATION_AND_LIMIT = {  # voxels, mm³
    "brats2023-gli": (3, 50.0),
    "brats2023-ssa": (3, 50.0),
    "brats2023-ped": (3, 50.0),
    "brats2023-men": (1, 50.0),
    "brats2023-met": (1, 2.0),
}
PENALTY = 374.0
ELEMENT = ndimage.generate_binary_structure(3, 2)
CORNERS = np.array([[[128, 64], [32, 16]], [[8, 4], [2, 1]]])

Scores = dict[str, float]


def score(reference: Path, prediction: Path, dilation: int, limit_mm3: float) -> dict[str, Scores]:
    """Scores of the three regions by the names of bratseval, infinite distances as the penalty."""
    return {
        region: _region(reference, prediction, labels, dilation, limit_mm3)
        for region, labels in REGIONS.items()
    }


def _region(
    reference: Path, prediction: Path, labels: tuple[int, ...], dilation: int, limit_mm3: float
) -> Scores:
    images = [nibabel.load(path) for path in (reference, prediction)]
    spacing = tuple(float(value) for value in images[1].header.get_zooms())
    voxel_mm3 = math.prod(spacing)
    truth, guess = (image.get_fdata() for image in images)
    for volume in (truth, guess):  # in place: the order of the file makes the dilations as slow as they were
        np.place(volume, np.isin(volume, labels, invert=True), 0)
        np.place(volume, volume > 0, 1)
    empty = not truth.any() and not guess.any()
    sensitivity, specificity = _rates(truth, guess)
    scores = {
        "dice": 1.0 if empty else _dice(truth, guess),
        "hd95": 0.0 if empty else min(_hd95(truth.astype(int), guess.astype(int), spacing), PENALTY),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "reference_volume_mm3": float(truth.sum()) * voxel_mm3,
    }
    lesions = _merged(truth, dilation)
    components = cc3d.connected_components(guess, connectivity=26)
    matched: list[int] = []
    kept: list[tuple[float, float, bool]] = []
    for number in range(1, int(lesions.max()) + 1):
        lesion = np.zeros_like(lesions)
        lesion[lesions == number] = 1
        zone = ndimage.binary_dilation(lesion, structure=ELEMENT, iterations=dilation)
        volume_mm3 = float(lesion.sum()) * voxel_mm3
        touched = np.unique(np.copy(components) * zone)
        touched = touched[touched != 0]
        matched.extend(int(component) for component in touched)
        answer = np.copy(components)
        answer[np.isin(answer, touched, invert=True)] = 0
        answer[np.isin(answer, touched)] = 1
        row = _dice(answer, lesion), min(_hd95(lesion, answer, spacing), PENALTY), len(touched) > 0
        if volume_mm3 > limit_mm3:
            kept.append(row)
    spurious = len(np.unique(components[np.isin(components, [*matched, 0], invert=True)]))
    rows = len(kept) + spurious
    found = sum(hit for _, _, hit in kept)
    scores |= {"lesion_tp": found, "lesion_fp": spurious, "lesion_fn": len(kept) - found}
    scores["lesion_dice"] = sum(row[0] for row in kept) / rows if rows else 1.0
    scores["lesion_hd95"] = (sum(row[1] for row in kept) + spurious * PENALTY) / rows if rows else 0.0
    return scores


def _merged(truth: np.ndarray, dilation: int) -> np.ndarray:
    """The reference with the number of the dilated component that holds each voxel."""
    own = cc3d.connected_components(truth, connectivity=26)
    grown = ndimage.binary_dilation(truth, structure=ELEMENT, iterations=dilation)
    grown = cc3d.connected_components(grown, connectivity=26)
    merged = np.zeros_like(grown)
    for number in range(1, int(grown.max()) + 1):
        part = np.zeros_like(grown)
        part[grown == number] = 1
        part = own * part
        np.place(part, part > 0, number)
        merged += part.astype(merged.dtype)
    return merged


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first.astype(bool), second.astype(bool)
    return float(2.0 * np.logical_and(a, b).sum() / (a.sum() + b.sum()))


def _rates(truth: np.ndarray, guess: np.ndarray) -> tuple[float, float]:
    """Sensitivity and specificity on the whole grid."""
    same = np.where(guess == truth, 1, 0)
    hits = same[guess == 1].sum()
    spurious, missed = guess.sum() - hits, truth.sum() - hits
    quiet = np.count_nonzero((guess != 1) & (truth != 1))
    empty = not guess.any() and not truth.any()
    tiny = sys.float_info.min
    return (1.0 if empty else float(hits / (hits + missed + tiny))), float(quiet / (quiet + spurious + tiny))


def _hd95(truth: np.ndarray, guess: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Robust Hausdorff distance of surfels in mm; infinite where a side has none."""
    both = truth | guess
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(both.max(axis=others))
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    areas_of = surfel_areas(spacing)
    borders, areas, to_border = [], [], []
    for mask in (truth, guess):
        codes = ndimage.correlate(
            np.pad(mask[tuple(box)].astype(np.uint8), (0, 1)), CORNERS, mode="constant", cval=0
        )
        border = (codes != 0) & (codes != 255)
        borders.append(border)
        areas.append(areas_of[codes])
        to_border.append(
            ndimage.distance_transform_edt(~border, sampling=spacing)
            if border.any()
            else np.full(border.shape, np.inf)
        )
    directed = []
    for own, other in ((0, 1), (1, 0)):
        if not borders[own].any():
            return math.inf
        pairs = np.array(sorted(zip(to_border[other][borders[own]], areas[own][borders[own]], strict=True)))
        share = np.cumsum(pairs[:, 1]) / pairs[:, 1].sum()
        directed.append(float(pairs[min(np.searchsorted(share, 0.95), len(pairs) - 1), 0]))
    return max(directed)
