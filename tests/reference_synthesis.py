"""Synthesis once more, plainly from the published definitions: whole volumes, explicit windows, no crop.

A map of SSIM comes in one of two slow ways: `by_window` gathers the window of every voxel and sums weighted
deviations from its mean; `by_filter` filters the whole volume with SciPy, as torchmetrics filters it with
torch, and is what larger images are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

ANY: Any = nibabel
SIGMA, HALF = 1.5, 5
Axes = tuple[int, ...]
Way = Callable[[np.ndarray, np.ndarray, Axes, float, float], np.ndarray]
SLICES, VOLUME = (1, 2), (0, 1, 2)


@dataclass(frozen=True)
class Images:
    """Both images masked and scaled, (x, y, z), and the region."""

    target: np.ndarray
    predicted: np.ndarray
    region: np.ndarray


def window(dimensions: int) -> np.ndarray:
    """Weights of the Gaussian window of so many dimensions; their sum is 1."""
    bell = np.array([np.exp(-(step**2) / (2 * SIGMA**2)) for step in range(-HALF, HALF + 1)])
    weights = bell
    for _ in range(dimensions - 1):
        weights = np.multiply.outer(weights, bell)
    return weights / weights.sum()


def reflected(place: int, extent: int) -> int:
    """The place inside an axis that a place outside it mirrors, the edge itself not repeated."""
    while extent > 1 and not 0 <= place < extent:
        place = -place if place < 0 else 2 * (extent - 1) - place
    return place if extent > 1 else 0


def by_window(target: np.ndarray, predicted: np.ndarray, axes: Axes, c1: float, c2: float) -> np.ndarray:
    """Voxel by voxel."""
    weights = window(len(axes))
    found = np.zeros(target.shape)
    for voxel in product(*map(range, target.shape)):
        places = [
            [reflected(voxel[axis] + step, target.shape[axis]) for step in range(-HALF, HALF + 1)]
            if axis in axes
            else [voxel[axis]]
            for axis in range(3)
        ]
        a, b = (image[np.ix_(*places)].reshape(weights.shape) for image in (target, predicted))
        mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
        variance_a, variance_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
        covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
        upper = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        found[voxel] = upper / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return found


def by_filter(target: np.ndarray, predicted: np.ndarray, axes: Axes, c1: float, c2: float) -> np.ndarray:
    """All voxels at once."""
    weights = window(1)

    def smooth(image: np.ndarray) -> np.ndarray:
        for axis in axes:
            image = ndimage.correlate1d(image, weights, axis=axis, mode="mirror")
        return image

    mean_a, mean_b = smooth(target), smooth(predicted)
    variance_a = np.maximum(smooth(target * target) - mean_a * mean_a, 0)
    variance_b = np.maximum(smooth(predicted * predicted) - mean_b * mean_b, 0)
    covariance = smooth(target * predicted) - mean_a * mean_b
    upper = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return np.asarray(upper / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))


def limits(values: np.ndarray) -> tuple[float, float]:
    """The 0.5 and 99.5 percentile, the lower one at least 0."""
    low, high = np.percentile(np.asarray(values, np.float64), [0.5, 99.5])
    return max(float(low), 0.0), float(high)


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Clipped to the limits, which become 0 and 1."""
    return (np.clip(np.asarray(values, np.float64), low, high) - low) / (high - low)


def inpainting(
    target: np.ndarray, predicted: np.ndarray, healthy: np.ndarray, void: np.ndarray | None
) -> Images:
    """Both images inside the healthy mask; without a voided image the scale of 2023."""
    region = healthy > 0
    low, high = limits(np.where(region, 0, target) if void is None else void)
    return Images(*(scaled(image * region, low, high) for image in (target, predicted)), region)


def brasyn(target: np.ndarray, predicted: np.ndarray, region: np.ndarray) -> Images:
    """Both images inside a region, each on its own scale."""
    return Images(*(scaled(image, *limits(image)) * region for image in (target, predicted)), region)


def similarity_map(images: Images, axes: Axes, way: Way) -> np.ndarray:
    """SSIM of every voxel of the whole image."""
    span = max(float(np.ptp(images.target)), float(np.ptp(images.predicted)))
    return way(images.target, images.predicted, axes, (0.01 * span) ** 2, (0.03 * span) ** 2)


def similarity(images: Images, axes: Axes, average: str) -> float:
    """Mean SSIM over the region or the whole image."""
    found = similarity_map(images, axes, by_filter)
    return float((found[images.region] if average == "region" else found).mean())


def differences(images: Images) -> dict[str, float]:
    """Everything but SSIM, over the region."""
    t, p = images.target[images.region], images.predicted[images.region]
    mse = float(np.mean((p - t) ** 2))
    inside = np.clip(p, t.min(), t.max())
    with np.errstate(divide="ignore"):
        decibels = {
            "psnr": 10 * np.log10((t.max() - min(t.min(), 0)) ** 2 / np.float64(mse)),
            "psnr_extremes": 10 * np.log10((t.max() - t.min()) ** 2 / np.mean((inside - t) ** 2)),
            "psnr_01": 10 * np.log10(1 / np.float64(mse)),
            "psnr_eps": 10 * np.log10((t.max() - min(t.min(), 0)) ** 2 / (mse + 2.220446049250313e-16)),
            "psnr_01_eps": 10 * np.log10(1 / (mse + 2.220446049250313e-16)),
        }
    return {
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
        "msle": float(np.mean((np.log(1 + p) - np.log(1 + t)) ** 2)),
        "mae": float(np.mean(np.abs(p - t))),
        **{name: float(value) for name, value in decibels.items()},
    }


def read(path: Path) -> np.ndarray:
    """The values of an image, in 64 bits."""
    return np.asarray(ANY.load(path).get_fdata())
