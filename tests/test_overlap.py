"""Overlap and detection metrics as sums one can check by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bratseval.metrics.detection import Detection
from bratseval.metrics.overlap import Overlap, count_overlap
from bratseval.metrics.registry import METRICS, find_metric, metric_names

COUNTS = Overlap(tp=6, fp=2, fn=4, tn=88, voxel_volume_mm3=0.5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dice", 2 * 6 / (2 * 6 + 2 + 4)),
        ("iou", 6 / (6 + 2 + 4)),
        ("sensitivity", 6 / 10),
        ("specificity", 88 / 90),
        ("precision", 6 / 8),
        ("volume_similarity", 1 - 2 / 18),
        ("relative_volume_difference", (8 - 10) / 10),
        ("reference_volume_mm3", 10 * 0.5),
        ("predicted_volume_mm3", 8 * 0.5),
    ],
)
def test_overlap_metrics(name: str, expected: float) -> None:
    assert find_metric(name)[1].function(COUNTS) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lesion_tp", 3),
        ("lesion_fp", 1),
        ("lesion_fn", 2),
        ("lesion_precision", 3 / 4),
        ("lesion_recall", 3 / 5),
        ("lesion_f1", 6 / 9),
        ("panoptic_quality", 2.4 / 3 * (6 / 9)),
    ],
)
def test_detection_metrics(name: str, expected: float) -> None:
    counts = Detection(tp=3, fp=1, fn=2, matched_dice=2.4)
    assert find_metric(name)[1].function(counts) == pytest.approx(expected, abs=1e-15)


def test_nothing_on_either_side_is_undefined() -> None:
    nothing = Overlap(0, 0, 0, 100)
    for name in (
        "dice",
        "iou",
        "sensitivity",
        "precision",
        "volume_similarity",
        "relative_volume_difference",
    ):
        assert math.isnan(METRICS[name].function(nothing)), name
    for name in ("lesion_precision", "lesion_recall", "lesion_f1", "panoptic_quality"):
        assert math.isnan(METRICS[name].function(Detection(0, 0, 0))), name


@given(st.integers(0, 2**32 - 1))
def test_counts_cover_the_grid_and_swap_with_the_sides(seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, prediction = random.random((2, 5, 4, 3)) < 0.4
    counts, swapped = count_overlap(reference, prediction), count_overlap(prediction, reference)
    assert counts.tp + counts.fp + counts.fn + counts.tn == reference.size
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (swapped.tp, swapped.fn, swapped.fp, swapped.tn)


def test_every_metric_says_what_it_is() -> None:
    for name, (_, entry) in metric_names().items():
        assert entry.function.__doc__, name
        assert (entry.best is None) == (entry.worst is None), name


def test_a_misspelled_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'hd95'"):
        find_metric("hd59")
