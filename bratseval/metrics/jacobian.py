"""Smoothness of a registration, read from the determinant of its Jacobian in every voxel.

A determinant of 1 keeps volumes; at 0 and below the map folds. Metrics: jacobian_nonpositive,
jacobian_negative, jacobian_nonpositive_percent, jacobian_min, jacobian_max, jacobian_std,
jacobian_percentile, sdlogj.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Jacobian:
    """determinants : float64 of any shape, finite, one of every voxel of the whole volume."""

    determinants: np.ndarray


@metric("jacobian_nonpositive", reads="jacobian", unit="voxels", best=0.0, worst=float("inf"))
def jacobian_nonpositive(jacobian: Jacobian) -> float:
    """Number of voxels where the determinant is 0 or less.

    A penalty should be no less than the voxels of the largest grid, as all of them may fold; it is one number
    for all cases, and is held against `expected.grid` where the challenge states that.
    """
    return float(np.count_nonzero(jacobian.determinants <= 0))


@metric("jacobian_negative", reads="jacobian", unit="voxels", best=0.0, worst=float("inf"))
def jacobian_negative(jacobian: Jacobian) -> float:
    """Number of voxels where the determinant is below 0."""
    return float(np.count_nonzero(jacobian.determinants < 0))


@metric("jacobian_nonpositive_percent", reads="jacobian", unit="%", best=0.0, worst=100.0)
def jacobian_nonpositive_percent(jacobian: Jacobian) -> float:
    """Percentage of voxels where the determinant is 0 or less, 0 to 100."""
    return 100.0 * jacobian_nonpositive(jacobian) / jacobian.determinants.size


@metric("jacobian_min", reads="jacobian", best=None, worst=None)
def jacobian_min(jacobian: Jacobian) -> float:
    """Smallest determinant."""
    return float(jacobian.determinants.min())


@metric("jacobian_max", reads="jacobian", best=None, worst=None)
def jacobian_max(jacobian: Jacobian) -> float:
    """Largest determinant."""
    return float(jacobian.determinants.max())


@metric("jacobian_std", reads="jacobian", best=0.0, worst=float("inf"))
def jacobian_std(jacobian: Jacobian) -> float:
    """Standard deviation of the determinant over the volume, ddof 0."""
    return float(jacobian.determinants.std())


@metric("jacobian_percentile", reads="jacobian", best=None, worst=None)
def jacobian_percentile(jacobian: Jacobian, percent: Annotated[float, Field(ge=0, le=100)]) -> float:
    """Percentile of the determinant over the volume, linearly interpolated."""
    return float(np.percentile(jacobian.determinants, percent))


@metric("sdlogj", reads="jacobian", best=0.0, worst=float("inf"))
def sdlogj(jacobian: Jacobian, added: Annotated[float, Field(gt=0)] = 3.0) -> float:
    """Standard deviation of log(determinant + added), clipped to [1e-9, 1e9] before the logarithm.

    Learn2Reg's SDlogJ (added 3), here over the whole volume; its evaluation drops two voxels at the border.
    """
    values = jacobian.determinants + added
    np.log(np.clip(values, 1e-9, 1e9, out=values), out=values)  # in place: a whole volume of them
    return float(values.std())
