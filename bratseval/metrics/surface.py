"""Surface metrics: how far two boundaries lie apart, in mm.

Two steps, as in DeepMind's surface-distance: ``bratseval.surfaces`` gives the distances of one
boundary's points to the other boundary, and the functions here read them. Which boundary
(surfel-weighted corners or voxels), which spacing and how the two directions are combined is
the challenge's choice. Metrics: hd95, hd100, assd, rmsd, nsd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bratseval.metrics.registry import metric

Combine = Literal["directed", "pooled"]

FEW = 1000  # points that are sorted as a whole
ROUNDING = 1e-9  # of a share of area; more than sums over any number of points may be off


@dataclass(frozen=True, slots=True)
class Distances:
    """Distances between the boundaries of two masks.

    reference, prediction : (n,), (m,) float64, mm; from each boundary point of that mask to the
        nearest boundary point of the other, ``inf`` when the other has none.
    reference_area, prediction_area : (n,), (m,) float64, mm^2 of each point; None = all alike.
    smallest_spacing : mm; a tolerance may be set to it.
    reach : mm; distances beyond it may be given as ``inf``, since few metrics ask for them.
    """

    reference: np.ndarray
    prediction: np.ndarray
    reference_area: np.ndarray | None = None
    prediction_area: np.ndarray | None = None
    smallest_spacing: float = 1.0
    reach: float = math.inf

    @property
    def undefined(self) -> bool:
        """Whether at least one of the masks has no boundary."""
        return self.reference.size == 0 or self.prediction.size == 0


def _directed_percentile(distances: np.ndarray, areas: np.ndarray | None, share: float) -> float:
    """Distance within which ``share`` of the boundary's area lies; no interpolation.

    Follows DeepMind's robust Hausdorff distance: points sorted by (distance, area), the first
    at which the cumulative area reaches the share.
    """
    if areas is None:
        ordered = np.sort(distances)
        cumulative = np.arange(1, ordered.size + 1) / ordered.size
        return float(ordered[min(int(np.searchsorted(cumulative, share)), ordered.size - 1)])
    if distances.size > FEW and (found := _percentile_in_tail(distances, areas, share)) is not None:
        return found
    order = np.lexsort((areas, distances))
    sorted_areas = areas[order]
    cumulative = sorted_areas.cumsum() / sorted_areas.sum()
    return float(distances[order[min(int(cumulative.searchsorted(share)), order.size - 1)]])


def _percentile(values: np.ndarray, share: float) -> float:
    """numpy's linear percentile to the last bit, without what np.percentile costs for few points."""
    ordered = np.sort(values)
    place = (ordered.size - 1) * share
    low = int(place)
    first, second = float(ordered[low]), float(ordered[min(low + 1, ordered.size - 1)])
    weight = place - low
    if weight >= 0.5:
        return second - (second - first) * (1 - weight)
    return first + (second - first) * weight


def _percentile_in_tail(distances: np.ndarray, areas: np.ndarray, share: float) -> float | None:
    """The same of many points, of which only the farthest are sorted; None where that cannot tell.

    That is where the percentile is not among them, and where rounding could decide: then the points have
    to be summed in the official order.
    """
    some = np.sort(distances[:: distances.size // FEW])
    cut = some[int((2 * share - 1) * some.size)]
    beyond = distances > cut
    far, far_areas = distances[beyond], areas[beyond]
    order = np.argsort(far)
    total = areas.sum()
    up_to_cut = 1 - far_areas.sum() / total
    if up_to_cut > share + ROUNDING:
        return float(cut) if areas[distances < cut].sum() / total < share - ROUNDING else None
    cumulative = np.concatenate([[up_to_cut], up_to_cut + np.cumsum(far_areas[order]) / total])
    found = int(np.searchsorted(cumulative, share))
    if not 0 < found < cumulative.size:
        return None
    clear = min(share - cumulative[found - 1], cumulative[found] - share) > ROUNDING
    return float(far[order[found - 1]]) if clear else None


@metric("hd95", reads="distances", unit="mm", best=0.0, worst=float("inf"), within_reach=True)
def hd95(distances: Distances, combine: Combine = "directed") -> float:
    """95th percentile of the Hausdorff distance in mm; inf if one mask is empty, nan if both.

    ``directed``: the larger of the two directed percentiles, weighted by area, not interpolated
    (DeepMind surface-distance; BraTS 2023-2025). ``pooled``: numpy's percentile, linearly
    interpolated, of both directions' distances together (MedPy, panoptica; BraTS 2021 and 2026).
    """
    if distances.undefined:
        return float("nan") if distances.reference.size == distances.prediction.size else float("inf")
    if combine == "pooled":
        return _percentile(np.concatenate([distances.reference, distances.prediction]), 0.95)
    return max(
        _directed_percentile(distances.reference, distances.reference_area, 0.95),
        _directed_percentile(distances.prediction, distances.prediction_area, 0.95),
    )


@metric("hd100", reads="distances", unit="mm", best=0.0, worst=float("inf"))
def hd100(distances: Distances) -> float:
    """Hausdorff distance (maximum) in mm; inf if one mask is empty, nan if both."""
    if distances.undefined:
        return float("nan") if distances.reference.size == distances.prediction.size else float("inf")
    return float(max(distances.reference.max(), distances.prediction.max()))


@metric("assd", reads="distances", unit="mm", best=0.0, worst=float("inf"))
def assd(distances: Distances, combine: Combine = "directed") -> float:
    """Average symmetric surface distance in mm; inf if one mask is empty, nan if both.

    ``directed`` (the default): mean of the two directed means, each weighted by area (MedPy's
    ``assd`` for voxel boundaries). ``pooled``: mean of both directions' points together.
    """
    if distances.undefined:
        return float("nan") if distances.reference.size == distances.prediction.size else float("inf")
    reference_area, prediction_area = _areas(distances)
    if combine == "pooled":
        total = distances.reference @ reference_area + distances.prediction @ prediction_area
        return float(total / (reference_area.sum() + prediction_area.sum()))
    directed = (
        distances.reference @ reference_area / reference_area.sum(),
        distances.prediction @ prediction_area / prediction_area.sum(),
    )
    return float(sum(directed) / 2)


@metric("rmsd", reads="distances", unit="mm", best=0.0, worst=float("inf"))
def rmsd(distances: Distances) -> float:
    """Root mean square surface distance in mm; inf if one mask is empty, nan if both.

    Over the points of both directions together, weighted by area (Heimann et al. 2009).
    """
    if distances.undefined:
        return float("nan") if distances.reference.size == distances.prediction.size else float("inf")
    reference_area, prediction_area = _areas(distances)
    total = distances.reference**2 @ reference_area + distances.prediction**2 @ prediction_area
    return float(np.sqrt(total / (reference_area.sum() + prediction_area.sum())))


def _areas(distances: Distances) -> tuple[np.ndarray, np.ndarray]:
    reference, prediction = distances.reference_area, distances.prediction_area
    return (
        np.ones(distances.reference.size) if reference is None else reference,
        np.ones(distances.prediction.size) if prediction is None else prediction,
    )


@metric("nsd", reads="distances", best=1.0, worst=0.0, within_reach=True)
def nsd(
    distances: Distances,
    tolerance_mm: float | Literal["smallest_spacing"] = 1.0,
    combine: Combine = "directed",
) -> float:
    """Normalized surface Dice: share of the boundaries closer than a tolerance, 0 to 1.

    0 if one mask is empty, nan if both. ``directed`` (the default): mean of the two directed
    shares (nnU-Net's and panoptica's form; the official code's guards 1e-8 in the denominator
    lower the value by at most 5e-9 and are left out). ``pooled``: share of both boundaries' area
    together (DeepMind surface-distance, Nikolov et al. 2018). inf where the distances do not reach as
    far as the tolerance.
    """
    if distances.undefined:
        return float("nan") if distances.reference.size == distances.prediction.size else 0.0
    tolerance = distances.smallest_spacing if tolerance_mm == "smallest_spacing" else tolerance_mm
    if tolerance > distances.reach:
        return math.inf
    reference_close, reference_all = _within(distances.reference, distances.reference_area, tolerance)
    prediction_close, prediction_all = _within(distances.prediction, distances.prediction_area, tolerance)
    if combine == "pooled":
        return (reference_close + prediction_close) / (reference_all + prediction_all)
    return (reference_close / reference_all + prediction_close / prediction_all) / 2


def _within(distances: np.ndarray, areas: np.ndarray | None, tolerance_mm: float) -> tuple[float, float]:
    """Area of the points within a tolerance, and of all: mm^2, or their numbers where all count alike."""
    close = distances <= tolerance_mm
    if areas is None:
        return float(np.count_nonzero(close)), float(distances.size)
    return float(areas[close].sum()), float(areas.sum())
