"""One small example of every record that a metric reads: what the pictures show and the pages quote.

Every number on a page is computed by the metric's own function from these records.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage

from bratseval.metrics.classes import Labels, Scores
from bratseval.metrics.counts import Counts
from bratseval.metrics.detection import Detection
from bratseval.metrics.federation import Rounds
from bratseval.metrics.filtering import Filtering, filter_by_uncertainty
from bratseval.metrics.intensity import Bounds, Intensity
from bratseval.metrics.jacobian import Jacobian
from bratseval.metrics.landmarks import Landmarks
from bratseval.metrics.overlap import Overlap, count_overlap
from bratseval.metrics.pooled import Pooled
from bratseval.metrics.raters import Raters
from bratseval.metrics.ratings import Ratings
from bratseval.metrics.registry import METRICS, Metric, metric_names
from bratseval.metrics.surface import Distances
from bratseval.metrics.survival import Times

# Parameters that a metric must be given, as an example has them.
GIVEN: dict[str, dict[str, Any]] = {
    "hit_rate": {"radius_mm": 3.0},
    "hit_rate_by_spread": {"times": 2.0},
    "jacobian_percentile": {"percent": 1.0},
    "nsd": {"tolerance_mm": 2.0},
}


@dataclass(frozen=True)
class Lesion:
    """A disk of a picture: center, radius, and what became of it."""

    x: float
    y: float
    radius: float
    side: str  # reference or prediction
    kind: str  # tp, fn, fp


@cache
def masks() -> tuple[np.ndarray, np.ndarray]:
    """A reference and a prediction, bool (40, 60), 1 mm: an ellipse, and a shifted one with a bulge."""
    y, x = np.mgrid[:40, :60]
    reference = ((x - 26) / 16) ** 2 + ((y - 20) / 11) ** 2 <= 1
    prediction = ((x - 31) / 15) ** 2 + ((y - 21) / 10) ** 2 <= 1
    prediction |= (x - 46) ** 2 + (y - 16) ** 2 <= 25
    return reference, prediction


def edge(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask with a neighbor outside."""
    return mask & ~ndimage.binary_erosion(mask)


def distances_between(reference: np.ndarray, prediction: np.ndarray) -> Distances:
    """Distances between the voxel boundaries of two masks, mm."""

    def directed(source: np.ndarray, target: np.ndarray) -> np.ndarray:
        if not source.any():
            return np.empty(0)
        if not target.any():
            return np.full(int(edge(source).sum()), np.inf)
        return ndimage.distance_transform_edt(~edge(target))[edge(source)]

    return Distances(directed(reference, prediction), directed(prediction, reference))


@cache
def lesions() -> tuple[Lesion, ...]:
    """Five reference lesions, three of them found, and a spurious one."""
    return (
        Lesion(10, 28, 5.0, "reference", "tp"),
        Lesion(11.5, 28.5, 4.6, "prediction", "tp"),
        Lesion(27, 12, 3.4, "reference", "tp"),
        Lesion(27.6, 11.0, 3.4, "prediction", "tp"),
        Lesion(43, 29, 4.2, "reference", "tp"),
        Lesion(44.5, 30.5, 3.4, "prediction", "tp"),
        Lesion(8, 9, 2.0, "reference", "fn"),
        Lesion(53, 8, 1.6, "reference", "fn"),
        Lesion(28, 32, 2.6, "prediction", "fp"),
    )


@cache
def landmarks() -> Landmarks:
    """Nine landmarks in the plane, with the points of three raters."""
    random = np.random.default_rng(4)
    reference = np.stack(np.meshgrid([10.0, 30, 50], [8.0, 20, 32]), axis=-1).reshape(-1, 2)
    moving = reference + np.array([6.0, -4.0]) + random.normal(0, 1.2, reference.shape)
    predicted = reference + random.normal(0, 1.6, reference.shape)
    predicted[4] += (7.0, 3.0)
    raters = reference + random.normal(0, 1.0, (3, *reference.shape))
    return Landmarks(reference, predicted, moving, raters, diagonal_mm=72.1)


@cache
def displacement() -> tuple[np.ndarray, np.ndarray]:
    """A displacement field of the plane (40, 60, 2), and its determinants; it folds in one place."""
    y, x = np.mgrid[:40, :60].astype(float)
    bump = np.exp(-(((x - 38) / 6) ** 2) - ((y - 20) / 7) ** 2)
    field = np.stack([2.0 * np.sin(x / 9), -9.0 * bump * (x - 38) / 6 + 1.5 * np.cos(y / 8)], axis=-1)
    field = field[..., ::-1]  # components x, y
    (uxy, uxx), (uyy, uyx) = np.gradient(field[..., 0]), np.gradient(field[..., 1])
    return field, (1 + uxx) * (1 + uyy) - uxy * uyx


@cache
def filtering() -> Filtering:
    """The masks of `masks`, more uncertain near the boundary of the prediction."""
    reference, prediction = masks()
    depth = ndimage.distance_transform_edt(prediction) + ndimage.distance_transform_edt(~prediction)
    uncertainty = 100 * np.exp(-depth / 3.5)
    return filter_by_uncertainty(reference, prediction, uncertainty, np.ones_like(reference), 40)


@cache
def raters() -> Raters:
    """Three raters' ellipses and a smooth probability map, (40, 60)."""
    y, x = np.mgrid[:40, :60]
    shapes = ((26, 20, 15, 10), (29, 21, 14, 11), (28, 18, 17, 9))
    drawn = np.array([((x - a) / c) ** 2 + ((y - b) / d) ** 2 <= 1 for a, b, c, d in shapes])
    distance = np.sqrt(((x - 30) / 15.0) ** 2 + ((y - 20) / 10.0) ** 2)
    return Raters(drawn, 1 / (1 + np.exp((distance - 1) * 6)))


@cache
def intensity() -> Intensity:
    """A soft ball with a ring, and a blurred, noisy synthesis of it: (24, 40, 40), 0 to 1."""
    x, y, z = np.mgrid[:24, :40, :40].astype(float)
    radius = np.sqrt((x - 12) ** 2 + (y - 20) ** 2 + (z - 20) ** 2)
    reference = np.clip(0.75 - radius / 40, 0, 1) + 0.25 * np.exp(-(((radius - 8) / 1.5) ** 2))
    noise = np.random.default_rng(1).normal(0, 0.02, reference.shape)
    prediction = np.clip(ndimage.gaussian_filter(reference, 1.6) + noise, 0, 1)
    region = (y - 20) ** 2 + (z - 20) ** 2 + (x - 12) ** 2 <= 11**2
    scale = Bounds(0.0, 1.0)
    return Intensity(reference, prediction, region, 0, reference.size, scale, scale)


@cache
def labels() -> Labels:
    """Thirty subjects of three classes; two have no usable prediction and hold label 3."""
    table = [[8, 1, 1, 0], [2, 6, 1, 1], [0, 2, 7, 1]]
    pairs = [(k, j) for k, row in enumerate(table) for j, times in enumerate(row) for _ in range(times)]
    reference, prediction = np.array(pairs).T
    return Labels(reference, prediction, 3)


@cache
def scores() -> Scores:
    """Forty subjects of two classes with a score that tells them apart fairly well."""
    random = np.random.default_rng(7)
    reference = np.repeat([0, 1], [22, 18])
    score = np.clip(random.normal(np.where(reference == 1, 0.62, 0.4), 0.17), 0, 1)
    return Scores(reference, np.stack([1 - score, score], axis=1))


@cache
def times() -> Times:
    """Eight subjects, three of them censored, and predicted times."""
    observed = np.array([1.0, 1.8, 2.5, 3.1, 4.0, 4.6, 5.5, 6.3])
    event = np.array([True, True, False, True, True, False, True, False])
    predicted = np.array([1.4, 2.9, 3.6, 2.2, 4.9, 3.0, 4.4, 6.8])
    return Times(observed, event, predicted)


@cache
def ratings() -> Ratings:
    """Twelve ratings from 0 to 6, one of them missing."""
    reference = np.array([0.0, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6])
    submitted = np.array([0.4, 0.9, 2.1, 1.6, 3.0, 2.4, 3.9, 4.4, 4.1, np.nan, 5.2, 5.9])
    return Ratings(reference, submitted, 0.0, 6.0)


@cache
def rounds() -> Rounds:
    """Nine rounds of a training of a week."""
    seconds = np.array([50_000.0, 60_000, 55_000, 70_000, 60_000, 65_000, 50_000, 60_000, 55_000])
    scores = np.array([0.31, 0.48, 0.44, 0.6, 0.66, 0.63, 0.72, 0.71, 0.75])
    return Rounds(seconds, scores)


# Of five cases: voxels shared and of both sides; burden of the reference and of the prediction.
SHARED, BOTH = np.array([900.0, 300, 0, 5200, 1500]), np.array([1100.0, 420, 130, 5800, 2600])
BURDENS = np.array([0.10, 0.04, 0.0, 0.31, 0.17]), np.array([0.08, 0.05, 0.02, 0.27, 0.09])


def pooled(name: str) -> Pooled:
    """What five cases give to a pooled metric."""
    if name == "global_dice":
        return Pooled(2 * SHARED, SHARED + BOTH)
    return Pooled(BURDENS[0] - BURDENS[1], np.ones(5))


def record_of(entry: Metric) -> Any:
    """The example of what a metric reads."""
    if entry.reads == "pooled":
        return pooled(entry.name)
    if entry.reads in ("overlap", "agreement"):
        return count_overlap(*masks())
    if entry.reads == "distances":
        return distances_between(*masks())
    if entry.reads == "detection":
        return Detection(tp=3, fp=1, fn=2, matched_dice=0.83 + 0.72 + 0.6)
    if entry.reads == "jacobian":
        return Jacobian(displacement()[1].copy())
    if entry.reads == "counts":
        return Counts(subjects=180, missing=4)
    others = {"landmarks": landmarks, "filtering": filtering, "raters": raters, "intensity": intensity}
    others |= {"labels": labels, "scores": scores, "times": times, "ratings": ratings, "rounds": rounds}
    return others[entry.reads]()


def value_of(name: str) -> float:
    """The metric of its example."""
    metric_names()
    entry = METRICS[name]
    return entry.measure(record_of(entry), GIVEN.get(name, {}))


def empty_values(name: str) -> dict[str, float] | None:
    """What the function gives where masks or lesions are empty; None where a record has no such case."""
    entry = METRICS[name]
    full, none = masks()[0], np.zeros_like(masks()[0])
    pairs = {"both": (none, none), "reference": (none, full), "prediction": (full, none)}
    found: dict[str, Any]
    if entry.reads in ("overlap", "agreement"):
        found = {side: count_overlap(*pair) for side, pair in pairs.items()}
    elif entry.reads == "distances":
        found = {side: distances_between(*pair) for side, pair in pairs.items()}
    elif entry.reads == "detection":
        found = {
            "both": Detection(0, 0, 0),
            "reference": Detection(0, 1, 0),
            "prediction": Detection(0, 0, 1),
        }
    else:
        return None
    return {side: entry.measure(record, GIVEN.get(name, {})) for side, record in found.items()}


def overlap() -> Overlap:
    """Voxel counts of the masks."""
    return count_overlap(*masks())
