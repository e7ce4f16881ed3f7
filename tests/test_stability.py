"""Bootstrap, leave one out, agreement of schemes and strata: each against the ranking run again."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_ranking import challenge, column, many

from bratseval import doubt
from bratseval.config import load_rulebook
from bratseval.doubt import examine
from bratseval.joining import rank
from bratseval.leaderboard import rank_teams, standings
from bratseval.options import Options
from bratseval.pairwise import significance
from bratseval.ranking.rules import SCHEMES
from bratseval.ranking.stability import bootstrap_counts, kendall_tau, leave_one_out_counts
from bratseval.robustness import compare_schemes, leave_one_out, leave_one_out_csv
from bratseval.score_grid import build_grid
from bratseval.score_table import ScoreTable
from bratseval.strata import strata_csv
from bratseval.tables import ScoreRow

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("missing", [{"dice": 0.0, "hd95": 9.0}, "worst", "drop"])
@pytest.mark.parametrize("aggregate", ["mean", "median", "q25"])
@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=4, deadline=None)
@given(seed=SEEDS)
def test_every_draw_of_a_case_is_a_case_of_its_own(
    scheme: str, aggregate: str, missing: object, seed: int
) -> None:
    """Weights give the score of the table in which drawn cases are repeated under new names."""
    rows = many(seed)
    spec = challenge(scheme=scheme, aggregate=aggregate, missing=missing)
    scores, _ = build_grid(ScoreTable.of(rows), spec)
    counts = bootstrap_counts(scores.grid.institutions, 3, seed % 1000, within=scheme == "fets_task2")
    found, reached = standings(scores, spec.ranking, counts)
    for draw, times in enumerate(counts):
        copies = dict(zip(scores.cases, times, strict=True))
        drawn = [
            replace(row, case=f"{row.case}-{copy}")
            for row in rows
            for copy in range(copies[row.institution, row.case])
        ]
        again, places = standings(build_grid(ScoreTable.of(drawn), spec)[0], spec.ranking)
        if missing == "worst" and spec.ranking.plan.steps[0] != "rank":
            continue  # the worst value in the column is that of the full table, not of the draw
        np.testing.assert_allclose(found[:, draw], again[:, 0], atol=1e-9)
        np.testing.assert_array_equal(reached[:, draw], places[:, 0])


def test_draws_within_institutions_keep_their_sizes_and_the_seed_repeats_them() -> None:
    institutions = np.array([0, 0, 0, 1, 1, 2])
    counts = bootstrap_counts(institutions, 50, 3, within=True)
    for institution, size in ((0, 3), (1, 2), (2, 1)):
        assert (counts[:, institutions == institution].sum(axis=1) == size).all()
    free = bootstrap_counts(institutions, 50, 3, within=False)
    assert (free.sum(axis=1) == 6).all()
    assert (free[:, institutions == 2].sum(axis=1) != 1).any()
    np.testing.assert_array_equal(counts, bootstrap_counts(institutions, 50, 3, within=True))
    assert (counts != bootstrap_counts(institutions, 50, 4, within=True)).any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_leaving_one_out_is_the_ranking_of_the_rest(scheme: str) -> None:
    rows = many(5)
    spec = challenge(scheme=scheme, missing={"dice": 0.0, "hd95": 9.0})
    board = rank_teams(rows, spec)
    found, record = leave_one_out(board.scores, spec.ranking, board.places)
    assert set(record) == {"case", "institution"} == {one.kind for one in found}
    for line in csv.DictReader("".join(leave_one_out_csv(board.scores, found)).splitlines()):
        rest = [
            row
            for row in rows
            if (f"{row.institution}/{row.case}" if line["left_out"] == "case" else row.institution)
            != line["unit"]
        ]
        again = {row[1]: row for row in rank_teams(rest, spec).rows}[line["team"]]
        assert float(line["rank"]) == again[0]
        assert float(line["score"]) == pytest.approx(again[2])


def test_who_depends_on_one_case_is_named() -> None:
    """Without case 0 team b wins."""
    rows = column({"a": [1.0, 0.4, 0.4], "b": [0.0, 0.5, 0.5]})
    spec = challenge(scheme="aggregate_then_rank", bootstrap=20)
    doubt = examine(rank_teams(rows, spec), spec)
    assert doubt.record["leave_one_out"]["case"]["changes_winner"] == ["0"]
    assert doubt.record["leave_one_out"]["case"]["rank_range"] == {"a": [1.0, 2.0], "b": [1.0, 2.0]}
    assert doubt.record["leave_one_out"]["case"]["changes_podium_share"] == pytest.approx(1 / 3)
    assert "a would not be first without the case 0" in doubt.sentences


def test_leave_one_out_counts() -> None:
    assert leave_one_out_counts(np.array([0, 1, 0])).tolist() == [[0, 1, 0], [1, 0, 1]]


@given(SEEDS, st.integers(2, 8))
def test_kendall_is_scipys_tau_b(seed: int, teams: int) -> None:
    one, two = np.random.default_rng(seed).integers(1, 5, (2, teams))
    expected = stats.kendalltau(one, two).statistic
    assert kendall_tau(one, two) == pytest.approx(expected, nan_ok=True)


def test_other_schemes_crown_other_winners() -> None:
    rows = column({"a": [1.0, 0.4, 0.4], "b": [0.0, 0.5, 0.5]})
    spec = challenge(scheme="aggregate_then_rank")
    board = rank_teams(rows, spec)
    tables, record, sentence = compare_schemes(board.scores, spec.ranking)
    assert record["winners"]["challenge"] == ["a"]
    assert record["winners"]["rank_then_aggregate (mean)"] == ["b"]
    assert "rank_then_aggregate (mean): b" in sentence
    assert "challenge,rank_then_aggregate (mean),-1,0\n" in tables["agreement.csv"]
    same = compare_schemes(rank_teams(column({"a": [1.0] * 9, "b": [0.5] * 9}), spec).scores, spec.ranking)
    assert same[2] == "a wins under all 7 other schemes too"


def test_pairs_of_very_many_teams_are_not_tested_and_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time and memory of the tests grow with the square of the teams."""
    spec = challenge(bootstrap=50, permutations=100)
    board = rank_teams(column({f"t{i}": [i / 9, i / 10, 0.5] for i in range(4)}), spec)
    full = examine(board, spec)
    assert {"significance.csv", "superiority.csv"} <= set(full.tables)
    assert full.problems == []
    monkeypatch.setattr(doubt, "MOST_PAIRED", 4)
    assert set(examine(board, spec).tables) == set(full.tables)
    monkeypatch.setattr(doubt, "MOST_PAIRED", 3)
    some = examine(board, spec)
    assert set(full.tables) - set(some.tables) == {"significance.csv", "superiority.csv"}
    assert all(some.tables[name] == full.tables[name] for name in ("stability.csv", "rank_frequencies.csv"))
    assert not some.tiers
    (note,) = some.problems
    assert (note.severity, note.code) == ("note", "RUN021")
    assert "up to 3 teams, here are 4" in note.message


def test_what_is_not_tested_is_a_problem_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.csv").write_text(
        "team,case,region,metric,value\n"
        + "".join(f"{t},{c},WT,dice,0.{t}\n" for t in (1, 2, 3) for c in "ab")
    )
    ranking = "{metrics: [dice], regions: [WT], bootstrap: 5, permutations: 5}"
    (tmp_path / "my.yaml").write_text(f"extends: brats2021\nname: my\nranking: {ranking}\n")
    rulebook = load_rulebook(str(tmp_path / "my.yaml"))
    output = tmp_path / "out"
    assert rank(rulebook, [tmp_path / "s.csv"], output, Options()).problems == ()
    assert (output / "significance.csv").exists()
    monkeypatch.setattr(doubt, "MOST_PAIRED", 2)
    ended = rank(rulebook, [tmp_path / "s.csv"], output, Options())
    assert [problem.code for problem in ended.problems] == ["RUN021"]
    assert ended.exit_code == 0
    assert not (output / "significance.csv").exists()


def test_tests_follow_the_scheme() -> None:
    rows = [r for r in many(1) if r.metric == "dice" and r.region == "WT"]

    def test_of(rows: list[ScoreRow], **ranking: Any) -> str:
        spec = challenge(**ranking)
        found = significance(rank_teams(rows, spec).scores, spec.ranking)
        return "none" if found is None else found.test

    assert test_of(rows, scheme="brats") == "permutation"
    assert test_of(rows, scheme="test_then_rank") == "wilcoxon"
    assert test_of(many(1), scheme="test_then_rank") == "permutation"
    assert test_of(many(1), scheme="brats", test="wilcoxon") == "wilcoxon"
    assert test_of(rows, scheme="brats", permutations=0) == "none"


def test_ranks_of_the_pair_alone() -> None:
    """b and c differ between a's values only; among the two the better one has rank 1."""
    rows = column({"a": [0.5] * 3, "b": [0.9, 0.8, 0.1], "c": [0.6, 0.2, 0.4]})
    for ranks, differences in (("all", [-1, -2, 1]), ("pair", [-1, -1, 1])):
        spec = challenge(permutation_ranks=ranks)
        scores = rank_teams(rows, spec).scores
        found = significance(scores, spec.ranking)
        assert found is not None
        signs = np.array(np.meshgrid(*[[1, -1]] * 3)).reshape(3, -1)
        expected = (np.array(differences) @ signs <= sum(differences)).mean()
        assert found.p_values[1, 2] == pytest.approx(expected)


def test_strata_repeat_the_ranking_and_show_the_gap() -> None:
    rows = column({"a": [0.9, 0.9, 0.1, 0.1], "b": [0.5, 0.5, 0.6, 0.6]})
    spec = challenge(scheme="aggregate_then_rank")
    board = rank_teams(rows, spec)
    columns = {"sex": ["F", "F", "M", "M"], "one": ["x"] * 4}
    text, notes = strata_csv(board.scores, rows, spec.ranking, columns)
    assert text.splitlines() == [
        "column,value,rank,team,score,cases,missing_cases,dice_WT,score_gap,dice_WT_gap",
        "sex,F,1,a,0.9,2,0,0.9,0.8,0.8",
        "sex,F,2,b,0.5,2,0,0.5,0.09999999999999998,0.09999999999999998",
        "sex,M,1,b,0.6,2,0,0.6,0.09999999999999998,0.09999999999999998",
        "sex,M,2,a,0.1,2,0,0.1,0.8,0.8",
    ]
    assert [note.message for note in notes] == [
        "the metadata column 'one' makes no strata: fewer than two values"
    ]


def test_numbers_are_cut_into_three_bands_and_ids_into_none() -> None:
    rows = column({"a": [0.5] * 30, "b": [0.4] * 30})
    spec = challenge()
    columns = {"age": [str(20 + n) for n in range(30)], "id": [f"patient{n}" for n in range(30)]}
    text, notes = strata_csv(rank_teams(rows, spec).scores, rows, spec.ranking, columns)
    values = list(dict.fromkeys(line.split(",")[1] for line in text.splitlines()[1:]))
    assert values == ["<= 29.6667", "29.6667 to 39.3333", "> 39.3333"]
    assert "30 different texts" in notes[0].message
