"""QUBIQ: against naive loops, by eye, every parameter, and what always holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_uncertainty as plain
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bratseval.challenge import Challenge
from bratseval.config import load_challenge
from bratseval.metrics.raters import (
    Raters,
    averaged_dice,
    brier,
    ece,
    ged2,
    rater_variance,
    variance_correlation,
)

VOXELS = 12
LEVELS = st.sampled_from([1, 4, 9])
BINS = st.sampled_from([1, 2, 5, 10])
COMPARISONS = {"at_least": False, "above": True}


@st.composite
def records(draw: st.DrawFn) -> Raters:
    """One to eight raters; probabilities of both widths and byte orders, many at a level or a bin's edge."""
    count = draw(st.integers(1, 8) | st.just(10))
    masks = draw(arrays.arrays(bool, (count, VOXELS)))
    dtype = np.dtype(draw(st.sampled_from(["<f4", ">f4", "<f8", ">f8"])))
    exact = [k / 10 for k in range(11)] + [k / count for k in range(count + 1)]
    round_ones = [float(np.asarray(value, dtype)) for value in exact]
    values = st.sampled_from(round_ones) | st.floats(0, 1, width=dtype.itemsize * 8)
    probability = draw(arrays.arrays(dtype, VOXELS, elements=values))
    return Raters(masks.reshape(count, 3, 4), probability.reshape(3, 4))


def flat(record: Raters) -> tuple[list[list[bool]], list[float]]:
    count = len(record.masks)
    return record.masks.reshape(count, -1).tolist(), record.probability.astype(float).ravel().tolist()


def row(masks: list[str], probability: list[float], dtype: str = "f8") -> Raters:
    """Raters drawn as text, '#' is marked."""
    return Raters(np.array([[sign == "#" for sign in text] for text in masks]), np.array(probability, dtype))


@settings(max_examples=150, deadline=None)
@given(records(), LEVELS, BINS)
def test_every_metric_is_that_of_the_naive_loops(record: Raters, levels: int, bins: int) -> None:
    masks, probability = flat(record)
    for comparison, strict in COMPARISONS.items():
        assert averaged_dice(record, levels, comparison) == pytest.approx(  # type: ignore[arg-type]
            plain.averaged_dice(masks, probability, levels, strict), abs=1e-9
        )
        for estimator in ("v", "u"):
            assert ged2(record, levels, comparison, estimator) == pytest.approx(  # type: ignore[arg-type]
                plain.ged2(masks, probability, levels, strict, estimator == "v"), abs=1e-9
            )
    for closed in ("left", "right"):
        expected = plain.ece(masks, probability, bins, closed == "right")
        assert ece(record, bins, closed) == pytest.approx(expected, abs=1e-9)  # type: ignore[arg-type]
    assert brier(record) == pytest.approx(plain.brier(masks, probability), abs=1e-9)
    assert rater_variance(record) == pytest.approx(plain.rater_variance(masks, probability), abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(records())
def test_the_correlation_of_variances_is_that_of_numpy(record: Raters) -> None:
    found = variance_correlation(record)
    variances = [float(p) * (1 - float(p)) for p in record.probability.ravel()]
    if len(set(variances)) > 1 and np.std(variances) < 1e-9:
        # All but constant: the digits are noise (and NumPy's underflow), but not whether there are any.
        votes = record.votes.ravel()
        assert math.isnan(found) == (len(set((votes * (len(record.masks) - votes)).tolist())) == 1)
        return
    expected = plain.variance_correlation(*flat(record))
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(records(), st.randoms(use_true_random=False))
def test_the_order_of_raters_and_of_voxels_is_no_matter(record: Raters, random: object) -> None:
    raters = list(range(len(record.masks)))
    voxels = list(range(VOXELS))
    random.shuffle(raters)  # type: ignore[attr-defined]
    random.shuffle(voxels)  # type: ignore[attr-defined]
    turned = Raters(
        record.masks.reshape(len(raters), -1)[raters][:, voxels], record.probability.ravel()[voxels]
    )
    for metric in (averaged_dice, ece, brier, rater_variance, ged2):
        assert metric(turned) == pytest.approx(metric(record), abs=1e-12), metric.__name__


@settings(max_examples=100, deadline=None)
@given(records())
def test_ranges(record: Raters) -> None:
    assert 0 <= averaged_dice(record) <= 1
    assert 0 <= ece(record) <= 1
    assert 0 <= brier(record) <= 1
    assert 0 <= rater_variance(record) <= 0.25
    assert -1e-9 <= ged2(record) <= 2
    # The least Brier score that the raters' mean allows is reached by the mean, which is calibrated too.
    best = Raters(record.masks, record.mean)
    assert brier(best) == 0 <= brier(record)
    assert ece(best) == pytest.approx(0, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, (3, 4)), st.integers(1, 7))
def test_raters_and_prediction_that_agree(mask: np.ndarray, count: int) -> None:
    record = Raters(np.stack([mask] * count), mask.astype(np.float32))
    for comparison in COMPARISONS:
        assert averaged_dice(record, comparison=comparison) == 1  # type: ignore[arg-type]
        assert ged2(record, comparison=comparison) == pytest.approx(0, abs=1e-12)  # type: ignore[arg-type]
    assert ece(record) == ece(record, closed="right") == brier(record) == rater_variance(record) == 0


def test_averaged_dice_by_eye() -> None:
    """Votes 3, 2, 1, 0 of 3; the map is certain of the first two voxels and half sure of the last."""
    record = row(["###.", "##..", "#..."], [1, 1, 0, 0.5])
    # 0.1 to 0.3: three marked, three predicted, two shared: 4/6
    # 0.4, 0.5: two marked, three predicted, two shared: 4/5
    # 0.6: two and two: 1; from 0.7 on one and two: 2/3
    expected = (3 * 4 / 6 + 2 * 4 / 5 + 1 + 3 * 2 / 3) / 9
    assert averaged_dice(record) == pytest.approx(expected)
    # 0.5 is above no longer: two and two at 0.5.
    assert averaged_dice(record, comparison="above") == pytest.approx(expected + (1 - 4 / 5) / 9)


def test_a_level_that_votes_hit_exactly() -> None:
    """3 of 10 raters at the level 0.3: 3 x 0.1 is above 0.3 in floating point, in whole numbers it is not."""
    record = row(["#"] * 3 + ["."] * 7, [0.0])
    # at_least: the reference is marked at 0.1, 0.2, 0.3 and Dice 0; six empty levels. above: two.
    assert averaged_dice(record) == pytest.approx(6 / 9)
    assert averaged_dice(record, comparison="above") == pytest.approx(7 / 9)


@pytest.mark.parametrize("count", range(1, 11))
def test_every_level_that_votes_can_hit(count: int) -> None:
    for votes in range(count + 1):
        record = row(["#"] * votes + ["."] * (count - votes), [0.0])
        for comparison, marked in (
            ("at_least", sum(10 * votes >= level * count for level in range(1, 10))),
            ("above", sum(10 * votes > level * count for level in range(1, 10))),
        ):
            assert averaged_dice(record, comparison=comparison) == pytest.approx((9 - marked) / 9)  # type: ignore[arg-type]


def test_two_empty_masks_agree() -> None:
    record = row(["...", "..."], [0, 0, 0])
    assert averaged_dice(record) == 1
    assert ged2(record) == 0


def test_ece_by_eye() -> None:
    record = row(["#..#", "#..."], [0.95, 0.05, 0.0, 0.45])
    # bins 9: 0.95 against 1; 0: 0.05 and 0 against 0, 0; 4: 0.45 against 0.5
    assert ece(record) == pytest.approx((0.05 + 0.05 + 0.05) / 4)
    assert ece(record, bins=1) == pytest.approx(abs(0.95 + 0.05 + 0.45 - 1.5) / 4)
    # A voxel of probability 0 that is marked: found on the left, lost on the right.
    missed = row(["#."], [0.0, 1.0])
    assert ece(missed) == pytest.approx(1.0)
    assert ece(missed, closed="right") == pytest.approx(0.5)


def test_the_edges_of_bins() -> None:
    """0.3 belongs to [0.3, 0.4) or to (0.2, 0.3]: with 0.25 it cancels or not."""
    record = row(["#."], [0.3, 0.25])
    assert ece(record) == pytest.approx((0.7 + 0.25) / 2)
    assert ece(record, closed="right") == pytest.approx(abs(0.3 + 0.25 - 1) / 2)
    assert ece(row(["#"], [1.0])) == 0  # the last bin is closed


def test_brier_and_variance_by_eye() -> None:
    record = row(["##..", "#..."], [1.0, 0.0, 0.5, 0.0])
    assert brier(record) == pytest.approx((0 + 0.25 + 0.25 + 0) / 4)
    assert rater_variance(record) == pytest.approx(0.25 / 4)


def test_ged2_by_eye() -> None:
    """Two raters without a common voxel, a map that is one of them at every level."""
    record = row(["#.", ".#"], [1.0, 0.0])
    # across: half of the pairs are equal, half apart: 2 x 0.5. Among raters half of all pairs: 0.5.
    assert ged2(record) == pytest.approx(0.5)
    assert ged2(record, estimator="u") == pytest.approx(1 - 1)  # no rater with itself: E d(Y, Y') = 1
    assert ged2(record, levels=1) == pytest.approx(0.5)
    half = row(["#."], [0.5, 0.0])  # marked at 0.1 to 0.5, empty above
    share = 5 / 9
    assert ged2(half) == pytest.approx(2 * (1 - share) - 2 * share * (1 - share))
    above = 4 / 9
    assert ged2(half, comparison="above") == pytest.approx(2 * (1 - above) - 2 * above * (1 - above))


def test_correlation_of_variances_by_eye() -> None:
    same = row(["##..", "#..."], [1.0, 0.5, 0.0, 0.0])
    assert variance_correlation(same) == pytest.approx(1.0)
    opposite = row(["##", "#."], [0.5, 1.0])
    assert variance_correlation(opposite) == pytest.approx(-1.0)


@pytest.mark.parametrize("p", [0.0, 1.0, 0.3, 0.1, 0.7, 1 / 3])
def test_a_map_of_one_variance_is_worth_nothing_and_not_left_out(p: float) -> None:
    varied = np.random.default_rng(1).random((3, 5, 7)) < 0.5
    assert variance_correlation(Raters(varied, np.full((5, 7), p))) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 10])
def test_raters_of_one_variance_leave_nothing_to_measure(count: int) -> None:
    """Every voxel is marked by one of them."""
    masks = np.zeros((count, 5, 7), bool)
    masks[0] = True
    random = np.random.default_rng(1)
    assert math.isnan(variance_correlation(Raters(masks, random.random((5, 7)))))
    assert math.isnan(variance_correlation(Raters(masks, np.full((5, 7), 0.1))))


@pytest.mark.parametrize("count", [3, 5, 6, 7, 9, 10])
def test_votes_for_and_against_have_one_variance(count: int) -> None:
    """One or all but one of the raters marked every voxel: the variance is the same everywhere."""
    random = np.random.default_rng(count)
    few = random.random(35) < 0.5
    masks = np.stack([few, *[~few] * (count - 1)])
    assert math.isnan(variance_correlation(Raters(masks, random.random(35))))


def test_a_stored_32_bit_value_is_compared_as_it_is() -> None:
    """float32 0.7 lies below 0.7, as nibabel's get_fdata has it."""
    wide, narrow = (averaged_dice(row(["#"], [0.7], dtype)) for dtype in ("f8", "f4"))
    assert (wide, narrow) == (pytest.approx(7 / 9), pytest.approx(6 / 9))


def qubiq(column: str, **parameters: object) -> Challenge:
    data = load_challenge("qubiq-2021").model_dump()
    data["metrics"] = {column: {"metric": column, "parameters": parameters}}
    data["ranking"] |= {"metrics": [column], "missing": {column: 0}}
    return Challenge.model_validate(data)


@pytest.mark.parametrize(
    ("column", "parameters", "expected"),
    [
        ("averaged_dice", {"comparison": "atleast"}, "'at_least' or 'above'"),
        ("averaged_dice", {"levels": 2.5}, "integer"),
        ("ged2", {"estimator": "w"}, "'v' or 'u'"),
        ("ece", {"closed": "both"}, "'left' or 'right'"),
        ("brier", {"bins": 10}, "has no parameter 'bins'"),
    ],
)
def test_a_wrong_parameter_is_refused_when_the_file_is_read(
    column: str, parameters: dict[str, object], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        qubiq(column, **parameters)


@pytest.mark.parametrize(
    ("column", "parameters"),
    [
        ("averaged_dice", {"levels": 0}),
        ("ged2", {"levels": 0}),
        ("ged2", {"levels": -1}),
        ("ece", {"bins": 0}),
    ],
)
def test_a_number_of_levels_or_bins_below_1_is_refused(column: str, parameters: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"greater than|at least"):
        qubiq(column, **parameters)
