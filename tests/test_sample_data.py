"""sample_data is what its script makes, and the demo finds in it what its README says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, table

# Challenge: teams in order of rank, and every problem as (code, team, case).
MISSING_GLI = ("SUB004", "patchy", "")
REFUSED = ("CSV011", "loose", "BraTSReg_003")
FLIPPED = ("GEO006", "loose", "BraTSReg_004")
MISSING_FETS = ("SUB004", "homebound", "")
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
    assert len(files) > 250
    assert sum(path.stat().st_size for path in files) < 1_500_000


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
