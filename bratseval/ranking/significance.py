"""Tests between teams: Wilcoxon signed-rank, the BraTS permutation test, corrections, tiers.

Every test is one-sided: a small p says that the row's team is better than the column's. Matrices
are (teams, teams); the diagonal is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

BLOCK = 4096  # permutations drawn at a time
SIGNS = 1_500 * BLOCK  # signs of cases held at a time: fewer permutations where there are many cases
DENOMINATORS = (1, 2, 12, 24, 120, 840, 5040, 55440)  # of averaged ranks and of their means over columns
CELLS = 1_000_000  # cases of pairs whose differences are ranked at a time
NOISE = 1e-12  # a permuted statistic that misses the observed one by float noise only equals it


def wilcoxon(values: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """p-values of paired one-sided Wilcoxon signed-rank tests of all ordered pairs of teams.

    As challengeR calls R (wilcox.test, exact=FALSE): zero differences dropped, ties averaged, normal
    approximation with tie-corrected variance and continuity correction 0.5. A case where either value
    is nan, or both are the same infinity, is left out. Without any difference p is 1.

    values : (teams, cases), small is better. counts : (draws, cases), None for every case once.
    Returns (teams, teams, draws).
    """
    teams, cases = values.shape
    first, second = np.triu_indices(teams, 1)
    if counts is None:
        result = np.full((teams, teams, 1), np.nan)
        at_once = max(1, CELLS // max(cases, 1))
        for start in range(0, first.size, at_once):
            a, b = first[start : start + at_once], second[start : start + at_once]
            with np.errstate(invalid="ignore"):
                differences = values[a] - values[b]
            result[a, b, 0], result[b, a, 0] = _signed_ranks(differences)
        return result
    drawn = np.ascontiguousarray(counts.T, np.float64)
    result = np.full((teams, teams, drawn.shape[1]), np.nan)
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        with np.errstate(invalid="ignore"):
            difference = values[one] - values[other]
        result[one, other], result[other, one] = _signed_rank(difference, drawn)
    return result


def _signed_ranks(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as `_signed_rank` of many pairs at once, every case drawn once: differences (pairs, cases)."""
    size = np.abs(differences)
    unranked = ~(size > 0)  # equal or missing
    n = differences.shape[1] - unranked.sum(axis=1)
    size[unranked] = np.nan  # which comes last
    order = np.argsort(size, axis=1, kind="stable")
    size = np.take_along_axis(size, order, axis=1)
    above = np.take_along_axis(differences > 0, order, axis=1)
    place = np.arange(differences.shape[1])
    ranked = place < n[:, None]
    # Where the group of equal sizes of every place begins and ends.
    opens = np.ones(size.shape, bool)
    opens[:, 1:] = size[:, 1:] != size[:, :-1]
    begin = np.maximum.accumulate(np.where(opens, place, 0), axis=1)
    closes = np.ones(size.shape, bool)
    closes[:, :-1] = opens[:, 1:]
    end = np.minimum.accumulate(np.where(closes, place, place.size)[:, ::-1], axis=1)[:, ::-1]
    average = (begin + end) / 2 + 1
    statistic = np.where(above & ranked, average, 0).sum(axis=1)
    ties = np.where(ranked, (end - begin + 1.0) ** 2, 0).sum(axis=1)  # of a group of t the sum is t^3
    variance = n * (n + 1) * (2 * n + 1) / 24 - (ties - n) / 48
    centered = statistic - n * (n + 1) / 4
    with np.errstate(invalid="ignore", divide="ignore"):
        below, beyond = (ndtr((sign * centered + 0.5) / np.sqrt(variance)) for sign in (1, -1))
    return np.where(n > 0, below, 1.0), np.where(n > 0, beyond, 1.0)


def _signed_rank(difference: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p that the differences (cases,) lie below zero, and above zero; drawn : (cases, draws)."""
    used = np.flatnonzero((difference != 0) & ~np.isnan(difference))
    if not used.size:
        return np.ones(drawn.shape[1]), np.ones(drawn.shape[1])
    used = used[np.argsort(np.abs(difference[used]), kind="stable")]
    size, above = np.abs(difference[used]), difference[used] > 0
    starts = np.flatnonzero(np.r_[True, size[1:] != size[:-1]])
    weights = drawn[used]
    tied = weights if len(starts) == len(used) else np.add.reduceat(weights, starts, axis=0)
    reached = np.cumsum(tied, axis=0)
    n = reached[-1]
    group = np.searchsorted(starts, np.flatnonzero(above), "right") - 1
    # The average rank of a group of ties is reached - (tied - 1) / 2.
    statistic = np.einsum("gd,gd->d", weights[above], reached[group]) + weights[above].sum(axis=0) / 2
    statistic -= np.einsum("gd,gd->d", weights[above], tied[group]) / 2
    variance = n * (n + 1) * (2 * n + 1) / 24 - (np.einsum("gd,gd,gd->d", tied, tied, tied) - n) / 48
    centered = statistic - n * (n + 1) / 4
    with np.errstate(invalid="ignore", divide="ignore"):
        below, beyond = (ndtr((sign * centered + 0.5) / np.sqrt(variance)) for sign in (1, -1))
    return np.where(n > 0, below, 1.0), np.where(n > 0, beyond, 1.0)


def adjust(p_values: np.ndarray, method: str) -> np.ndarray:
    """Adjust for the K(K-1) ordered pairs: none, holm, or fdr (Benjamini-Hochberg).

    p_values : (teams, teams, ...), the diagonal is ignored. Same shape returned.
    """
    if method == "none":
        return p_values
    teams = len(p_values)
    off = ~np.eye(teams, dtype=bool)
    pairs = p_values[off]
    order = np.argsort(pairs, axis=0, kind="stable")
    ranked = np.take_along_axis(pairs, order, axis=0)
    m = len(pairs)
    place = np.arange(m).reshape(-1, *[1] * (pairs.ndim - 1))
    if method == "holm":
        ranked = np.maximum.accumulate(np.minimum(1.0, (m - place) * ranked), axis=0)
    else:
        scaled = np.minimum(1.0, ranked * m / (place + 1))
        ranked = np.minimum.accumulate(scaled[::-1], axis=0)[::-1]
    adjusted = np.empty_like(pairs)
    np.put_along_axis(adjusted, order, ranked, axis=0)
    result = np.full_like(p_values, np.nan)
    result[off] = adjusted
    return result


@dataclass(frozen=True, slots=True)
class Permuted:
    """p-values (teams, teams) of a permutation test and how many permutations made them."""

    p_values: np.ndarray
    permutations: int
    exact: bool


def permutation_test(
    differences: np.ndarray, pairs: Sequence[tuple[int, int]], n: int, seed: int
) -> Permuted:
    """The BraTS permutation test: swap the cumulative ranks of two teams case by case.

    Bakas et al. 2018 (arXiv 1811.02629). The statistic is the mean over cases of the difference of
    the two teams' cumulative ranks; all pairs share the random swaps.

    differences : (pairs, cases), first team minus second, small is better; nan where a case is not
    common to both. n : number of permutations; all 2^cases are enumerated when they are not more.
    """
    steps = np.where(np.isnan(differences), 0.0, differences).T
    observed = steps.sum(axis=0)

    def statistics(signs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield signs @ steps, observed

    return _count(statistics, len(steps), pairs, n, seed)


def permutation_test_of_ranks(
    ranks: np.ndarray, pairs: Sequence[tuple[int, int]], n: int, seed: int
) -> Permuted:
    """`permutation_test` of the differences between the cumulative ranks of teams: (teams, cases).

    Ranks are fractions with a small denominator as a rule. Their multiples are added without any rounding,
    hence team by team instead of pair by pair, and two sums that are equal on paper are equal.
    """
    whole = _whole(ranks)
    if whole is None:
        return permutation_test(np.array([ranks[a] - ranks[b] for a, b in pairs]), pairs, n, seed)
    first, second = np.array(pairs).T
    observed = whole.sum(axis=1)

    def statistics(signs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        moved = signs @ whole.T
        yield moved[:, first] - moved[:, second], observed[first] - observed[second]

    return _count(statistics, ranks.shape[1], pairs, n, seed)


def _whole(ranks: np.ndarray) -> np.ndarray | None:
    """The ranks times their common denominator, None where they have no small one."""
    for denominator in DENOMINATORS if np.isfinite(ranks).all() else ():
        multiple = ranks * denominator
        whole = np.round(multiple)
        if np.abs(multiple - whole).max() < 1e-6 and np.abs(whole).sum(axis=1).max() < 2**52:
            return np.asarray(whole)
    return None


def permutation_test_of_means(
    values: np.ndarray,
    smaller: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    pairs: Sequence[tuple[int, int]],
    n: int,
    seed: int,
) -> Permuted:
    """Permutation test of a ranking that aggregates first: swap two teams' rows case by case.

    The means of the two teams and the ranks of all teams are formed anew for every permutation; the
    statistic is the difference of the two teams' scores.

    values : (teams, columns, cases), nan left out of means; smaller : (columns,) bool;
    score : ranks (..., columns) -> score (...).
    """
    cases = values.shape[2]
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    totals, sizes = filled.sum(axis=2), present.sum(axis=2).astype(np.float64)
    sign = np.where(smaller, 1.0, -1.0)
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    # With swap s in {-1, 1} the sum of the first team becomes (sum of both + s (difference))/2.
    steps = (filled[first] - filled[second]).reshape(-1, cases).T / 2
    size_steps = (present[first].astype(np.float64) - present[second]).reshape(-1, cases).T / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nan_to_num(sign * totals / sizes, nan=np.inf)
        others = [np.delete(means, pair, axis=0) for pair in pairs]
        observed = [
            _score_difference(means[a][None], means[b][None], rest, score)
            for (a, b), rest in zip(pairs, others, strict=True)
        ]

    def statistics(signs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        shape = (len(signs), len(pairs), -1)
        moved = (signs @ steps).reshape(shape)
        size_moved = (signs @ size_steps).reshape(shape) if size_steps.any() else np.zeros((1, len(pairs), 1))
        for index, (a, b) in enumerate(pairs):
            half, size_half = (totals[a] + totals[b]) / 2, (sizes[a] + sizes[b]) / 2
            with np.errstate(invalid="ignore", divide="ignore"):
                x = sign * (half + moved[:, index]) / (size_half + size_moved[:, index])
                y = sign * (half - moved[:, index]) / (size_half - size_moved[:, index])
            x, y = np.nan_to_num(x, nan=np.inf), np.nan_to_num(y, nan=np.inf)
            yield _score_difference(x, y, others[index], score), observed[index]

    return _count(statistics, cases, pairs, n, seed)


def _score_difference(
    first: np.ndarray, second: np.ndarray, others: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Score of the first minus score of the second team, each ranked (ties averaged) among all teams.

    first, second : (permutations, columns) aggregates, small is better; others : (teams - 2, columns).
    """
    both = np.stack([first, second])
    ranks = np.empty(both.shape)
    with np.errstate(invalid="ignore"):
        near = np.abs(first - second) <= NOISE * np.abs(first)
    lead = np.where(near | (first == second), 0.5, first > second)
    for column in range(both.shape[2]):
        rest = others[:, column]
        slack = np.where(np.isfinite(rest), NOISE * np.abs(rest), 0.0)
        # A value beyond an edge pair has passed a team (1), a value between the two ties with it (1/2).
        edges = np.sort(np.concatenate([rest - slack, np.nextafter(rest + slack, np.inf)]))
        ranks[:, :, column] = 1 + np.searchsorted(edges, both[:, :, column], "right") / 2
    ranks[0] += lead
    ranks[1] += 1 - lead
    difference: np.ndarray = score(ranks[0]) - score(ranks[1])
    return difference


def _count(
    statistics: Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]],
    cases: int,
    pairs: Sequence[tuple[int, int]],
    n: int,
    seed: int,
) -> Permuted:
    """Share of permutations at most, and at least, as large as observed; never zero.

    ``statistics`` gives, for a block of swaps (permutations, cases) in {-1, 1}, the permuted and the
    observed statistic of all pairs at once or pair by pair.
    """
    exact = cases < 63 and 2**cases <= n
    total = 2**cases if exact else n
    teams = max(max(pair) for pair in pairs) + 1
    low, high = np.zeros(len(pairs)), np.zeros(len(pairs))
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    rows = max(1, SIGNS // max(cases, 1))
    for start in range(0, total, BLOCK):
        size = min(BLOCK, total - start)
        drawn = np.zeros((0, 1), np.uint8)
        if not exact:
            drawn = np.frombuffer(random.bytes(size * ((cases + 7) // 8)), np.uint8).reshape(size, -1)
        for first in range(0, size, rows):
            part = np.arange(first, min(first + rows, size))
            if exact:
                bits: np.ndarray = ((start + part)[:, None] >> np.arange(cases)) & 1
            else:
                bits = np.unpackbits(drawn[part], axis=1, count=cases)
            at = 0
            for permuted, observed in statistics(1.0 - 2.0 * bits):
                permuted = permuted.reshape(len(part), -1)
                slack = NOISE * np.maximum(1.0, np.abs(observed))
                low[at : at + permuted.shape[1]] += (permuted <= observed + slack).sum(axis=0)
                high[at : at + permuted.shape[1]] += (permuted >= observed - slack).sum(axis=0)
                at += permuted.shape[1]
    p_values = np.full((teams, teams), np.nan)
    # Random permutations do not hold the observed order itself, which is counted as one more.
    extra = 0 if exact else 1
    for (a, b), below, above in zip(pairs, low, high, strict=True):
        p_values[a, b], p_values[b, a] = (below + extra) / (total + extra), (above + extra) / (total + extra)
    return Permuted(p_values, total, exact)


def tiers(order: Sequence[int], significant: np.ndarray) -> np.ndarray:
    """Tier of every team, 1 first: a team opens a new tier when the tier's first team beats it.

    order : teams in the order of the ranking; significant : (teams, teams) bool, row beats column.
    """
    result = np.zeros(len(significant), np.int64)
    tier, first = 0, -1
    for team in order:
        if first < 0 or significant[first, team]:
            tier, first = tier + 1, team
        result[team] = tier
    return result
