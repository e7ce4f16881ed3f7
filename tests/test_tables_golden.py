"""Every recorded value of GaNDLF on BraTS-Path's tables, of scikit-learn on MGMT, of lifelines on times."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import plan_cases, table
from test_cli import bratseval

from bratseval.config import load_rulebook
from bratseval.model import Score
from bratseval.scoring import Rules, score_case

TOLERANCE = 1e-6  # official numbers have 32 bits
EXACT = 1e-9
pytestmark = pytest.mark.golden

# Our averages by the suffix of GaNDLF's keys; per class there is nothing of ours.
SUFFIXES = {"global": "micro", "per_class_average": "macro", "per_class_weighted": "weighted"}
# GaNDLF's accuracy of a class is its recall, so that its averages are those of the sensitivity.
FAMILIES = {
    "f1": ("f1",),
    "class_sensitivity": ("recall", "accuracy"),
    "class_precision": ("precision",),
    "class_specificity": ("specificity",),
}
EVERY_AVERAGE = {
    f"{name}_{average}": f"{{metric: {name}, parameters: {{average: {average}}}}}"
    for name in FAMILIES
    for average in (*SUFFIXES.values(), "binary")
} | {
    f"auroc_{average}": f"{{metric: auroc, parameters: {{average: {average}}}}}"
    for average in ("macro", "weighted", "binary")
}
# Tag -> prediction, reference, bundled challenge, and what a YAML changes of its table.
SETS: dict[str, tuple[str, str, str, Mapping[str, object]]] = {
    "6class_complete": ("pred_6class", "gold_6class", "brats2025-path", {}),
    "6class_absent": ("pred_absentclass", "gold_absentclass", "brats2025-path", {}),
    "10class_penalty10": ("pred_10class_missing", "gold_10class", "brats2026-path", {}),
    "10class_nopenalty": (
        "pred_10class_missing",
        "gold_10class",
        "brats2026-path",
        {"missing_rows": "dropped"},
    ),
    "binary": ("pred_binary", "gold_binary", "brats2025-path", {"classes": 2, "missing_label": 2}),
}
LEADERBOARD = {
    "accuracy": "accuracy_global",
    "sensitivity": "recall_per_class_average",
    "f1": "f1_per_class_average",
    "specificity": "specificity_per_class_weighted",
    "mcc": "mcc",
}


def scored(challenge: str | Path, prediction: Path, reference: Path) -> Mapping[str, Score]:
    """Scores of one team by metric, as `evaluate` gives them; all of them are measured."""
    rulebook = load_rulebook(challenge)
    (case,), problems, _ = plan_cases(rulebook, {"team": prediction}, reference)
    result = score_case(Rules(rulebook), case)
    assert not [problem for problem in (*problems, *result.problems) if problem.severity == "error"]
    assert [score.metric for score in result.scores] == list(rulebook.challenge.metrics)
    return {score.metric: score for score in result.scores}


def values(found: Mapping[str, Score]) -> dict[str, float]:
    measured = {metric: score.measured for metric, score in found.items() if score.status == "ok"}
    return {metric: value for metric, value in measured.items() if value is not None}


def every_average(tmp_path: Path, extends: str, of_table: Mapping[str, object]) -> Path:
    """A YAML with every average of every metric beside those of the bundled challenge."""
    lines = [f"extends: {extends}", "name: every-average"]
    lines += ["table:", *(f"  {key}: {value}" for key, value in of_table.items())] if of_table else []
    lines += ["metrics:", *(f"  {column}: {spec}" for column, spec in EVERY_AVERAGE.items())]
    path = tmp_path / "every-average.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("tag", SETS)
def test_every_average_of_gandlf(tag: str, tmp_path: Path, shared: Path) -> None:
    golden = shared / "golden" / "classification" / "brats_path"
    prediction, reference, extends, of_table = SETS[tag]
    yaml = every_average(tmp_path, extends, of_table)
    found = values(scored(yaml, golden / f"{prediction}.csv", golden / f"{reference}.csv"))
    official = json.loads((golden / "golden" / f"{tag}_gandlf.json").read_text())
    exact = json.loads((golden / "golden" / "auroc_exact_vs_softmax_rounding.json").read_text())[tag]
    rows = 300 if tag.startswith("10class") and tag.endswith("penalty10") else official["n_rows"]
    assert found["subjects"] == rows == official["n_rows"]
    assert found["missing_subjects"] == (9 if tag == "10class_penalty10" else 0)
    expected = {"accuracy": official["accuracy_global"], "mcc": official["mcc"]}
    for name, families in FAMILIES.items():
        for family in families:
            for suffix, average in SUFFIXES.items():
                # With two classes GaNDLF ignores the average and gives class 1 alone.
                ours = f"{name}_{'binary' if tag == 'binary' else average}"
                if (family, tag) == ("accuracy", "binary"):
                    ours = "accuracy"  # there it is the share of right labels
                key = f"{family}_{suffix}"
                assert found[ours] == pytest.approx(official[key], abs=TOLERANCE), (ours, key)
    for ours, value in expected.items():
        assert found[ours] == pytest.approx(value, abs=TOLERANCE), ours
    assert found["auroc_weighted"] == pytest.approx(exact["exact_weighted"], abs=EXACT)
    if tag == "10class_penalty10":
        # Ours has no class of the missing label, whose 0 enters the official unweighted mean of 11.
        assert found["auroc_macro"] == pytest.approx(exact["exact_macro"] * 11 / 10, abs=EXACT)
    else:
        assert found["auroc_macro"] == pytest.approx(exact["exact_macro"], abs=EXACT)
    of_class = exact["exact_per_class_(TPR+TNR)/2_absent_class_0"]
    assert found["auroc_binary"] == pytest.approx(of_class[1], abs=EXACT)
    # The machine-dependent number, within the tolerance that the differences of the challenge state.
    assert found["auroc_weighted"] == pytest.approx(official["auroc_per_class_weighted"], abs=0.03)


@pytest.mark.parametrize("tag", ["6class_complete", "6class_absent", "10class_penalty10"])
def test_every_number_of_the_leaderboard(tag: str, shared: Path) -> None:
    golden = shared / "golden" / "classification" / "brats_path"
    prediction, reference, challenge, of_table = SETS[tag]
    assert not of_table  # the challenge as it is
    found = values(scored(challenge, golden / f"{prediction}.csv", golden / f"{reference}.csv"))
    official = json.loads((golden / "golden" / f"{tag}_leaderboard.json").read_text())
    exact = json.loads((golden / "golden" / "auroc_exact_vs_softmax_rounding.json").read_text())[tag]
    assert {*official} == {*LEADERBOARD.values(), "auroc_per_class_weighted"}
    for ours, key in LEADERBOARD.items():
        assert found[ours] == pytest.approx(official[key], abs=TOLERANCE), key
    assert found["auroc"] == pytest.approx(exact["exact_weighted"], abs=EXACT)


@pytest.mark.parametrize("tag", ["6class_complete", "6class_absent"])
def test_the_micro_averages_of_2024(tag: str, shared: Path) -> None:
    golden = shared / "golden" / "classification" / "brats_path"
    prediction, reference, _, _ = SETS[tag]
    found = values(scored("brats2024-path", golden / f"{prediction}.csv", golden / f"{reference}.csv"))
    official = json.loads((golden / "golden" / f"{tag}_gandlf.json").read_text())
    keys = {"accuracy": "accuracy_global", "mcc": "mcc", "f1": "f1_global"}
    keys |= {"sensitivity": "recall_global", "specificity": "specificity_global"}
    assert {*found} == {*keys, "subjects", "missing_subjects"}
    for ours, key in keys.items():
        assert found[ours] == pytest.approx(official[key], abs=TOLERANCE), key


def test_dropping_what_is_missing_pays_as_it_does_officially(tmp_path: Path, shared: Path) -> None:
    """The reason why `dropped` is not what the challenges say: 9 subjects fewer, and higher numbers.

    Not the specificity: a label of a class of its own is no false positive of another class.
    """
    golden = shared / "golden" / "classification" / "brats_path"
    prediction, reference, challenge, _ = SETS["10class_nopenalty"]
    paths = golden / f"{prediction}.csv", golden / f"{reference}.csv"
    yaml = tmp_path / "dropped.yaml"
    yaml.write_text(f"extends: {challenge}\nname: dropped\ntable: {{missing_rows: dropped}}\n")
    penalized, dropped = (values(scored(one, *paths)) for one in (challenge, yaml))
    assert (penalized["subjects"], dropped["subjects"]) == (300, 291)
    for metric in (*LEADERBOARD, "auroc"):
        assert (dropped[metric] > penalized[metric]) == (metric != "specificity"), metric


@pytest.mark.parametrize(
    ("name", "key"), [("pred.csv", "roc_auc"), ("pred_constant.csv", "roc_auc_constant")]
)
def test_mgmt(name: str, key: str, shared: Path) -> None:
    golden = shared / "golden" / "classification" / "mgmt"
    found = values(scored("brats2021-mgmt", golden / name, golden / "gold.csv"))
    official = json.loads((golden / "golden" / "scores.json").read_text())
    assert found["auroc"] == pytest.approx(official[key], abs=EXACT)
    assert found["auroc_lower"] <= found["auroc"] <= found["auroc_upper"]
    assert found["subjects"] == 87


@pytest.mark.parametrize("tag", ["plain", "ties"])
def test_time_to_event(tag: str, shared: Path) -> None:
    golden = shared / "golden" / "classification" / "time_to_event"
    found = values(scored("time-to-event", golden / f"pred_{tag}.csv", golden / f"gold_{tag}.csv"))
    official = json.loads((golden / "golden" / "scores.json").read_text())[tag]
    assert found["c_index"] == pytest.approx(official["lifelines_predicted_time"], abs=EXACT)
    other = official["sksurv_risk_is_minus_time"]
    assert found["c_index"] == pytest.approx(other["cindex"], abs=EXACT)
    pairs = other["concordant"] + other["discordant"] + other["tied_risk"]
    by_hand = (other["concordant"] + other["tied_risk"] / 2) / pairs
    assert found["c_index"] == pytest.approx(by_hand, abs=EXACT)
    assert found["c_index_lower"] < found["c_index"] < found["c_index_upper"]


def test_times_as_leopard_collects_them(tmp_path: Path, shared: Path) -> None:
    """One JSON file a subject instead of a table gives the same scores."""
    golden = shared / "golden" / "classification" / "time_to_event"
    for row in table(golden / "pred_ties.csv"):
        (tmp_path / f"{row['case_id']}.json").write_text(row["prediction"])
    reference = golden / "gold_ties.csv"
    of_files = scored("time-to-event", tmp_path, reference)
    assert of_files == scored("time-to-event", golden / "pred_ties.csv", reference)


def test_a_run_of_tables_folders_and_archives(tmp_path: Path, shared: Path) -> None:
    """However a team hands its table in: on the command line, the golden numbers and one leaderboard."""
    golden = shared / "golden" / "classification" / "brats_path"
    teams = tmp_path / "teams"
    teams.mkdir()
    whole = golden / "pred_10class_missing.csv"
    shutil.copy(whole, teams / "as-table.csv")
    (teams / "as-folder" / "deep").mkdir(parents=True)
    shutil.copy(whole, teams / "as-folder" / "deep" / "results.csv")
    with zipfile.ZipFile(teams / "as-zip.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(whole, "submission/results.csv")
    with tarfile.open(teams / "as-tar.tar.gz", "w:gz") as archive:
        archive.add(whole, "results.csv")
    perfect = ["SubjectID,Prediction"]
    perfect += [f"{row['Name']},{row['GT']}" for row in table(golden / "gold_10class.csv")]
    (teams / "perfect.csv").write_text("\n".join(perfect) + "\n")
    done = bratseval(
        "run",
        *("brats2026-path", "--submissions", teams, "--references", golden / "gold_10class.csv"),
        *("--output", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("complete: 5 teams, 300 cases")
    alike = ["as-folder", "as-table", "as-tar", "as-zip"]
    official = json.loads((golden / "golden" / "10class_penalty10_leaderboard.json").read_text())
    scores = {(row["team"], row["metric"]): row for row in table(tmp_path / "out" / "scores.csv")}
    assert {team for team, _ in scores} == {*alike, "perfect"}
    for team in alike:
        for ours, key in LEADERBOARD.items():
            assert float(scores[team, ours]["value"]) == pytest.approx(official[key], abs=TOLERANCE)
    ranked = ("accuracy", "mcc", "f1", "sensitivity", "specificity", "auroc")
    assert [float(scores["perfect", metric]["value"]) for metric in ranked] == [1.0] * 6
    board = table(tmp_path / "out" / "leaderboard.csv")
    assert [(row["team"], row["rank"], row["missing_cases"]) for row in board] == [
        ("perfect", "1", "0"),
        *((team, "2", "9") for team in alike),
    ]
    assert {row["cases"] for row in board} == {"300"}
    problems = [(row["team"], row["severity"], row["code"]) for row in table(tmp_path / "out/problems.csv")]
    assert problems == [(team, "warning", "SUB004") for team in alike]
