"""Synthesis: a synthetic image against the real one, both on one scale from 0 to 1.

Sources: PyPI `inpainting` 0.0.8 and 0.0.12, challenge_metrics_2023.py, with torchmetrics; ssim.py of
hongweilibran/BraSyn. Metrics: ssim, mse, rmse, msle, mae, psnr, psnr_eps, psnr_01, psnr_01_eps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from bratseval.metrics.registry import metric

SIGMA = 1.5  # voxels, of the Gaussian window
RADIUS = 5  # voxels: int(3.5 SIGMA + 0.5), so that the window is 11 wide
WIDTH = 2 * RADIUS + 1
K1, K2 = 0.01, 0.03
# A window that touches what differs from 0 has its middle up to RADIUS beyond it, and its end RADIUS further.
MARGIN = 2 * RADIUS
LOWEST, HIGHEST = 0.5, 99.5  # percentiles that become 0 and 1
EPSILON = float(np.finfo(np.float64).eps)
_half = np.exp(-((np.arange(RADIUS + 1) / SIGMA) ** 2) / 2)
WEIGHTS = tuple((_half / (2 * _half.sum() - 1)).tolist())  # of the middle and of its neighbors to one side


class Bounds(NamedTuple):
    """Intensities that become 0 and 1; those beyond are clipped. High is above low."""

    low: float
    high: float

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Values of any type on the scale, float64."""
        scaled = values.astype(np.float64)
        np.clip(scaled, self.low, self.high, out=scaled)
        scaled -= self.low
        scaled /= self.high - self.low
        return scaled


class Similarity(NamedTuple):
    """Means of the SSIM map."""

    region: float
    image: float


@dataclass(frozen=True)
class Intensity:
    """A region of the real and of the synthetic image, cut out to where either is above the scale's 0.

    reference, prediction : (x, y, z) as stored, with a MARGIN on every side that is not the image's edge.
    region : (x, y, z) bool; outside it both images count as 0. beyond : voxels of the region outside this
    box, where both are 0. voxels : of the whole image. The scale of each image beside it.
    """

    reference: np.ndarray
    prediction: np.ndarray
    region: np.ndarray
    beyond: int
    voxels: int
    reference_scale: Bounds
    prediction_scale: Bounds

    def plane(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Reference and prediction (y, x) of one plane, 0 to 1, 0 outside the region."""
        region = self.region[..., z].T
        return (
            self.reference_scale.scale(self.reference[..., z].T) * region,
            self.prediction_scale.scale(self.prediction[..., z].T) * region,
        )

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Values of the region inside the box, flat: reference, prediction, 0 to 1."""
        region = self.region.T
        return (
            self.reference_scale.scale(self.reference.T[region]),
            self.prediction_scale.scale(self.prediction.T[region]),
        )

    @cached_property
    def size(self) -> int:
        """Voxels of the region."""
        return int(np.count_nonzero(self.region)) + self.beyond

    @cached_property
    def data_range(self) -> float:
        """The larger range of both images over the whole volume, 1 where there is none."""
        planes = range(self.region.shape[2])
        ends = np.array([[(one.min(), one.max()) for one in self.plane(z)] for z in planes])
        low, high = ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)  # of each image
        if self.region.size < self.voxels:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        return float((high - low).max()) or 1.0

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value of the reference in the region."""
        values = self.pairs[0]
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        return (min(low, 0.0), max(high, 0.0)) if self.beyond else (low, high)

    @cached_property
    def squared_error(self) -> float:
        """Mean squared error over the region, which six metrics read."""
        reference, prediction = self.pairs
        return self.mean((prediction - reference) ** 2)

    @cached_property
    def by_slice(self) -> Similarity:
        """2-D SSIM in every y-z plane."""
        return _similarity(self, volume=False)

    @cached_property
    def by_volume(self) -> Similarity:
        """3-D SSIM."""
        return _similarity(self, volume=True)

    def mean(self, errors: np.ndarray) -> float:
        """Mean over the region of what is 0 where both images are; nan for an empty region."""
        return float(errors.sum() / self.size) if self.size else math.nan


def percentile_bounds(values: np.ndarray) -> Bounds:
    """The 0.5 and 99.5 percentile of all voxels, background included; a negative one counts as 0.

    Interpolated linearly between order statistics, as NumPy does by default.
    """
    flat = values.ravel(order="K")
    rest = flat[flat != 0]  # most voxels are background, which needs no sorting
    negative, zeros = int(np.count_nonzero(rest < 0)), flat.size - rest.size
    ranks = [(flat.size - 1) * (percent / 100) for percent in (LOWEST, HIGHEST)]
    ends = {end for rank in ranks for end in (math.floor(rank), math.ceil(rank))}
    # Where an order statistic of all voxels lies among those that are not 0.
    places = {
        end: end if end < negative else end - zeros for end in ends if not negative <= end < negative + zeros
    }
    if places:
        rest.partition(sorted(places.values()))
    statistics = {end: float(rest[places[end]]) if end in places else 0.0 for end in ends}
    low, high = (
        _between(statistics[math.floor(rank)], statistics[math.ceil(rank)], rank % 1) for rank in ranks
    )
    return Bounds(max(low, 0.0), high)


def _between(low: float, high: float, part: float) -> float:
    """Linear interpolation from the nearer side, as NumPy does, so that the last digit is the same."""
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


def compare(
    reference: np.ndarray,
    prediction: np.ndarray,
    region: np.ndarray,
    bounds: Bounds,
    prediction_bounds: Bounds | None = None,
) -> Intensity:
    """Cut a region (bool) out of two images of any type (x, y, z), to be compared on the scale 0 to 1.

    prediction_bounds: where the prediction has a scale of its own.
    """
    own = prediction_bounds or bounds
    window = _window(region & ((reference > bounds.low) | (prediction > own.low)))
    inside = region[window]
    beyond = int(np.count_nonzero(region)) - int(np.count_nonzero(inside))
    return Intensity(reference[window], prediction[window], inside, beyond, region.size, bounds, own)


def _window(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """Bounding box of a mask (x, y, z), with its margin inside the image; a corner for an empty mask."""
    shadow = np.asarray(mask.any(axis=0))  # two passes over the volume, not three
    lines = (
        np.asarray(mask.any(axis=(1, 2))),
        np.asarray(shadow.any(axis=1)),
        np.asarray(shadow.any(axis=0)),
    )
    x, y, z = (
        slice(max(int(used[0]) - MARGIN, 0), int(used[-1]) + 1 + MARGIN) if used.size else slice(0, 1)
        for used in map(np.flatnonzero, lines)
    )
    return x, y, z


def _similarity(record: Intensity, *, volume: bool) -> Similarity:
    """Structural similarity of Wang et al. 2004 as torchmetrics computes it, in slabs of planes.

    Gaussian window, reflection at the edge of the image. The data range is the larger range of both images
    (1 where both are constant, which torchmetrics divides by). The sum of both variances is clamped at 0,
    each of them there: they differ by rounding only. Outside the box the map is 1.
    """
    c1, c2 = (K1 * record.data_range) ** 2, (K2 * record.data_range) ** 2
    region = record.region.T
    near_z, near_y, near_x = (_mirrored(extent) for extent in region.shape)
    kept: dict[int, tuple[np.ndarray, ...]] = {}
    inside = everywhere = 0.0
    for z, marked in enumerate(region):
        around = near_z[z : z + WIDTH].tolist()
        for place in around:
            if place not in kept:
                kept[place] = _products(*record.plane(place))
        planes = [kept[place] for place in around]
        kept.pop(z - RADIUS, None)
        means = [_across(_weigh(of_product), near_y) for of_product in zip(*planes, strict=True)]
        if volume:
            means, marked = [_across(mean.T, near_x) for mean in means], marked.T
        a, b, squares, product = means
        ab, ab_squares = a * b, a * a + b * b
        structure = (2 * (product - ab) + c2) / (np.maximum(squares - ab_squares, 0) + c2)
        similarity = (2 * ab + c1) / (ab_squares + c1) * structure
        inside += float(similarity[marked].sum())
        everywhere += float(similarity.sum())
    return Similarity(
        (inside + record.beyond) / record.size if record.size else math.nan,
        (everywhere + record.voxels - region.size) / record.voxels,
    )


def _mirrored(extent: int) -> np.ndarray:
    """Where the values of an axis and of RADIUS places before and after it are found."""
    return np.pad(np.arange(extent), RADIUS, mode="reflect")


def _products(reference: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, ...]:
    return (
        reference,
        prediction,
        reference * reference + prediction * prediction,
        reference * prediction,
    )


def _across(plane: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Smooth a plane along its first axis."""
    padded = np.take(plane, near, axis=0)
    return _weigh([padded[start : start + len(plane)] for start in range(WIDTH)])


def _weigh(shifted: Sequence[np.ndarray]) -> np.ndarray:
    """Sum of WIDTH arrays of one shape by the weights of the window."""
    total = shifted[RADIUS] * WEIGHTS[0]
    both = np.empty_like(total)
    for step in range(1, RADIUS + 1):
        np.add(shifted[RADIUS - step], shifted[RADIUS + step], out=both)
        both *= WEIGHTS[step]
        total += both
    return total


@metric("ssim", reads="intensity", best=1.0, worst=-1.0)
def ssim(
    images: Intensity,
    window: Literal["slices", "volume"] = "slices",
    average: Literal["region", "image"] = "region",
) -> float:
    """Mean structural similarity (SSIM), -1 to 1; nan for an empty region.

    window: slices for 2-D SSIM in the y-z plane, with x as channel (the official package since 2024, whose
    tensor lacks an axis); volume for 3-D (2023, BraSyn). average: over the region, or over the image with
    zeros outside the region (BraSyn; a small region then scores near 1).
    """
    found = images.by_slice if window == "slices" else images.by_volume
    return found.region if average == "region" else found.image


@metric("mse", reads="intensity", best=0.0, worst=1.0)
def mse(images: Intensity) -> float:
    """Mean squared error over the region, 0 to 1; nan for an empty one."""
    return images.squared_error


@metric("rmse", reads="intensity", best=0.0, worst=1.0)
def rmse(images: Intensity) -> float:
    """Root of the mean squared error over the region, 0 to 1; nan for an empty one."""
    return math.sqrt(mse(images))


@metric("msle", reads="intensity", best=0.0, worst=math.log(2) ** 2)
def msle(images: Intensity) -> float:
    """Mean squared difference of ln(1 + value) over the region, 0 to ln(2)^2; nan for an empty one."""
    reference, prediction = images.pairs
    return images.mean((np.log1p(prediction) - np.log1p(reference)) ** 2)


@metric("mae", reads="intensity", best=0.0, worst=1.0)
def mae(images: Intensity) -> float:
    """Mean absolute error over the region, 0 to 1; nan for an empty one."""
    reference, prediction = images.pairs
    return images.mean(np.abs(prediction - reference))


DynamicRange = Literal["from_zero", "extremes"]


@metric("psnr", reads="intensity", unit="dB", best=math.inf, worst=-math.inf)
def psnr(images: Intensity, dynamic_range: DynamicRange = "from_zero") -> float:
    """Peak signal-to-noise ratio 10 log10(range^2 / mse) over the region; inf without any error.

    dynamic_range: from_zero for the reference's maximum minus the smaller of 0 and its minimum (package
    0.0.8, which the server runs); extremes for its maximum minus its minimum, to which the prediction is
    clipped first (0.0.12).
    """
    low, high = images.extremes
    if dynamic_range == "from_zero":
        return _decibels(high, mse(images))
    reference, prediction = images.pairs
    clipped = images.mean((np.clip(prediction, low, high) - reference) ** 2)
    # Without a range everything would be clipped to perfection.
    return _decibels(high - low, clipped if high > low else mse(images))


@metric("psnr_eps", reads="intensity", unit="dB", best=math.inf, worst=-math.inf)
def psnr_eps(images: Intensity, dynamic_range: DynamicRange = "from_zero") -> float:
    """psnr with 2.2e-16 added to the error, so that it is finite; nothing is clipped."""
    low, high = images.extremes
    return _decibels(high if dynamic_range == "from_zero" else high - low, mse(images) + EPSILON)


@metric("psnr_01", reads="intensity", unit="dB", best=math.inf, worst=0.0)
def psnr_01(images: Intensity) -> float:
    """Peak signal-to-noise ratio over the region with range 1, in dB, from 0; inf without any error."""
    return _decibels(1.0, mse(images))


@metric("psnr_01_eps", reads="intensity", unit="dB", best=math.inf, worst=0.0)
def psnr_01_eps(images: Intensity) -> float:
    """psnr_01 with 2.2e-16 added to the error, so that it is finite."""
    return _decibels(1.0, mse(images) + EPSILON)


def _decibels(peak: float, error: float) -> float:
    if error == 0 or math.isnan(error):  # the latter in an empty region
        return math.inf if error == 0 else math.nan
    return 20 * math.log10(peak) - 10 * math.log10(error) if peak else -math.inf
