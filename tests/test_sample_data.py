"""sample_data is what its script makes, and the demo finds in it what its README says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, table

from bratseval.config import PARITY_STATES, bundled_names, parity

# Challenge: teams in order of rank, and every problem as (code, team, case).
MISSING_GLI = ("SUB004", "patchy", "")
REFUSED = ("CSV011", "loose", "BraTSReg_003")
FLIPPED = ("GEO006", "loose", "BraTSReg_004")
CASES = [f"{number:05d}-000" for number in range(1, 5)]  # of inpainting and BraSyn
MISSING_FETS = ("SUB004", "homebound", "")
TORN = [
    ("NII013", "torn", "00002-000"),
    ("SUB004", "torn", ""),
    ("GEO001", "torn", "00004-000"),
]
LAZY_OR_HASTY = [
    ("CSV017", "lazy", ""),
    *[(code, "hasty", "") for code in ("CSV004", "CSV016", "CSV016", "SUB004", "SUB006")],
]
SAMPLES: dict[str, tuple[list[str], list[tuple[str, str, str]]]] = {
    "brats2024-gli": (["steady", "patchy", "bold"], [MISSING_GLI]),
    "brats2026-met": (["steady", "bold", "patchy"], [MISSING_GLI]),
    "brats-reg-2022": (["elastic", "stiff", "loose"], [REFUSED, FLIPPED]),
    "landmark-hit-rate": (["elastic", "loose", "stiff"], [REFUSED, FLIPPED]),
    "landmark-rtre": (["elastic", "loose", "stiff"], [REFUSED, FLIPPED]),
    "qu-brats-2020": (
        ["candid", "certain", "sloppy"],
        [
            *[("NII017", "sloppy", "BraTS20_Validation_002")] * 3,
            ("SUB007", "sloppy", "BraTS20_Validation_003"),
        ],
    ),
    "qubiq-2021": (
        ["graded", "binary", "careless"],
        [("NII014", "careless", "kidney-case03"), ("SUB007", "careless", "prostate-case02")],
    ),
    "fets2021-task1": (["swift", "thorough", "homebound"], [MISSING_FETS]),
    "fets2022-task1": (["swift", "thorough", "homebound"], [MISSING_FETS]),
    "fets2022-task2": (["thorough", "swift", "homebound"], [MISSING_FETS]),
    "fets2024": (
        ["steady", "patchy", "bold"],
        [*[("LBL001", team, "00004-000") for team in ("bold", "patchy", "steady")], MISSING_GLI],
    ),
    # 2023 does not read the voided images.
    "brats2023-inpainting": (["faithful", "smooth", "torn"], [*TORN, ("SUB003", "", "")]),
    "brats2025-inpainting": (["faithful", "smooth", "torn"], TORN),
    "brats2023-brasyn": (
        ["faithful", "pretty", "careless"],
        [
            ("SUB007", "careless", "00002-000"),
            ("SUB017", "careless", "00003-000"),
            ("SUB004", "careless", ""),
        ],
    ),
    "brats2024-path": (["trained", "hasty", "lazy"], LAZY_OR_HASTY),
    "brats2025-path": (["trained", "hasty", "lazy"], LAZY_OR_HASTY),
    "brats2026-path": (
        ["trained", "offset", "nameless"],
        [("CSV016", "offset", ""), ("SUB004", "offset", ""), ("CSV011", "nameless", "")],
    ),
    "brats2021-mgmt": (
        ["modest", "careless", "constant"],
        [
            ("CSV017", "constant", ""),
            *[(code, "careless", "") for code in ("CSV004", "CSV016", "CSV016", "SUB004")],
        ],
    ),
    "time-to-event": (
        ["prompt", "wordy", "contrary"],
        [("CSV016", "wordy", ""), ("SUB004", "wordy", ""), ("SUB006", "contrary", "")],
    ),
    "quality-estimation": (
        ["discerning", "kindly", "flat"],
        [
            ("CSV017", "flat", ""),
            *[(code, "kindly", "") for code in ("CSV002", "CSV004", "CSV016", "CSV016", "SUB004")],
        ],
    ),
    "msd-liver": (
        ["cautious", "keen", "hurried"],
        [
            ("SUB004", "hurried", ""),
            ("GEO001", "hurried", "test-segmentation-3"),
            ("LBL001", "hurried", "test-segmentation-5"),
        ],
    ),
    "lits": (
        ["cautious", "keen", "hurried"],
        [("SUB004", "hurried", ""), ("GEO001", "hurried", "3"), ("LBL001", "hurried", "5")],
    ),
    "crossmoda-2021": (
        ["deaf", "thorough", "clumsy"],
        [
            ("SUB004", "clumsy", ""),
            ("NII002", "clumsy", "crossmoda2021_ldn_213"),
            ("LBL002", "clumsy", "crossmoda2021_ldn_214"),
        ],
    ),
    "skin-lesion": (
        ["close", "generous", "slapdash"],
        [
            ("SUB004", "slapdash", ""),
            ("NII018", "slapdash", "ISIC_0012003"),
            ("GEO001", "slapdash", "ISIC_0012004"),
        ],
    ),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the results of all sample data, and what the demo printed; run once for all tests."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def values(folder: Path, metric: str, status: str = "ok") -> dict[tuple[str, str, str], float]:
    """Scores of a metric by team, case and region."""
    return {
        (row["team"], row["case"], row["region"]): float(row["value"])
        for row in table(folder / "scores.csv")
        if row["metric"] == metric and row["status"] == status
    }


def test_sample_data_is_what_the_script_makes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_sample_data.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sample_data_is_small() -> None:
    files = [path for path in (ROOT / "sample_data").rglob("*") if path.is_file()]
    assert len(files) > 400
    assert sum(path.stat().st_size for path in files) < 2_000_000


@pytest.mark.parametrize("name", SAMPLES)
def test_order_of_teams_and_problems(name: str, demo: tuple[Path, str]) -> None:
    order, expected = SAMPLES[name]
    folder = demo[0] / name
    assert [row["team"] for row in table(folder / "leaderboard.csv")] == order
    found = [(row["code"], row["team"], row["case"]) for row in table(folder / "problems.csv")]
    assert sorted(found) == sorted(expected)
    rows = table(folder / "scores.csv")
    assert len(rows) == len({tuple(row[key] for key in ("team", "case", "region", "metric")) for row in rows})


def test_the_summary_has_a_line_for_every_challenge(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    summary = printed.split("seconds\n")[1].splitlines()[: len(SAMPLES)]
    for line, (name, (order, problems)) in zip(summary, SAMPLES.items(), strict=True):
        counts = json.loads((folder / name / "run.json").read_text())["counts"]
        cells = line.split()
        assert cells[:2] == [name, order[0]]
        assert cells[3:7] == ["3", str(counts["cases"]), str(counts["rows"]), str(len(problems))]
        assert f"bratseval run {name} --submissions sample_data/" in printed
    assert printed.count("$ ") == len(SAMPLES)


def test_the_demo_ends_with_all_bundled_challenges_and_their_parity(demo: tuple[Path, str]) -> None:
    lines = demo[1].split("All ")[1].splitlines()
    names = bundled_names()
    assert lines[0] == f"{len(names)} bundled challenges, and what their numbers were compared with:"
    header, *listed = lines[2 : 3 + len(names)]
    assert header.split() == ["challenge", "parity", "sample", "data", "compared", "with"]
    compared = parity()
    for name, line in zip(names, listed, strict=True):
        assert line.split()[:2] == [name, compared[name]["parity"]]
        assert line.endswith(f"  {compared[name]['against']}")
    totals = [line.partition(":")[0].split() for line in lines[-len(PARITY_STATES) :]]
    assert [state for _, state in totals] == list(PARITY_STATES)
    assert sum(int(count) for count, _ in totals) == len(names)


def test_the_demo_fails_where_a_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import demo as script

    monkeypatch.setattr(script, "SAMPLES", (script.Sample("brats2021", "not-there"),))
    monkeypatch.setattr(sys, "argv", ["demo.py", "--output", str(tmp_path)])
    assert script.main() == 1
    printed = capfd.readouterr().out
    assert "SUB012" in printed  # what the quiet run said
    assert printed.endswith("failed: brats2021\n")


@pytest.mark.parametrize("name", ["brats2024-gli", "brats2026-met"])
def test_segmentation_has_all_kinds_of_lesions(name: str, demo: tuple[Path, str]) -> None:
    board = table(demo[0] / name / "leaderboard.csv")
    assert {row["team"]: row["missing_cases"] for row in board} == {"steady": "0", "bold": "0", "patchy": "1"}
    assert {"tp", "fn", "fp"} <= {row["kind"] for row in table(demo[0] / name / "lesions.csv")}


def test_registration_folds_in_one_case_and_refuses_another(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "brats-reg-2022"
    folded = {key[:2] for key, value in values(folder, "jacobian_nonpositive").items() if value}
    assert folded == {("loose", "BraTSReg_002")}
    assert values(folder, "mee", "invalid") == {("loose", "BraTSReg_003", ""): 374}
    robust = values(folder, "robustness")
    assert {key[:2] for key, value in robust.items() if value < 1} == {("stiff", "BraTSReg_002")}
    first, second, third = table(folder / "leaderboard.csv")
    assert float(first["score"]) < float(second["score"]) == float(third["score"])
    assert (second["rank"], third["rank"]) == ("2", "3")  # fewer folded voxels


def test_hit_rates_know_the_raters(demo: tuple[Path, str]) -> None:
    rates = values(demo[0] / "landmark-hit-rate", "hit_rate_2spread")
    assert len(rates) == 11  # all but the refused file
    assert rates["elastic", "BraTSReg_001", ""] == 1


def test_uncertainty_beats_a_better_segmentation(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "qu-brats-2020"
    filtered = values(folder, "ftp_ratio_auc")
    assert {value for (team, _, _), value in filtered.items() if team == "certain"} == {0}
    curves = table(folder / "curves.csv")
    unfiltered = {
        (row["team"], row["case"]): float(row["value"])
        for row in curves
        if (row["region"], row["curve"], float(row["at"])) == ("WT", "dice", 100)
    }
    assert all(
        unfiltered["certain", case] > dice for (team, case), dice in unfiltered.items() if team == "candid"
    )
    assert values(folder, "qu_score", "missing") == {("sloppy", "BraTS20_Validation_003", "ET"): 0}


def test_raters_penalize_only_the_spoiled_maps(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "qubiq-2021"
    assert values(folder, "averaged_dice", "invalid") == {("careless", "kidney-case03", "kidney-task01"): 0}
    assert values(folder, "averaged_dice", "missing") == {
        ("careless", "prostate-case02", "prostate-task02"): 0
    }


def test_convergence_is_what_the_log_says(demo: tuple[Path, str]) -> None:
    for name in ("fets2021-task1", "fets2022-task1"):
        scores = values(demo[0] / name, "convergence_score")
        log = table(ROOT / "sample_data" / "fets" / "submissions" / "homebound" / "rounds.csv")
        assert scores["homebound", "", ""] == pytest.approx(float(log[-1]["convergence_score"]), abs=1e-6)
        assert scores["swift", "", ""] > scores["thorough", "", ""]


def test_the_institution_of_a_team_ranks_it_first(demo: tuple[Path, str]) -> None:
    strata = table(demo[0] / "fets2022-task2" / "strata.csv")
    places = {row["value"]: row["rank"] for row in strata if row["team"] == "homebound"}
    assert places == {"institution_1": "1", "institution_2": "3", "institution_3": "3"}


def test_a_void_is_scored_unless_its_file_is_refused(demo: tuple[Path, str]) -> None:
    for name in ("brats2023-inpainting", "brats2025-inpainting"):
        folder = demo[0] / name
        measured = values(folder, "ssim")
        assert all(measured["faithful", case, ""] > 0.9 for case in CASES)
        assert all(measured["smooth", case, ""] < 0.8 for case in CASES)
        assert measured["torn", "00001-000", ""] > measured["faithful", "00001-000", ""]
        assert values(folder, "psnr", "missing") == {("torn", "00003-000", ""): -20}
        assert set(values(folder, "psnr", "invalid").values()) == {-20}
    volume, slices = (
        values(demo[0] / name, "ssim") for name in ("brats2023-inpainting", "brats2025-inpainting")
    )
    assert all(volume[key] != slices[key] for key in slices)


def test_a_tumor_painted_over_shows_in_the_tumor_and_in_the_masks(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "brats2023-brasyn"
    similar, dice = values(folder, "ssim"), values(folder, "dice")
    # Not in case 1, where the highlights that are lost change the image's own scale.
    prettier = [similar["pretty", case, "healthy"] > similar["faithful", case, "healthy"] for case in CASES]
    assert prettier == [False, True, True, True]
    worse = [similar["pretty", case, "tumor"] < similar["faithful", case, "tumor"] for case in CASES]
    assert worse == [True, True, True, False]
    assert all(dice["pretty", case, "TC"] < dice["faithful", case, "TC"] for case in CASES)
    # What is missing or refused costs nothing else of its case.
    assert ("careless", "00002-000", "tumor") in similar
    assert ("careless", "00003-000", "WT") in dice
    assert {key[1] for key in values(folder, "dice", "missing")} == {"00002-000", "00004-000"}
    assert {key[1] for key in values(folder, "ssim", "invalid")} == {"00003-000"}


def of_teams(folder: Path, metric: str, status: str = "ok") -> dict[str, float]:
    """Scores of a metric over all subjects, by team."""
    return {team: value for (team, _, _), value in values(folder, metric, status).items()}


def test_patches_without_a_row_count_as_wrong(demo: tuple[Path, str]) -> None:
    for name in ("brats2024-path", "brats2025-path"):
        folder = demo[0] / name
        assert of_teams(folder, "missing_subjects") == {"trained": 0, "hasty": 29, "lazy": 0}
        right = {team: round(180 * share, 9) for team, share in of_teams(folder, "accuracy").items()}
        assert right == {"trained": 148, "hasty": 144, "lazy": 62}
        assert right["hasty"] / (180 - 29) > right["trained"] / 180  # of its rows, more are right
        assert of_teams(folder, "mcc")["lazy"] == 0
    assert of_teams(demo[0] / "brats2025-path", "auroc")["lazy"] == 0.5


def test_classes_counted_from_one_are_all_wrong(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "brats2026-path"
    assert of_teams(folder, "accuracy") == {"trained": pytest.approx(145 / 180), "offset": 0}
    assert of_teams(folder, "missing_subjects") == {"trained": 0, "offset": 7}
    assert of_teams(folder, "mcc", "invalid") == {"nameless": -1}


def test_a_constant_score_tells_nothing(demo: tuple[Path, str]) -> None:
    scores = of_teams(demo[0] / "brats2021-mgmt", "auroc")
    assert scores["constant"] == 0.5
    lower, upper = (of_teams(demo[0] / "brats2021-mgmt", f"auroc_{side}") for side in ("lower", "upper"))
    assert all(lower[team] <= scores[team] <= upper[team] for team in scores)
    assert of_teams(demo[0] / "brats2021-mgmt", "missing_subjects")["careless"] == 9
    assert of_teams(demo[0] / "quality-estimation", "pearson", "invalid") == {"flat": -1}
    assert of_teams(demo[0] / "quality-estimation", "missing_subjects")["kindly"] == 6


def test_a_risk_ranks_the_wrong_way_round(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "time-to-event"
    scores = of_teams(folder, "c_index")
    assert scores["contrary"] < 0.5 < scores["wordy"] < scores["prompt"]
    assert of_teams(folder, "missing_subjects") == {"prompt": 0, "wordy": 8, "contrary": 0}


def test_a_lesion_where_there_is_none_costs_the_first_place(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "lits"
    dice = values(folder, "dice")
    assert dice["keen", "0", "lesion"] > 0.9
    assert values(folder, "dice", "empty_reference") == {("keen", "4", "lesion"): 0}
    recall, precision = (of_teams(folder, f"lesion_{name}") for name in ("recall", "precision"))
    assert recall["keen"] == 1 > recall["cautious"]
    assert precision["keen"] < precision["cautious"]
    # A number over all cases needs all of them.
    assert of_teams(folder, "tumor_burden_rmse", "missing") == {"hurried": 9001}
    by_organ = values(demo[0] / "msd-liver", "dice", "empty_reference")
    assert by_organ == {("keen", "test-segmentation-4", "cancer"): 0}


def test_a_cochlea_that_is_not_found_costs_350_mm(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "crossmoda-2021"
    lost = values(folder, "assd", "empty_prediction")
    assert lost == {("deaf", f"crossmoda2021_ldn_{number}", "cochlea"): 350 for number in (212, 213)}
    tumors = values(folder, "dice")
    for number in (211, 212, 213, 214):
        case = f"crossmoda2021_ldn_{number}"
        assert tumors["deaf", case, "VS"] > tumors["thorough", case, "VS"]


def test_masks_of_any_kind_of_file_are_the_same_pixels(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "skin-lesion"
    overlap, counted = values(folder, "iou"), values(folder, "thresholded_iou")
    below = {key for key, value in counted.items() if value == 0}
    assert below == {("generous", "ISIC_0012002", "lesion"), ("slapdash", "ISIC_0012005", "lesion")}
    assert {key for key in counted if overlap[key] < 0.65} == below
    assert overlap["slapdash", "ISIC_0012005", "lesion"] < 0.05  # black on white
    assert overlap["slapdash", "ISIC_0012006", "lesion"] > 0.8  # 0 and 1 instead of 0 and 255
