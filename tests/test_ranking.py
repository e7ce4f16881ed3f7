"""Ranking: small tables by hand, the recorded tables, and what must not change a rank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bratseval.challenge import Challenge
from bratseval.config import load_challenge
from bratseval.leaderboard import rank_teams
from bratseval.ranking import steps
from bratseval.ranking.rules import SCHEMES, Ranking
from bratseval.ranking.steps import Ties, aggregate, combine, rank, round_significant
from bratseval.tables import ScoreRow


@pytest.mark.parametrize(
    ("ties", "expected"),
    [("min", [2, 1, 2, 4]), ("average", [2.5, 1, 2.5, 4]), ("max", [3, 1, 3, 4]), ("dense", [2, 1, 2, 3])],
)
def test_ties(ties: str, expected: list[float]) -> None:
    assert rank(np.array([[5.0], [3.0], [5.0], [9.0]]), ties)[:, 0].tolist() == expected


def test_missing_values_rank_behind_everything_even_infinity() -> None:
    values = np.array([[np.nan], [np.inf], [1.0], [np.nan]])
    assert rank(values, "average")[:, 0].tolist() == [3.5, 2, 1, 3.5]


@pytest.mark.parametrize("ties", ["min", "average", "max", "dense"])
def test_ranks_of_many_cases_are_made_in_blocks(ties: Ties, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ranks in the layout of the values, on which the last digit of a sum depends."""
    random = np.random.default_rng(0)
    table = random.integers(0, 4, (5, 3, 40)) * 1.0
    table[random.random(table.shape) < 0.1] = np.nan
    for values in (table, table[:, :, ::3], table[:, :, np.arange(20)]):
        whole = rank(values, ties)
        monkeypatch.setattr(steps, "COMPARED", 100)
        found = rank(values, ties)
        monkeypatch.undo()
        np.testing.assert_array_equal(found, whole)
        assert found.strides == whole.strides


def test_float_noise_does_not_split_a_tie() -> None:
    assert rank(np.array([[0.1 + 0.2], [0.3]]), "min")[:, 0].tolist() == [1, 1]
    assert round_significant(np.array([0.0, -1.5, np.inf])).tolist() == [0.0, -1.5, np.inf]


def challenge(**ranking: Any) -> Challenge:
    spec = {"metrics": ["dice", "hd95"], "regions": ["WT", "TC", "ET"], **ranking}
    return load_challenge("brats2021").model_copy(update={"ranking": Ranking(**spec)})


def row(
    team: str, case: str, metric: str, value: float | None, region: str = "WT", status: str = "ok"
) -> ScoreRow:
    return ScoreRow(team, "", case, region, metric, value, value, status, "")


def board(rows: list[ScoreRow], **ranking: Any) -> dict[str, tuple[float, float]]:
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
    assert "RUN004" in [problem.code for problem in dropped.problems]
    zero = rank_teams(rows, challenge(missing="rank_zero"))
    assert {r[1]: r[2] for r in zero.rows} == {"a": 1.5, "b": 0.5}  # the slip of the official FeTS code


def many(seed: int) -> list[ScoreRow]:
    """Four teams, six cases at two institutions, two metrics in two regions; ties and gaps."""
    random = np.random.default_rng(seed)
    return [
        ScoreRow(
            *(team, f"site{int(case) % 2}", case, region, metric),
            *(None if random.random() < 0.1 else float(np.round(random.random(), 1)), None, "", ""),
        )
        for team in "abcd"
        for case in "123456"
        for metric in ("dice", "hd95")
        for region in ("WT", "TC")
    ]


@pytest.mark.parametrize("missing", [{"dice": 0.0, "hd95": 9.0}, "worst", "drop"])
@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_and_names_of_rows_change_no_rank(scheme: str, missing: object, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = many(seed)
    expected = board(rows, scheme=scheme, missing=missing)
    shuffled = [rows[i] for i in random.permutation(len(rows))]
    assert board(shuffled, scheme=scheme, missing=missing) == expected
    teams, cases, sites = (
        dict(zip(names, map(str, random.permutation(len(names))), strict=True))
        for names in ("abcd", "123456", ("site0", "site1"))
    )
    renamed = [
        replace(r, team=teams[r.team], case=cases[r.case], institution=sites[r.institution]) for r in rows
    ]
    found = board(renamed, scheme=scheme, missing=missing)
    for team, (place, value) in expected.items():
        assert found[teams[team]] == (place, pytest.approx(value, nan_ok=True))


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_another_unit_changes_no_rank(scheme: str, seed: int) -> None:
    rows = many(seed)
    scaled = [replace(r, value=None if r.value is None else r.value * 8) for r in rows]
    places = {team: place for team, (place, _) in board(rows, scheme=scheme).items()}
    assert {team: place for team, (place, _) in board(scaled, scheme=scheme).items()} == places


@pytest.mark.parametrize("scheme", sorted(set(SCHEMES) - {"mean_and_spread"}))
def test_a_dominated_team_is_never_ahead(scheme: str) -> None:
    good: list[float | None] = [0.5 + case / 50 for case in range(20)]
    bad: list[float | None] = [0.4 + case / 50 for case in range(20)]
    found = board(column({"x": bad, "y": good, "z": [None] * 20}), scheme=scheme)
    assert found["y"][0] == 1
    assert found["y"][0] < found["x"][0] < found["z"][0]


def test_a_team_that_is_never_better_is_never_ahead() -> None:
    rows = [
        row(team, case, "dice", value)
        for case in "12"
        for team, value in (("good", 0.9), ("bad", 0.9 - int(case) / 9))
    ]
    result = board(rows)
    assert result["good"][0] < result["bad"][0]


def column(values: dict[str, list[float | None]], metric: str = "dice") -> list[ScoreRow]:
    """Rows of one metric in WT: team -> value of case 0, 1, 2, ..."""
    return [
        row(team, str(case), metric, value, status="ok" if value is not None else "missing")
        for team, scores in values.items()
        for case, value in enumerate(scores)
    ]


THREE: dict[str, list[float | None]] = {
    "a": [0.9, 0.2, 0.2, 0.9],
    "b": [0.8, 0.6, 0.6, 0.5],
    "c": [0.7, 0.7, 0.1, 0.4],
}


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        # The aggregate itself where one metric in one region is ranked.
        ({"scheme": "aggregate_then_rank"}, {"a": (2, 2.2 / 4), "b": (1, 2.5 / 4), "c": (3, 1.9 / 4)}),
        (
            {"scheme": "aggregate_then_rank", "aggregate": "median"},
            {"a": (2, 0.55), "b": (1, 0.6), "c": (2, 0.55)},
        ),
        (
            {"scheme": "aggregate_then_rank", "aggregate": "sum"},
            {"a": (2, 2.2), "b": (1, 2.5), "c": (3, 1.9)},
        ),
        # Ranks a 1 3 2 1, b 2 2 1 2, c 3 1 3 3.
        ({"scheme": "rank_then_aggregate"}, {"a": (1, 7 / 4), "b": (1, 7 / 4), "c": (3, 10 / 4)}),
        (
            {"scheme": "rank_then_aggregate", "aggregate": "q25"},
            {"a": (1, 1.0), "b": (2, 1.75), "c": (3, 2.5)},
        ),
        ({"scheme": "brats"}, {"a": (1, 7 / 4), "b": (1, 7 / 4), "c": (3, 10 / 4)}),
        ({"scheme": "brats_mean"}, {"a": (2, 2.0), "b": (1, 1.0), "c": (3, 3.0)}),
        # Nobody beats anybody with four cases.
        ({"scheme": "test_then_rank"}, {"a": (1, 0.0), "b": (1, 0.0), "c": (1, 0.0)}),
        # Mean b a c; variances a 0.163, b 0.016, c 0.0825.
        ({"scheme": "mean_and_spread"}, {"a": (2, 2.5), "b": (1, 1.0), "c": (2, 2.5)}),
    ],
)
def test_schemes_by_hand(ranking: dict[str, Any], expected: dict[str, tuple[float, float]]) -> None:
    found = board(column(THREE), **ranking)
    assert found == {team: (place, pytest.approx(value)) for team, (place, value) in expected.items()}


def test_tie_breakers_in_their_order() -> None:
    rows = column({"a": [0.5, 0.7], "b": [0.7, 0.5], "c": [0.6, 0.6], "d": [0.1, 0.1]})
    rows += column({"a": [3, 3], "b": [3, 3], "c": [4, 4], "d": [1, 1]}, "hd95")
    options: dict[str, Any] = {"scheme": "aggregate_then_rank", "metrics": ["dice"]}
    assert [board(rows, **options)[team][0] for team in "abcd"] == [1, 1, 1, 4]
    assert [board(rows, **options, tie_breakers=["hd95"])[team][0] for team in "abcd"] == [1, 1, 3, 4]
    spread = {"metric": "dice", "statistic": "std"}
    chain = [spread, "hd95"]
    assert [board(rows, **options, tie_breakers=chain)[team][0] for team in "abcd"] == [2, 2, 1, 4]


def test_a_baseline_is_listed_and_ranks_nobody() -> None:
    rows = column({"a": [0.9, 0.1], "b": [0.5, 0.5], "base": [0.7, 0.3]})
    found = rank_teams(rows, challenge(baselines=["base"]))
    without = rank_teams([r for r in rows if r.team != "base"], challenge())
    assert found.rows[:2] == without.rows
    assert found.rows[2][:5] == (None, "base", None, 2, 0)


def test_weights_directions_and_absolute_values() -> None:
    rows = column({"a": [0.9], "b": [0.8]}) + column({"a": [5], "b": [4]}, "hd95")
    assert board(rows) == {"a": (1, 1.5), "b": (1, 1.5)}
    assert board(rows, weights={"hd95": 3}) == {"a": (2, 7 / 4), "b": (1, 5 / 4)}
    assert board(rows, combine="sum", weights={"hd95": 3}) == {"a": (2, 7), "b": (1, 5)}
    found = board(rows, combine="geometric_mean")
    assert found == {team: (1, pytest.approx(2**0.5)) for team in "ab"}
    rows = column({"a": [-0.3], "b": [0.2]}, "rvd")
    assert board(rows, metrics=["rvd"])["a"][0] == 1
    assert board(rows, metrics=["rvd"], absolute=["rvd"])["a"][0] == 2
    rows = column({"a": [1], "b": [2]}, "mine")
    assert board(rows, metrics=["mine"], directions={"mine": "larger"})["b"][0] == 1
    assert board(rows, metrics=["mine"], directions={"mine": "smaller"})["b"][0] == 2


def test_lits_sums_dense_ranks() -> None:
    rows = column({"a": [0.652], "b": [0.645], "c": [0.645], "d": [0.6]})
    rows += column({"a": [1], "b": [2], "c": [3], "d": [4]}, "hd95")
    found = board(rows, scheme="lits")
    assert found == {"a": (1, 2.0), "b": (2, 4.0), "c": (3, 5.0), "d": (4, 7.0)}


def test_a_metric_of_the_whole_team_enters_every_case() -> None:
    """FeTS task 1: (sum of the ranks + 3 x rank of the convergence score) / (ranks + 3), mean over cases."""
    rows = column({"a": [0.9, 0.8], "b": [0.7, 0.85]})
    rows += [
        ScoreRow(team, "", "", "", "convergence_score", value, None, "ok", "")
        for team, value in (("a", 0.1), ("b", 0.2))
    ]
    options: dict[str, Any] = {"metrics": ["dice", "convergence_score"]}
    assert board(rows, scheme="fets_task1", **options) == {"a": (2, 7.5 / 4), "b": (1, 4.5 / 4)}
    assert board(rows, scheme="brats", **options) == {"a": (2, 1.75), "b": (1, 1.25)}
    alone = [r for r in rows if not r.case]
    assert board(alone, metrics=["convergence_score"]) == {"a": (2, 2.0), "b": (1, 1.0)}


def test_institutions_weigh_the_same_whatever_their_size() -> None:
    rows = [replace(r, institution="big") for r in column({"a": [0.9, 0.9, 0.9], "b": [0.8, 0.8, 0.8]})]
    rows += [replace(r, institution="small", case="9") for r in column({"a": [0.1], "b": [0.2]})]
    assert board(rows, scheme="fets_task2") == {"a": (1, 1.5), "b": (1, 1.5)}
    assert board(rows, scheme="rank_then_aggregate") == {"a": (1, 1.25), "b": (2, 1.75)}


def test_institutions_that_nobody_states_are_one() -> None:
    found = rank_teams(column(THREE), challenge(scheme="fets_task2"))
    assert "RUN008" in [problem.code for problem in found.problems]
    assert {row[1]: row[2] for row in found.rows} == {"a": 1.0, "b": 1.0, "c": 3.0}


def test_steps_can_be_put_together_in_the_challenge() -> None:
    own = board(column(THREE), steps=["rank", "combine", "aggregate"], aggregate="median")
    assert own == board(column(THREE), scheme="brats", aggregate="median")
    with pytest.raises(ValueError, match="one of the last two once"):
        challenge(steps=["rank", "aggregate"])
    with pytest.raises(ValueError, match="first"):
        challenge(steps=["combine", "aggregate"])
    joined = board(column(THREE), steps=["aggregate", "combine"], metrics=["dice"])
    assert joined == board(column(THREE), scheme="aggregate_then_rank")
    with pytest.raises(ValueError, match="not one of"):
        challenge(scheme="elo")
    with pytest.raises(ValueError, match="q25"):
        challenge(aggregate="q101")


def test_a_region_that_is_rightly_empty_everywhere_is_not_behind_a_failure() -> None:
    rows = column({"a": [0.5, 0.5], "b": [0.5, 0.5]})
    rows += [row("a", case, "dice", None, "TC", "empty_both") for case in "01"]
    rows += [row("b", case, "dice", 0.0, "TC", "missing") for case in "01"]
    for scheme in SCHEMES:
        if scheme not in ("test_then_rank", "msd"):  # two cases decide no test
            found = board(rows, scheme=scheme, missing="drop")
            assert found["a"][0] < found["b"][0], scheme


def test_infinite_scores_rank_last_and_are_named() -> None:
    rows = column({"a": [3, np.inf], "b": [4, 5]}, "hd95")
    found = rank_teams(rows, challenge(scheme="aggregate_then_rank"))
    assert [r[:3] for r in found.rows] == [(1, "b", 4.5), (2, "a", None)]
    assert {"CSV014", "RUN007"} <= {problem.code for problem in found.problems}


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=12), st.integers(0, 2**32 - 1))
def test_weighted_statistics_are_those_of_the_repeated_cases(whole: list[int], seed: int) -> None:
    values = np.array(whole, float)
    random = np.random.default_rng(seed)
    values[random.random(len(values)) < 0.2] = np.nan
    counts = random.multinomial(len(values), np.full(len(values), 1 / len(values)), size=3)
    for how in ("mean", "sum", "median", "q5", "q95", "variance", "std"):
        found = aggregate(values, counts, how)
        for draw, times in enumerate(counts):
            sample = np.repeat(values, times)
            sample = sample[~np.isnan(sample)]
            expected = np.nan
            if sample.size:
                expected = {
                    "mean": np.mean,
                    "sum": lambda x: x.mean() * len(values),
                    "median": np.median,
                    "variance": lambda x: np.var(x, ddof=1) if x.size > 1 else np.nan,
                    "std": lambda x: np.std(x, ddof=1) if x.size > 1 else np.nan,
                }.get(how, lambda x, how=how: np.percentile(x, float(how[1:])))(sample)
            assert found[draw] == pytest.approx(expected, abs=1e-9, nan_ok=True), how


def test_gini_and_geometric_mean_by_hand() -> None:
    assert aggregate(np.array([1.0, 1, 1]), None, "gini")[0] == pytest.approx(0)
    assert aggregate(np.array([0.0, 0, 3]), None, "gini")[0] == pytest.approx(2 / 3)
    doubled = aggregate(np.array([1.0, 3, 9]), np.array([[2, 1, 0]]), "gini")[0]
    assert doubled == pytest.approx(aggregate(np.array([1.0, 1, 3]), None, "gini")[0])
    assert aggregate(np.array([1.0, 4]), None, "geometric_mean")[0] == pytest.approx(2)
    assert combine(np.array([[1.0, np.nan, 4]]), np.array([1.0, 1, 1]), "median", 1)[0] == 2.5


def test_the_means_beside_the_score_count_what_is_missing() -> None:
    rows = column({"a": [0.8, None], "b": [0.6, 0.6], "base": [0.5, None]})
    for missing, mean in (({"dice": 0.2}, 0.5), ("worst", 0.4), ("drop", 0.8)):
        found = rank_teams(rows, challenge(missing=missing, baselines=["base"]))
        assert {r[1]: r[5] for r in found.rows} == {"a": pytest.approx(mean), "b": 0.6, "base": 0.5}
