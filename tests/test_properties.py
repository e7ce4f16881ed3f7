"""The engine against the plain implementation on random volumes, and what holds for every challenge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import AFFINE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference_implementation import score_2023, score_2024, score_2026, score_captk
from scipy import ndimage

from bratseval.challenge import Challenge
from bratseval.config import bundled_names, load_challenge
from bratseval.images import LabelImage
from bratseval.nifti import Grid
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


def altered(labels: np.ndarray, seed: int, density: float = 0.53) -> np.ndarray:
    """A prediction of these labels: moved a little, with lesions lost and invented."""
    random = np.random.default_rng(seed)
    moved = np.roll(labels, random.integers(-1, 2, 3), axis=(0, 1, 2))
    noise = ndimage.gaussian_filter(random.random(SHAPE), 1.5)
    return np.where(noise > 0.54, volume(seed + 1, density=density), np.where(noise < 0.46, 0, moved)).astype(
        np.uint8
    )


def image(labels: np.ndarray, spacing: tuple[float, float, float]) -> LabelImage:
    grid = Grid(labels.shape, spacing, AFFINE, True)  # type: ignore[arg-type]
    return LabelImage(grid, (0, 0, 0), np.asfortranarray(labels), {})


def engine(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, float, float], challenge: Challenge
) -> dict[str, dict[str, float]]:
    scores, _ = segmentation.score_lesions(
        prepare(image(reference, spacing), challenge, "reference"),
        prepare(image(prediction, spacing), challenge, "prediction"),
        challenge,
    )
    table: dict[str, dict[str, float]] = {}
    for score in scores:
        table.setdefault(score.region, {})[score.metric] = math.nan if score.value is None else score.value
    return table


def assert_equal(
    ours: dict[str, dict[str, float]], plain: dict[str, dict[str, float]], tolerance: float = 1e-8
) -> None:
    for region, scores in ours.items():
        expected = {name: plain[region][name] for name in scores}
        assert scores == pytest.approx(expected, abs=tolerance, nan_ok=True), region


@settings(max_examples=20, deadline=None)
@given(SEEDS, SPACINGS, st.sampled_from([("brats2023-gli", 3, 50), ("brats2023-met", 1, 2)]))
def test_2023_equals_the_plain_implementation(
    seed: int, spacing: tuple[float, float, float], edition: tuple[str, int, float]
) -> None:
    name, dilation, limit = edition
    reference = volume(seed)
    prediction = altered(reference, seed)
    ours = engine(reference, prediction, spacing, load_challenge(name))
    assert_equal(ours, score_2023(reference, prediction, spacing, dilation, limit, 374))


@settings(max_examples=10, deadline=None)
@given(SEEDS, SPACINGS)
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("brats2024-gli", "GLI"),
        ("brats2024-ssa", "SSA"),
        ("brats2024-met", "MET_2024"),
        ("brats2025-gli", "GLI"),
        ("brats2025-ped", "PED"),
        ("brats2025-met", "MET_2025"),
        ("brats2025-men-rt", "MEN_RT"),
        ("brats2025-men", "MEN"),
    ],
)
def test_2024_and_2025_equal_the_plain_implementation(
    name: str, module: str, seed: int, spacing: tuple[float, float, float]
) -> None:
    """Sparse tumors of four tissues, so that lesions are many, touch one another and fall below limits."""
    reference = volume(seed, labels=4, density=0.565)
    prediction = altered(reference, seed, density=0.565)
    ours = engine(reference, prediction, spacing, load_challenge(name))
    assert_equal(ours, score_2024(reference, prediction, spacing, module))


@settings(max_examples=15, deadline=None)
@example(212072, (1.0, 1.0, 1.0))  # two assignments are equally good; panoptica takes the x-fastest order
@given(SEEDS, SPACINGS)
@pytest.mark.parametrize(("name", "parser"), [("brats2026-goat", "seg"), ("brats2026-met", "mets")])
def test_2026_equals_the_plain_implementation(
    name: str, parser: str, seed: int, spacing: tuple[float, float, float]
) -> None:
    challenge = load_challenge(name)
    reference = volume(seed, labels=len(challenge.labels), density=0.55)
    prediction = altered(reference, seed)
    groups = {
        region: [challenge.labels[label] for label in rules.labels]
        for region, rules in challenge.regions.items()
    }
    ours = engine(reference, prediction, spacing, challenge)
    assert_equal(ours, score_2026(reference, prediction, spacing, groups, parser))


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_2021_equals_the_plain_implementation(seed: int) -> None:
    old = np.array([0, 1, 2, 4], np.uint8)
    reference = old[volume(seed)]
    prediction = old[altered(volume(seed), seed)]
    ours = engine(reference, prediction, (1.0, 1.0, 2.0), load_challenge("brats2021"))
    # CaPTk divides in 32 bits, so the plain implementation does; the engine is more exact.
    assert_equal(ours, score_captk(reference, prediction), tolerance=1e-7)


SEGMENTATIONS = [name for name in bundled_names() if load_challenge(name).task == "segmentation"]


@pytest.mark.parametrize("name", SEGMENTATIONS)
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


@pytest.mark.parametrize("name", ["brats2023-met", "brats2024-met", "brats2025-gli", "brats2026-met"])
def test_what_is_too_large_to_keep_is_made_anew_with_the_same_scores(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every team: what one leaves behind in the reference changes nothing for the next."""
    challenge = load_challenge(name)
    labels = volume(3, labels=4)
    teams = [image(altered(labels, seed), (0.5, 0.5, 1.0)) for seed in (1, 2)]

    def both() -> list[object]:
        reference = prepare(image(labels, (0.5, 0.5, 1.0)), challenge, "reference")
        return [
            segmentation.score_lesions(reference, prepare(team, challenge, "prediction"), challenge)
            for team in teams
        ]

    kept = both()
    assert kept[0] != kept[1]
    for limit in ("regions.KEPT_BYTES", "regions.KEPT_POINTS", "surfaces.KEPT_BYTES"):
        monkeypatch.setattr(f"bratseval.{limit}", 0)
    assert both() == kept
