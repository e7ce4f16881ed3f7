"""LiTS: the engine against the plain implementation, worked examples, and scores over all cases."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, save, table
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_lits import score_lits
from scipy import ndimage

from bratseval.challenge import Challenge
from bratseval.config import load_challenge, load_rulebook
from bratseval.errors import BratsevalError
from bratseval.images import LabelImage
from bratseval.joining import merge, rank
from bratseval.lesions import find_lesions
from bratseval.metrics.overlap import count_overlap, rvd, voe
from bratseval.metrics.pooled import Pooled, tumor_burden_max, tumor_burden_rmse
from bratseval.metrics.surface import Distances, rmsd
from bratseval.model import Cell
from bratseval.nifti import Grid
from bratseval.options import Options
from bratseval.overlap_matching import detect, join_by_overlap
from bratseval.pipeline import run
from bratseval.pooling import with_pooled
from bratseval.regions import prepare
from bratseval.surfaces import find_boundary
from bratseval.tables import ScoreRow
from bratseval.tasks.segmentation import score_lesions

LITS = load_challenge("lits")
SHAPE = (13, 11, 9)
SPACINGS = st.sampled_from([(1.0, 1.0, 1.0), (0.75, 0.75, 2.5), (2.0, 1.0, 0.5)])
SEEDS = st.integers(0, 2**32 - 1)
Spacing = tuple[float, float, float]
Parts = Mapping[tuple[str, str], tuple[float, float]]


def with_union(union: str) -> Challenge:
    return LITS.model_copy(update={"lesions": LITS.lesions.model_copy(update={"union": union})})


def volumes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A liver with lesions on both sides; lesions touch by corners, are split, merged, lost and invented."""
    random = np.random.default_rng(seed)
    reference, prediction = np.zeros((2, *SHAPE), np.uint8)
    reference[1:-1, 1:-1, 1:-1] = 1
    prediction[:-1, 1:, 1:-1] = random.integers(0, 8) > 0
    lesions = ndimage.gaussian_filter(random.random(SHAPE), 0.9) > 0.5 + random.choice([0.03, 0.06])
    kind = random.integers(4)
    other = ndimage.gaussian_filter(random.random(SHAPE), 1.0) > 0.55
    guess = {
        0: other,
        1: ndimage.binary_dilation(lesions) & ~other,
        2: lesions & ~other,
        3: np.roll(lesions, random.integers(-1, 2, 3), axis=(0, 1, 2)) ^ (random.random(SHAPE) < 0.05),
    }[int(kind)]
    reference[lesions & (random.integers(12) > 0)] = 2
    prediction[guess & (random.integers(12) > 0)] = 2
    return reference, prediction


def engine(
    reference: np.ndarray, prediction: np.ndarray, spacing: Spacing, challenge: Challenge = LITS
) -> tuple[dict[tuple[str, str], float], Parts]:
    sides = []
    for labels, side in ((reference, "reference"), (prediction, "prediction")):
        grid = Grid(labels.shape, spacing, AFFINE, True)
        image = LabelImage(grid, (0, 0, 0), np.asfortranarray(labels), {})
        sides.append(prepare(image, challenge, side))  # type: ignore[arg-type]
    scores, details = score_lesions(*sides, challenge)
    rows = details["pooled.csv"]
    return (
        {(score.region, score.metric): math.nan if score.value is None else score.value for score in scores},
        {(str(region), str(metric)): (total, count) for region, metric, total, count in rows},  # type: ignore[misc]
    )


@settings(max_examples=60, deadline=None)
@given(SEEDS, SPACINGS, st.booleans())
def test_the_engine_equals_the_plain_implementation(seed: int, spacing: Spacing, slip: bool) -> None:
    reference, prediction = volumes(seed)
    scores, parts = engine(reference, prediction, spacing, with_union("official_slip" if slip else "right"))
    expected_scores, expected_parts = score_lits(reference, prediction, spacing, slip=slip)
    assert scores == pytest.approx(expected_scores, abs=1e-9)
    assert set(parts) == set(expected_parts)
    for key, (total, count) in expected_parts.items():
        assert parts[key] == (pytest.approx(total, abs=1e-9), count), key


@given(SEEDS)
def test_lesions_have_scipys_numbers(seed: int) -> None:
    """The smaller number wins ties and the union slip mixes numbers of both sides, so all of them count."""
    mask = np.random.default_rng(seed).random(SHAPE) < 0.3
    found = find_lesions(mask, (0, 0, 0), SHAPE, connectivity=6, dilation_voxels=0, merge=False, zone=False)
    expected, _ = ndimage.label(np.asfortranarray(mask))  # nibabel's order in memory
    assert np.array_equal(found.labels[1:-1, 1:-1, 1:-1], expected)


@given(SEEDS)
def test_a_border_of_18_neighbors_is_what_erosion_takes(seed: int) -> None:
    """Of all lesions at once, although 6-connected ones may touch by an edge, and within any box."""
    random = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(random.random(SHAPE), 0.8) > random.choice([0.45, 0.5, 0.53])
    found = find_lesions(mask, (0, 0, 0), SHAPE, connectivity=6, dilation_voxels=0, merge=False, zone=False)
    border = find_boundary(found, "voxel18")
    element = ndimage.generate_binary_structure(3, 2)
    labels, count = ndimage.label(mask)
    for number, box in zip(range(1, count + 1), ndimage.find_objects(labels), strict=True):
        alone = labels[box] == number
        expected = np.argwhere(alone ^ ndimage.binary_erosion(alone, element)) + [one.start for one in box]
        assert np.array_equal(border.points[border.lesion == number], expected)


def matched(overlap: Sequence[Sequence[int]], union: str, iou: float = 0.5) -> tuple[list[list[int]], int]:
    """Reference lesions that are found, and the count. Lesions are as large as what they share."""
    counts = np.zeros((len(overlap) + 1, len(overlap[0]) + 1), int)
    counts[1:, 1:] = overlap
    sizes = (counts.sum(axis=1), counts.sum(axis=0))
    groups = join_by_overlap(counts)
    found, count = detect(groups, counts, *sizes, detection_iou=iou, union=union)  # type: ignore[arg-type]
    return [group.references.tolist() for group in found], count


@pytest.mark.parametrize("union", ["official_slip", "right"])
def test_a_split_lesion_is_one_detection(union: str) -> None:
    assert matched([[6, 5]], union) == ([[1]], 1)


@pytest.mark.parametrize("union", ["official_slip", "right"])
def test_a_lesion_over_two_is_one_detection_and_its_failure_costs_two(union: str) -> None:
    assert matched([[6], [5]], union) == ([[1, 2]], 1)
    assert matched([[6], [5]], union, iou=1.0) == ([], -1)


def test_the_smaller_number_wins_a_tie() -> None:
    assert [g.predictions.tolist() for g in join_by_overlap(np.array([[0, 0, 0], [0, 3, 3], [0, 3, 3]]))] == [
        [1, 2]
    ]


def test_the_union_slip_takes_another_pairs_lesion() -> None:
    """The map of predicted lesions holds numbers of the reference, and theirs are looked up in it."""
    overlap = np.array([[0, 0, 0], [0, 0, 8], [0, 6, 0]])  # prediction 1 found reference 2, and 2 found 1
    sizes = (np.array([0, 10, 10]), np.array([0, 30, 9]))
    groups = join_by_overlap(overlap)
    right = detect(groups, overlap, *sizes, detection_iou=0.5, union="right")
    assert (right[1], right[0][0].references.tolist()) == (1, [1])  # 8/11 is enough, 6/34 is not
    # 6 of 10 + 9, the other pair's prediction, is not enough; then 8 of 10, since that prediction is gone.
    slip = detect(groups, overlap, *sizes, detection_iou=0.5, union="official_slip")
    assert (slip[1], slip[0][0].references.tolist()) == (1, [1])
    slip = detect(groups, overlap, *sizes, detection_iou=0.3, union="official_slip")
    assert slip[1] == 1  # 6/19 is enough now; 8 of 10 + 30 is not


def test_no_lesion_of_the_reference() -> None:
    reference, prediction = np.ones((2, *SHAPE), np.uint8)
    prediction[2:4, 2, 2] = prediction[6, 6, 6] = 2
    scores, parts = engine(reference, prediction, (1.0, 1.0, 1.0))
    assert (scores["lesion", "dice"], parts["lesion", "lesion_precision_any"]) == (0.0, (0, 2))
    assert parts["lesion", "lesion_recall"] == parts["lesion", "rmsd"] == (0, 0)


def test_a_prediction_without_label_1_has_no_liver() -> None:
    reference, prediction = np.ones((2, *SHAPE), np.uint8)
    reference[2:4, 2, 2] = prediction[2:4, 2, 2] = prediction[6, 6, 6] = 2
    prediction[prediction == 1] = 0
    scores, parts = engine(reference, prediction, (1.0, 1.0, 1.0))
    liver = [scores["liver", name] for name in ("dice", "voe", "rvd", "assd", "rmsd", "hd100")]
    assert liver == [0, 1, 9001, 9001, 9001, 9001]
    assert parts["liver", "global_dice"] == (0, reference.size)
    assert parts["lesion", "tumor_burden_max"] == (2 / reference.size - 9001, 1)
    assert scores["lesion", "dice"] == 0.8  # of the lesions nothing is lost


def test_errors_of_volume_and_surface() -> None:
    mask = np.array([1, 1, 1, 0, 0], bool)
    overlap = count_overlap(mask, np.array([0, 1, 1, 1, 1], bool))
    assert (voe(overlap), rvd(overlap)) == (1 - 2 / 5, (3 - 4) / 4)
    assert math.isnan(rvd(count_overlap(mask, ~mask & mask)))
    assert rmsd(Distances(np.array([3.0]), np.array([0.0, 0.0, 4.0]))) == math.sqrt(25 / 4)
    weighted = Distances(np.array([3.0]), np.array([0.0, 4.0]), np.array([2.0]), np.array([1.0, 1.0]))
    assert rmsd(weighted) == math.sqrt((2 * 9 + 16) / 4)
    assert math.isinf(rmsd(Distances(np.zeros(0), np.ones(2))))


def test_tumor_burden() -> None:
    burden = Pooled(np.array([0.3, -0.4, 0.0]), np.array([1.0, 1.0, 0.0]))
    assert tumor_burden_rmse(burden) == pytest.approx(math.sqrt((0.09 + 0.16) / 2))
    assert (tumor_burden_max(burden), tumor_burden_max(burden, sign="dropped")) == (0.3, 0.4)
    assert tumor_burden_max(Pooled(np.array([-0.3, -0.4]), np.ones(2))) == -0.3  # officially below 0
    assert math.isnan(tumor_burden_max(Pooled(np.zeros(1), np.zeros(1))))


def rows_of(case: str, status: str = "ok") -> list[ScoreRow]:
    return [
        ScoreRow("t", "", case, region, metric, 0.5, None, status, f"about {case}" * (status != "ok"))
        for region in LITS.regions
        for metric in LITS.metrics_of(region)
    ]


def pooled_rows(rows: list[ScoreRow], parts: list[tuple[Cell, ...]], cases: Sequence[str]) -> list[ScoreRow]:
    return [row for row in with_pooled(rows, parts, LITS, {"t": cases}) if not row.case]


@settings(max_examples=40, deadline=None)
@given(st.lists(SEEDS, min_size=1, max_size=3, unique=True), st.sampled_from(["missing", "crashed", "gone"]))
def test_no_broken_file_improves_a_score_over_all_cases(seeds: list[int], status: str) -> None:
    cases = [str(number) for number in range(len(seeds))]
    parts: list[tuple[Cell, ...]] = []
    for case, seed in zip(cases, seeds, strict=True):
        _, given_ = engine(*volumes(seed), (1.0, 1.0, 1.0))
        parts += [("t", case, *key, *part) for key, part in given_.items()]
    rows = [row for case in cases for row in rows_of(case)]
    whole = pooled_rows(rows, parts, cases)
    backwards = pooled_rows(rows[::-1] + whole, parts[::-1], cases)
    assert sorted(whole, key=str) == sorted(backwards, key=str)
    assert [(row.region, row.metric) for row in whole] == LITS.pooled_metrics
    rest = [row for case in cases[1:] for row in rows_of(case)]
    broken = rest if status == "gone" else [*rows_of("0", status), *rest]
    for row, worse in zip(whole, pooled_rows(broken, parts[len(whole) :], cases), strict=True):
        assert row.status in ("ok", "empty_both", "empty_prediction", "empty_reference")
        assert (row.measured is None) == (row.status != "ok")
        assert worse.status == ("missing" if status == "gone" else status)
        assert worse.measured is None
        assert worse.reason.startswith("case 0 is unusable: ")
        assert row.value is not None
        assert worse.value is not None
        if row.metric in LITS.ranking.absolute:
            assert abs(worse.value) >= abs(row.value)
        elif LITS.facts(row.metric).smaller:
            assert worse.value >= row.value
        else:
            assert worse.value <= row.value


def test_nothing_to_pool() -> None:
    """Nothing was detected: the official values by rule. No reference is usable: no value at all."""
    empty = np.ones(SHAPE, np.uint8)
    _, given_ = engine(empty, empty, (1.0, 1.0, 1.0))
    rows = pooled_rows(rows_of("0"), [("t", "0", *key, *part) for key, part in given_.items()], ["0"])
    values = {(row.region, row.metric): (row.value, row.status) for row in rows}
    assert values["lesion", "hd100"] == (9001, "empty_prediction")
    assert values["lesion", "lesion_precision"] == (0, "empty_prediction")
    assert values["lesion", "lesion_recall"] == (0, "empty_reference")
    assert all((row.measured is None) == (row.status != "ok") for row in rows)
    assert values["lesion", "global_dice"] == (1, "empty_both")
    assert values["lesion", "tumor_burden_max"] == (0, "ok")
    unusable = pooled_rows(rows_of("0", "not_applicable"), [], ["0"])
    assert {(row.value, row.status) for row in unusable} == {(None, "not_applicable")}


def test_a_team_at_one_institution_has_it_in_its_scores_over_all_cases() -> None:
    first = [replace(row, institution="a") for row in rows_of("0")]
    second = [replace(row, institution="b") for row in rows_of("1")]
    assert {row.institution for row in pooled_rows(first, [], ["0"])} == {"a"}
    assert {row.institution for row in pooled_rows(first + second, [], ["0", "1"])} == {""}


def test_two_institutions_may_give_a_case_one_name() -> None:
    rows = [replace(row, institution=site) for site in "ab" for row in rows_of("0")]
    parts: list[tuple[Cell, ...]] = [
        ("t", "0", "lesion", "global_dice", *part) for part in ((2000.0, 2000.0), (200.0, 800.0))
    ]
    for given_ in (parts, parts[::-1]):
        values = {(row.region, row.metric): row.value for row in pooled_rows(rows, given_, ["0"])}
        assert values["lesion", "global_dice"] == (2000 + 200) / (2000 + 800)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("metrics: {tumor_burden_rmse: {within: null}}", "within: a tumor burden needs it"),
        ("metrics: {tumor_burden_rmse: {penalty: null}}", "penalty: a tumor burden needs a number"),
        ("metrics: {dice: {within: liver}}", "within: a tumor burden needs it, nothing else"),
        ("metrics: {tumor_burden_max: {within: spleen}}", "'spleen' is not one of the regions"),
        ("metrics: {tumor_burden_max: {parameters: {sign: lost}}}", "sign"),
        ("metrics: {sensitivity: {pooled: [lesion]}}", "sensitivity is no metric of lesions"),
        ("metrics: {lesion_tp: {pooled: [lesion]}}", "lesion_tp is no metric of lesions"),
        ("lesions: {detection_iou: null}", "largest_overlap needs detection_iou"),
        ("regions: {liver: {needs: [spleen]}}", "label 'spleen' is not in labels"),
    ],
)
def test_faults_of_a_configuration(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: lits\nname: mine\n{text}\n")
    with pytest.raises(BratsevalError, match=fault):
        load_challenge(str(tmp_path / "mine.yaml"))


MINE = """
extends: lits
name: mine
ranking: {metrics: [dice, global_dice], missing: {global_dice: 0}, bootstrap: 10, permutations: 10}
"""
TABLES = ("scores.csv", "cases.csv", "teams.csv", "pooled.csv", "lesions.csv", "leaderboard.csv")


def text_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def numbers_of(folder: Path) -> dict[tuple[str, str, str], str]:
    """By team, region and metric what a team has once over all its cases."""
    rows = [row for row in table(folder / "scores.csv") if not row["case"]]
    found = {(row["team"], row["region"], row["metric"]): row["value"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_order_of_institutions_is_nothing_where_their_cases_share_a_name(tmp_path: Path) -> None:
    folders = []
    for site, seed in (("a", 3), ("b", 4)):
        for side, volume in zip(("references", "teams/t"), volumes(seed), strict=True):
            save(tmp_path / site / side / "test-segmentation-0.nii", volume)
        folders.append(tmp_path / f"of {site}")
        sides = (tmp_path / site / "teams", tmp_path / site / "references")
        run(load_rulebook("lits"), *sides, folders[-1], Options(institution=site), lambda *_: None)
    for name, given_ in (("joined", folders), ("backwards", folders[::-1])):
        merge(load_rulebook("lits"), given_, tmp_path / name, Options())
    assert text_of(tmp_path / "joined") == text_of(tmp_path / "backwards")
    assert len(table(tmp_path / "joined" / "pooled.csv")) == 2 * len(LITS.pooled_metrics)


def test_shards_in_any_order_and_a_resumed_run_give_the_bytes_of_the_whole(tmp_path: Path) -> None:
    """Of a good team, one that lacks a case, and one with a broken file. rank keeps what it is given."""
    (tmp_path / "mine.yaml").write_text(MINE)
    rulebook = load_rulebook(str(tmp_path / "mine.yaml"))
    folders = (tmp_path / "teams", tmp_path / "references")
    for case in range(3):
        name = f"test-segmentation-{case}.nii"
        reference, prediction = volumes(case + 3)
        save(folders[1] / name, reference)
        for team in ("good", "lacking", "torn"):
            save(folders[0] / team / name, prediction)
    (folders[0] / "lacking" / "test-segmentation-1.nii").unlink()
    (folders[0] / "torn" / "test-segmentation-2.nii").write_bytes(b"nothing")

    def ran(name: str, references: Path = folders[1], **options: object) -> Path:
        given_ = Options(**options)  # type: ignore[arg-type]
        run(rulebook, folders[0], references, tmp_path / name, given_, lambda *_: None)
        return tmp_path / name

    whole = text_of(ran("whole"))
    assert text_of(ran("whole")) == whole  # from the journal
    shards = [ran(f"shard{index}", shard=(index, 2)) for index in (1, 2)]
    assert not any(row["metric"] == "global_dice" for row in table(shards[0] / "scores.csv"))
    for name, given_ in (("joined", shards), ("backwards", shards[::-1])):
        merge(rulebook, given_, tmp_path / name, Options())
        assert text_of(tmp_path / name) == whole
    merge(rulebook, [tmp_path / "joined"], tmp_path / "again", Options())
    assert text_of(tmp_path / "again") == whole
    # Parts that each know some of the cases: their scores over those cases are made anew.
    for number in range(2):
        for path in sorted(folders[1].iterdir())[number::2]:
            save(tmp_path / f"half{number}" / path.name, np.asanyarray(nibabel.load(path).dataobj))
    halves = [ran(f"of{number}", tmp_path / f"half{number}") for number in range(2)]
    assert any(row["metric"] == "global_dice" for row in table(halves[0] / "scores.csv"))
    merge(rulebook, halves, tmp_path / "united", Options())
    united = text_of(tmp_path / "united")
    assert united == whole
    ended = rank(rulebook, [tmp_path / "joined" / "scores.csv"], tmp_path / "ranked", Options())
    assert ended.exit_code == 0
    rank(rulebook, halves, tmp_path / "ranked halves", Options())
    for name in ("scores.csv", "leaderboard.csv"):
        assert (tmp_path / "ranked" / name).read_bytes() == whole[name]
        assert (tmp_path / "ranked halves" / name).read_bytes() == whole[name]
    # Of two institutions their sums are joined; where only their numbers are known, it is said.
    sites = [ran(f"site{n}", tmp_path / f"half{n}", institution=f"s{n}") for n in range(2)]
    ended = rank(rulebook, sites, tmp_path / "ranked sites", Options())
    assert not any(problem.code == "CSV018" for problem in ended.problems)
    assert numbers_of(tmp_path / "ranked sites") == numbers_of(tmp_path / "whole")
    copies = [shutil.copy(site / "scores.csv", tmp_path / f"{site.name}.csv") for site in sites]
    ended = rank(rulebook, copies, tmp_path / "ranked copies", Options())
    said = [problem.message for problem in ended.problems if problem.code == "CSV018"]
    assert len(said) == 1
    assert "of good, lacking, torn come more than once and are averaged" in said[0]

    rows = [row for row in table(tmp_path / "whole" / "scores.csv") if not row["case"]]
    by_team = {team: [row for row in rows if row["team"] == team] for team in ("good", "lacking", "torn")}
    assert {row["status"] for row in by_team["good"]} == {"ok", "empty_prediction"}
    assert all((row["measured"] == "") == (row["status"] != "ok") for row in by_team["good"])
    for team, status, case in (("lacking", "missing", 1), ("torn", "invalid", 2)):
        assert [(row["region"], row["metric"]) for row in by_team[team]] == LITS.pooled_metrics
        for row in by_team[team]:
            assert (row["status"], float(row["value"])) == (status, LITS.metrics[row["metric"]].penalty)
            assert row["reason"].startswith(f"case {case} is unusable: ")
    assert table(tmp_path / "whole" / "leaderboard.csv")[0]["team"] == "good"
    part = tmp_path / "joined" / "pooled.csv"
    part.write_text(part.read_text().replace(",1\n", ",one\n"))
    with pytest.raises(BratsevalError, match="a sum or a count is no number"):
        merge(rulebook, [tmp_path / "joined"], tmp_path / "never", Options())
