"""Every number of the official LiTS program on the three sets that it can score, and the one it cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import table

from bratseval.config import load_rulebook
from bratseval.options import Options
from bratseval.pipeline import evaluate

TOLERANCE = 1e-6
pytestmark = pytest.mark.golden
SETS = {"case0": (0,), "cases01": (0, 1), "cases012_emptyprediction": (0, 1, 2)}
# Official name -> region and column; those of a case are averaged over cases.
SCORES = {
    "lesion_precision": ("lesion", "lesion_precision"),
    "lesion_recall": ("lesion", "lesion_recall"),
    "lesion_precision_greater_zero": ("lesion", "lesion_precision_any"),
    "lesion_recall_greater_zero": ("lesion", "lesion_recall_any"),
    "lesion_dice": ("lesion", "detected_dice"),
    "lesion_dice_per_case": ("lesion", "dice"),
    "lesion_dice_global": ("lesion", "global_dice"),
    "liver_dice": ("liver", "dice"),
    "liver_dice_per_case": ("liver", "dice"),
    "liver_dice_global": ("liver", "global_dice"),
    "RMSE_Tumorburden": ("lesion", "tumor_burden_rmse"),
    "MAXERROR_Tumorburden": ("lesion", "tumor_burden_max"),
} | {
    f"{region}_{official}": (region, ours)
    for region in ("lesion", "liver")
    for official, ours in {
        "voe": "voe",
        "rvd": "rvd",
        "assd": "assd",
        "rmsd": "rmsd",
        "msd": "hd100",
    }.items()
}
UNTOLD = ("lesion_jaccard", "liver_jaccard")  # 1 - voe


def scored(cases: tuple[int, ...], golden: Path, place: Path) -> dict[tuple[str, str], float]:
    """The mean of every score of a set of cases, found and evaluated as a user would."""
    for side in ("prediction", "reference"):
        (place / side).mkdir()
        for case in cases:
            name = f"test-segmentation-{case}.nii.gz"
            shutil.copy(golden / side / name, place / side / name)
    folders = (place / "prediction", "team", place / "reference", place / "out")
    ended = evaluate(load_rulebook("lits"), *folders, Options(), lambda *_: None)
    assert ended.exit_code == 0
    rows = table(place / "out" / "teams.csv")
    return {(row["region"], row["metric"]): float(row["mean"]) for row in rows if row["mean"]}


@pytest.mark.parametrize("name", SETS)
def test_every_number_of_the_official_program(name: str, shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "others" / "lits"
    lines = (golden / "golden" / f"scores_{name}.txt").read_text().split("\n")
    official = {key: float(value) for key, _, value in (line.partition(": ") for line in lines if line)}
    found = scored(SETS[name], golden, tmp_path)
    assert sorted(official) == sorted([*SCORES, *UNTOLD])
    for key, column in SCORES.items():
        assert found[column] == pytest.approx(official[key], rel=0, abs=TOLERANCE), key
    for region in ("lesion", "liver"):
        assert 1 - found[region, "voe"] == pytest.approx(official[f"{region}_jaccard"], abs=TOLERANCE)


def test_a_reference_without_lesion_where_the_official_program_fails(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "others" / "lits"
    message = (golden / "golden" / "scores_case3_reference_without_lesion.txt").read_text()
    assert "FAILS" in message
    found = scored((3,), golden, tmp_path)
    parts = {row["metric"]: (row["sum"], row["count"]) for row in table(tmp_path / "out" / "pooled.csv")}
    lesions = table(tmp_path / "out" / "lesions.csv")
    assert {row["kind"] for row in lesions} <= {"fp"}
    assert parts["lesion_recall"] == parts["voe"] == ("0", "0")
    assert parts["lesion_precision"] == parts["lesion_precision_any"] == ("0", str(len(lesions)))
    assert found["lesion", "lesion_precision"] == found["lesion", "lesion_recall"] == 0
    assert found["lesion", "voe"] == 1
    assert found["lesion", "rmsd"] == 9001
