"""Every recorded value of the official inpainting, GaNDLF and BraSyn scripts."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import reference_synthesis as plain
from conftest import plan_cases, table
from test_cli import bratseval

from bratseval.blocks import MetricSpec
from bratseval.challenge import Challenge, Rulebook
from bratseval.config import load_challenge
from bratseval.metrics.intensity import Bounds, Intensity, compare, percentile_bounds
from bratseval.metrics.registry import find_metric
from bratseval.model import CaseResult
from bratseval.scoring import Rules, score_case

pytestmark = pytest.mark.golden
SINGLE = 2e-7  # relative: half the official numbers are 32-bit
CASES = [f"0000{number}-000" for number in range(1, 5)]
NAMES = ("ssim", "mse", "rmse", "msle", "mae", "psnr", "psnr_eps", "psnr_01", "psnr_01_eps")
# Official table -> dynamic range of psnr, relative tolerance of ssim.
TABLES = {
    "inpainting0.0.8_torchmetrics1.7.4_numpy2.4": ("from_zero", 1e-12),
    "inpainting0.0.8_torchmetrics1.7.4_numpy1.26": ("from_zero", 5e-7),
    "inpainting0.0.12_torchmetrics1.9.0_numpy2.4": ("extremes", 1e-12),
}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def planned(challenge: Challenge, golden: Path) -> Mapping[str, CaseResult]:
    """Every case of a golden folder, found and scored as a run would."""
    rulebook = Rulebook(challenge, {})
    cases, problems, _ = plan_cases(rulebook, {"team": golden / "prediction"}, golden / "reference")
    assert not [problem for problem in problems if problem.severity != "note"]
    return {case.case: score_case(Rules(rulebook), case) for case in cases}


def with_range(dynamic_range: str) -> Challenge:
    challenge = load_challenge("brats2025-inpainting")
    specs = {
        name: challenge.metrics[name].model_copy(update={"parameters": {"dynamic_range": dynamic_range}})
        for name in ("psnr", "psnr_eps")
    }
    return challenge.model_copy(update={"metrics": {**challenge.metrics, **specs}})


@pytest.mark.parametrize("name", TABLES)
def test_every_value_of_the_official_inpainting_score(name: str, shared: Path) -> None:
    golden = shared / "golden" / "synthesis" / "inpainting"
    dynamic_range, tolerance = TABLES[name]
    results = planned(with_range(dynamic_range), golden)
    official = {row[""]: row for row in lines(golden / "golden" / f"all_scores_{name}.csv")}
    assert sorted(results) == CASES
    for case, result in results.items():
        found = {score.metric: score.value for score in result.scores}
        assert set(found) == set(NAMES)
        assert {(score.region, score.status) for score in result.scores} == {("", "ok")}
        for metric, value in found.items():
            expected = float(official[f"BraTS-GLI-{case}"][metric])
            assert value == pytest.approx(expected, rel=tolerance if metric == "ssim" else SINGLE), (
                case,
                metric,
            )
    assert found["psnr"] == found["psnr_01"] == math.inf  # the last case is a perfect one


def inpainting(golden: Path, case: str) -> Mapping[str, Path]:
    folder = golden / "reference" / f"BraTS-GLI-{case}"
    parts = {
        name: folder / f"BraTS-GLI-{case}-{name}.nii.gz" for name in ("t1n", "t1n-voided", "mask-healthy")
    }
    return {**parts, "inference": golden / "prediction" / f"BraTS-GLI-{case}-t1n-inference.nii.gz"}


def gandlf(golden: Path, case: str, *, voided: bool) -> Intensity:
    """GaNDLF takes the range of psnr from the prediction; without the void, ~mask of uint8 is 255 or 254."""
    files = {name: plain.read(path) for name, path in inpainting(golden, case).items()}
    mask = files["mask-healthy"] > 0
    void = files["t1n-voided"] if voided else files["t1n"] * (255 - mask)
    return compare(files["inference"], files["t1n"], mask, percentile_bounds(void))


@pytest.mark.parametrize("voided", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_every_value_of_gandlf(case: str, voided: bool, shared: Path) -> None:
    golden = shared / "golden" / "synthesis" / "inpainting"
    record = gandlf(golden, case, voided=voided)
    (row,) = (
        row
        for row in lines(golden / "golden" / "gandlf_synthesis_tm1.7.4.csv")
        if row["case"] == f"BraTS-GLI-{case}" and row["void_image"] == str(voided)
    )
    for name in NAMES:
        value = find_metric(name)[1].measure(record, {})
        assert value == pytest.approx(float(row[name]), rel=1e-6), name


def test_the_percentiles_are_those_of_numpy(shared: Path) -> None:
    golden = shared / "golden" / "synthesis" / "inpainting"
    for case in CASES:
        void = plain.read(inpainting(golden, case)["t1n-voided"])
        assert percentile_bounds(void) == Bounds(*plain.limits(void))


def test_inpainting_by_the_command_line(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "synthesis" / "inpainting"
    done = bratseval(
        *("evaluate", "brats2025-inpainting", "--predictions", golden / "prediction"),
        *("--references", golden / "reference", "--output", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    (name, *_) = TABLES
    official = {row[""]: row for row in lines(golden / "golden" / f"all_scores_{name}.csv")}
    rows = table(tmp_path / "out" / "scores.csv")
    assert [row["case"] for row in rows] == [case for case in CASES for _ in NAMES]
    for row in rows:
        expected = float(official[f"BraTS-GLI-{row['case']}"][row["metric"]])
        if math.isinf(expected):
            assert (row["value"], row["status"], row["reason"]) == ("", "ok", "infinite")
        else:
            assert float(row["value"]) == pytest.approx(expected, rel=SINGLE)
    # Their mean, as far as it is finite, is the official row of means.
    means = {row["metric"]: row["mean"] for row in table(tmp_path / "out" / "teams.csv")}
    for metric in NAMES:
        expected = float(official["mean"][metric])
        assert (
            means[metric] == "" if math.isinf(expected) else float(means[metric]) == pytest.approx(expected)
        )


def test_every_value_of_brasyn(shared: Path) -> None:
    golden = shared / "golden" / "synthesis" / "brasyn"
    challenge = load_challenge("brats2023-brasyn")
    spec: MetricSpec = challenge.metrics["ssim"]
    assert spec.parameters == {"window": "volume", "average": "image"}
    rulebook = Rulebook(challenge, {})
    cases, _, _ = plan_cases(rulebook, {"team": golden / "prediction"}, golden / "reference")
    results = {case.case: score_case(Rules(rulebook), case) for case in cases}
    compared = 0
    for row in lines(golden / "golden" / "ssim_hongweilibran.csv"):
        result = results[row["case"].removeprefix("BraTS-GLI-")]
        found = {(score.region, score.metric): score.value for score in result.scores}
        # 32-bit sums over whole volumes: the script's own two axis orders differ by 2e-7.
        assert found["tumor", "ssim"] == pytest.approx(float(row["ssim_tumour"]), rel=1e-7)
        assert found["healthy", "ssim"] == pytest.approx(float(row["ssim_non_tumour"]), rel=5e-6)
        inside = found["tumor", "ssim_inside"]
        assert inside is not None
        assert inside < 0.95  # what the zeros around the tumor hide
        compared += 1
    assert compared == 4
    problems = [problem for result in results.values() for problem in result.problems]
    assert {problem.code for problem in problems} == {"SUB007"}  # no segmentations were recorded
