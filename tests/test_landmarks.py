"""Landmark metrics: sums that one can check by eye, and what holds for any points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bratseval.metrics import landmarks as metrics
from bratseval.metrics.landmarks import Landmarks
from bratseval.metrics.registry import METRICS

Points = Sequence[Sequence[float]]
SIZE = 3  # of the axes


def points(reference: Points, predicted: Points, moving: Points | None = None, **more: object) -> Landmarks:
    """Landmarks of lists of points; without moving ones these are the predicted."""
    arrays = [np.array(one, float) for one in (reference, predicted, predicted if moving is None else moving)]
    raters = np.array(more.pop("raters", np.zeros((0, *arrays[0].shape))), float)
    return Landmarks(*arrays, raters, **more)  # type: ignore[arg-type]


def of_errors(errors: Sequence[float], initial: Sequence[float] | None = None, **more: object) -> Landmarks:
    """Landmarks with these distances, every one along another axis or sign."""
    directions = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1], [-1, 0, 0]])[np.arange(len(errors)) % 4]
    reference = 10.0 * np.arange(SIZE * len(errors)).reshape(-1, SIZE)
    moved = [reference + directions * np.array(one)[:, None] for one in (errors, initial or errors)]
    return points(reference.tolist(), *(one.tolist() for one in moved), **more)


# Distances 5, 3, 13 (3-4-5, along one axis, 3-4-12), before registration 10, 3 and 0.
WORKED = points(
    [[0, 0, 0], [10, -200, 20], [30, -100, 5]],
    [[3, 4, 0], [10, -203, 20], [33, -96, 17]],
    [[0, 6, 8], [10, -200, 23], [30, -100, 5]],
    diagonal_mm=26.0,
)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("mee", {}, 5),
        ("mean_euclidean_error", {}, (5 + 3 + 13) / 3),
        ("max_euclidean_error", {}, 13),
        # Deviations from the mean of 7: -2, -4, 6.
        ("tre_std", {}, math.sqrt((4 + 16 + 36) / 3)),
        ("initial_mee", {}, 3),
        # Absolute differences by axis: X 3, 0, 3; Y 4, 3, 4; Z 0, 0, 12.
        ("mae_axis", {}, (3 + 4 + 0) / 3),
        # 5 < 10 is better, 3 = 3 unchanged, 13 > 0 worse.
        ("robustness", {}, 1 / 3),
        ("robustness", {"equal": "worse"}, 1 / 3),
        ("robustness", {"equal": "better"}, 2 / 3),
        ("relative_tre", {}, 5 / 26),
        ("relative_tre", {"statistic": "mean"}, 7 / 26),
        ("relative_tre", {"statistic": "max"}, 1 / 2),
        ("hit_rate", {"radius_mm": 2.999}, 0),
        ("hit_rate", {"radius_mm": 3}, 1 / 3),  # the border belongs to the zone
        ("hit_rate", {"radius_mm": 5}, 2 / 3),
        ("hit_rate", {"radius_mm": 13}, 1),
        ("hit_rate_auc", {}, ((10 - 5) + (10 - 3) + 0) / 3 / 10),
        ("hit_rate_auc", {"largest_radius_mm": 4}, (0 + (4 - 3) + 0) / 3 / 4),
        # Shares at 0, 2.5, 5, 7.5, 10 mm: 0, 0, 2/3, 2/3, 2/3, so two and a half steps of 2/3.
        ("hit_rate_auc", {"area": "trapezoid", "step_mm": 2.5}, (2 / 3) * 2.5 * 2.5 / 10),
    ],
)
def test_worked_example(name: str, parameters: Mapping[str, object], expected: float) -> None:
    assert getattr(metrics, name)(WORKED, **parameters) == pytest.approx(expected, abs=1e-12)


def test_an_even_number_averages_the_middle_two() -> None:
    even = of_errors([1, 2, 5, 100], [1, 3, 4, 5])
    assert metrics.mee(even) == (2 + 5) / 2
    assert metrics.initial_mee(even) == (3 + 4) / 2
    assert metrics.robustness(even) == 1 / 4
    assert metrics.robustness(even, equal="better") == 2 / 4


def test_the_error_by_axis_is_not_the_euclidean_one() -> None:
    """Every landmark is off by 1 along one axis, another one each: no axis has a median error."""
    one = points([[0, 0, 0]] * 3, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert (metrics.mae_axis(one), metrics.mee(one)) == (0, 1)


def test_two_axes_are_enough() -> None:
    flat = points([[0, 0], [1, 1]], [[3, 4], [1, 1]], diagonal_mm=50.0)
    assert (metrics.mee(flat), metrics.mae_axis(flat)) == (5 / 2, (3 / 2 + 4 / 2) / 2)
    assert metrics.relative_tre(flat, "max") == 5 / 50


def test_a_landmark_that_was_right_and_stays_right_is_not_improved() -> None:
    still = of_errors([0, 0], [0, 1])
    assert metrics.robustness(still) == 1 / 2
    assert metrics.robustness(still, equal="better") == 1


# Two landmarks at the origin and at x = 10. Raters agree on the second; on the first they lie 1 mm to
# either side, so its spread is sqrt((1 + 1) / 2) = 1 mm.
RATERS = [[[-1, 0, 0], [10, 0, 0]], [[1, 0, 0], [10, 0, 0]]]


@pytest.mark.parametrize(
    ("first", "second", "times", "expected"),
    [
        ([0, 2, 0], [10, 0, 0], 2, 2 / 2),  # 2 mm off at 2 x 1 mm; 0 mm off at a radius of 0
        ([0, 2, 0], [10, 0, 0], 1.99, 1 / 2),
        ([0, 2, 0], [10, 0, 0.001], 2, 1 / 2),  # no error but 0 hits where raters agree exactly
        ([0, 2, 0], [10, 0, 0.001], 1, 0),
        ([0, 0, 0], [10, 0, 0], 0, 2 / 2),
    ],
)
def test_hit_rate_by_spread(
    first: Sequence[float], second: Sequence[float], times: float, expected: float
) -> None:
    one = points([[0, 0, 0], [10, 0, 0]], [first, second], raters=RATERS)
    assert one.spread.tolist() == [1, 0]
    assert metrics.hit_rate_by_spread(one, times=times) == expected


def test_area_by_spread() -> None:
    reference = [[0, 0, 0], [10, 0, 0]]
    hit = points(reference, [[0, 2, 0], [10, 0, 0]], raters=RATERS)  # 2 spreads off, and 0
    assert metrics.hit_rate_by_spread_auc(hit) == pytest.approx(((5 - 2) + (5 - 0)) / 2 / 5)
    assert metrics.hit_rate_by_spread_auc(hit, most_times=2) == pytest.approx((0 + 2) / 2 / 2)
    # Shares at 0, 1, 2, 3, 4, 5 spreads: 1/2, 1/2, 1, 1, 1, 1.
    trapezoid = (0.5 + 0.75 + 1 + 1 + 1) / 5
    assert metrics.hit_rate_by_spread_auc(hit, area="trapezoid", step=1) == pytest.approx(trapezoid)
    missed = points(reference, [[0, 2, 0], [10, 0.1, 0]], raters=RATERS)  # never inside a zone of 0
    assert metrics.hit_rate_by_spread_auc(missed) == pytest.approx((5 - 2) / 2 / 5)


def test_zones_around_the_raters_own_points() -> None:
    """Predicted at the point of the second rater: 2 mm from the first, 0 mm from the second."""
    one = points([[0, 0, 0]], [[1, 0, 0]], raters=[[[-1, 0, 0]], [[1, 0, 0]]])
    assert metrics.hit_rate(one, 1, center="raters") == 1 / 2
    assert metrics.hit_rate(one, 2, center="raters") == 2 / 2
    assert metrics.hit_rate(one, 1) == 1  # of the reference itself: 1 mm
    assert metrics.hit_rate_auc(one, center="raters") == pytest.approx(((10 - 2) + (10 - 0)) / 2 / 10)


def test_three_raters_in_the_plane() -> None:
    """Deviations from their mean: 5, 5 and 0 mm, so the spread is sqrt(50 / 3)."""
    one = points([[0, 0, 0]], [[0, 0, 0]], raters=[[[3, 4, 0]], [[-3, -4, 0]], [[0, 0, 0]]])
    assert one.spread == pytest.approx(math.sqrt(50 / 3))


ALL_METRICS: dict[str, Callable[[Landmarks], float]] = {
    **{
        name: entry.function
        for name, entry in METRICS.items()
        if entry.reads == "landmarks" and name not in ("hit_rate", "hit_rate_by_spread")
    },
    "hit_rate": lambda one: metrics.hit_rate(one, 5),
    "hit_rate_by_spread": lambda one: metrics.hit_rate_by_spread(one, 2),
    "hit_rate raters": lambda one: metrics.hit_rate(one, 5, center="raters"),
    "hit_rate_auc raters": lambda one: metrics.hit_rate_auc(one, center="raters"),
    "hit_rate_auc trapezoid": lambda one: metrics.hit_rate_auc(one, area="trapezoid"),
    "hit_rate_by_spread_auc trapezoid": lambda one: metrics.hit_rate_by_spread_auc(one, area="trapezoid"),
    "robustness better": lambda one: metrics.robustness(one, "better"),
    "relative_tre max": lambda one: metrics.relative_tre(one, "max"),
}
OF_RATERS = ["hit_rate_by_spread", "hit_rate_by_spread_auc", "hit_rate raters", "hit_rate_auc raters"]


def test_every_landmark_metric_of_the_registry_is_tested() -> None:
    assert {name for name, entry in METRICS.items() if entry.reads == "landmarks"} == {
        *("mee", "mean_euclidean_error", "max_euclidean_error", "tre_std", "initial_mee", "mae_axis"),
        *("robustness", "relative_tre", "hit_rate", "hit_rate_auc"),
        *("hit_rate_by_spread", "hit_rate_by_spread_auc"),
    }


@pytest.mark.parametrize("name", ALL_METRICS)
@pytest.mark.parametrize("raters", [0, 2])
def test_without_a_landmark_every_metric_is_nan(name: str, raters: int) -> None:
    none = np.zeros((0, SIZE))
    assert math.isnan(ALL_METRICS[name](Landmarks(none, none, none, np.zeros((raters, 0, SIZE)), 10.0)))


@pytest.mark.parametrize("name", ALL_METRICS)
def test_only_what_needs_raters_is_nan_without_them(name: str) -> None:
    assert math.isnan(ALL_METRICS[name](WORKED)) == (name in [*OF_RATERS, "hit_rate_by_spread_auc trapezoid"])


def test_without_a_diagonal_the_relative_error_is_nan() -> None:
    assert math.isnan(metrics.relative_tre(of_errors([1, 2])))


# Eighths are exact in binary, so that moving and doubling them is, too.
EIGHTHS = st.integers(-800, 800).map(lambda number: number / 8)


@st.composite
def any_landmarks(draw: st.DrawFn) -> Landmarks:
    count, raters = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    number = count * SIZE * (3 + raters)
    values = np.array(draw(st.lists(EIGHTHS, min_size=number, max_size=number)))
    arrays = values.reshape(3 + raters, count, SIZE)
    return Landmarks(arrays[0], arrays[1], arrays[2], arrays[3:], 400.0)


FEW = settings(deadline=None, max_examples=60)


@FEW
@given(any_landmarks(), st.randoms())
def test_the_order_of_landmarks_changes_nothing(one: Landmarks, random: object) -> None:
    order = list(range(len(one.reference)))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = Landmarks(
        one.reference[order], one.predicted[order], one.moving[order], one.raters[:, order], one.diagonal_mm
    )
    for name, function in ALL_METRICS.items():
        assert function(other) == pytest.approx(function(one), rel=1e-12, abs=1e-12), name


@FEW
@given(any_landmarks(), st.tuples(EIGHTHS, EIGHTHS, EIGHTHS))
def test_moving_all_points_alike_changes_nothing(one: Landmarks, by: tuple[float, float, float]) -> None:
    offset = np.array(by)
    other = replace(
        one,
        reference=one.reference + offset,
        predicted=one.predicted + offset,
        moving=one.moving + offset,
        raters=one.raters + offset,
    )
    for name, function in ALL_METRICS.items():
        if "spread" not in name:  # the mean of three raters is not exact, nor is a tie with a zone then
            assert function(other) == function(one), name
    assert other.spread == pytest.approx(one.spread, abs=1e-9)


@FEW
@given(any_landmarks(), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_another_unit_scales_distances_and_leaves_shares(one: Landmarks, unit: float) -> None:
    other = Landmarks(
        one.reference * unit, one.predicted * unit, one.moving * unit, one.raters * unit, 400.0 * unit
    )
    for name in ("mee", "mean_euclidean_error", "max_euclidean_error", "tre_std", "initial_mee", "mae_axis"):
        assert ALL_METRICS[name](other) == pytest.approx(unit * ALL_METRICS[name](one)), name
    for name in ("robustness", "robustness better", "relative_tre", "relative_tre max", *OF_RATERS[:2]):
        assert ALL_METRICS[name](other) == pytest.approx(ALL_METRICS[name](one)), name
    for center in ("reference", "raters"):
        assert metrics.hit_rate(other, 50 * unit, center) == metrics.hit_rate(one, 50, center)
        areas = [metrics.hit_rate_auc(o, 90 * u, center=center) for o, u in ((one, 1), (other, unit))]
        assert areas[1] == pytest.approx(areas[0])


@FEW
@given(any_landmarks())
def test_a_perfect_prediction(one: Landmarks) -> None:
    exact = replace(one, predicted=one.reference)
    for name in ("mee", "mean_euclidean_error", "max_euclidean_error", "tre_std", "mae_axis", "relative_tre"):
        assert ALL_METRICS[name](exact) == 0, name
    assert metrics.hit_rate(exact, 0) == metrics.hit_rate_auc(exact) == 1
    assert metrics.hit_rate_by_spread(exact, 0) == metrics.hit_rate_by_spread_auc(exact) == 1
    moved = (one.moving != one.reference).any(axis=1)
    assert metrics.robustness(exact) == moved.sum() / len(moved)  # what was right already did not improve


@FEW
@given(any_landmarks())
def test_leaving_the_points_where_they_are_improves_none(one: Landmarks) -> None:
    still = replace(one, predicted=one.moving)
    assert metrics.robustness(still) == 0
    assert metrics.robustness(still, equal="better") == 1
    assert metrics.mee(still) == metrics.initial_mee(still)


@FEW
@given(any_landmarks())
def test_robustness_counts_strictly(one: Landmarks) -> None:
    """By squares of whole numbers of eighths, which are exact."""
    before, after = (
        (((points - one.reference) * 8).astype(int) ** 2).sum(axis=1)
        for points in (one.moving, one.predicted)
    )
    assert metrics.robustness(one) == sum(after < before) / len(after)
    assert metrics.robustness(one, equal="better") == sum(after <= before) / len(after)


@FEW
@given(any_landmarks())
def test_the_median_error_is_where_the_hit_rate_reaches_a_half(one: Landmarks) -> None:
    median = metrics.mee(one)
    assert metrics.hit_rate(one, median) >= 0.5
    if len(one.errors) % 2:
        assert metrics.hit_rate(one, np.nextafter(median, -1)) < 0.5
    assert metrics.hit_rate(one, metrics.max_euclidean_error(one)) == 1


@FEW
@given(any_landmarks(), st.sampled_from([1.0, 10.0, 100.0]), st.sampled_from(["reference", "raters"]))
def test_trapezoids_tend_to_the_exact_area(one: Landmarks, largest: float, center: metrics.Center) -> None:
    """A step inside a trapezoid is off by half its width at most."""
    exact = metrics.hit_rate_auc(one, largest, center=center)
    assert 0 <= exact <= 1
    for steps in (4, 40, 4000):
        step = largest / steps
        area = metrics.hit_rate_auc(one, largest, "trapezoid", step, center)
        assert abs(area - exact) <= step / 2 / largest + 1e-9


@FEW
@given(any_landmarks())
def test_the_exact_area_is_the_integral_of_the_hit_rate(one: Landmarks) -> None:
    """The curve is constant between errors: sum of its rectangles up to 60 mm."""
    edges = [0.0, *sorted(error for error in one.errors.tolist() if error < 60), 60.0]
    rectangles = sum(metrics.hit_rate(one, low) * (high - low) for low, high in itertools.pairwise(edges))
    assert metrics.hit_rate_auc(one, 60) == pytest.approx(rectangles / 60)


@pytest.mark.parametrize(("largest", "step"), [(10, 0.3), (1, 0.6), (1, 0.75), (10, 4), (2, 5)])
def test_trapezoids_end_at_the_largest_radius(largest: float, step: float) -> None:
    """A perfect prediction has an area of 1, whether or not the steps divide the range."""
    assert metrics.hit_rate_auc(of_errors([0, 0]), largest, "trapezoid", step) == pytest.approx(1)


def test_curve() -> None:
    radii, shares = metrics.hit_rate_curve(np.array([0.0, 1.0, 1.5, 9.0]), 2, 0.5)
    assert radii.tolist() == [0, 0.5, 1, 1.5, 2]
    assert shares.tolist() == [1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4]
