"""Landmark metrics of a registration: how far predicted points lie from where they belong, in mm.

Metrics: mee, mean_euclidean_error, max_euclidean_error, tre_std, initial_mee, mae_axis, robustness,
relative_tre, hit_rate, hit_rate_auc. All are nan without a landmark.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bratseval.metrics.registry import metric

# What the YAML may set; a step below a thousandth would make a curve of millions of points.
Positive = Annotated[float, Field(gt=0, le=1e4)]
Radius = Annotated[float, Field(ge=0)]
Step = Annotated[float, Field(ge=1e-3, le=1e4)]
Center = Literal["reference", "raters"]
Area = Literal["exact", "trapezoid"]
LARGEST_RADIUS_MM, STEP_MM = 10.0, 0.25  # of a curve whose challenge states none
_STATISTICS: dict[str, Callable[[np.ndarray], np.floating]] = {
    "median": np.median,
    "mean": np.mean,
    "max": np.max,
}


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points of one case, paired by id.

    reference, predicted, moving : (n, d) float64, mm: where the points belong, where the registration puts
        them, and where they were before.
    raters : (R, n, d) float64, mm: what every rater marked; R is 0 where only the reference is known.
    diagonal_mm : diagonal of the reference image, nan where it is unknown.
    """

    reference: np.ndarray
    predicted: np.ndarray
    moving: np.ndarray
    raters: np.ndarray
    diagonal_mm: float = float("nan")

    @property
    def errors(self) -> np.ndarray:
        """(n,) Euclidean distance of every predicted point from its reference, mm."""
        return _distance(self.predicted, self.reference)

    @property
    def initial_errors(self) -> np.ndarray:
        """(n,) the same before registration, mm."""
        return _distance(self.moving, self.reference)

    @property
    def spread(self) -> np.ndarray:
        """(n,) root mean square distance of the raters' points from their mean, mm."""
        deviations = self.raters - self.raters.mean(axis=0)
        return np.sqrt((deviations**2).sum(axis=-1).mean(axis=0))


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.sqrt(((points - others) ** 2).sum(axis=-1))


def _statistic(values: np.ndarray, name: str) -> float:
    return float(_STATISTICS[name](values)) if values.size else float("nan")


@metric("mee", reads="landmarks", unit="mm", best=0.0, worst=float("inf"))
def mee(landmarks: Landmarks) -> float:
    """Median Euclidean error over the landmarks in mm; an even number averages the middle two.

    The MEE of BraTS-Reg (arXiv 2112.06979), called MAE on its early web pages.
    """
    return _statistic(landmarks.errors, "median")


@metric("mean_euclidean_error", reads="landmarks", unit="mm", best=0.0, worst=float("inf"))
def mean_euclidean_error(landmarks: Landmarks) -> float:
    """Mean Euclidean error in mm, also called target registration error (TRE)."""
    return _statistic(landmarks.errors, "mean")


@metric("max_euclidean_error", reads="landmarks", unit="mm", best=0.0, worst=float("inf"))
def max_euclidean_error(landmarks: Landmarks) -> float:
    """Largest Euclidean error in mm."""
    return _statistic(landmarks.errors, "max")


@metric("tre_std", reads="landmarks", unit="mm", best=0.0, worst=float("inf"))
def tre_std(landmarks: Landmarks) -> float:
    """Standard deviation of the Euclidean errors in mm, ddof 0."""
    return float(landmarks.errors.std()) if landmarks.errors.size else float("nan")


@metric("initial_mee", reads="landmarks", unit="mm", best=None, worst=None)
def initial_mee(landmarks: Landmarks) -> float:
    """Median Euclidean error before registration in mm: a fact of the case, not of the team."""
    return _statistic(landmarks.initial_errors, "median")


@metric("mae_axis", reads="landmarks", unit="mm", best=0.0, worst=float("inf"))
def mae_axis(landmarks: Landmarks) -> float:
    """Mean over the axes of the median absolute difference in mm.

    What scikit-learn's median_absolute_error gives for (n, 3) arrays. Some participants reported it as
    the challenge's error; it is far smaller than the MEE, and never the official number.
    """
    if not landmarks.predicted.size:
        return float("nan")
    return float(np.median(np.abs(landmarks.predicted - landmarks.reference), axis=0).mean())


@metric("robustness", reads="landmarks", best=1.0, worst=0.0)
def robustness(landmarks: Landmarks, equal: Literal["worse", "better"] = "worse") -> float:
    """Share of landmarks that lie closer to their reference than before registration, 0 to 1.

    equal: whether an unchanged distance counts as improved; by default it does not (BraTS-Reg).
    """
    before, after = landmarks.initial_errors, landmarks.errors
    if not after.size:
        return float("nan")
    return float((after <= before if equal == "better" else after < before).mean())


@metric("relative_tre", reads="landmarks", best=0.0, worst=float("inf"))
def relative_tre(landmarks: Landmarks, statistic: Literal["median", "mean", "max"] = "median") -> float:
    """Euclidean error as a share of the image diagonal (rTRE of ANHIR, Borovec et al. 2020).

    statistic: over the landmarks of the case; ANHIR ranks the median. nan where the diagonal is unknown.
    """
    return _statistic(landmarks.errors / landmarks.diagonal_mm, statistic)


@metric("hit_rate", reads="landmarks", best=1.0, worst=0.0)
def hit_rate(landmarks: Landmarks, radius_mm: Radius, center: Center = "reference") -> float:
    """Share of landmarks inside their confidence zone, at most radius_mm from its center (HitR), 0 to 1.

    center: the reference, or every rater's own point, averaged over raters (nan without raters).
    Source: Waldmannstetter et al. 2023, arXiv 2308.01318.
    """
    distances = _zone_distances(landmarks, center)
    return float((distances <= radius_mm).mean()) if distances.size else float("nan")


@metric("hit_rate_auc", reads="landmarks", best=1.0, worst=0.0)
def hit_rate_auc(
    landmarks: Landmarks,
    largest_radius_mm: Positive = LARGEST_RADIUS_MM,
    area: Area = "exact",
    step_mm: Step = STEP_MM,
    center: Center = "reference",
) -> float:
    """Area under the curve of hit rate against radius, from 0 to largest_radius_mm, divided by it; 0 to 1.

    area: exact, mean(max(0, R - error)) / R, the area under the step curve; or trapezoid, on a grid of
    step_mm. The paper states neither range nor grid.
    """
    return _area(_zone_distances(landmarks, center), largest_radius_mm, area, step_mm)


@metric("hit_rate_by_spread", reads="landmarks", best=1.0, worst=0.0)
def hit_rate_by_spread(landmarks: Landmarks, times: Annotated[float, Field(ge=0)]) -> float:
    """Hit rate with a zone of its own for every landmark: radius = times x the raters' spread, 0 to 1.

    nan without raters. A landmark on which all raters agree exactly is hit only by an error of 0.
    """
    if not len(landmarks.raters) or not landmarks.errors.size:
        return float("nan")
    return float((landmarks.errors <= times * landmarks.spread).mean())


@metric("hit_rate_by_spread_auc", reads="landmarks", best=1.0, worst=0.0)
def hit_rate_by_spread_auc(
    landmarks: Landmarks, most_times: Positive = 5.0, area: Area = "exact", step: Step = 0.125
) -> float:
    """Area under hit_rate_by_spread from 0 to most_times, divided by it, 0 to 1; nan without raters."""
    if not len(landmarks.raters) or not landmarks.errors.size:
        return float("nan")
    errors, spread = landmarks.errors, landmarks.spread
    ratios = np.where(errors == 0, 0.0, np.inf)
    np.divide(errors, spread, out=ratios, where=spread > 0)
    return _area(ratios, most_times, area, step)


def hit_rate_curve(errors: np.ndarray, largest: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii from 0 in steps up to largest, which is always the last, and the share of errors within each."""
    radii = np.append(np.arange(math.ceil(round(largest / step, 9))) * step, largest)
    ordered = np.sort(errors, axis=None)
    return radii, np.searchsorted(ordered, radii, side="right") / ordered.size


def _zone_distances(landmarks: Landmarks, center: Center) -> np.ndarray:
    return landmarks.errors if center == "reference" else _distance(landmarks.predicted, landmarks.raters)


def _area(errors: np.ndarray, largest: float, area: Area, step: float) -> float:
    if not errors.size:
        return float("nan")
    if area == "exact":
        return float(np.maximum(0.0, largest - errors).mean() / largest)
    radii, shares = hit_rate_curve(errors, largest, step)
    return float(((shares[1:] + shares[:-1]) / 2 * np.diff(radii)).sum() / largest)
