"""The plain implementation against the official results under ../shared/golden, on small cases."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from reference_implementation import score_2023, score_2024, score_2026, score_captk
from test_parity import CAPTK, LESION_WISE

SHARED = Path(__file__).parents[2] / "shared"
GOLDEN = SHARED / "golden" / "segmentation"
TOLERANCE = 1e-9
MARGIN = 7  # voxels around the tumor that are kept; the widest dilation is 5

pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared with the official results is not here"),
]

Spacing = tuple[float, float, float]
Table = Mapping[str, Mapping[str, float]]
Score = Callable[[np.ndarray, np.ndarray, Spacing, tuple[int, ...]], Table]

PANOPTICA = {
    "lesion_dice": "lesionwise_dsc_mean",
    "lesion_hd95": "lesionwise_hd95_mean",
    "lesion_nsd": "lesionwise_nsd_mean",
    "dice": "global_dsc",
    "nsd": "global_nsd",
    "hd95": "global_hd95",
}
SHORT = {"precision": "prec", "recall": "rec"}
GROUPS = {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)}
GROUPS_MET = GROUPS | {"RC": (4,)}
GROUPS_GLI = GROUPS_MET | {"SNFH": (2,), "NETC": (1,)}
OLD_LABELS = np.array([0, 1, 2, 4, 0])


def read(folder: str, case: str) -> tuple[np.ndarray, np.ndarray, Spacing, tuple[int, ...]]:
    """Reference and prediction cropped to the tumor and a margin, spacing, shape of the whole grid."""
    suffix = "_gtv" if folder == "MEN-RT" else "-seg"
    paths = (f"ref/BraTS-{folder}-{case}{suffix}.nii.gz", f"pred/BraTS-{folder}-{case}.nii.gz")
    images = [nibabel.load(GOLDEN / "inputs" / folder / path) for path in paths]
    volumes = [np.asarray(image.dataobj) for image in images]
    used = np.argwhere(volumes[0].astype(bool) | volumes[1].astype(bool))
    low, high = np.maximum(used.min(axis=0) - MARGIN, 0), used.max(axis=0) + MARGIN + 1
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    spacing = tuple(float(value) for value in images[1].header.get_zooms())
    reference, prediction = (np.ascontiguousarray(volume[window]) for volume in volumes)
    return reference, prediction, spacing, volumes[0].shape  # type: ignore[return-value]


@functools.cache
def official(file: str) -> list[dict[str, str]]:
    with (GOLDEN / file).open() as stream:
        return list(csv.DictReader(stream))


def number(text: str) -> float:
    return float(text) if text else math.nan


def edition_2023(dilation: int, threshold_mm3: float) -> Score:
    return lambda reference, prediction, spacing, grid: score_2023(
        reference, prediction, spacing, dilation, threshold_mm3, 374, grid
    )


def edition_2024(module: str) -> Score:
    return lambda reference, prediction, spacing, grid: score_2024(
        reference, prediction, spacing, module, grid
    )


def edition_2026(groups: Mapping[str, tuple[int, ...]], parser: str, *limits: float) -> Score:
    return lambda reference, prediction, spacing, _: score_2026(
        reference, prediction, spacing, groups, parser, *limits
    )


# Official files with the same numbers (2024 lacks the NSD), input set, case, function.
SURFEL_EDITIONS = [
    (("2023_GLI.csv", "2023_SSA.csv", "2023_PED.csv"), "MET", "90008-000", edition_2023(3, 50)),
    (("2023_MET.csv",), "MET", "90008-000", edition_2023(1, 2)),
    (("2024_GLI.csv", "2025_GLI.csv"), "MET", "90008-000", edition_2024("GLI")),
    (("2024_SSA.csv", "2025_SSA.csv"), "MET", "90008-000", edition_2024("SSA")),
    (("2024_PED.csv", "2025_PED.csv"), "PED", "90008-000", edition_2024("PED")),
    (("2024_MET.csv",), "MET", "90006-000", edition_2024("MET_2024")),
    (("2025_MET.csv",), "MET", "90008-000", edition_2024("MET_2025")),
    (("2024_MEN-RT.csv", "2025_MEN-RT.csv"), "MEN-RT", "9010-1", edition_2024("MEN_RT")),
    (("2025_MEN.csv",), "MET", "90008-000", edition_2024("MEN")),
    (("2025_GLI.csv",), "MET", "90009-000", edition_2024("GLI")),
]
PANOPTICA_EDITIONS = [
    ("panoptica_mets.mets.v0.0.10.csv", "MET", "90008-000", edition_2026(GROUPS_MET, "mets")),
    (
        "panoptica_mets.mets_default.v0.0.10.csv",
        "MET",
        "90009-000",
        edition_2026(GROUPS_MET, "mets", 20, 0.1),
    ),
    ("panoptica_gli.seg.v0.0.10.csv", "MET", "90008-000", edition_2026(GROUPS_GLI, "seg")),
    ("panoptica_GoAT.seg.v0.0.10.csv", "GoAT", "90008", edition_2026(GROUPS, "seg")),
]


@pytest.mark.parametrize(
    ("files", "folder", "case", "score"),
    SURFEL_EDITIONS,
    ids=[f"{files[-1]}-{case}" for files, _, case, _ in SURFEL_EDITIONS],
)
def test_2023_to_2025_are_the_official_values(
    files: tuple[str, ...], folder: str, case: str, score: Score
) -> None:
    table = score(*read(folder, case))
    for file in files:
        rows = {row["Labels"]: row for row in official(file) if row["scan_id"] == f"BraTS-{folder}-{case}"}
        assert set(table) == set(rows), file
        for region, row in rows.items():
            expected = {ours: number(row[name]) for ours, name in LESION_WISE.items() if name in row}
            found = {name: table[region][name] for name in expected}
            assert found == pytest.approx(expected, rel=0, abs=TOLERANCE), (file, region)


@pytest.mark.parametrize(
    ("file", "folder", "case", "score"),
    PANOPTICA_EDITIONS,
    ids=[f"{file}-{case}" for file, _, case, _ in PANOPTICA_EDITIONS],
)
def test_2026_is_the_official_table(file: str, folder: str, case: str, score: Score) -> None:
    table = score(*read(folder, case))
    (row,) = (row for row in official(file) if row["subject_id"] == f"BraTS-{folder}-{case}-seg.nii.gz")
    for region, found in table.items():
        # The official table keeps an infinite lesion-wise HD95; ours holds its penalty.
        expected = {name: number(row[column(name, region)]) for name in found}
        expected = {name: 373.0 if math.isinf(value) else value for name, value in expected.items()}
        assert found == pytest.approx(expected, rel=0, abs=TOLERANCE, nan_ok=True), region


def column(name: str, region: str) -> str:
    """Official name of one of our columns: lesion_tp -> all_instance_tp_et."""
    if name in PANOPTICA:
        return f"{PANOPTICA[name]}_{region.lower()}"
    size, _, count = name.rpartition("lesion_")
    return f"{size or 'all_'}instance_{SHORT.get(count, count)}_{region.lower()}"


@pytest.mark.parametrize("case", ["90005-000", "90008-000"])
def test_captk_era_is_the_official_table(case: str) -> None:
    reference, prediction, _, grid = read("MET", case)
    table = score_captk(OLD_LABELS[reference], OLD_LABELS[prediction], grid)
    rows = [row for row in official("captk_era_recomputed.csv") if row["scan_id"] == f"BraTS-MET-{case}"]
    assert {row["Labels"] for row in rows} == set(table)
    for row in rows:
        expected = {ours: number(row[name]) for ours, name in CAPTK.items()}
        assert table[row["Labels"]] == pytest.approx(expected, rel=0, abs=TOLERANCE), row["Labels"]
