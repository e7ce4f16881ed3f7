"""Every recorded number of the registration golden: cases, landmarks, leaderboard and determinants."""

from __future__ import annotations

import csv
import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import plan_cases

from bratseval.config import load_rulebook
from bratseval.fields import in_world, jacobian_determinant, to_world
from bratseval.leaderboard import Leaderboard, rank_teams
from bratseval.model import CaseResult
from bratseval.results import collect
from bratseval.scoring import Rules, score_case
from bratseval.volumes import read_field, read_volume

pytestmark = pytest.mark.golden

TOLERANCE = 1e-6
FROM_FIELD = 1e-5  # the stored field and determinants are float32 each
TEAMS = ["teamA", "teamB"]
CASES = ["BraTSReg_141", "BraTSReg_142", "BraTSReg_143"]

JACOBIAN = {
    "detj_n_nonpositive": "jacobian_nonpositive",
    "detj_n_negative": "jacobian_negative",
    "detj_pct_nonpositive": "jacobian_nonpositive_percent",
    "detj_min": "jacobian_min",
    "detj_max": "jacobian_max",
    "detj_std_ddof0": "jacobian_std",
    "detj_p0_5": "jacobian_p0.5",
    "detj_p99": "jacobian_p99",
    "detj_p99_5": "jacobian_p99.5",
    "sdlogj_learn2reg": "sdlogj",
}
# The recorded column and ours, by challenge.
OURS = {
    "brats-reg-2022": {
        "initial_MEE": "initial_mee",
        "MEE": "mee",
        "mean_euclidean": "mean_euclidean_error",
        "TRE_std_ddof0": "tre_std",
        "TRE_max": "max_euclidean_error",
        "Robustness": "robustness",
        "MAE_sklearn": "mae_axis",
    }
    | JACOBIAN,
    "landmark-hit-rate": {
        "MEE": "mee",
        "HitR_at_1mm": "hit_rate_1mm",
        "HitR_at_2mm": "hit_rate_2mm",
        "HitR_at_5mm": "hit_rate_5mm",
        "HitR_AUC_0_10_step0_25_trapz_norm": "hit_rate_auc_trapezoid",
        "HitR_AUC_0_10_exact_step": "hit_rate_auc",
    },
}
# Held in tests of their own, or keys.
ELSEWHERE = {"team", "case", "n_landmarks", "initial_MAE_sklearn"}
NO_METRIC = {"MAE_flat_median"}  # over all differences of all axes: nothing of ours computes it

Results = dict[tuple[str, str], CaseResult]


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "registration"


def lines(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def score_all(challenge: str, submissions: Path, references: Path) -> Results:
    rulebook = load_rulebook(challenge)
    teams = {path.name: path for path in sorted(submissions.iterdir())}
    cases, problems, _ = plan_cases(rulebook, teams, references)
    assert [problem for problem in problems if problem.severity != "note"] == []
    return {(case.team, case.case): score_case(Rules(rulebook), case) for case in cases}


@functools.cache
def scored(challenge: str, folder: Path) -> Results:
    return score_all(challenge, folder / "prediction", folder / "reference")


def values(result: CaseResult) -> dict[str, float | None]:
    return {score.metric: score.value for score in result.scores}


@pytest.mark.parametrize("challenge", OURS)
def test_every_value_of_every_case(challenge: str, golden: Path) -> None:
    recorded = lines(golden / "golden" / "per_case.csv")
    results = scored(challenge, golden)
    assert {(row["team"], row["case"]) for row in recorded} == set(results)
    for row in recorded:
        result = results[row["team"], row["case"]]
        found = values(result)
        assert {score.status for score in result.scores if score.metric in OURS[challenge].values()} == {"ok"}
        for column, metric in OURS[challenge].items():
            assert found[metric] == pytest.approx(float(row[column]), abs=TOLERANCE, rel=0), (row, column)


def test_every_recorded_column_is_compared(golden: Path) -> None:
    compared = {column for columns in OURS.values() for column in columns}
    assert set(lines(golden / "golden" / "per_case.csv")[0]) == compared | ELSEWHERE | NO_METRIC


@pytest.mark.parametrize("challenge", OURS)
def test_every_landmark(challenge: str, golden: Path) -> None:
    recorded = lines(golden / "golden" / "per_landmark.csv")
    results = scored(challenge, golden)
    counts = {
        (r["team"], r["case"]): int(r["n_landmarks"]) for r in lines(golden / "golden" / "per_case.csv")
    }
    found = {
        (*key, str(landmark)): numbers
        for key, result in results.items()
        for landmark, *numbers in result.details["landmarks.csv"]
    }
    assert {key: len(result.details["landmarks.csv"]) for key, result in results.items()} == counts
    assert set(found) == {(row["team"], row["case"], row["Landmark"]) for row in recorded}
    for row in recorded:
        initial, final, improved = found[row["team"], row["case"], row["Landmark"]]
        assert initial == pytest.approx(float(row["e_initial"]), abs=TOLERANCE)
        assert final == pytest.approx(float(row["e_final"]), abs=TOLERANCE)
        assert improved == (row["improved"] == "True"), row


def board_of(golden: Path) -> Leaderboard:
    results = scored("brats-reg-2022", golden)
    return rank_teams(collect(results.values(), []).scores, load_rulebook("brats-reg-2022").challenge)


def test_the_leaderboard(golden: Path) -> None:
    recorded = lines(golden / "golden" / "leaderboard.csv")
    board = board_of(golden)
    found = [dict(zip(board.columns, row, strict=True)) for row in board.rows]
    by_score = sorted(recorded, key=lambda row: float(row["score"]))
    assert [(row["rank"], row["team"]) for row in found] == [
        (place, row["team"]) for place, row in enumerate(by_score, start=1)
    ]
    results = scored("brats-reg-2022", golden)
    for expected, row in zip(by_score, found, strict=True):
        for column, ours in (("score", "score"), ("mean_MEE", "mee"), ("mean_Robustness", "robustness")):
            assert row[ours] == pytest.approx(float(expected[column]), abs=TOLERANCE), column
        own = [values(results[str(row["team"]), case]) for case in CASES]
        medians = np.array([one["mee"] for one in own], float)
        assert np.median(medians) == pytest.approx(float(expected["median_MEE"]), abs=TOLERANCE)
        assert sum(one["jacobian_nonpositive"] or 0 for one in own) == float(expected["n_nonpositive"])


def test_the_ranks_behind_the_score(golden: Path) -> None:
    text = "".join(board_of(golden).ranks_csv).splitlines()[1:]
    rows = list(csv.reader(text))  # team, institution, case, region, metric, value, rank
    assert {(row[0], row[2], row[4]) for row in rows} == {
        (team, case, metric) for team in TEAMS for case in CASES for metric in ("mee", "robustness")
    }
    for expected in lines(golden / "golden" / "leaderboard.csv"):
        for metric, column in (("mee", "mean_rank_MEE"), ("robustness", "mean_rank_Robustness")):
            ranks = [float(row[-1] or 0) for row in rows if (row[0], row[4]) == (expected["team"], metric)]
            assert sum(ranks) / len(CASES) == pytest.approx(float(expected[column]), abs=TOLERANCE)


def test_follow_up_landmarks_left_where_they_are(golden: Path, tmp_path: Path) -> None:
    """Submitted as the prediction they have the initial errors, and improve nothing."""
    for case in CASES:
        (tmp_path / "unmoved").mkdir(exist_ok=True)
        moving = next((golden / "reference" / case).glob(f"{case}_01_*_landmarks.csv"))
        shutil.copy(moving, tmp_path / "unmoved" / f"{case}.csv")
    results = score_all("brats-reg-2022", tmp_path, golden / "reference")
    for row in lines(golden / "golden" / "per_case.csv"):
        found = values(results["unmoved", row["case"]])
        assert found["mae_axis"] == pytest.approx(float(row["initial_MAE_sklearn"]), abs=TOLERANCE)
        assert found["mee"] == found["initial_mee"]
        assert found["mee"] == pytest.approx(float(row["initial_MEE"]), abs=TOLERANCE)
        assert found["robustness"] == 0


@pytest.mark.parametrize("case", CASES)
def test_determinants_of_the_stored_field(case: str, golden: Path) -> None:
    """SimpleITK computed the stored ones in float64 from the field before it became float32."""
    folder = golden / "prediction" / "teamA"
    volume, axes = read_field(folder / f"{case}_df_b2f.nii.gz")
    assert axes == "lps"
    field = to_world(volume.values, volume.grid.affine, components=axes, unit="mm", world="lps")
    found = jacobian_determinant(field, in_world(volume.grid.affine, "lps"))
    stored = read_volume(folder / f"{case}_detj.nii.gz").values
    assert found.shape == stored.shape
    assert np.ptp(stored) > 0.2  # no field of nothing
    assert np.abs(found - stored).max() < 2e-6


def test_without_detj_the_smoothness_comes_from_the_field(golden: Path, tmp_path: Path) -> None:
    folder = tmp_path / "submissions" / "teamA"
    shutil.copytree(golden / "prediction" / "teamA", folder, ignore=shutil.ignore_patterns("*_detj*"))
    assert len(list(folder.iterdir())) == 2 * len(CASES)
    results = score_all("brats-reg-2022", folder.parent, golden / "reference")
    columns = OURS["brats-reg-2022"]
    for row in lines(golden / "golden" / "per_case.csv"):
        if row["team"] != "teamA":
            continue
        result = results["teamA", row["case"]]
        assert {score.status for score in result.scores} == {"ok"}
        for column, metric in columns.items():
            tolerance = FROM_FIELD if column in JACOBIAN else TOLERANCE
            expected = float(row[column])
            assert values(result)[metric] == pytest.approx(expected, abs=tolerance, rel=0), column
