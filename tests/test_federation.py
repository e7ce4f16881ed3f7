"""Federated learning: the convergence score, and institutions whose scores are joined without images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, save, table
from hypothesis import given
from hypothesis import strategies as st

from bratseval.errors import InputError
from bratseval.metrics.federation import Rounds, convergence_score
from bratseval.tasks.federation import read_rounds

WEEK = 604_800.0


def bratseval(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bratseval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def rounds(seconds: list[float], scores: list[float]) -> Rounds:
    return Rounds(np.array(seconds), np.array(scores))


# Convergence


def test_every_recorded_round_has_the_official_convergence_score(shared: Path) -> None:
    folder = shared / "golden" / "others" / "fets_convergence"
    log = read_rounds(folder / "rounds.csv")
    recorded = table(folder / "golden" / "convergence.csv")
    assert len(recorded) > 100
    for number, row in enumerate(recorded, start=1):
        so_far = rounds(log.seconds[:number].tolist(), log.scores[:number].tolist())
        assert convergence_score(so_far) == pytest.approx(float(row["convergence_score"]), abs=1e-12)
    # The last recorded round is the first that ends after the week: later ones change nothing.
    assert len(log.seconds) > len(recorded)
    assert convergence_score(log) == pytest.approx(float(recorded[-1]["convergence_score"]), abs=1e-12)


def test_the_best_score_so_far_counts_for_its_whole_round_and_the_rest_of_the_week() -> None:
    half = WEEK / 2
    assert convergence_score(rounds([half], [0.8])) == pytest.approx(0.8)
    assert convergence_score(rounds([half, half / 2], [0.4, 0.8])) == pytest.approx((0.4 + 0.8) / 2)
    assert convergence_score(rounds([half, half / 2], [0.8, 0.4])) == pytest.approx(0.8)


def test_time_beyond_the_week_is_taken_off_and_later_rounds_are_not_read() -> None:
    long = rounds([WEEK / 2, WEEK], [0.4, 0.8])
    assert convergence_score(long) == pytest.approx(0.5 * 0.4 + 0.5 * 0.8)
    assert convergence_score(rounds([WEEK / 2, WEEK, 10], [0.4, 0.8, 1.0])) == convergence_score(long)


def test_a_round_that_ends_with_the_week_is_not_the_last() -> None:
    assert convergence_score(rounds([WEEK, 1], [0.4, 0.8])) == pytest.approx(0.4 + (0.8 - 0.8) / WEEK)


def test_no_round_has_no_score() -> None:
    assert np.isnan(convergence_score(rounds([], [])))


@given(
    st.lists(
        st.tuples(st.floats(1, 3e5), st.floats(0, 1)),
        min_size=1,
        max_size=12,
    )
)
def test_the_score_is_the_area_under_the_best_so_far(drawn: list[tuple[float, float]]) -> None:
    seconds, scores = ([pair[k] for pair in drawn] for k in (0, 1))
    elapsed, best, area = 0.0, 0.0, 0.0
    for second, score in drawn:  # the loop of the official program, clipped at the week by hand
        best = max(best, score)
        area += best * (min(elapsed + second, WEEK) - elapsed)
        elapsed += second
        if elapsed > WEEK:
            break
    area += best * max(WEEK - elapsed, 0)
    found = convergence_score(rounds(seconds, scores))
    assert found == pytest.approx(area / WEEK, abs=1e-9)
    assert 0 <= found <= max(scores) + 1e-12


# The log


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_official_table_and_the_plain_one_say_the_same(tmp_path: Path) -> None:
    plain = read_rounds(
        write(tmp_path / "rounds.csv", "round,round_time_s,round_score\n0,100,0.5\n1,50.5,0.6\n")
    )
    official = read_rounds(
        write(
            tmp_path / "experiment_results.csv",
            "round,time,convergence_score,binary_dice_wt,binary_dice_et,binary_dice_tc\n"
            "0,100,0.9,0.6,0.4,0.5\n1,150.5,0.9,0.7,0.5,0.6\n",
        )
    )
    assert plain.seconds.tolist() == official.seconds.tolist() == [100, 50.5]
    assert plain.scores.tolist() == [0.5, 0.6] == pytest.approx(official.scores.tolist())


def test_rows_may_come_in_any_order(tmp_path: Path) -> None:
    log = read_rounds(write(tmp_path / "r.csv", "round_score,round,round_time_s\n0.6,2,7\n0.5,1,9\n"))
    assert (log.seconds.tolist(), log.scores.tolist()) == ([9, 7], [0.5, 0.6])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("round,round_time_s,round_score\n", "no round"),
        ("round,round_score\n0,0.5\n", "no column round_time_s"),
        ("round,time\n0,5\n", "no column round_score"),
        ("round,time,binary_dice_wt\n0,5,0.5\n", "no column binary_dice_et, binary_dice_tc"),
        ("round,round_time_s,round_score\n0,5,0.5\n0,6,0.6\n", ":3: round '0' repeats line 2"),
        ("round,round_time_s,round_score\n0,5,0.5\n2,6,0.6\n", "round 1 is missing"),
        ("round,round_time_s,round_score\n7,5,0.5\n", "round 0 is missing"),
        ("round,round_time_s,round_score\nfirst,5,0.5\n", ":2: round 'first' is not a whole number"),
        ("round,round_time_s,round_score\n" + "9" * 5000 + ",5,0.5\n", "is not a whole number"),
        ("round,round_time_s,round_score\n0,5,nan\n", ":2: round_score is 'nan'"),
        ("round,round_time_s,round_score\n0,inf,0.5\n", ":2: round_time_s is 'inf'"),
        ("round,round_time_s,round_score\n0,-5,0.5\n", ":2: round 0 takes -5 s"),
        ("round,round_time_s,round_score\n0,5,1.5\n", ":2: the score 1.5 lies outside 0 to 1"),
        ("round,time,round_score\n0,5,0.5\n1,5,0.5\n", ":3: round 1 takes 0 s"),
        ("round;round_time_s;round_score\n0;5;0,5\n", "no column"),
        ("round,round_time_s,round_score\n0,5\n", ":2: 2 cells, the header has 3"),
    ],
)
def test_a_log_that_is_none_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        read_rounds(write(tmp_path / "rounds.csv", text))
    assert any(says in problem.message for problem in refused.value.problems)
    assert all(str(tmp_path / "rounds.csv") in problem.message for problem in refused.value.problems)


# One team's log and segmentations in one ranking


def site(folder: Path, cases: list[str], teams: dict[str, int]) -> None:
    """References and predictions of FeTS: each team shifts the tumor by its number of voxels."""
    for case in cases:
        labels = np.zeros((20, 22, 18), np.uint8)
        labels[4:12, int(case[-2:]) : 14, 4:12] = 2  # no two cases alike
        labels[5:10, 7:12, 5:10] = 4
        labels[6:8, 8:10, 6:8] = 1
        save(folder / "references" / f"{case}_final_seg.nii.gz", labels)
        for team, shift in teams.items():
            save(folder / "teams" / team / f"{case}.nii.gz", np.roll(labels, shift, axis=0))


LOG = "round,round_time_s,round_score\n0,302400,0.4\n1,100,{score}\n"


def test_convergence_ranks_with_the_segmentation_and_weighs_three(tmp_path: Path) -> None:
    site(tmp_path, ["FeTS2022_01", "FeTS2022_02"], {"exact": 0, "fast": 1, "silent": 2})
    write(tmp_path / "teams" / "exact" / "rounds.csv", LOG.format(score=0.6))
    write(tmp_path / "teams" / "fast" / "rounds.csv", LOG.format(score=0.9))
    done = bratseval(
        *("run", "fets2022-task1", "-s", tmp_path / "teams", "-r", tmp_path / "references"),
        *("-o", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    scores = {(row["team"], row["metric"]): row for row in table(tmp_path / "out" / "scores.csv")}
    assert float(scores["exact", "convergence_score"]["value"]) == pytest.approx(0.5 * 0.4 + 0.5 * 0.6)
    assert scores["exact", "convergence_score"]["case"] == ""
    assert scores["silent", "convergence_score"]["status"] == "missing"
    assert scores["silent", "convergence_score"]["value"] == "0"
    problems = table(tmp_path / "out" / "problems.csv")
    assert [(row["code"], row["team"]) for row in problems] == [("SUB007", "silent")]
    board = {row["team"]: float(row["score"]) for row in table(tmp_path / "out" / "leaderboard.csv")}
    # Six ranks of the segmentation and three times that of the convergence, over nine.
    assert board == {"exact": (6 + 3 * 2) / 9, "fast": (6 * 2 + 3 * 1) / 9, "silent": 3}


def test_a_broken_log_costs_the_convergence_score_alone(tmp_path: Path) -> None:
    site(tmp_path, ["FeTS2022_01"], {"exact": 0})
    write(tmp_path / "teams" / "exact" / "rounds.csv", "round,round_time_s,round_score\n0,x,0.5\n")
    done = bratseval(
        *("evaluate", "fets2022-task1", "-p", tmp_path / "teams" / "exact"),
        *("-r", tmp_path / "references", "-o", tmp_path / "out"),
    )
    assert done.returncode == 1, done.stderr
    assert "rounds.csv:2: round_time_s is 'x'" in done.stderr
    rows = table(tmp_path / "out" / "scores.csv")
    assert {row["value"] for row in rows if row["metric"] == "dice"} == {"1"}
    assert [(row["value"], row["status"]) for row in rows if row["metric"] == "convergence_score"] == [
        ("0", "invalid")
    ]


def test_a_log_alone_can_be_evaluated(tmp_path: Path) -> None:
    log = write(tmp_path / "rounds.csv", LOG.format(score=0.6))
    done = bratseval("evaluate", "fets2022-task1", "-p", log, "-o", tmp_path / "out", "--team", "solo")
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "out" / "scores.csv")
    assert [(row["team"], row["case"], float(row["value"])) for row in rows] == [
        ("solo", "", pytest.approx(0.5))
    ]


def test_segmentations_need_references(tmp_path: Path) -> None:
    log = write(tmp_path / "rounds.csv", LOG.format(score=0.6))
    done = bratseval("evaluate", "fets2022-task2", "-p", log, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "fets2022-task2 cannot be scored without references" in done.stderr


# Sites


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two institutions, evaluated where their images are: site_a/ and site_b/."""
    tmp_path = tmp_path_factory.mktemp("sites")
    for name, cases in (("a", ["FeTS2022_01", "FeTS2022_02"]), ("b", ["FeTS2022_03", "FeTS2022_04"])):
        folder = tmp_path / f"images_{name}"
        site(folder, cases, {"one": 0, "two": 1 if name == "a" else 3})
        done = bratseval(
            *("run", "fets2022-task2", "-s", folder / "teams", "-r", folder / "references"),
            *("-o", tmp_path / f"site_{name}", "--institution", f"hospital {name}"),
        )
        assert done.returncode == 0, done.stderr
    return tmp_path


def rank(output: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return bratseval("rank", "fets2022-task2", *arguments, "-o", output / "joined", "--overwrite")


def test_sites_are_ranked_without_images_each_weighing_the_same(sites: Path, tmp_path: Path) -> None:
    done = rank(tmp_path, sites / "site_a", sites / "site_b" / "scores.csv")
    assert done.returncode == 0, done.stderr
    board = table(tmp_path / "joined" / "leaderboard.csv")
    assert [(row["team"], row["score"], row["cases"]) for row in board] == [
        ("one", "1", "4"),
        ("two", "2", "4"),
    ]


def test_evaluate_writes_what_one_site_computes_for_one_team(sites: Path, tmp_path: Path) -> None:
    for team in ("one", "two"):
        done = bratseval(
            *("evaluate", "fets2022-task2", "-p", sites / "images_a" / "teams" / team),
            *("-r", sites / "images_a" / "references", "-o", tmp_path / f"a_{team}"),
            *("--institution", "hospital a"),
        )
        assert done.returncode == 0, done.stderr
    whole = table(sites / "site_a" / "scores.csv")
    assert [row for row in whole if row["team"] == "one"] == table(tmp_path / "a_one" / "scores.csv")
    done = rank(tmp_path, tmp_path / "a_one", tmp_path / "a_two", sites / "site_b")
    assert done.returncode == 0, done.stderr


def test_a_site_that_sent_nothing_is_named_and_nothing_is_ranked(sites: Path, tmp_path: Path) -> None:
    expected = write(
        tmp_path / "cases.csv", "case,institution\nFeTS2022_01,hospital a\nFeTS2022_03,hospital c\n"
    )
    done = rank(tmp_path, sites / "site_a", sites / "site_b", "--metadata", expected)
    assert done.returncode == 4
    assert "error[RUN009] institution hospital c sent no score" in done.stderr
    assert not (tmp_path / "joined" / "leaderboard.csv").exists()
    done = rank(tmp_path, sites / "site_a", sites / "site_b", "--metadata", expected, "--allow-incomplete")
    assert done.returncode == 4
    assert (tmp_path / "joined" / "leaderboard.csv").exists()


def test_an_expected_site_may_stand_in_the_configuration(sites: Path, tmp_path: Path) -> None:
    write(
        tmp_path / "mine.yaml",
        "extends: fets2022-task2\nname: mine\nranking: {institutions: [hospital a, hospital x]}\n",
    )
    done = bratseval("rank", tmp_path / "mine.yaml", sites / "site_a", "-o", tmp_path / "joined")
    assert done.returncode == 4
    assert "institution hospital x sent no score" in done.stderr


def test_an_empty_table_is_named(sites: Path, tmp_path: Path) -> None:
    header = (sites / "site_b" / "scores.csv").read_text().splitlines()[0]
    empty = write(tmp_path / "late" / "scores.csv", header + "\n")
    done = rank(tmp_path, sites / "site_a", empty)
    assert done.returncode == 4
    assert f"{empty} holds no score: nothing was sent" in done.stderr


def test_a_site_that_sent_twice_is_named_once(sites: Path, tmp_path: Path) -> None:
    done = rank(tmp_path, sites / "site_a", sites / "site_b", sites / "site_a" / "scores.csv")
    assert done.returncode == 2
    assert done.stderr.count("institution hospital a was given twice") == 1


def test_a_site_under_two_names_is_named(sites: Path, tmp_path: Path) -> None:
    done = bratseval(
        *("run", "fets2022-task2", "-s", sites / "images_a" / "teams"),
        *("-r", sites / "images_a" / "references", "-o", tmp_path / "again", "--institution", "hospital z"),
    )
    assert done.returncode == 0, done.stderr
    done = rank(tmp_path, sites / "site_a", tmp_path / "again")
    assert done.returncode == 2
    assert "error[RUN010]" in done.stderr
    assert "name different institutions but scored the same references" in done.stderr


def test_everything_wrong_with_the_sites_is_said_at_once(sites: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.yaml", "extends: fets2022-task2\nname: other\nmetrics: {hd95: {penalty: 375}}\n")
    done = bratseval(
        *("run", tmp_path / "other.yaml", "-s", sites / "images_b" / "teams"),
        *("-r", sites / "images_b" / "references", "-o", tmp_path / "other", "--institution", "hospital b"),
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "nothing").mkdir()
    done = rank(tmp_path, sites / "site_a", sites / "site_a", tmp_path / "other", tmp_path / "nothing")
    assert done.returncode == 2
    for said in ("was given twice", "was scored under configuration", f"{tmp_path / 'nothing'}"):
        assert said in done.stderr


def test_merge_names_a_silent_site_and_one_under_two_names(sites: Path, tmp_path: Path) -> None:
    both = (sites / "site_a", sites / "site_b")
    assert bratseval("merge", *both, "-o", tmp_path / "whole").returncode == 0
    expected = write(tmp_path / "cases.csv", "case,institution\nFeTS2022_09,hospital c\n")
    done = bratseval("merge", *both, "-o", tmp_path / "joined", "--metadata", expected)
    assert done.returncode == 4
    assert "institution hospital c sent no score" in done.stderr
    renamed = tmp_path / "renamed"
    shutil.copytree(sites / "site_a", renamed)
    for name in ("scores.csv", "run.json"):
        path = renamed / name
        path.write_text(path.read_text().replace("hospital a", "hospital z"))
    done = bratseval("merge", sites / "site_a", renamed, "-o", tmp_path / "doubled")
    assert done.returncode == 2
    assert "name different institutions but scored the same references" in done.stderr
