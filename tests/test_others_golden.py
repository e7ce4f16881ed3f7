"""Every recorded value of DeepMind's surface-distance and of MedPy on whole masks, and what MSD states."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import plan_cases, table
from test_validate import command

from bratseval.config import bundled_names, load_challenge, load_rulebook
from bratseval.model import Score
from bratseval.scoring import Rules, score_case

TOLERANCE = 1e-6
TOLERANCES_MM = (1, 2, 3, 4, 5, 7)
LABELS = {"first": "1", "second": "2"}
pytestmark = pytest.mark.golden

# The table of others.md, section 2: regions with their labels, and the tolerance in mm.
MSD: dict[str, tuple[dict[str, int], float]] = {
    "msd-brain": ({"edema": 1, "non_enhancing": 2, "enhancing": 3}, 5),
    "msd-heart": ({"left_atrium": 1}, 4),
    "msd-liver": ({"liver": 1, "cancer": 2}, 7),
    "msd-hippocampus": ({"anterior": 1, "posterior": 2}, 1),
    "msd-prostate": ({"PZ": 1, "TZ": 2}, 4),
    "msd-lung": ({"cancer": 1}, 2),
    "msd-pancreas": ({"pancreas": 1, "mass": 2}, 5),
    "msd-hepatic-vessel": ({"vessel": 1, "tumor": 2}, 3),
    "msd-spleen": ({"spleen": 1}, 3),
    "msd-colon": ({"cancer": 1}, 4),
}
TWO_LABELS = [name for name, (regions, _) in MSD.items() if len(regions) == 2]


def golden(shared: Path) -> tuple[Path, dict[tuple[str, str], dict[str, str]]]:
    folder = shared / "golden" / "others" / "surface"
    rows = table(folder / "golden" / "per_label.csv")
    return folder, {(row["case"], row["label"]): dict(row) for row in rows}


def scored(challenge: str | Path, folder: Path) -> Mapping[tuple[str, str, str], Score]:
    """Scores by case, region and metric."""
    rulebook = load_rulebook(challenge)
    cases, problems, _ = plan_cases(rulebook, {"team": folder / "prediction"}, folder / "reference")
    assert not problems
    results = [score_case(Rules(rulebook), case) for case in cases]
    assert not [problem for result in results for problem in result.problems]
    return {(r.case.case, score.region, score.metric): score for r in results for score in r.scores}


def any_two_labels(tmp_path: Path, metrics: Mapping[str, object], extends: str = "msd-heart") -> Path:
    """A challenge of two labels, each a region, with other metrics than MSD's (JSON is YAML)."""
    blocks = {
        "extends": extends,
        "name": "two-labels",
        "labels": {"left_atrium": None, "first": 1, "second": 2},
        "regions": {"left_atrium": None, "first": ["first"], "second": ["second"]},
        "metrics": {"dice": None, "nsd": None, **metrics},
        "ranking": {"metrics": list(metrics)[:1], "missing": "worst", "scheme": "aggregate_then_rank"},
    }
    path = tmp_path / "two-labels.yaml"
    path.write_text(json.dumps(blocks))
    return path


def status_of(row: Mapping[str, str]) -> str:
    """What the recorded values say of the two sides: Dice is blank for two empty masks."""
    if row["dice"] == "":
        return "empty_both"
    if float(row["dice"]) > 0:
        return "ok"
    # The mean from an existing boundary to none is infinite, from none it is not there.
    return "empty_prediction" if row["avg_dist_gt_to_pred"] == "inf" else "empty_reference"


def compare(
    found: Mapping[tuple[str, str, str], Score],
    rows: Mapping[tuple[str, str], Mapping[str, str]],
    columns: Mapping[str, str],
    labels: Mapping[str, str],
) -> int:
    """Measured values are the recorded ones; where a side is empty, a rule gave the value."""
    compared = 0
    for (case, region, metric), score in found.items():
        row = rows[case, labels[region]]
        assert score.status == status_of(row), (case, region, metric)
        if score.status == "ok":
            expected = float(row[columns[metric]])
            assert score.measured == score.value == pytest.approx(expected, abs=TOLERANCE), (
                case,
                region,
                metric,
            )
            compared += 1
        else:  # a share of 0 is measured, a distance is not
            assert score.measured in (None, 0.0)
    return compared


def test_deepmind(tmp_path: Path, shared: Path) -> None:
    folder, rows = golden(shared)
    columns = {"dice": "dice", "assd": "assd_area_weighted", "hd95": "hd95", "hd100": "hd100"}
    metrics: dict[str, object] = {
        "dice": {"penalty": 0},
        "assd": {"surface": "surfel", "combine": "pooled", "penalty": 99},
        "hd95": {"surface": "surfel", "combine": "directed", "penalty": 99},
        "hd100": {"surface": "surfel", "penalty": 99},
    }
    for mm in TOLERANCES_MM:
        columns[f"nsd_{mm}mm"] = f"nsd_{mm}mm"
        spec = {"metric": "nsd", "tolerance_mm": mm, "combine": "pooled", "penalty": 0}
        metrics[f"nsd_{mm}mm"] = spec
    found = scored(any_two_labels(tmp_path, metrics), folder)
    assert len(found) == len(rows) * len(columns) == 10 * 10
    assert compare(found, rows, columns, LABELS) == 7 * 10


def test_the_mean_of_both_directed_means(tmp_path: Path, shared: Path) -> None:
    folder, rows = golden(shared)
    metrics = {"assd": {"surface": "surfel", "combine": "directed", "penalty": 99}}
    for (case, region, _), score in scored(any_two_labels(tmp_path, metrics), folder).items():
        row = rows[case, LABELS[region]]
        if score.status == "ok":
            both = float(row["avg_dist_gt_to_pred"]), float(row["avg_dist_pred_to_gt"])
            assert score.measured == pytest.approx(sum(both) / 2, abs=TOLERANCE)


def test_medpy(tmp_path: Path, shared: Path) -> None:
    """Border voxels; MedPy 0.5.2 pools both directions, in the mean as in the percentile."""
    folder, rows = golden(shared)
    columns = {"assd": "medpy_assd_conn1", "hd100": "medpy_hd", "hd95": "medpy_hd95"}
    pooled = {"surface": "voxel", "combine": "pooled", "penalty": 99}
    metrics = {"assd": pooled, "hd95": pooled, "hd100": {"surface": "voxel", "penalty": 99}}
    found = scored(any_two_labels(tmp_path, metrics), folder)
    assert compare(found, rows, columns, LABELS) == 7 * 3


def test_crossmoda(shared: Path) -> None:
    folder, rows = golden(shared)
    found = scored("crossmoda-2021", folder)
    columns = {"dice": "dice", "assd": "medpy_assd_conn1"}
    assert compare(found, rows, columns, {"VS": "1", "cochlea": "2"}) == 7 * 2
    by_rule = {
        ("empty_both", "dice"): 1.0,
        ("empty_both", "assd"): 0.0,
        **{(f"empty_{side}", "dice"): 0.0 for side in ("reference", "prediction")},
        **{(f"empty_{side}", "assd"): 350.0 for side in ("reference", "prediction")},
    }
    given = {(s.status, metric): s.value for (_, _, metric), s in found.items() if s.status != "ok"}
    assert given == by_rule


@pytest.mark.parametrize("challenge", TWO_LABELS)
def test_msd_on_two_labels(challenge: str, shared: Path) -> None:
    folder, rows = golden(shared)
    regions, tolerance = MSD[challenge]
    found = scored(challenge, folder)
    columns = {"dice": "dice", "nsd": f"nsd_{tolerance:g}mm"}
    labels = {name: str(label) for name, label in regions.items()}
    assert compare(found, rows, columns, labels) == 7 * 2
    for (case, _, metric), score in found.items():
        # The library's nan is left out of means; one side empty counts 0.
        expected = {"empty_both": None, "empty_reference": 0.0, "empty_prediction": 0.0}
        if score.status != "ok":
            assert score.value == expected[score.status], (case, metric)
            assert math.isfinite(score.value or 0)


def test_the_tables_that_evaluate_writes(tmp_path: Path, shared: Path) -> None:
    folder, rows = golden(shared)
    sides = ("-p", folder / "prediction", "-r", folder / "reference")
    done = command("evaluate", "msd-hepatic-vessel", *sides, "-o", tmp_path / "out", "--team", "alpha")
    assert done.returncode == 0, done.stderr
    written = table(tmp_path / "out" / "scores.csv")
    assert len(written) == 5 * 2 * 2
    for row in written:
        recorded = rows[row["case"], {"vessel": "1", "tumor": "2"}[row["region"]]]
        assert row["status"] == status_of(recorded)
        if row["status"] == "ok":
            column = {"dice": "dice", "nsd": "nsd_3mm"}[row["metric"]]
            assert float(row["value"]) == pytest.approx(float(recorded[column]), abs=TOLERANCE)


def test_what_msd_states() -> None:
    assert {name for name in bundled_names() if name.startswith("msd-")} == {*MSD}
    for name, (regions, tolerance) in MSD.items():
        challenge = load_challenge(name)
        assert challenge.labels == regions
        assert {region: body.labels for region, body in challenge.regions.items()} == {
            region: [region] for region in regions
        }
        assert list(challenge.metrics) == ["dice", "nsd"]
        nsd = challenge.metrics["nsd"]
        assert (nsd.tolerance_mm, nsd.surface, nsd.combine) == (tolerance, "surfel", "pooled")
        for spec in challenge.metrics.values():
            assert (spec.penalty, spec.missing, spec.empty_both) == (0, None, None)
        assert challenge.ranking.scheme == "msd"
        assert challenge.ranking.alpha == 0.05
        assert any("tolerances" in difference for difference in challenge.differences)
