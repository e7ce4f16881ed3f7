"""Every recorded value of the official QU-BraTS script, and of the plain QUBIQ computation."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import plan_cases

from bratseval.blocks import MetricSpec, Uncertainty
from bratseval.challenge import Challenge, Rulebook
from bratseval.config import load_challenge, load_rulebook
from bratseval.model import Case, CaseResult
from bratseval.scoring import Rules, score_case

TOLERANCE = 1e-6
pytestmark = pytest.mark.golden
CASES = [f"BraTS20_Validation_00{number}" for number in range(1, 6)]
REGIONS = ("WT", "TC", "ET")
AREAS = {"dice_auc": "DICE_AUC", "ftp_ratio_auc": "FTP_RATIO_AUC", "ftn_ratio_auc": "FTN_RATIO_AUC"}
CURVES = {"dice": "DICE", "ftp_ratio": "FTP_RATIO", "ftn_ratio": "FTN_RATIO"}
# Golden column -> metric and parameters. The column dice_gt_mean is left out: there a stored 32-bit 0.1 is
# not above 0.1, while in dice_ge_mean a stored 0.7 is less than 0.7, and no one precision does both.
QUBIQ: dict[str, tuple[str, dict[str, int | float | str]]] = {
    "dice_ge_mean": ("averaged_dice", {"comparison": "at_least"}),
    "ece10_prob_vs_meanlabel": ("ece", {"bins": 10}),
    "brier_prob_vs_meanlabel": ("brier", {}),
    "mean_voxel_variance_raters_ddof0": ("rater_variance", {}),
    "ged2_iou": ("ged2", {}),
}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def planned(challenge: Challenge, golden: Path) -> Mapping[str, CaseResult]:
    """Every case of a golden folder, found and scored as a run would."""
    rulebook = Rulebook(challenge, {})
    teams = {"team": golden / "prediction"}
    cases: list[Case]
    cases, problems, _ = plan_cases(rulebook, teams, golden / "reference")
    assert not [problem for problem in problems if problem.severity != "note"]
    return {case.case: score_case(Rules(rulebook), case) for case in cases}


def qu_brats(golden: Path, points: int) -> Mapping[str, CaseResult]:
    challenge = load_challenge("qu-brats-2020")
    assert challenge.uncertainty == Uncertainty(points=40)  # the default of the official script
    return planned(challenge.model_copy(update={"uncertainty": Uncertainty(points=points)}), golden)


@pytest.mark.parametrize("points", [40, 100])
def test_every_area_of_the_official_script(points: int, shared: Path) -> None:
    golden = shared / "golden" / "uncertainty" / "qu_brats"
    results = qu_brats(golden, points)
    assert sorted(results) == CASES
    summary = {
        row["case"]: row
        for row in lines(golden / "golden" / "summary_scores.csv")
        if row["num_points"] == str(points)
    }
    compared = 0
    for case, result in results.items():
        found = {(score.region, score.metric): score.value for score in result.scores}
        for row in lines(golden / "golden" / f"{case}_auc_n{points}.csv"):
            for ours, official in AREAS.items():
                value = found[row["TUMOR_TYPE"], ours]
                assert value == pytest.approx(float(row[official]), abs=TOLERANCE), (case, row, ours)
                compared += 1
        for region in REGIONS:
            columns = {**AREAS, "qu_score": "SCORE"}
            for ours, official in columns.items():
                expected = float(summary[case][f"{region}_{official}"])
                assert found[region, ours] == pytest.approx(expected, abs=TOLERANCE), (case, region, ours)
                compared += 1
    assert compared == 5 * 3 * (3 + 4)


def test_every_point_of_the_official_curves(shared: Path) -> None:
    golden = shared / "golden" / "uncertainty" / "qu_brats"
    compared = 0
    for case, result in qu_brats(golden, 40).items():
        ours: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for region, name, at, value in result.details["curves.csv"]:
            ours.setdefault((str(region), str(name)), []).append((float(at or 0), float(value or 0)))
        official = lines(golden / "golden" / f"{case}_curve_n40.csv")
        assert len(official) == 41
        for region in REGIONS:
            for name, column in CURVES.items():
                expected = [(float(row["THRESHOLDS"]), float(row[f"{region}_{column}"])) for row in official]
                assert [at for at, _ in ours[region, name]] == pytest.approx([at for at, _ in expected])
                for (at, value), (_, wanted) in zip(ours[region, name], expected, strict=True):
                    assert value == pytest.approx(wanted, abs=TOLERANCE), (case, region, name, at)
                    compared += 1
    assert compared == 5 * 3 * 3 * 41


def test_every_value_of_qubiq(shared: Path) -> None:
    """Of our own plain computation, made before this code: no official one was found."""
    golden = shared / "golden" / "uncertainty" / "qubiq"
    challenge = load_rulebook("qubiq-2021").challenge
    metrics = {
        column: MetricSpec(metric=name, parameters=parameters) for column, (name, parameters) in QUBIQ.items()
    }
    results = planned(challenge.model_copy(update={"metrics": metrics}), golden)
    expected = {row["case"]: row for row in lines(golden / "golden" / "scores.csv")}
    assert sorted(results) == sorted(expected) == ["case01", "case02"]
    for case, result in results.items():
        found = {score.metric: score.value for score in result.scores}
        assert {score.region for score in result.scores} == {"task01"}
        assert set(found) == set(QUBIQ)
        for column, value in found.items():
            assert value == pytest.approx(float(expected[case][column]), abs=TOLERANCE), (case, column)


def test_every_level_of_qubiq(shared: Path) -> None:
    """Dice at one level, as a difference of sums: n levels hold those of a coarser division."""
    golden = shared / "golden" / "uncertainty" / "qubiq"
    metrics = {"half": MetricSpec(metric="averaged_dice", parameters={"levels": 1})}
    metrics["fifths"] = MetricSpec(metric="averaged_dice", parameters={"levels": 4})
    challenge = load_challenge("qubiq-2021").model_copy(update={"metrics": metrics})
    expected = {row["case"]: row for row in lines(golden / "golden" / "scores.csv")}
    for case, result in planned(challenge, golden).items():
        found = {score.metric: score.value for score in result.scores}
        at = {level: float(expected[case][f"dice_ge_0.{level}"]) for level in range(1, 10)}
        assert found["half"] == pytest.approx(at[5], abs=TOLERANCE)
        assert found["fifths"] == pytest.approx((at[2] + at[4] + at[6] + at[8]) / 4, abs=TOLERANCE)
