"""The small steps that every ranking scheme is made of; pure functions on arrays.

A table of scores is an array (teams, units); a unit is one case x region x metric. nan means that
a score is missing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Ties = Literal["min", "average", "max", "dense"]

DIGITS = 12  # values that agree to so many significant digits are equal on every machine


def round_significant(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Round to significant digits, so that values equal on paper stay equal; nan and inf pass."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values)


def rank(values: np.ndarray, ties: Ties) -> np.ndarray:
    """Rank along the first axis (teams), 1 = smallest = best; missing values come last, tied.

    values : (teams, units) float64. Returns float64 of the same shape.
    """
    filled = round_significant(np.where(np.isnan(values), 0.0, values))
    absent = np.isnan(values)
    smaller = (filled[None] < filled[:, None]) & ~absent[None] & ~absent[:, None]
    smaller |= ~absent[None] & absent[:, None]
    equal = (filled[None] == filled[:, None]) & ~absent[None] & ~absent[:, None]
    equal |= absent[None] & absent[:, None]
    below = smaller.sum(axis=1)
    if ties == "dense":
        lowest = np.array([~equal[:i, i].any(axis=0) for i in range(len(values))])
        return 1.0 + (smaller & lowest[None]).sum(axis=1)
    same = equal.sum(axis=1)
    return {"min": below + 1.0, "max": below + same, "average": below + (same + 1) / 2}[ties] * 1.0
