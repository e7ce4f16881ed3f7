"""Tests between teams against SciPy, full enumeration and small tables by hand."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bratseval.ranking import significance
from bratseval.ranking.significance import (
    adjust,
    permutation_test,
    permutation_test_of_means,
    permutation_test_of_ranks,
    tiers,
    wilcoxon,
)
from bratseval.ranking.steps import rank

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(4, 40))
def test_wilcoxon_is_scipys(seed: int, cases: int) -> None:
    """Values of one digit, so that differences tie and vanish."""
    values = np.random.default_rng(seed).integers(0, 8, (3, cases)) / 10
    found = wilcoxon(values)[..., 0]
    for a, b in combinations(range(3), 2):
        if (values[a] == values[b]).all():
            assert found[a, b] == found[b, a] == 1
            continue
        for row, column, side in ((a, b, "less"), (b, a, "greater")):
            expected = stats.wilcoxon(
                *(values[a], values[b]),
                alternative=side,
                zero_method="wilcox",
                correction=True,
                method="asymptotic",
            ).pvalue
            assert found[row, column] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(SEEDS)
def test_a_case_drawn_twice_counts_as_two_cases(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 6, (4, 15)).astype(float)
    counts = random.multinomial(15, np.full(15, 1 / 15), size=5)
    found = wilcoxon(values, counts)
    for draw, times in enumerate(counts):
        repeated = wilcoxon(np.repeat(values, times, axis=1))[..., 0]
        np.testing.assert_allclose(found[..., draw], repeated, atol=1e-12)


def test_pairs_without_a_difference_are_left_out() -> None:
    values = np.array([[1, 2, np.inf, np.nan, 3.0], [2, 3, np.inf, 1, 4.0]])
    shorter = np.array([[1, 2, 3.0], [2, 3, 4.0]])
    np.testing.assert_array_equal(wilcoxon(values), wilcoxon(shorter))
    assert wilcoxon(np.ones((2, 5)))[0, 1, 0] == 1


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p_values = np.array([[np.nan, 0.01, 0.04], [0.03, np.nan, 0.5], [0.9, 0.02, np.nan]])
    holm = adjust(p_values, "holm")
    # 0.01 x 6, 0.02 x 5, 0.03 x 4, 0.04 x 3, 0.5 x 2, 0.9, never falling
    expected = [[np.nan, 0.06, 0.12], [0.12, np.nan, 1.0], [1.0, 0.1, np.nan]]
    np.testing.assert_allclose(holm, expected)
    # 0.01 x 6/1, 0.02 x 6/2, 0.03 x 6/3, 0.04 x 6/4, 0.5 x 6/5, 0.9, the smallest from behind
    expected = [[np.nan, 0.06, 0.06], [0.06, np.nan, 0.6], [0.9, 0.06, np.nan]]
    np.testing.assert_allclose(adjust(p_values, "fdr"), expected)
    assert adjust(p_values, "none") is p_values


def enumerated(differences: np.ndarray) -> float:
    """Share of all swaps whose sum is at most the observed one."""
    sums = [np.dot(signs, differences) for signs in product((1, -1), repeat=len(differences))]
    return float(np.mean([total <= differences.sum() + 1e-9 for total in sums]))


@given(SEEDS, st.integers(1, 9))
def test_exact_permutation_is_full_enumeration(seed: int, cases: int) -> None:
    ranks = np.random.default_rng(seed).integers(1, 4, (3, cases)) / 2
    pairs = list(combinations(range(3), 2))
    found = permutation_test(np.array([ranks[a] - ranks[b] for a, b in pairs]), pairs, 1000, 0)
    assert found.exact
    assert found.permutations == 2**cases
    for a, b in pairs:
        assert found.p_values[a, b] == pytest.approx(enumerated(ranks[a] - ranks[b]))
        assert found.p_values[b, a] == pytest.approx(enumerated(ranks[b] - ranks[a]))


def test_a_sampled_p_value_is_never_zero_is_repeatable_and_near_the_exact_one() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(-0.3, 1, (1, 14))
    exact = permutation_test(differences, [(0, 1)], 2**14, 0)
    sampled = permutation_test(differences, [(0, 1)], 2**14 - 1, 7)
    assert exact.exact
    assert not sampled.exact
    assert sampled.p_values[0, 1] == pytest.approx(exact.p_values[0, 1], abs=0.02)
    again = permutation_test(differences, [(0, 1)], 2**14 - 1, 7)
    np.testing.assert_array_equal(again.p_values, sampled.p_values)
    other = permutation_test(differences, [(0, 1)], 2**14 - 1, 8)
    assert other.p_values[0, 1] != sampled.p_values[0, 1]
    sure = permutation_test(np.full((1, 60), -1.0), [(0, 1)], 1000, 0)
    assert sure.p_values[0, 1] == 1 / 1001
    assert sure.p_values[1, 0] == 1


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_permutation_of_means_is_the_scheme_run_again(seed: int) -> None:
    """Swap two teams' rows, take the means, rank all teams, average: for all 2^6 swaps of every pair."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 5, (4, 2, 6)) / 4
    values[random.random(values.shape) < 0.1] = np.nan
    smaller = np.array([True, False])

    def score(ranks: np.ndarray) -> np.ndarray:
        return np.asarray(ranks.mean(axis=-1))

    def scores(table: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            means = np.nansum(table, axis=2) / (~np.isnan(table)).sum(axis=2)
        return score(rank(np.where(smaller, means, -means), "average"))

    pairs = list(combinations(range(4), 2))
    found = permutation_test_of_means(values, smaller, score, pairs, 64, 0)
    assert found.exact
    for a, b in pairs:
        observed = scores(values)[a] - scores(values)[b]
        hits = 0
        for swaps in product((False, True), repeat=6):
            table = values.copy()
            table[a][:, list(swaps)], table[b][:, list(swaps)] = (
                values[b][:, list(swaps)],
                values[a][:, list(swaps)],
            )
            hits += scores(table)[a] - scores(table)[b] <= observed + 1e-9
        assert found.p_values[a, b] == pytest.approx(hits / 64)


def test_tiers() -> None:
    """The first team beats the third and the fourth but not the second; the third beats the fourth."""
    beats = np.zeros((4, 4), bool)
    beats[0, 2] = beats[0, 3] = beats[2, 3] = True
    assert tiers([0, 1, 2, 3], beats).tolist() == [1, 1, 2, 3]
    assert tiers([1, 0, 2, 3], beats).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("cases", [8, 90])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_whole_multiples_of_ranks_give_the_p_values_of_their_differences(cases: int, noise: float) -> None:
    """Means over six columns of averaged ranks, and numbers without a common denominator."""
    random = np.random.default_rng(3)
    ranks = rank(random.integers(0, 5, (4, 6, cases)) * 1.0, "average").mean(axis=1)
    ranks += noise * random.random(ranks.shape)
    pairs = list(combinations(range(4), 2))
    expected = permutation_test(np.array([ranks[a] - ranks[b] for a, b in pairs]), pairs, 5_000, 1)
    found = permutation_test_of_ranks(ranks, pairs, 5_000, 1)
    assert found.exact == expected.exact == (cases == 8)
    np.testing.assert_array_equal(found.p_values, expected.p_values)


def test_equal_sums_of_ranks_are_equal_however_many_cases_there_are() -> None:
    """Half of the cases for each team: no order of the cases may tip the balance."""
    thirds = np.tile([1 / 3, 2 / 3], 20_000)
    found = permutation_test_of_ranks(np.stack([1 + thirds, 2 - thirds]), [(0, 1)], 500, 1)
    assert found.p_values[0, 1] + found.p_values[1, 0] > 1  # the observed order itself counts on both sides
    assert found.p_values[0, 1] == pytest.approx(0.5, abs=0.1)


def test_fewer_swaps_at_a_time_give_the_same_p_values(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = np.random.default_rng(4).integers(1, 5, (4, 50)) / 2
    pairs = list(combinations(range(4), 2))
    whole = permutation_test_of_ranks(ranks, pairs, 6_000, 1)
    monkeypatch.setattr(significance, "SIGNS", 1_000)
    np.testing.assert_array_equal(permutation_test_of_ranks(ranks, pairs, 6_000, 1).p_values, whole.p_values)


@given(SEEDS, st.integers(1, 30))
def test_all_pairs_at_once_are_each_pair_with_every_case_drawn_once(seed: int, cases: int) -> None:
    """To the last bit, with ties, equal values, gaps and infinities."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 6, (5, cases)).astype(float)
    for odd in (np.nan, np.inf, -np.inf):
        values[random.random(values.shape) < 0.05] = odd
    assert np.array_equal(wilcoxon(values), wilcoxon(values, np.ones((1, cases))), equal_nan=True)
