"""Small samples of synthesis: a void to be filled with healthy tissue, and a modality that is missing.

Every function yields the files of one folder of ``sample_data/``: three teams, of which one does well, one
less so, and one hands in what an evaluator must notice. Which fault is where: ``sample_data/README.md``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sample_drawing import (
    Cohort,
    Field,
    Image,
    Labels,
    Mask,
    Random,
    distance_from,
    random_source,
    redraw,
    smooth_field,
    stepped,
)
from sample_kinds import ED, ET, NCR, tumor
from scipy import ndimage

GRID = (48, 48, 40)
STEP = 25  # of intensities, so that files stay small
HEAD = distance_from([(size - 1) / 2 for size in GRID], GRID, (1.0, 1.1, 0.85)) < 19


def tissue(rng: Random) -> Field:
    """Intensities of a head without a tumor, about 500; 0 outside."""
    folds = 140 * np.tanh(2 * smooth_field(rng, GRID, 6)) + 40 * smooth_field(rng, GRID, 3)
    return np.where(HEAD, np.clip(520 + folds, 100, 1000), 0)


def grays(values: Field) -> np.ndarray:
    """As an image is stored."""
    return stepped(np.clip(values, 0, 1200), STEP, np.int16)


def another_view(values: Field, rng: Random, blur: float, noise: float) -> Field:
    """What a network makes of an image: smoother, and off by ``noise`` in patches."""
    seen = ndimage.gaussian_filter(values, blur) + noise * smooth_field(rng, GRID, 4)
    return np.where(HEAD, np.clip(seen, 50, 1200), 0)


# Inpainting ------------------------------------------------------------------------------------------


def inpainting() -> Cohort:
    """inpainting: tumor and healthy tissue are voided and filled; what is in the healthy mask is scored."""
    for number in range(1, 5):
        case = f"BraTS-GLI-{number:05d}-000"
        rng = random_source("inpainting", case, "reference")
        whole = grays(tissue(rng))
        healthy = HEAD & (distance_from(np.array([13, 13, 16]) + 3 * rng.random(3), GRID) < 7)
        void = healthy | (HEAD & (distance_from(np.array([31, 31, 19]) + 3 * rng.random(3), GRID) < 6))
        folder = f"inpainting/references/{case}/{case}"
        yield f"{folder}-t1n.nii.gz", Image(whole)
        yield f"{folder}-t1n-voided.nii.gz", Image(np.where(void, 0, whole).astype(np.int16))
        yield f"{folder}-mask-healthy.nii.gz", Image(healthy.astype(np.uint8))
        for team in ("faithful", "smooth", "torn"):
            if team == "torn" and number == 3:
                continue  # missing
            filled = _filled(team, number, whole, void, random_source("inpainting", case, team))
            yield f"inpainting/submissions/{team}/{case}-t1n-inference.nii.gz", Image(filled)


def _filled(team: str, number: int, whole: np.ndarray, void: Mask, rng: Random) -> np.ndarray:
    """The void as a team fills it; ``torn`` spoils cases 2 and 4."""
    blur, noise = {"faithful": (0.7, 40.0), "smooth": (6.0, 5.0), "torn": (0.6, 30.0)}[team]
    guess = grays(another_view(whole.astype(float), rng, blur, noise))
    filled = np.where(void, guess, whole).astype(np.int16)
    if team == "torn" and number == 2:
        return np.where(void & (guess < 400), np.nan, filled).astype(np.float32)
    if team == "torn" and number == 4:
        return filled[:, :, 2:-2]
    return filled


# A missing modality ----------------------------------------------------------------------------------

# By modality, how much brighter than the tissue around it a part of the tumor is.
CONTRAST: Mapping[str, tuple[int, int, int]] = {
    "t1c": (-150, -60, 380),
    "t1n": (-200, -120, -40),
    "t2f": (120, 350, 220),
    "t2w": (400, 300, 180),
}
MISSING = ("t1c", "t2f", "t1n", "t2w")  # of cases 1 to 4


def missing_modality() -> Cohort:
    """brasyn: the synthetic image and a segmentation made with it; ``pretty`` paints the tumor over."""
    for number, modality in enumerate(MISSING, start=1):
        case = f"BraTS-GLI-{number:05d}-000"
        rng = random_source("brasyn", case, "reference")
        labels = tumor(rng, GRID, 6 + 1.5 * rng.random(), (0.5, 0.0, 0.7, 0.4)[number - 1])
        labels = np.where(HEAD, labels, 0).astype(np.uint8)
        healthy = tissue(rng)
        real = healthy.copy()
        for label, brighter in zip((NCR, ED, ET), CONTRAST[modality], strict=True):
            real[labels == label] += brighter
        folder = f"brasyn/references/{case}/{case}"
        yield f"{folder}-{modality}.nii.gz", Image(grays(real))
        yield f"{folder}-seg.nii.gz", Image(_of_2023(labels))
        yield from _synthesized(case, number, modality, real, healthy, labels)


def _of_2023(labels: Labels) -> Labels:
    """Enhancing tumor is 3 from 2023 on."""
    return np.where(labels == ET, 3, labels).astype(np.uint8)


def _synthesized(
    case: str, number: int, modality: str, real: Field, healthy: Field, labels: Labels
) -> Cohort:
    """Three teams' files of one case; ``careless`` spoils cases 2, 3 and 4."""
    painted_over = healthy + 0.25 * (real - healthy)
    for team, source, blur, noise, wobble, shrunk in (
        ("faithful", real, 0.8, 45, 0.22, 0.0),
        ("pretty", painted_over, 0.5, 12, 0.4, 0.15),
        ("careless", real, 0.8, 45, 0.25, 0.0),
    ):
        if team == "careless" and number == 4:
            continue  # missing
        rng = random_source("brasyn", case, team)
        image = grays(another_view(source, rng, blur, noise))
        drawn = redraw(labels, rng, blur=1.3, bias=shrunk, wobble=wobble, small="keep")
        given = "t1c" if team == "careless" and number == 3 else modality  # t1c was not missing there
        name = f"brasyn/submissions/{team}/{case}"
        yield f"{name}-{given}.nii.gz", Image(image)
        if not (team == "careless" and number == 2):
            yield f"{name}-seg.nii.gz", Image(_of_2023(drawn))
