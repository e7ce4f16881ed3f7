"""The specification, written down as plainly as possible: the oracle of tests, the opponent of `make bench`.

Whole volumes, one lesion at a time, full distance transforms. Independent of bratseval but for the
surfel areas, which are data. Follows shared/spec/segmentation.md: sections 1-3 (`score_2023`), 4
(`score_2024`), 5 (`score_2026`) and 6 (`score_captk`); names of results are those of bratseval.
Volumes are integer labels (x, y, z). They may be cropped to the tumor plus a margin wider than the
dilation: `grid_shape` is then the shape of the whole grid, which specificity and diagonals need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage, optimize

from bratseval.surfel_table import surfel_areas

Spacing = tuple[float, float, float]
Shape = tuple[int, ...]
Scores = dict[str, float]

REGIONS_2023 = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
REGIONS_CAPTK = {"NET": (1,), "ED": (2,), "ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}
CUBE = np.ones((3, 3, 3), bool)
WITHOUT_CORNERS = ndimage.generate_binary_structure(3, 2)
CROSS = ndimage.generate_binary_structure(3, 1)
CORNER_WEIGHTS = np.array([[[128, 64], [32, 16]], [[8, 4], [2, 1]]])
VOXELS = (1.0, 1.0, 1.0)
NAMES = ("dsc", "nsd", "hd95")
TOLERANCES_MM = {"nsd_0.5mm": 0.5, "nsd_1mm": 1.0}


class Rule(NamedTuple):
    """How one region of BraTS 2024-2025 is scored; one that is not `scored` only helps to join others."""

    labels: tuple[int, ...]
    dilation: int
    limit: float
    scored: bool = True


class Setting(NamedTuple):
    """What all regions of a case share. `spurious_count`: false positives enter the lesion means."""

    spacing: Spacing
    penalty: float
    grid_shape: Shape | None
    tolerances: Mapping[str, float] = {}
    spurious_count: bool = True


def _rules(regions: Mapping[str, tuple[int, ...]], dilation: int, limit: float) -> dict[str, Rule]:
    return {region: Rule(labels, dilation, limit) for region, labels in regions.items()}


REGIONS_PED = {"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,), "NETC": (2,), "CC": (3,), "ED": (4,)}
MODULES = {
    "GLI": {
        "WT": Rule((1, 2, 3), 3, 20),
        "TC": Rule((1, 3), 3, 20),
        "NETC": Rule((1,), 5, 20),
        "SNFH": Rule((2,), 3, 20),  # 5 was meant, but the official code spells it SFNH
        "ET": Rule((3,), 3, 10),
        "RC": Rule((4,), 5, 20),
    },
    "SSA": _rules(REGIONS_2023, 3, 50) | {"NETC": Rule((1,), 3, 50, scored=False)},
    "PED": _rules(REGIONS_PED, 5, 10),
    "MET_2024": _rules(REGIONS_2023, 1, 2) | {"NETC": Rule((1,), 1, 2, scored=False)},
    "MET_2025": _rules(REGIONS_2023 | {"RC": (4,)}, 1, 2) | {"NETC": Rule((1,), 1, 2, scored=False)},
    "MEN_RT": {"GTV": Rule((1,), 1, 50)},
    "MEN": _rules(REGIONS_2023, 1, 50),
}
PENALTIES_2024 = {"GLI": 337.0, "SSA": 374.0, "PED": 374.0, "MET_2024": 374.0, "MEN": 374.0}  # else diagonal
JOINED_BY = {
    "GLI": {"NETC": ("ET", "RC"), "ET": ("NETC", "RC"), "RC": ("ET", "NETC"), "SNFH": ("ET", "RC", "NETC")},
    "SSA": {"ET": ("NETC",)},
    "MET_2024": {"ET": ("NETC",)},
    "MET_2025": {"ET": ("NETC",)},
}


# Two masks


def dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Dice of two bool masks, not both empty."""
    return 2 * np.sum(reference & prediction) / (np.sum(reference) + np.sum(prediction))


def surfel_hd95(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> float:
    """Robust Hausdorff distance of DeepMind's surface-distance; inf if one side is empty.

    Takes masks, or label maps as BraTS 2024-2025 do by mistake: the codes then overflow a byte.
    """
    if not reference.any() or not prediction.any():
        return math.inf
    codes = [
        ndimage.correlate(np.pad(volume.astype(np.int64), 1), CORNER_WEIGHTS, mode="constant", cval=0) % 256
        for volume in (reference, prediction)
    ]
    borders = [(code != 0) & (code != 255) for code in codes]
    if not borders[0].any() or not borders[1].any():
        return math.inf
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


def medpy_nsd(
    reference: np.ndarray, prediction: np.ndarray, spacing: Spacing, tolerances: Mapping[str, float]
) -> Scores:
    """NSD of BraTS 2025: share of both borders within each tolerance, each border weighing one half."""
    if not tolerances or not reference.any() or not prediction.any():
        return dict.fromkeys(tolerances, 0.0 if reference.any() or prediction.any() else 1.0)
    forward, backward = voxel_distances(reference, prediction, spacing)
    return {
        name: float((np.mean(forward <= tolerance) + np.mean(backward <= tolerance)) / (2 + 1e-8))
        for name, tolerance in tolerances.items()
    }


def finite(distance: float, penalty: float) -> float:
    """The distance, or the penalty for an infinite one."""
    return penalty if math.isinf(distance) else distance


def outside(shape: Shape, grid_shape: Shape | None) -> int:
    """Voxels of the whole grid that a crop left out."""
    return math.prod(grid_shape) - math.prod(shape) if grid_shape else 0


def diagonal(shape: Shape, grid_shape: Shape | None) -> float:
    """Diagonal of the whole grid in voxels."""
    return math.sqrt(sum(extent**2 for extent in grid_shape or shape))


# BraTS 2023 to 2025


def score_2023(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Spacing,
    dilation: int,
    threshold_mm3: float,
    penalty: float,
    grid_shape: Shape | None = None,
) -> dict[str, Scores]:
    """BraTS 2023: reference lesions merged by dilation, predictions plain components."""
    rules = _rules(REGIONS_2023, dilation, threshold_mm3)
    return _score_2023(reference, prediction, rules, Setting(spacing, penalty, grid_shape))


def _score_2023(
    reference: np.ndarray, prediction: np.ndarray, rules: Mapping[str, Rule], setting: Setting
) -> dict[str, Scores]:
    result = {}
    for region, rule in rules.items():
        masks = (np.isin(reference, rule.labels), np.isin(prediction, rule.labels))
        lesions = merged_lesions(masks[0], rule.dilation)
        components, _ = ndimage.label(masks[1], CUBE)
        result[region] = _lesion_wise(lesions, components, rule, setting) | _whole_image(*masks, setting)
    return result


def score_2024(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Spacing,
    module: str,
    grid_shape: Shape | None = None,
) -> dict[str, Scores]:
    """BraTS 2024 and 2025: one of MODULES. Both sides merged, small predictions gone, tissues joined."""
    rules = MODULES[module]
    penalty = PENALTIES_2024.get(module, diagonal(reference.shape, grid_shape))
    setting = Setting(spacing, penalty, grid_shape, TOLERANCES_MM, spurious_count=module != "MEN_RT")
    if module == "MEN":
        return _score_2023(reference, prediction, rules, setting)
    voxel = spacing[0] * spacing[1] * spacing[2] if module == "MEN_RT" else 1.0  # elsewhere mm^3 is forgotten
    references, predictions = {}, {}
    for region, rule in rules.items():
        references[region] = merged_lesions(np.isin(reference, rule.labels), rule.dilation)
        lesions = merged_lesions(np.isin(prediction, rule.labels), rule.dilation)
        predictions[region] = without_small(lesions, rule.limit / voxel)
    references = joined_across_tissues(references, JOINED_BY.get(module, {}))
    predictions = joined_across_tissues(predictions, JOINED_BY.get(module, {}))
    return {
        region: _lesion_wise(references[region], predictions[region], rule, setting)
        | _whole_image(references[region], predictions[region], setting)
        for region, rule in rules.items()
        if rule.scored
    }


def merged_lesions(mask: np.ndarray, dilation: int) -> np.ndarray:
    """Label map: each voxel has the number of the component of the dilated mask it is in."""
    zones, _ = ndimage.label(ndimage.binary_dilation(mask, WITHOUT_CORNERS, iterations=dilation), CUBE)
    return np.where(mask, zones, 0)


def numbers_of(lesions: np.ndarray) -> list[int]:
    """Lesion numbers in use, ascending."""
    return [int(number) for number in np.unique(lesions) if number]


def without_small(lesions: np.ndarray, limit_voxels: float) -> np.ndarray:
    """Label map without the lesions of at most so many voxels; the others keep their numbers."""
    kept = lesions.copy()
    for number in numbers_of(lesions):
        if np.sum(lesions == number) <= limit_voxels:
            kept[lesions == number] = 0
    return kept


def joined_across_tissues(
    tissues: Mapping[str, np.ndarray], joined_by: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Lesions of a tissue that touch the same lesion of another tissue become one."""
    result = dict(tissues)
    for tissue, others in joined_by.items():
        lesions = tissues[tissue]
        for other in others:  # always as it was before any joining
            pairs = touching(lesions, tissues[other])
            if len(pairs) > 1:  # one pair renames nothing in the official code, which looks like a slip
                lesions = relabelled(lesions, pairs)
        result[tissue] = np.searchsorted([0, *numbers_of(lesions)], lesions)  # 1, 2, ... without gaps
    return result


def touching(lesions: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
    """Sorted pairs of lesions of the two maps of which one meets the other when dilated once."""
    pairs = []
    for number in numbers_of(lesions):
        zone = ndimage.binary_dilation(lesions == number, WITHOUT_CORNERS)
        pairs += [(number, other) for other in numbers_of(others[zone])]
    return pairs


def relabelled(lesions: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """New number for each distinct partner; a lesion takes that of its first partner."""
    new_number: dict[int, int] = {}
    first_partner: dict[int, int] = {}
    for number, partner in pairs:
        new_number.setdefault(partner, int(lesions.max()) + 1 + len(new_number))
        first_partner.setdefault(number, partner)
    result = lesions.copy()
    for number, partner in first_partner.items():
        result[lesions == number] = new_number[partner]
    return result


def _lesion_wise(references: np.ndarray, predictions: np.ndarray, rule: Rule, setting: Setting) -> Scores:
    """Each reference lesion against the union of the predicted lesions within its dilation."""
    spacing, penalty, tolerances = setting.spacing, setting.penalty, setting.tolerances
    matched: set[int] = set()
    rows: list[Scores] = []
    found = 0
    for number in numbers_of(references):
        lesion = references == number
        zone = ndimage.binary_dilation(lesion, WITHOUT_CORNERS, iterations=rule.dilation)
        partners = numbers_of(predictions[zone])
        matched |= set(partners)
        union = np.isin(predictions, partners)
        if np.sum(lesion) * spacing[0] * spacing[1] * spacing[2] > rule.limit:
            found += bool(partners)
            hd95 = finite(surfel_hd95(lesion, union, spacing), penalty)
            nsd = medpy_nsd(lesion, union, spacing, tolerances)
            rows.append(
                {"lesion_dice": dice(lesion, union), "lesion_hd95": hd95}
                | {f"lesion_{name}": value for name, value in nsd.items()}
            )
    missed = len(rows) - found
    spurious = len(set(numbers_of(predictions)) - matched)
    if setting.spurious_count:
        rows += [{"lesion_hd95": penalty}] * spurious
    names = ["lesion_dice", "lesion_hd95", *(f"lesion_{name}" for name in tolerances)]
    if rows:
        means = {name: float(sum(row.get(name, 0.0) for row in rows) / len(rows)) for name in names}
    else:
        means = {name: 0.0 if name == "lesion_hd95" else 1.0 for name in names}
    return means | {"lesion_tp": found, "lesion_fp": spurious, "lesion_fn": missed}


def _whole_image(reference: np.ndarray, prediction: np.ndarray, setting: Setting) -> Scores:
    """The "Legacy" values of masks (0, 1), or of label maps, whose numbers enter three of them."""
    spacing = setting.spacing
    tp = np.sum((reference == 1) & (prediction == 1))
    fp, fn = np.sum(prediction) - tp, np.sum(reference) - tp
    tn = np.sum((reference != 1) & (prediction != 1)) + outside(reference.shape, setting.grid_shape)
    masks = (reference > 0, prediction > 0)
    neither = not masks[0].any() and not masks[1].any()
    hd95 = 0.0 if neither else surfel_hd95(reference, prediction, spacing)
    return {
        "dice": 1.0 if neither else dice(*masks),
        "hd95": finite(hd95, setting.penalty),
        "sensitivity": 1.0 if neither else tp / (tp + fn) if tp + fn else 0.0,
        "specificity": tn / (tn + fp) if tn + fp else 0.0,
        "reference_volume_mm3": np.sum(masks[0]) * spacing[0] * spacing[1] * spacing[2],
    } | medpy_nsd(*masks, spacing, setting.tolerances)


# BraTS 2026 (panoptica)


def score_2026(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Spacing,
    groups: Mapping[str, Sequence[int]],
    parser: str = "seg",
    volume_mm3: float = 27.0,
    overlap: float = 0.2,
    penalty: float = 373.0,
) -> dict[str, Scores]:
    """BraTS 2026: columns of the `seg` or `mets` parser, version 0.0.10, inf replaced by the penalty."""
    result = {}
    for name, labels in groups.items():
        group = panoptica_group(np.isin(reference, labels), np.isin(prediction, labels), spacing)
        tp, fp, fn = group["tp"], group["fp"], group["fn"]
        scores = _counts("lesion", tp, fp, fn) | {
            "dice": group["global_bin_dsc"],
            "nsd": group["global_bin_nsd"],
            "hd95": finite(group["global_bin_hd95"], penalty),
        }
        if parser == "seg":
            scores |= {
                "lesion_dice": group["sq_dsc"],
                "lesion_nsd": group["sq_nsd"],
                "lesion_hd95": finite(group["sq_hd95"], penalty),
            }
        else:
            scores |= _mets_columns(group["reference_instances"], fp, volume_mm3, overlap, penalty)
        result[name] = scores
    return result


def panoptica_group(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing) -> dict[str, Any]:
    """What panoptica reports for the masks of one group, under its own names."""
    # SimpleITK gives (z, y, x), but the spacing stays (x, y, z): sx is applied to z.
    reference, prediction = reference.transpose(2, 1, 0), prediction.transpose(2, 1, 0)
    ours, n_reference = ndimage.label(reference, CUBE)
    theirs, n_prediction = ndimage.label(prediction, CUBE)
    pairs = _one_to_one(ours, theirs, n_reference, n_prediction)
    matched = []
    for i, j in pairs:
        masks = (ours == i, theirs == j)
        values = {"dsc": dice(*masks)} | _pooled(*masks, spacing, min(spacing))
        matched.append(_instance(masks[0], spacing, 1) | {f"sq_{name}": values[name] for name in values})
    lost = sorted(set(range(1, n_reference + 1)) - {i for i, _ in pairs})
    tp, fp, fn = len(pairs), n_prediction - len(pairs), n_reference - len(pairs)
    both_empty = not n_reference and not n_prediction
    empty = {"dsc": 0.0, "nsd": 0.0, "hd95": math.inf} if not both_empty else dict.fromkeys(NAMES, math.nan)
    result: dict[str, Any] = {"tp": tp, "fp": fp, "fn": fn, "rq": _ratio(2 * tp, 2 * tp + fp + fn)}
    for name in NAMES:
        values = [instance[f"sq_{name}"] for instance in matched]
        result[f"sq_{name}"] = float(np.mean(values)) if values else empty[name]
        result[f"sq_{name}_std"] = float(np.std(values)) if values else math.nan
    result["pq_dsc"] = result["sq_dsc"] * result["rq"]
    whole = empty  # also when both have voxels but share none
    if np.any(reference & prediction):
        whole = {"dsc": dice(reference, prediction)} | _pooled(reference, prediction, VOXELS, 0.5)
    result |= {f"global_bin_{name}": whole[name] for name in NAMES}
    result["reference_instances"] = matched + [_instance(ours == i, spacing, 0) for i in lost]
    return result


def _one_to_one(ours: np.ndarray, theirs: np.ndarray, n_ours: int, n_theirs: int) -> list[tuple[int, int]]:
    """Matches (reference number, prediction number) that maximize the summed Dice."""
    cost = np.full((n_ours, n_theirs), 1 + 1e-6)
    for i in range(1, n_ours + 1):
        for j in numbers_of(theirs[ours == i]):
            value = dice(ours == i, theirs == j)
            if value >= 1e-6:
                cost[i - 1, j - 1] = 1 - value
    rows, columns = optimize.linear_sum_assignment(cost)
    return [(int(i) + 1, int(j) + 1) for i, j in zip(rows, columns, strict=True) if cost[i, j] < 1]


def _instance(lesion: np.ndarray, spacing: Spacing, is_matched: int) -> Scores:
    voxels = int(np.sum(lesion))
    return {"voxel_count": voxels, "volume": voxels * math.prod(spacing), "is_matched": is_matched}


def _pooled(reference: np.ndarray, prediction: np.ndarray, spacing: Spacing, tolerance: float) -> Scores:
    """NSD, and the 95th percentile of the distances of both directions in one list."""
    forward, backward = voxel_distances(reference, prediction, spacing)
    return {
        "nsd": float(np.mean(forward <= tolerance) + np.mean(backward <= tolerance)) / 2,
        "hd95": float(np.percentile(np.concatenate([forward, backward]), 95)),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _counts(prefix: str, tp: int, fp: int, fn: int) -> Scores:
    return {
        f"{prefix}_tp": tp,
        f"{prefix}_fp": fp,
        f"{prefix}_fn": fn,
        f"{prefix}_precision": _ratio(tp, tp + fp),
        f"{prefix}_recall": _ratio(tp, tp + fn),
        f"{prefix}_f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def _mets_columns(
    instances: Sequence[Scores], fp: int, volume_mm3: float, overlap: float, penalty: float
) -> Scores:
    """Large and small reference lesions apart; lost and spurious lesions enter the lesion means."""
    scores: Scores = {}
    for size in ("large", "small"):
        chosen = [one for one in instances if (one["volume"] >= volume_mm3) == (size == "large")]
        tp = sum(one.get("sq_dsc", -1) >= overlap for one in chosen)
        counts = _counts(f"{size}_lesion", tp, fp, len(chosen) - tp)
        scores |= counts if chosen else dict.fromkeys(counts, math.nan)
    large = [one for one in instances if one["volume"] >= volume_mm3]
    for ours, name, worst in (("dice", "dsc", 0.0), ("nsd", "nsd", 0.0), ("hd95", "hd95", penalty)):
        values = [one.get(f"sq_{name}", worst) for one in large] + [worst] * fp
        scores[f"lesion_{ours}"] = float(np.mean(values)) if large else math.nan
    return scores


# CaPTk (2017-2022)


def score_captk(
    reference: np.ndarray, prediction: np.ndarray, grid_shape: Shape | None = None
) -> dict[str, Scores]:
    """BraTS 2017-2022, labels 1, 2, 4: the four columns kept by the leaderboard, distances in voxels."""
    result = {}
    for region, labels in REGIONS_CAPTK.items():
        ours, theirs = np.isin(reference, labels), np.isin(prediction, labels)
        if not ours.any() and not theirs.any():
            result[region] = {"dice": 1.0, "hd95": 0.0, "sensitivity": 1.0, "specificity": 1.0}
            continue
        one_empty = not ours.any() or not theirs.any()
        tp, fp, fn = (np.sum(mask) for mask in (ours & theirs, ~ours & theirs, ours & ~theirs))
        tn = np.sum(~ours & ~theirs) + outside(ours.shape, grid_shape)
        result[region] = {
            "dice": dice(ours, theirs),
            "hd95": diagonal(ours.shape, grid_shape)
            if one_empty
            else _pooled(ours, theirs, VOXELS, 0.0)["hd95"],
            "sensitivity": float(np.float32(tp) / np.float32(tp + fn)) if ours.any() else 0.0,
            "specificity": float(np.float32(tn) / np.float32(tn + fp)) if tn + fp else 0.0,
        }
    return result
