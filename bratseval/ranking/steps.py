"""The small steps that every ranking scheme is made of; pure functions on arrays.

Axes: teams first. A column is one ranked region x metric, a draw is one weighting of the cases
(the observed cases, a bootstrap sample, or all cases but one). nan means that there is no value.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Ties = Literal["min", "average", "max", "dense"]

DIGITS = 12  # values that agree to so many significant digits are equal on every machine


COMPARED = 2_000_000  # comparisons of two teams held at a time


def round_significant(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Round to significant digits, so that values equal on paper stay equal; nan and inf pass."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values)


def rank(values: np.ndarray, ties: Ties) -> np.ndarray:
    """Rank along the first axis (teams), 1 = smallest = best; missing values come last, tied.

    values : (teams, ...) float64. Returns float64 of the same shape.
    """
    if values.size * len(values) <= COMPARED:
        return _rank(values, ties)
    table = values.reshape(len(values), -1)
    at_once = max(1, COMPARED // len(values) ** 2)
    parts = [slice(start, start + at_once) for start in range(0, table.shape[1], at_once)]
    # In the layout that all at once would have, on which the last digit of a later sum depends.
    ranks = np.empty_like(values, order="C" if ties == "dense" else "K")
    ranks[...] = np.concatenate([_rank(table[:, part], ties) for part in parts], axis=1).reshape(values.shape)
    return ranks


def _rank(values: np.ndarray, ties: Ties) -> np.ndarray:
    """`rank` by comparing every two teams at once."""
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


def after_largest(ranks: np.ndarray, absent: np.ndarray, ties: Ties) -> np.ndarray:
    """Ranks with the absent teams right after the largest rank present (challengeR, rankNA2.R).

    ranks : (teams, ...) from `rank`; absent : bool, same shape. min and dense: largest + 1; average: plus
    the mean of 1..k for k absent teams; max: plus k (challengeR forgives them there).
    """
    k = absent.sum(axis=0)
    step = {"min": 1.0, "dense": 1.0, "average": (k + 1) / 2, "max": k}[ties]
    largest = np.where(absent, 0.0, ranks).max(axis=0)
    return np.where(absent, largest + step, ranks)


def combine(ranks: np.ndarray, weights: np.ndarray, how: str, axis: int) -> np.ndarray:
    """Join the ranks of several columns into one number; nan is left out, nan where nothing is left.

    how : mean, sum and geometric_mean take the weights (columns,); median counts every column once.
    """
    shape = [1] * ranks.ndim
    shape[axis] = len(weights)
    present = ~np.isnan(ranks)
    weight = np.where(present, weights.reshape(shape), 0.0)
    known = np.where(present, ranks, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if how == "median":
            return quantile(np.moveaxis(ranks, axis, -1), None, 0.5)[..., 0]
        if how == "geometric_mean":
            return np.asarray(np.exp((weight * np.log(known)).sum(axis=axis) / weight.sum(axis=axis)))
        mean = (weight * known).sum(axis=axis) / weight.sum(axis=axis)
        # A sum over fewer columns would be smaller, hence better: it is the mean for the missing ones.
        return np.asarray(mean * weights.sum() if how == "sum" else mean)


def aggregate(values: np.ndarray, counts: np.ndarray | None, how: str) -> np.ndarray:
    """Aggregate over cases (last axis), each case counted as often as it was drawn.

    values : (..., cases), nan left out. counts : (draws, cases) int, None for every case once.
    how : mean, sum, median, qNN (percentile, R's type 7), geometric_mean, variance and std (n - 1),
    gini. Returns (..., draws); nan where a draw has no value, variance of a single value included.
    """
    if how == "median" or how.startswith("q"):
        return quantile(values, counts, 0.5 if how == "median" else float(how[1:]) / 100)
    if how == "gini":
        return _gini(values, _times(values, counts))
    if how == "geometric_mean":
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.exp(aggregate(np.log(values), counts, "mean"))
    if how in ("variance", "std"):
        variance = _variance(values, _times(values, counts))
        return np.sqrt(variance) if how == "std" else variance
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _sum(values, counts) / how_many(~np.isnan(values), counts)
    if how == "sum":  # a case that is left out counts like the mean of the others
        return np.asarray(mean * (values.shape[-1] if counts is None else counts.sum(axis=1)))
    return np.asarray(mean)


def _times(values: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """How often each case counts, as a matrix (draws, cases): once where nothing is stated."""
    return np.ones((1, values.shape[-1]), np.int64) if counts is None else counts


def _sum(values: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Sum over cases, nan left out, inf kept: (..., draws); nan where a draw has no value."""
    present = ~np.isnan(values)
    if counts is None:
        # Without a matrix product, whose last digit differs between machines.
        return np.where(present.any(axis=-1), np.where(present, values, 0.0).sum(axis=-1), np.nan)[..., None]
    finite = np.where(np.isfinite(values), values, 0.0)
    total = np.where(how_many(present, counts) > 0, finite @ counts.T.astype(np.float64), np.nan)
    for infinite in (np.inf, -np.inf):
        if (values == infinite).any():
            total = total + np.where(how_many(values == infinite, counts) > 0, infinite, 0.0)
    return total


def how_many(which: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Number of the marked cases, each as often as drawn: (..., cases) bool -> (..., draws) float64."""
    if counts is None:
        return np.asarray(which.sum(axis=-1, dtype=np.float64))[..., None]
    # One product of two matrices, which is much faster than one for every team; whole numbers stay exact.
    flat = which.reshape(-1, which.shape[-1]).astype(np.float64) @ counts.T.astype(np.float64)
    return np.asarray(flat.reshape(*which.shape[:-1], len(counts)))


def quantile(values: np.ndarray, counts: np.ndarray | None, share: float) -> np.ndarray:
    """Quantile over cases by linear interpolation (R's type 7), each case as often as drawn.

    values : (..., cases); counts : (draws, cases) int, None for every case once. Returns (..., draws).
    """
    counts = _times(values, counts)
    rows = values.reshape(-1, values.shape[-1])
    result = np.full((len(rows), len(counts)), np.nan)
    for index, row in enumerate(rows):
        order = np.argsort(row)[: np.count_nonzero(~np.isnan(row))]
        if not order.size:
            continue
        ranked = row[order]
        reached = np.cumsum(counts[:, order], axis=1)
        total = reached[:, -1]
        position = share * np.maximum(total - 1, 0)
        low = np.floor(position + 1e-9)
        part = np.where(position - low > 1e-9, position - low, 0.0)
        last = order.size - 1
        below = ranked[np.minimum((reached <= low[:, None]).sum(axis=1), last)]
        above = ranked[np.minimum((reached <= low[:, None] + 1).sum(axis=1), last)]
        with np.errstate(invalid="ignore"):
            between = np.where(part > 0, (1 - part) * below + part * above, below)
        result[index] = np.where(total > 0, between, np.nan)
    return result.reshape(*values.shape[:-1], len(counts))


def _variance(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sample variance over cases; equal values give exactly 0, so that they tie."""
    rows = values.reshape(-1, values.shape[-1])
    result = np.full((len(rows), len(counts)), np.nan)
    for index, row in enumerate(rows):
        known = ~np.isnan(row)
        drawn, present = counts[:, known].astype(np.float64), row[known]
        n = drawn.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = present - (drawn @ present / n)[:, None]
            apart[np.abs(apart) <= 10.0**-DIGITS * np.abs(present)] = 0.0
            result[index] = np.where(n > 1, np.einsum("dc,dc,dc->d", drawn, apart, apart) / (n - 1), np.nan)
    return result.reshape(*values.shape[:-1], len(counts))


def _gini(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Gini index over cases: 0 when all values are equal, towards 1 when one case has everything."""
    rows = values.reshape(-1, values.shape[-1])
    result = np.full((len(rows), len(counts)), np.nan)
    for index, row in enumerate(rows):
        order = np.argsort(row)[: np.count_nonzero(~np.isnan(row))]
        drawn = counts[:, order].astype(np.float64)
        reached = np.cumsum(drawn, axis=1)
        n = drawn.sum(axis=1)
        total = drawn @ row[order]
        # A case drawn c times takes the places reached - c + 1 .. reached in the sorted sample.
        placed = (drawn * (reached - (drawn - 1) / 2)) @ row[order]
        with np.errstate(invalid="ignore", divide="ignore"):
            index_value = np.round(2 * placed / (n * total) - (n + 1) / n, DIGITS)  # equal values: exactly 0
        result[index] = np.where(total == 0, np.where(n > 0, 0.0, np.nan), index_value)
    return result.reshape(*values.shape[:-1], len(counts))
