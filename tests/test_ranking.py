"""Ranking: small tables by hand, the recorded tables, and what must not change a rank."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st

from bratseval.challenge import Challenge
from bratseval.config import load_challenge
from bratseval.leaderboard import rank_teams
from bratseval.ranking.steps import rank, round_significant
from bratseval.tables import ScoreRow

GOLDEN = SHARED / "golden" / "ranking"


@pytest.mark.parametrize(
    ("ties", "expected"),
    [("min", [2, 1, 2, 4]), ("average", [2.5, 1, 2.5, 4]), ("max", [3, 1, 3, 4]), ("dense", [2, 1, 2, 3])],
)
def test_ties(ties: str, expected: list[float]) -> None:
    assert rank(np.array([[5.0], [3.0], [5.0], [9.0]]), ties)[:, 0].tolist() == expected


def test_missing_values_rank_behind_everything_even_infinity() -> None:
    values = np.array([[np.nan], [np.inf], [1.0], [np.nan]])
    assert rank(values, "average")[:, 0].tolist() == [3.5, 2, 1, 3.5]


def test_float_noise_does_not_split_a_tie() -> None:
    assert rank(np.array([[0.1 + 0.2], [0.3]]), "min")[:, 0].tolist() == [1, 1]
    assert round_significant(np.array([0.0, -1.5, np.inf])).tolist() == [0.0, -1.5, np.inf]


def challenge(**ranking: object) -> Challenge:
    base = load_challenge("brats2021")
    spec = {"metrics": ["dice", "hd95"], "regions": ["WT", "TC", "ET"], **ranking}
    return base.model_copy(update={"ranking": base.ranking.model_copy(update=spec)})


def row(
    team: str, case: str, metric: str, value: float | None, region: str = "WT", status: str = "ok"
) -> ScoreRow:
    return ScoreRow(team, "", case, region, metric, value, value, status, "")


def board(rows: list[ScoreRow], **ranking: object) -> dict[str, tuple[float, float]]:
    return {r[1]: (r[0], r[2]) for r in rank_teams(rows, challenge(**ranking)).rows}


def test_two_teams_two_cases_by_hand() -> None:
    """Case 1: a wins Dice and loses HD95 (1.5 each). Case 2: a wins both (1 and 2)."""
    rows = [
        row("a", "1", "dice", 0.9),
        row("b", "1", "dice", 0.8),
        row("a", "1", "hd95", 5),
        row("b", "1", "hd95", 4),
    ]
    rows += [
        row("a", "2", "dice", 0.9),
        row("b", "2", "dice", 0.8),
        row("a", "2", "hd95", 3),
        row("b", "2", "hd95", 4),
    ]
    assert board(rows) == {"a": (1, (1.5 + 1) / 2), "b": (2, (1.5 + 2) / 2)}


def test_every_case_weighs_the_same_however_many_regions_it_has() -> None:
    rows = [row("a", "1", "dice", 0.9), row("b", "1", "dice", 0.8)]
    rows += [
        row(team, "2", "dice", value, region)
        for region in ("WT", "TC", "ET")
        for team, value in (("a", 0.1), ("b", 0.2))
    ]
    assert board(rows) == {"a": (1, 1.5), "b": (1, 1.5)}


def test_a_region_rightly_left_empty_does_not_rank_behind_a_missing_file() -> None:
    rows = [row("a", "1", "dice", None, status="empty_both"), row("b", "1", "dice", 0.0, status="missing")]
    assert board(rows) == {"a": (1, 1.0), "b": (2, 2.0)}


def test_gaps_are_filled_ranked_worst_or_dropped_as_the_challenge_says() -> None:
    rows = [row("a", "1", "dice", 0.0), row("b", "1", "dice", None, status="missing")]
    rows += [row("a", "2", "dice", 0.5), row("b", "2", "dice", 0.9)]
    assert board(rows, missing={"dice": 0.0}) == {"a": (2, 1.75), "b": (1, 1.25)}
    assert board(rows, missing="worst") == {"a": (1, 1.5), "b": (1, 1.5)}
    dropped = rank_teams(rows, challenge(missing="drop"))
    assert {r[1]: r[2] for r in dropped.rows} == {"a": 1.5, "b": 1.0}
    assert [problem.code for problem in dropped.problems] == ["RUN004"]


@given(st.integers(0, 2**32 - 1))
def test_order_and_names_of_rows_and_rescaling_change_no_score(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [
        row(team, case, metric, float(np.round(random.random(), 1)), region)
        for team in "abcd"
        for case in "123"
        for metric in ("dice", "hd95")
        for region in ("WT", "TC")
    ]
    expected = board(rows)
    shuffled = [rows[i] for i in random.permutation(len(rows))]
    assert board(shuffled) == expected
    renamed = [
        ScoreRow(f"x{r.team}", "", f"y{r.case}", *(r.region, r.metric, r.value, None, "ok", "")) for r in rows
    ]
    assert {team[1:]: value for team, value in board(renamed).items()} == expected
    scaled = [
        ScoreRow(*(r.team, "", r.case, r.region, r.metric, (r.value or 0) * 7, None, "ok", "")) for r in rows
    ]
    assert board(scaled) == expected


def test_a_team_that_is_never_better_is_never_ahead() -> None:
    rows = [
        row(team, case, "dice", value)
        for case in "12"
        for team, value in (("good", 0.9), ("bad", 0.9 - int(case) / 9))
    ]
    result = board(rows)
    assert result["good"][0] < result["bad"][0]


def recorded(name: str) -> list[ScoreRow]:
    with (GOLDEN / name).open() as file:
        return [
            ScoreRow(
                r["team"],
                r["institution"],
                r["case"],
                r["region"],
                r["metric"],
                _value(r["value"]),
                None,
                "ok",
                "",
            )
            for r in csv.DictReader(file)
        ]


def _value(text: str) -> float | None:
    return float(text) if text else None


def completed(rows: list[ScoreRow]) -> list[ScoreRow]:
    """Complete the table as `bratseval rank` does."""
    from bratseval.joining import absent_rows

    return rows + absent_rows(rows)


@pytest.mark.golden
@pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared with the official results is not here")
@pytest.mark.parametrize("name", ["plain", "ties", "gaps"])
def test_recorded_brats_scores(name: str) -> None:
    found = board(completed(recorded(f"{name}.csv")), missing={"dice": 0.0, "hd95": 374.0})
    with (GOLDEN / f"{name}_brats.csv").open() as file:
        lines = list(csv.DictReader(file))
    for expected in lines:
        place, score = found[expected["team"]]
        assert score == pytest.approx(float(expected["score"]), abs=1e-9)
        assert place == float(expected["rank"])


@pytest.mark.golden
@pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared with the official results is not here")
@pytest.mark.parametrize("folder", ["fets_example", "clean", "messy", "edge"])
@pytest.mark.parametrize("ties", ["average", "min"])
def test_official_tables(folder: str, ties: str) -> None:
    path = Path("official") / folder
    rows = completed(recorded(str(path / "table.csv")))
    found = board(rows, missing={"dice": 0.0, "hd95": 1000.0}, ties=ties)
    with (GOLDEN / path / "brats_final_ranking_score.csv").open() as file:
        expected = [r for r in csv.DictReader(file) if r["ties"] == ties]
    assert expected or ties == "min"
    for line in expected:
        place, score = found[line["team"]]
        assert score == pytest.approx(float(line["final_ranking_score"]), abs=1e-9)
        assert place == float(line["rank_min"])
