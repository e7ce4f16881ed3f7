"""The engine against the plain implementation on random volumes, and what holds for every challenge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import AFFINE
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_implementation import score_2023, score_panoptica
from scipy import ndimage

from bratseval.challenge import Challenge
from bratseval.config import bundled_names, load_challenge
from bratseval.images import Grid, LabelImage
from bratseval.regions import prepare
from bratseval.tasks import segmentation

SHAPE = (30, 26, 20)
SPACINGS = st.sampled_from([(1.0, 1.0, 1.0), (0.5, 0.5, 1.0), (1.0, 1.0, 3.0), (0.859375, 0.859375, 1.5)])
SEEDS = st.integers(0, 2**32 - 1)


def volume(seed: int, labels: int = 3, density: float = 0.53) -> np.ndarray:
    """Random blobs of a few labels, some touching, some single voxels, some at the border."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.random(SHAPE), 1.6)
    kinds = ndimage.gaussian_filter(random.random(SHAPE), 2.0)
    values = 1 + (np.argsort(np.argsort(kinds.ravel())) * labels // kinds.size).reshape(SHAPE)
    result = np.where(field > density, values, 0)
    result[tuple(random.integers(0, SHAPE, size=(4, 3)).T)] = random.integers(1, labels + 1, 4)
    return result.astype(np.uint8)


def altered(labels: np.ndarray, seed: int) -> np.ndarray:
    """A prediction of these labels: moved a little, with lesions lost and invented."""
    random = np.random.default_rng(seed)
    moved = np.roll(labels, random.integers(-1, 2, 3), axis=(0, 1, 2))
    noise = ndimage.gaussian_filter(random.random(SHAPE), 1.5)
    return np.where(noise > 0.54, volume(seed + 1), np.where(noise < 0.46, 0, moved)).astype(np.uint8)


def image(labels: np.ndarray, spacing: tuple[float, float, float]) -> LabelImage:
    grid = Grid(labels.shape, spacing, AFFINE, True)  # type: ignore[arg-type]
    return LabelImage(grid, (0, 0, 0), np.asfortranarray(labels), {})


def engine(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float], challenge: Challenge
) -> dict[str, dict[str, float]]:
    scores, _ = segmentation.score_case(
        prepare(image(reference, spacing), challenge, "reference"),
        prepare(image(prediction, spacing), challenge, "prediction"),
        challenge,
    )
    table: dict[str, dict[str, float]] = {}
    for score in scores:
        table.setdefault(score.region, {})[score.metric] = math.nan if score.value is None else score.value
    return table


@settings(max_examples=20, deadline=None)
@given(SEEDS, SPACINGS, st.sampled_from([("brats2023-gli", 3, 50), ("brats2023-met", 1, 2)]))
def test_2023_equals_the_plain_implementation(
    seed: int, spacing: tuple[float, float, float], edition: tuple[str, int, float]
) -> None:
    name, dilation, limit = edition
    reference = volume(seed)
    prediction = altered(reference, seed)
    ours = engine(reference, prediction, spacing, load_challenge(name))
    plain = score_2023(reference, prediction, spacing, dilation, limit, 374)
    for region, expected in plain.items():
        assert ours[region] == pytest.approx(expected, abs=1e-9), region


@settings(max_examples=20, deadline=None)
@given(SEEDS, SPACINGS)
def test_2026_equals_the_plain_implementation(seed: int, spacing: tuple[float, float, float]) -> None:
    challenge = load_challenge("brats2026-goat")
    reference = volume(seed, density=0.55)
    prediction = altered(reference, seed)
    ours = engine(reference, prediction, spacing, challenge)
    plain = score_panoptica(reference, prediction, spacing, {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)})
    for region, expected in plain.items():
        found = {name: ours[region][name] for name in expected}
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True), region


@pytest.mark.parametrize("name", bundled_names())
def test_a_perfect_prediction_has_the_best_scores(name: str) -> None:
    """Identity: Dice 1 and distance 0 wherever the region exists and has a lesion that counts.

    Not so where lesions are joined across tissues (2024-2025): the official code deletes small
    predicted lesions before joining, so that even a copy of the reference may be joined otherwise.
    """
    challenge = load_challenge(name)
    joined = any(region.join_by for region in challenge.regions.values())
    labels = np.array([0, *challenge.labels.values()], np.uint8)[volume(5, labels=len(challenge.labels))]
    table = engine(labels, labels, (1.0, 1.0, 1.0), challenge)
    for region, scores in table.items():
        for metric, value in scores.items():
            kind = challenge.metrics[metric].metric
            if joined or (challenge.full_image == "lesion_numbers" and not kind.startswith("lesion")):
                continue
            if kind.endswith(("dice", "nsd", "sensitivity", "specificity", "iou", "f1")) and not math.isnan(
                value
            ):
                assert value == pytest.approx(1.0), (region, metric)
            if kind.endswith(("hd95", "hd100", "assd", "lesion_fp", "lesion_fn")) and not math.isnan(value):
                assert value == 0.0, (region, metric)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_symmetry_of_symmetric_metrics(seed: int) -> None:
    challenge = load_challenge("generic-segmentation")
    first, second = (np.minimum(volume(seed + i), 1) for i in (0, 1))
    there, back = (
        engine(*pair, (1.0, 1.0, 2.0), challenge)["foreground"] for pair in ((first, second), (second, first))
    )
    for metric in (
        "dice",
        "iou",
        "hd95",
        "hd100",
        "assd",
        "nsd",
        "volume_similarity",
        "lesion_f1",
        "panoptic_quality",
    ):
        assert there[metric] == pytest.approx(back[metric], abs=1e-12), metric
    assert there["sensitivity"] == back["precision"]
    assert (there["lesion_fp"], there["lesion_fn"]) == (back["lesion_fn"], back["lesion_fp"])


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.sampled_from(["brats2023-gli", "brats2024-gli", "brats2026-met"]))
def test_a_far_spurious_lesion_never_helps(seed: int, name: str) -> None:
    challenge = load_challenge(name)
    reference = volume(seed)
    reference[:12] = 0
    reference[20:26, 10:16, 8:14] = 3
    prediction = altered(reference, seed)
    prediction[:12] = 0
    worse = prediction.copy()
    worse[0:4, 0:4, 0:4] = 3
    before, after = (engine(reference, p, (1.0, 1.0, 1.0), challenge) for p in (prediction, worse))
    for region in before:
        assert after[region]["lesion_dice"] <= before[region]["lesion_dice"] or math.isnan(
            before[region]["lesion_dice"]
        )
        assert after[region]["lesion_fp"] >= before[region]["lesion_fp"]
