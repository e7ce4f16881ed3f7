"""Every edition's numbers against the official code's own results under ../shared/golden."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from bratseval.challenge import Challenge
from bratseval.config import load_challenge
from bratseval.images import LabelImage, read_labels
from bratseval.regions import prepare
from bratseval.tasks import segmentation

TOLERANCE = 1e-6
GOLDEN = SHARED / "golden" / "segmentation"
pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared with the official results is not here"),
]

# The official column of each of our metrics.
LESION_WISE = {
    "lesion_dice": "LesionWise_Score_Dice",
    "lesion_hd95": "LesionWise_Score_HD95",
    "lesion_nsd_0.5mm": "LesionWise_Score_NSD @ 0.5",
    "lesion_nsd_1mm": "LesionWise_Score_NSD @ 1.0",
    "dice": "Legacy_Dice",
    "hd95": "Legacy_HD95",
    "nsd_0.5mm": "Legacy NSD @ 0.5",
    "nsd_1mm": "Legacy NSD @ 1.0",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "lesion_tp": "Num_TP",
    "lesion_fp": "Num_FP",
    "lesion_fn": "Num_FN",
    "reference_volume_mm3": "GT_Complete_Volume",
}
PANOPTICA = {
    "lesion_dice": "lesionwise_dsc_mean",
    "lesion_hd95": "lesionwise_hd95_mean",
    "lesion_nsd": "lesionwise_nsd_mean",
    "dice": "global_dsc",
    "nsd": "global_nsd",
    "hd95": "global_hd95",
} | {
    f"{size}_{ours}".removeprefix("all_"): f"{size}_instance_{official}"
    for size in ("all", "large", "small")
    for ours, official in (
        ("lesion_tp", "tp"),
        ("lesion_fp", "fp"),
        ("lesion_fn", "fn"),
        ("lesion_precision", "prec"),
        ("lesion_recall", "rec"),
        ("lesion_f1", "f1"),
    )
}
CAPTK = {"dice": "Dice", "hd95": "Hausdorff95", "sensitivity": "Sensitivity", "specificity": "Specificity"}


@functools.lru_cache(maxsize=1)
def images(path: Path, suffix: str) -> tuple[LabelImage, LabelImage]:
    """Reference and prediction of a case, read once for the editions that follow each other."""
    folder, case = path.parent, path.name
    known = (1, 2, 3, 4)
    return (
        read_labels(folder / "ref" / f"{case}{suffix}.nii.gz", known, "background"),
        read_labels(folder / "pred" / f"{case}.nii.gz", known, "background"),
    )


def scores(challenge: Challenge, pair: tuple[LabelImage, LabelImage]) -> dict[tuple[str, str], float]:
    """Score of every region and metric; nan for an empty cell."""
    table = np.zeros(256, np.uint8)
    table[list(challenge.labels.values())] = list(challenge.labels.values())
    reference, prediction = (replace(image, labels=table[image.labels]) for image in pair)
    rows, _ = segmentation.score_lesions(
        prepare(reference, challenge, "reference"),
        prepare(prediction, challenge, "prediction"),
        challenge,
    )
    return {(row.region, row.metric): math.nan if row.value is None else row.value for row in rows}


def official(file: str) -> list[dict[str, str]]:
    with (GOLDEN / file).open() as stream:
        return list(csv.DictReader(stream))


def number(text: str) -> float:
    return float(text) if text else math.nan


@dataclass(frozen=True)
class Edition:
    """Where the official results of a challenge are: file, input set, suffix of the references."""

    name: str
    file: str
    folder: str
    suffix: str = "-seg"


LESION_WISE_EDITIONS = [
    *(Edition(f"brats2023-{n}", f"2023_{n.upper()}.csv", "MET") for n in ("gli", "ssa", "men", "ped", "met")),
    *(Edition(f"brats2024-{n}", f"2024_{n.upper()}.csv", "MET") for n in ("gli", "ssa", "met")),
    *(Edition(f"brats2025-{n}", f"2025_{n.upper()}.csv", "MET") for n in ("gli", "ssa", "met", "men")),
    *(Edition(f"brats{year}-ped", f"{year}_PED.csv", "PED") for year in (2024, 2025)),
    *(Edition(f"brats{year}-men-rt", f"{year}_MEN-RT.csv", "MEN-RT", "_gtv") for year in (2024, 2025)),
    Edition("fets2024", "2023_GLI.csv", "MET"),
    Edition("brats2024-goat", "2023_GLI.csv", "MET"),
]
PANOPTICA_EDITIONS = [
    Edition("brats2026-met", "panoptica_mets.mets.v0.0.10.csv", "MET"),
    Edition("brats2026-gli", "panoptica_gli.seg.v0.0.10.csv", "MET"),
    Edition("brats2026-ped", "panoptica_ped.seg.v0.0.10.csv", "PED"),
    Edition("brats2026-goat", "panoptica_GoAT.seg.v0.0.10.csv", "GoAT"),
    Edition("brats2026-men", "panoptica_MenPre.seg.v0.0.10.csv", "GoAT"),
    Edition("brats2026-men-rt", "panoptica_MenRT.seg.v0.0.10.csv", "MEN-RT", "_gtv"),
]
CAPTK_EDITIONS = [
    Edition(name, "captk_era_recomputed.csv", "MET") for name in ("brats2021", "fets2022-task2")
]

Compared = tuple[str, str, str, float, float]  # case, region, metric, ours, official


def lesion_wise(edition: Edition) -> Iterator[Compared]:
    challenge = load_challenge(edition.name)
    rows = {(row["scan_id"], row["Labels"]): row for row in official(edition.file)}
    for case in sorted({case for case, _ in rows}):
        pair = images(GOLDEN / "inputs" / edition.folder / case, edition.suffix)
        for (region, metric), value in scores(challenge, pair).items():
            yield case, region, metric, value, number(rows[case, region][LESION_WISE[metric]])


def panoptica(edition: Edition) -> Iterator[Compared]:
    challenge = load_challenge(edition.name)
    for row in official(edition.file):
        if row["subject_id"].endswith(".nii.gz"):  # the last rows are means
            case = row["subject_id"].removesuffix(f"{edition.suffix}.nii.gz")
            pair = images(GOLDEN / "inputs" / edition.folder / case, edition.suffix)
            for (region, metric), value in scores(challenge, pair).items():
                theirs = number(row[f"{PANOPTICA[metric]}_{region.lower()}"])
                # The official table keeps an infinite lesion-wise HD95; ours holds its penalty.
                yield case, region, metric, value, 373.0 if math.isinf(theirs) else theirs


def captk(edition: Edition) -> Iterator[Compared]:
    challenge = load_challenge(edition.name)
    rows = {(row["scan_id"], row["Labels"]): row for row in official(edition.file)}
    old_labels = np.array([0, 1, 2, 4, 0], np.uint8)
    for case in sorted({case for case, _ in rows}):
        pair = images(GOLDEN / "inputs" / edition.folder / case, edition.suffix)
        old = (
            replace(pair[0], labels=old_labels[pair[0].labels]),
            replace(pair[1], labels=old_labels[pair[1].labels]),
        )
        for (region, metric), value in scores(challenge, old).items():
            yield case, region, metric, value, number(rows[case, region][CAPTK[metric]])


EVERY_EDITION = [
    *((edition, captk) for edition in CAPTK_EDITIONS),
    *((edition, lesion_wise) for edition in LESION_WISE_EDITIONS),
    *((edition, panoptica) for edition in PANOPTICA_EDITIONS),
]


@pytest.mark.parametrize(
    ("edition", "compare"), EVERY_EDITION, ids=[edition.name for edition, _ in EVERY_EDITION]
)
def test_every_value_is_the_official_one(
    edition: Edition, compare: Callable[[Edition], Iterator[Compared]]
) -> None:
    compared = 0
    for case, region, metric, ours, theirs in compare(edition):
        assert ours == pytest.approx(theirs, rel=0, abs=TOLERANCE, nan_ok=True), (case, region, metric)
        compared += 1
    assert compared >= 30


def test_corrected_whole_image_values_are_those_of_the_later_official_function() -> None:
    """full_image: mask gives what the function added to metrics_MET.py at f1131e3 gives."""
    challenge = load_challenge("brats2025-met").model_copy(update={"full_image": "mask"})
    rows = {(row["scan_id"], row["Labels"]): row for row in official("2025_MET.legacy.csv")}
    for case in sorted({case for case, _ in rows}):
        for (region, metric), ours in scores(
            challenge, images(GOLDEN / "inputs" / "MET" / case, "-seg")
        ).items():
            if not metric.startswith("lesion"):
                theirs = number(rows[case, region][LESION_WISE[metric]])
                assert ours == pytest.approx(theirs, rel=0, abs=TOLERANCE), (case, region, metric)
