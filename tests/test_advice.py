"""Advice: every topic with a challenge that calls for it and one that does not; and the table of metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, cube, save

from bratseval.advice.advisers import advise, as_text
from bratseval.advice.findings import NOTHING, Findings, patient_in, survey
from bratseval.advice.structures import dice_half_a_voxel_off
from bratseval.config import bundled_names, load_challenge, load_rulebook
from bratseval.errors import ReferenceDataError, UsageError
from bratseval.metric_table import (
    as_page,
    as_table,
    first_sentence,
    metric_row,
    metric_rows,
    undefined_when,
    users,
)
from bratseval.metrics.registry import metric_names

SEGMENTATION = "extends: generic-segmentation\nname: mine\n"
TABLE = """
name: mine
title: a table
source: [here]
scorer: none
task: table
files: {team: {table: ['.+\\.csv']}, reference: ['.+\\.csv']}
table: {submitted: SUBMITTED, id: [id], target: [class], prediction: [class]}
metrics: {accuracy: {penalty: 0}, auroc: {penalty: 0}, average_precision: {}, class_brier: {penalty: 2}}
"""
LABELS, SCORES = TABLE.replace("SUBMITTED", "label"), TABLE.replace("SUBMITTED", "score, low: 0, high: 1")
MICRO = LABELS.replace("{accuracy: {penalty: 0}", "{accuracy: {}, f1: {parameters: {average: micro}}")
MANY = tuple(f"c{number:02}" for number in range(30))


def sizes(*lesions: tuple[int, ...], spacing: float = 1.0) -> Findings:
    """What cases show whose one region has lesions of these sizes, in voxels."""
    cases = {f"c{number}": case for number, case in enumerate(lesions)}
    return Findings(
        tuple(cases),
        {"foreground": cases},
        dict.fromkeys(cases, (spacing, spacing, spacing)),
        dict(zip(cases, cases, strict=True)),
    )


def places(*institutions: str) -> Findings:
    return Findings(institutions={f"c{number}": name for number, name in enumerate(institutions)})


def topics(folder: Path, yaml: str, findings: Findings = NOTHING) -> list[str]:
    (folder / "mine.yaml").write_text(yaml)
    return [one.topic for one in advise(load_challenge(folder / "mine.yaml"), findings)]


def rank(*metrics: str, more: str = "") -> str:
    return f"ranking: {{metrics: [{', '.join(metrics)}]{more}}}\n"


def of(yaml: str, before: str = SEGMENTATION) -> str:
    return before + yaml


# topic, what calls for it, what does not
ROWS: list[tuple[str, tuple[str, Findings], tuple[str, Findings]]] = [
    ("overlap-only", (of(rank("dice")), NOTHING), (of(rank("dice", "hd95")), NOTHING)),
    ("overlap-only", (of(rank("lesion_dice", "lesion_f1")), NOTHING), (of(rank("lesion_f1")), NOTHING)),
    ("boundary-only", (of(rank("nsd")), NOTHING), (of(rank("nsd", "iou")), NOTHING)),
    ("hausdorff-maximum", (of(rank("dice", "hd100")), NOTHING), (of(rank("dice", "hd95")), NOTHING)),
    ("true-negatives", (of(rank("specificity", "nsd")), NOTHING), (of(rank("sensitivity", "nsd")), NOTHING)),
    ("counted-twice", (of(rank("dice", "iou")), NOTHING), (of(rank("dice", "lesion_dice")), NOTHING)),
    ("counted-twice", (of(rank("hd95", "assd")), NOTHING), (of(rank("hd95", "nsd")), NOTHING)),
    (
        "counted-twice",
        (MICRO + rank("accuracy", "f1"), NOTHING),
        (MICRO.replace("micro", "macro") + rank("accuracy", "f1"), NOTHING),
    ),
    (
        "counted-twice",
        (of(rank("dice", "iou")), NOTHING),
        (of(rank("dice", "iou", more=", weights: {dice: 0.5, iou: 0.5}")), NOTHING),
    ),
    (
        "tolerance-unstated",
        (of("metrics: {nsd: {tolerance_mm: null}}\n"), NOTHING),
        (of("metrics: {nsd: {tolerance_mm: 2}}\n"), NOTHING),
    ),
    (
        "tolerance-below-voxel",
        (of("metrics: {nsd: {tolerance_mm: 1}}\n"), sizes((500,), spacing=1.5)),
        (of("metrics: {nsd: {tolerance_mm: 1}}\n"), sizes((500,), spacing=1.0)),
    ),
    (
        "tolerance-below-voxel",
        (of("metrics: {nsd: {tolerance_mm: 0.5}}\n"), sizes((500,))),
        (of("metrics: {nsd: {tolerance_mm: smallest_spacing}}\n"), sizes((500,))),
    ),
    (
        "spacing-ignored",
        (of("metrics: {nsd: {spacing: voxels}}\n"), NOTHING),
        (of("metrics: {nsd: {spacing: voxels}}\n"), sizes((500,))),  # voxels of 1 mm
    ),
    (
        "spacing-ignored",
        (of("metrics: {nsd: {spacing: reversed}}\n"), Findings(spacings_mm={"c": (1.0, 1.0, 3.0)})),
        (of("metrics: {nsd: {spacing: reversed}}\n"), Findings(spacings_mm={"c": (2.0, 1.0, 2.0)})),
    ),
    ("small-structures", (of(""), sizes((60,), (), (30,))), (of(""), sizes((60,), (), (3000,), (3000,)))),
    (
        "small-structures",
        (of(rank("lesion_dice")), sizes((50, 4000, 20))),
        (of("lesions: {min_reference_mm3: 60}\n" + rank("lesion_dice")), sizes((50, 4000, 20))),
    ),
    (
        "size-spread",
        (of(""), sizes(*[(200,)] * 3, *[(20000,)] * 3)),
        (of(""), sizes(*[(200,)] * 3, *[(900,)] * 3)),
    ),
    (
        "several-lesions",
        (of(""), sizes((300, 200), (300,), (400, 30))),
        (of(""), sizes((300, 2), (300,), (400, 3))),  # specks
    ),
    (
        "several-lesions",
        (of(rank("dice", "hd95")), sizes((300, 200), (400, 30))),
        (of(rank("lesion_dice", "hd95")), sizes((300, 200), (400, 30))),
    ),
    ("empty-references", (of(""), sizes((500,), ())), (of(""), sizes((500,), (500,)))),
    (
        "empty-left-out",
        (of("metrics: {dice: {empty_both: null}}\n"), NOTHING),
        (of("metrics: {dice: {empty_both: null}}\n"), sizes((500,), (500,))),  # none is empty
    ),
    (
        "free-failures",
        (of("lesions: {average_over: matched}\n" + rank("lesion_dice")), NOTHING),
        (of("lesions: {average_over: matched}\n" + rank("lesion_dice", "lesion_f1")), NOTHING),
    ),
    (
        "no-penalty",
        (of("metrics: {dice: {penalty: null}}\n" + rank("dice", more=", missing: drop")), NOTHING),
        (of("metrics: {dice: {penalty: null}}\n" + rank("dice", more=", missing: worst")), NOTHING),
    ),
    (
        "missing-dropped",
        (of("ranking: {missing: drop}\n"), NOTHING),
        (of("ranking: {missing: worst}\n"), NOTHING),
    ),
    (
        "missing-dropped",
        (LABELS.replace("class]}", "class], missing_rows: dropped}"), NOTHING),
        (LABELS, NOTHING),
    ),
    (
        "prevalence",
        (LABELS + rank("accuracy"), Findings(MANY, classes={0: 27, 1: 3})),
        (LABELS + rank("accuracy"), Findings(MANY, classes={0: 16, 1: 14})),
    ),
    ("hard-labels", (LABELS, NOTHING), (SCORES, NOTHING)),
    (
        "rare-class",
        (SCORES + rank("auroc"), Findings(MANY, classes={0: 28, 1: 2})),
        (SCORES + rank("auroc", "average_precision"), Findings(MANY, classes={0: 28, 1: 2})),
    ),
    ("calibration", (SCORES.replace(", class_brier: {penalty: 2}", ""), NOTHING), (SCORES, NOTHING)),
    ("few-cases", (of(""), Findings(MANY[:29])), (of(""), Findings(MANY))),
    (
        "dependent-cases",
        (of(""), Findings(patients={"00012-000": "00012", "00012-001": "00012"})),
        (of(""), Findings(patients={"00012-000": "00012", "00013-000": "00013"})),
    ),
    ("unequal-institutions", (of(""), places(*"aaab")), (of(""), places(*"aabb"))),
    (
        "unequal-institutions",
        (of(""), places(*"aaab")),
        (of("ranking: {per: institution}\n"), places(*"aaab")),
    ),
    ("no-stability", (of("ranking: {bootstrap: 0}\n"), NOTHING), (of(""), NOTHING)),
    ("no-stability", (LABELS, NOTHING), (LABELS.replace("{accuracy", "{auroc_lower: {}, accuracy"), NOTHING)),
    (
        "no-tests",
        (of("ranking: {permutations: 0}\n"), NOTHING),
        (of("ranking: {permutations: 0, test: wilcoxon}\n"), NOTHING),
    ),
]


@pytest.mark.parametrize(("topic", "calls", "does_not"), ROWS)
def test_a_topic_is_raised_where_it_applies_and_nowhere_else(
    topic: str, calls: tuple[str, Findings], does_not: tuple[str, Findings], tmp_path: Path
) -> None:
    assert topic in topics(tmp_path, *calls)
    assert topic not in topics(tmp_path, *does_not)


def test_every_topic_has_a_row() -> None:
    raised = {row[0] for row in ROWS}
    bundled = {one.topic for name in bundled_names() for one in advise(load_challenge(name))}
    assert bundled <= raised


def test_the_generic_challenge_follows_the_advice() -> None:
    assert advise(load_challenge("generic-segmentation")) == []


def test_half_a_voxel_off_a_ball() -> None:
    share = (2.5 / 3) ** 3  # of a ball of radius 3, volume 36 pi
    assert dice_half_a_voxel_off(36 * np.pi) == pytest.approx(2 * share / (1 + share))
    assert dice_half_a_voxel_off(0.1) == 0.0  # nothing is left of it


def test_the_patient_of_a_case() -> None:
    assert patient_in("00012-001") == "00012"
    assert patient_in("GLI-00012-001") == "GLI-00012"
    assert patient_in("0132-1") == "0132"
    for alone in (
        "BraTS2021_00012",
        "BraTS20_Validation_001",
        "BraTSReg_001",
        "FeTS2022_00003",
        "case01",
        "00012",
    ):
        assert patient_in(alone) == alone


def references(folder: Path) -> Path:
    """Two scans of one patient, of 2x2x4 and 12 voxels, and an empty one of another."""
    one = cube((12, 12, 12), (slice(1, 3), slice(1, 3), slice(1, 5)))
    two = cube((12, 12, 12), (slice(1, 3), slice(1, 3), slice(1, 4)), (slice(6, 8), slice(6, 8), slice(6, 9)))
    for case, labels in (("00001-000", one), ("00001-001", two), ("00002-000", 0 * one)):
        save(folder / f"{case}-seg.nii.gz", labels, np.diag([1.0, 1, 3, 1]))
    return folder


def test_survey_reads_every_reference(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case,institution\n00001-000,a\n00001-001,a\n00002-000,b\n")
    found = survey(
        load_rulebook("generic-segmentation"), references(tmp_path / "refs"), tmp_path / "cases.csv"
    )
    assert found.cases == ("00001-000", "00001-001", "00002-000")
    assert found.lesion_voxels == {
        "foreground": {"00001-000": (2 * 2 * 4,), "00001-001": (2 * 2 * 3, 2 * 2 * 3), "00002-000": ()}
    }
    assert set(found.spacings_mm.values()) == {(1.0, 1.0, 3.0)}
    assert found.patients["00001-001"] == "00001"
    assert found.institutions == {"00001-000": "a", "00001-001": "a", "00002-000": "b"}


def test_survey_takes_lesions_as_the_challenge_does(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SEGMENTATION + "lesions: {dilation_voxels: 3, merge: [reference]}\n")
    found = survey(load_rulebook(tmp_path / "mine.yaml"), references(tmp_path / "refs"), None)
    assert found.lesion_voxels["foreground"]["00001-001"] == (24,)  # 3 voxels apart: one lesion


def test_survey_of_the_table_of_cases_alone(tmp_path: Path) -> None:
    rows = [f"c{number},{'big' if number < 40 else 'small'},p{number // 2}" for number in range(50)]
    (tmp_path / "cases.csv").write_text("\n".join(["case,institution,patient", *rows, ""]))
    found = survey(load_rulebook("generic-segmentation"), None, tmp_path / "cases.csv")
    raised = {one.topic: one for one in advise(load_challenge("generic-segmentation"), found)}
    assert list(raised) == ["dependent-cases", "unequal-institutions"]
    assert "50 of 50 cases share their patient" in raised["dependent-cases"].reason
    assert "10 (small) to 40 cases (big)" in raised["unequal-institutions"].reason


def test_survey_of_a_table_counts_classes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(LABELS)
    (tmp_path / "truth.csv").write_text("id,class\na,0\nb,1\nc,0\n")
    found = survey(load_rulebook(tmp_path / "mine.yaml"), tmp_path / "truth.csv", None)
    assert (found.cases, found.classes) == (("a", "b", "c"), {0: 2, 1: 1})
    (tmp_path / "truth.csv").write_text("id,class\na,none\n")
    with pytest.raises(ReferenceDataError, match="without a number"):
        survey(load_rulebook(tmp_path / "mine.yaml"), tmp_path / "truth.csv", None)


def test_other_tasks_count_cases_alone() -> None:
    for name, folder, count in (("qubiq-2021", "qubiq", 8), ("brats-reg-2022", "brats-reg", 4)):
        found = survey(load_rulebook(name), ROOT / "sample_data" / folder / "references", None)
        assert len(found.cases) == count
        assert not found.lesion_voxels


def test_survey_names_every_reference_that_cannot_be_read(tmp_path: Path) -> None:
    folder = references(tmp_path)
    for case in ("00001-000", "00002-000"):
        (folder / f"{case}-seg.nii.gz").write_bytes(b"no image")
    with pytest.raises(ReferenceDataError) as stopped:
        survey(load_rulebook("generic-segmentation"), folder, None)
    assert [problem.case for problem in stopped.value.problems] == ["00001-000", "00002-000"]
    assert {problem.code for problem in stopped.value.problems} == {"SUB014"}


def test_the_empty_rule_of_each_edition() -> None:
    """Of a right empty prediction and a false alarm, as tasks.segmentation scores them."""
    found = Findings(
        ("a", "b"), {name: {"a": (900,), "b": ()} for name in ("WT", "GTV")}, {"a": (1.0, 1.0, 1.0)}
    )
    for name, values in (
        ("brats2023-gli", "lesion_dice 1 or 0 and lesion_hd95 0 or 374"),
        ("brats2024-men-rt", "lesion_dice 1 or 1"),  # spurious lesions are free
        ("brats2026-gli", "lesion_dice left out or 0 and lesion_hd95 left out or 373"),
        (
            "brats2026-met",
            "alarm: lesion_f1 left out or 0",
        ),  # means over large lesions are left out either way
        ("brats2021", "dice 1 or 0 and hd95 0 or grid_diagonal"),
    ):
        advice = {one.topic: one for one in advise(load_challenge(name), found)}
        assert values in advice["empty-references"].reason, name


def test_text_fits_the_width_and_says_a_remedy_once() -> None:
    challenge = load_challenge("brats2023-met")
    found = survey(load_rulebook("brats2023-met"), ROOT / "sample_data" / "brats-met" / "references", None)
    advice = advise(challenge, found)
    text = as_text(challenge, found, advice)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"brats2023-met: {len(advice)} pieces of advice, 6 cases seen\n")
    small = [one for one in advice if one.topic == "small-structures"]
    assert [one.where for one in small] == ["region WT", "region TC", "region ET"]
    assert text.count("report by size, and rank detection as well (lesion_f1)") == 1
    assert as_text(challenge, NOTHING, []) == "brats2023-met: no advice, no references seen"


def bratseval(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "bratseval", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)


def test_advise_prints_text_and_json(tmp_path: Path) -> None:
    folder = references(tmp_path / "refs")
    done = bratseval("challenges", "advise", "generic-segmentation", "--references", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nempty-references\n" in done.stdout
    assert "foreground in 1 of 3 cases" in done.stdout
    done = bratseval("challenges", "advise", "generic-segmentation", "-r", folder, "--format", "json")
    document = json.loads(done.stdout)
    assert (document["name"], document["cases"]) == ("generic-segmentation", 3)
    assert set(document["advice"][0]) == {"topic", "where", "reason", "source", "change"}
    assert all("doi:" in one["source"] for one in document["advice"])


def test_advise_says_what_it_cannot_read(tmp_path: Path) -> None:
    absent = bratseval("challenges", "advise", "generic-segmentation", "--references", tmp_path / "none")
    assert absent.returncode == 3
    assert "SUB010" in absent.stderr
    unknown = bratseval("challenges", "advise", "generic-segmentatoin")
    assert unknown.returncode == 2
    assert "did you mean 'generic-segmentation'?" in unknown.stderr


def test_check_gives_advice_as_notes_and_stays_valid(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SEGMENTATION + rank("dice"))
    done = bratseval("challenges", "check", tmp_path / "mine.yaml", "--format", "json")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "note[overlap-only] ranking.metrics: dice is ranked without a boundary metric"
    )
    assert done.stderr.splitlines()[-1].startswith("mine is a valid challenge")
    document = json.loads(done.stdout)
    assert document["valid"] is True
    assert [one["topic"] for one in document["advice"]] == ["overlap-only"]


def test_a_row_for_every_registered_metric() -> None:
    rows = metric_rows()
    named = {name for row in rows for name in row.names.values()}
    assert named == set(metric_names())
    dice = metric_row("dice")
    assert (dice.names, dice.reads) == ({"image": "dice", "lesion": "lesion_dice"}, "overlap")
    assert (dice.best, dice.worst, dice.direction, dice.bounded) == (1.0, 0.0, "larger", True)
    assert dice.undefined == "nan if both are empty (Dice 1945)"
    distance = metric_row("lesion_hd95")
    assert (distance.name, distance.unit, distance.direction) == ("hd95", "mm", "smaller")
    assert (distance.worst, distance.bounded) == (None, False)
    assert metric_row("reference_volume_mm3").direction == ""
    assert list(metric_row("auroc").names) == ["team"]
    assert list(metric_row("large_lesion_f1").names) == ["lesion", "large", "small"]


def test_parameters_come_from_the_function() -> None:
    nsd = {one.name: one for one in metric_row("nsd").parameters}
    assert (nsd["tolerance_mm"].default, nsd["tolerance_mm"].choices) == (1.0, ("smallest_spacing",))
    assert nsd["tolerance_mm"].key == "tolerance_mm"  # a key of its own in every metric
    assert metric_row("hit_rate").parameters[0].key == "parameters.radius_mm"
    average = metric_row("f1").parameters[0]
    assert (average.default, average.choices[:2]) == ("macro", ("micro", "macro"))


def test_sentences_of_a_docstring() -> None:
    text = "Error of volumes (Heimann et al. 2009); nan if both\nare empty. A second one.\n\nMore."
    assert first_sentence(text) == "Error of volumes (Heimann et al. 2009); nan if both are empty."
    assert undefined_when(text) == "nan if both are empty"
    assert undefined_when("A nanometer.") == ""


def test_table_and_page_of_metrics() -> None:
    rows = metric_rows()
    text = as_table(rows)
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"  {row.name} " in text and f"reads {row.reads}" in text for row in rows)
    row = metric_row("lesion_nsd")
    used = users(row, [load_challenge("brats2025-gli"), load_challenge("brats2023-gli")])
    assert used == {"nsd": ["brats2025-gli"], "lesion_nsd": ["brats2025-gli"]}
    page = as_page(row, used)
    assert "parameter  combine: default directed, or pooled" in page
    assert "used by    as lesion_nsd: brats2025-gli" in page
    assert " ".join(page.split()).endswith(" ".join(row.documentation.split()))


def test_tables_and_pages_of_metrics_fit_their_width() -> None:
    rows = metric_rows()
    for width in (40, 80):
        assert max(map(len, as_table(rows, width).splitlines())) <= width
        assert max(len(line) for row in rows for line in as_page(row, {}, width).splitlines()) <= width


def test_metrics_command() -> None:
    listed = json.loads(bratseval("metrics", "--format", "json").stdout)
    assert [one["name"] for one in listed] == [row.name for row in metric_rows()]
    one = json.loads(bratseval("metrics", "lesion_dice", "--format", "json").stdout)
    assert "brats2023-gli" in one["used_by"]["lesion_dice"]
    wrong = bratseval("metrics", "hd59")
    assert wrong.returncode == 2
    assert "'hd59' is not a metric" in wrong.stderr
    assert "did you mean 'hd95'?" in wrong.stderr
    with pytest.raises(UsageError, match="not a metric"):
        metric_row("nothing like it")
