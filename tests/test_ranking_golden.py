"""Every recorded ranking table of the official programs (challengeR, FeTS) and of the plain computations.

Left out, as the README beside the tables names them: a tie that float noise splits in R, and the
bootstrap ranks that carry challengeR's treatment of cases drawn twice (held apart below).
"""

from __future__ import annotations

import csv
import io
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SHARED
from test_ranking import challenge as ranked_by

from bratseval.challenge import Challenge
from bratseval.joining import absent_rows
from bratseval.leaderboard import Leaderboard, rank_teams, standings
from bratseval.pairwise import significance, superiority_rows
from bratseval.ranking.schemes import case_ranks, cumulative_ranks, score
from bratseval.ranking.significance import wilcoxon
from bratseval.ranking.stability import kendall_tau
from bratseval.ranking.steps import rank
from bratseval.robustness import kendall_summary, leave_one_out, leave_one_out_csv, stability_csv
from bratseval.score_table import ScoreTable
from bratseval.tables import ScoreRow

GOLDEN = SHARED / "golden" / "ranking"
OFFICIAL = GOLDEN / "official"
pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not GOLDEN.is_dir(), reason="../shared with the official results is not here"),
]

TABLES = ["plain", "ties", "gaps"]
FOLDERS = ["clean", "messy", "edge"]
FILLED = {"dice": 0.0, "hd95": 1000.0}
CHALLENGER: dict[str, dict[str, str]] = {
    "mean-then-rank": {"scheme": "aggregate_then_rank", "aggregate": "mean"},
    "median-then-rank": {"scheme": "aggregate_then_rank", "aggregate": "median"},
    "quantile0.05-then-rank": {"scheme": "aggregate_then_rank", "aggregate": "q5"},
    "quantile0.95-then-rank": {"scheme": "aggregate_then_rank", "aggregate": "q95"},
    "rank-then-mean": {"scheme": "rank_then_aggregate", "aggregate": "mean"},
    "rank-then-median": {"scheme": "rank_then_aggregate", "aggregate": "median"},
    "test-then-rank-none": {"scheme": "test_then_rank", "adjust": "none"},
    "test-then-rank-holm": {"scheme": "test_then_rank", "adjust": "holm"},
}
FETS = {
    "rankThenMean": {"scheme": "rank_then_aggregate", "aggregate": "mean"},
    "rankThenMedian": {"scheme": "rank_then_aggregate", "aggregate": "median"},
    "aggregateThenMean": {"scheme": "aggregate_then_rank", "aggregate": "mean"},
    "aggregateThenMedian": {"scheme": "aggregate_then_rank", "aggregate": "median"},
    "testBased": {"scheme": "test_then_rank"},
}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@cache
def scores(path: Path, metric: str = "", region: str = "") -> tuple[ScoreRow, ...]:
    """The recorded score table, completed; all of it, or one metric, or one metric in one region."""
    rows = [
        ScoreRow(
            *(line[key] for key in ("team", "institution", "case", "region", "metric")),
            *(float(line["value"]) if line["value"] else None, None),
            *("ok" if line["value"] else "missing", ""),
        )
        for line in lines(path)
        if metric in ("", line["metric"]) and region in ("", line["region"])
    ]
    return (*rows, *absent_rows(ScoreTable.of(rows)))


def challenge(**ranking: object) -> Challenge:
    return ranked_by(**{"missing": FILLED, **ranking})


def board(rows: tuple[ScoreRow, ...], **ranking: object) -> Leaderboard:
    return rank_teams(rows, challenge(**ranking))


def one_column(path: Path, metric: str, region: str, **ranking: object) -> Leaderboard:
    """Leaderboard of a single metric in a single region, as challengeR ranks."""
    return board(scores(path, metric, region), metrics=[metric], regions=[region], **ranking)


def numbers(found: Leaderboard, **ranking: object) -> dict[str, float]:
    """Scores by team, infinite ones included."""
    values, _ = score(found.scores.grid, challenge(**ranking).ranking)
    return dict(zip(found.scores.teams, values[:, 0].tolist(), strict=True))


def places(found: Leaderboard) -> dict[str, float]:
    return dict(zip(found.scores.teams, found.places.tolist(), strict=True))


def by_team(found: Leaderboard) -> dict[str, float]:
    return {str(row[1]): float(row[2]) for row in found.rows if isinstance(row[2], float)}


@pytest.mark.parametrize("name", TABLES)
def test_schemes_of_challenger(name: str) -> None:
    for line in lines(GOLDEN / f"{name}_schemes.csv"):
        scheme, how, ties = line["scheme"].split("|")
        options = {
            "scheme": scheme,
            "ties": ties,
            "adjust" if scheme == "test_then_rank" else "aggregate": how,
        }
        found = cached_column(GOLDEN / f"{name}.csv", line["metric"], line["region"], tuple(options.items()))
        assert by_team(found)[line["team"]] == pytest.approx(float(line["aggregate"]), abs=1e-9), line
        assert places(found)[line["team"]] == float(line["rank"]), line


@cache
def cached_column(path: Path, metric: str, region: str, options: tuple[tuple[str, str], ...]) -> Leaderboard:
    return one_column(path, metric, region, **dict(options))


@pytest.mark.parametrize("folder", FOLDERS)
def test_schemes_of_challenger_on_official_tables(folder: str) -> None:
    """Infinite values, gaps filled, dropped and ranked worst, ties min, average and max."""
    found: dict[tuple[str, ...], tuple[dict[str, float], dict[str, float]]] = {}
    for line in lines(OFFICIAL / folder / "challenger_ranks.csv"):
        if folder == "edge" and line["method"] == "quantile0.05-then-rank" and line["region"] == "TC":
            continue  # R splits by float noise what ties on paper
        key = tuple(line[name] for name in ("method", "ties", "missing", "metric", "region"))
        if key not in found:
            kind, _, number = line["missing"].partition(":")
            rule: object = {"drop": "drop", "worst-rank": "worst"}.get(kind, {line["metric"]: number})
            options = {**CHALLENGER[line["method"]], "ties": line["ties"], "missing": rule}
            one = one_column(OFFICIAL / folder / "table.csv", line["metric"], line["region"], **options)
            found[key] = numbers(one, **options), places(one)
        assert found[key][0][line["team"]] == pytest.approx(float(line["aggregate"]), abs=1e-9), line
        assert found[key][1][line["team"]] == float(line["rank"]), line


@pytest.mark.parametrize("path", [*(GOLDEN / f"{name}.csv" for name in TABLES)], ids=TABLES)
def test_wilcoxon_and_holm(path: Path) -> None:
    spec = challenge(scheme="rank_then_aggregate")
    found = {row[1:5]: row for row in superiority_rows(rank_teams(scores(path), spec).scores, spec.ranking)}
    recorded = lines(path.with_name(f"{path.stem}_wilcoxon.csv"))
    assert len(recorded) == len(found)
    for line in recorded:
        row = found[line["region"], line["metric"], line["team"], line["other"]]
        assert row[5] == pytest.approx(float(line["p_value"]), abs=1e-9), line
    for line in lines(path.with_name(f"{path.stem}_superiorities_holm.csv")):
        beaten = [
            row[7] for key, row in found.items() if key[:3] == (line["region"], line["metric"], line["team"])
        ]
        assert sum(int(one or 0) for one in beaten) == int(line["superior_to"]), line


@pytest.mark.parametrize("folder", FOLDERS)
def test_significance_maps(folder: str) -> None:
    path = OFFICIAL / folder / "table.csv"
    found: dict[tuple[str, str], tuple[tuple[str, ...], np.ndarray, np.ndarray]] = {}
    for line in lines(OFFICIAL / folder / "significance.csv"):
        key = (line["metric"], line["region"])
        if key not in found:
            options: dict[str, object] = {"scheme": "test_then_rank", "adjust": "holm"}
            one = one_column(path, *key, **options)
            tested = significance(one.scores, challenge(metrics=[key[0]], **options).ranking)
            assert tested is not None
            assert tested.test == "wilcoxon"
            found[key] = one.scores.teams, tested.p_values, tested.adjusted
        teams, p_values, adjusted = found[key]
        at = teams.index(line["team"]), teams.index(line["other"])
        assert p_values[at] == pytest.approx(float(line["p"]), abs=1e-9), line
        assert adjusted[at] == pytest.approx(float(line["p_holm"]), abs=1e-9), line
        assert (p_values[at] <= 0.05) == (line["superior_none"] == "1"), line
        assert (adjusted[at] <= 0.05) == (line["superior_holm"] == "1"), line


@pytest.mark.parametrize("name", TABLES)
def test_fets_task_2(name: str) -> None:
    found = board(scores(GOLDEN / f"{name}.csv"), scheme="fets_task2")
    averaged = board(scores(GOLDEN / f"{name}.csv"), scheme="fets_task2", final_ties="average")
    for line in lines(GOLDEN / f"{name}_fets_task2.csv"):
        assert by_team(found)[line["team"]] == pytest.approx(float(line["mean_rank"]), abs=1e-9)
        assert places(found)[line["team"]] == float(line["final_rank_min"])
        assert places(averaged)[line["team"]] == float(line["final_rank_R_average"])
    for line in lines(GOLDEN / f"{name}_fets_task2_institutions.csv"):
        at = found.scores.institutions.index(line["institution"])
        members = np.flatnonzero(found.scores.grid.institutions == at)
        within, _ = standings(found.scores.of_cases(members), challenge(scheme="fets_task2").ranking)
        for team, value in zip(found.scores.teams, within[:, 0], strict=True):
            assert value == pytest.approx(float(line[team]), abs=1e-9)


@pytest.mark.parametrize("folder", ["fets_example", *FOLDERS])
def test_fets_task_2_of_the_r_script(folder: str) -> None:
    """Its five methods inside an institution, final ties averaged; and its superiority counts."""
    rows = scores(OFFICIAL / folder / "table.csv")
    common: dict[str, object] = {"per": "institution", "ties": "min", "final_ties": "average"}
    found = {method: board(rows, **common, **options) for method, options in FETS.items()}
    for line in lines(OFFICIAL / folder / "fets_task2_r_final.csv"):
        one = found[line["method"]]
        assert by_team(one)[line["team"]] == pytest.approx(float(line["mean_rank"]), abs=1e-9), line
        assert places(one)[line["team"]] == float(line["final_rank_ties_average"]), line
    spec = challenge(scheme="fets_task2")
    counted: dict[object, int] = {}
    for row in superiority_rows(rank_teams(rows, spec).scores, spec.ranking):
        counted[row[3:5]] = counted.get(row[3:5], 0) + int(row[7] or 0)
    for line in lines(OFFICIAL / folder / "fets_task2_r_superior.csv"):
        assert counted[line["team"], line["other"]] == int(line["superior_count"]), line


@pytest.mark.parametrize("folder", ["fets_example", *FOLDERS])
def test_fets_task_2_in_python(folder: str) -> None:
    """The Python version ranks gaps last instead of filling them in."""
    found = board(scores(OFFICIAL / folder / "table.csv"), scheme="fets_task2", missing="worst")
    for line in lines(OFFICIAL / folder / "fets_task2_python_final.csv"):
        assert by_team(found)[line["team"]] == pytest.approx(float(line["mean_rank"]), abs=1e-9), line
        assert places(found)[line["team"]] == float(line["final_rank"]), line
    path = OFFICIAL / folder / "fets_task2_leave_one_institution_out.csv"
    if path.is_file():
        spec = challenge(scheme="fets_task2", missing="worst").ranking
        left_out = leave_one_out(found.scores, spec, found.places)[0]
        written = csv.DictReader("".join(leave_one_out_csv(found.scores, left_out)).splitlines())
        rows = {(row["unit"], row["team"]): row for row in written}
        for line in lines(path):
            row = rows[line["left_out"], line["team"]]
            assert float(row["score"]) == pytest.approx(float(line["mean_rank"]), abs=1e-9), line
            assert float(row["rank"]) == float(line["final_rank"]), line


@pytest.mark.parametrize("ties", ["average", "min"])
@pytest.mark.parametrize("folder", ["fets_example", *FOLDERS])
def test_fets_task_1(folder: str, ties: str) -> None:
    """With its slip asked for: a missing result counts as rank 0, before the best one."""
    rows = scores(OFFICIAL / folder / "table.csv")
    convergence = tuple(
        ScoreRow(
            line["team"], "", "", "", "convergence_score", float(line["communication_metric"]), None, "ok", ""
        )
        for line in lines(OFFICIAL / folder / "fets_task1_convergence_scores.csv")
    )
    options: dict[str, object] = {"scheme": "fets_task1", "ties": ties, "missing": "rank_zero"}
    metrics = ["dice", "hd95", "convergence_score"]
    found = board((*rows, *convergence), metrics=metrics, **options)
    segmentation = board(rows, **options)
    recorded = [line for line in lines(OFFICIAL / folder / "fets_task1_python.csv") if line["ties"] == ties]
    assert recorded
    for line in recorded:
        assert by_team(found)[line["team"]] == pytest.approx(float(line["score"]), abs=1e-9), line
        assert places(found)[line["team"]] == float(line["rank_min"]), line
        alone = by_team(segmentation)[line["team"]]
        assert alone == pytest.approx(float(line["segmentation_only"]), abs=1e-9), line


@pytest.mark.parametrize("name", TABLES)
def test_brats(name: str) -> None:
    found = board(scores(GOLDEN / f"{name}.csv"), missing={"dice": 0.0, "hd95": 374.0})
    for line in lines(GOLDEN / f"{name}_brats.csv"):
        assert by_team(found)[line["team"]] == pytest.approx(float(line["score"]), abs=1e-9)
        assert places(found)[line["team"]] == float(line["rank"])


@pytest.mark.parametrize("folder", ["fets_example", *FOLDERS])
@pytest.mark.parametrize("ties", ["average", "min"])
def test_brats_on_official_tables(folder: str, ties: str) -> None:
    rows = scores(OFFICIAL / folder / "table.csv")
    filled, worst = board(rows, ties=ties), board(rows, ties=ties, missing="worst")
    for line in lines(OFFICIAL / folder / "brats_final_ranking_score.csv"):
        if line["ties"] == ties:
            value = float(line["final_ranking_score"])
            assert by_team(filled)[line["team"]] == pytest.approx(value, abs=1e-9)
            assert places(filled)[line["team"]] == float(line["rank_min"])
    for line in lines(OFFICIAL / folder / "brats_pooled_python.csv"):
        if line["ties"] == ties:
            assert by_team(worst)[line["team"]] == pytest.approx(float(line["mean_rank"]), abs=1e-9)


@pytest.mark.parametrize(
    ("table", "recorded", "column"),
    [
        (GOLDEN / "tiny.csv", GOLDEN / "tiny_brats_permutation_exact.csv", "p_exact"),
        (OFFICIAL / "edge" / "table.csv", OFFICIAL / "edge" / "permutation_exact.csv", "p_one_sided"),
    ],
    ids=["tiny", "edge"],
)
def test_exact_permutation(table: Path, recorded: Path, column: str) -> None:
    found = board(scores(table))
    tested = significance(found.scores, challenge().ranking)
    assert tested is not None
    assert tested.how["exact"]
    assert tested.test == "permutation"
    for line in lines(recorded):
        at = found.scores.teams.index(line["team"]), found.scores.teams.index(line["other"])
        assert tested.p_values[at] == pytest.approx(float(line[column]), abs=1e-9), line


def official_draws(folder: str, cases: tuple[tuple[str, str], ...]) -> np.ndarray:
    drawn = [line["cases"].split() for line in lines(OFFICIAL / folder / "bootstrap_draws.csv")]
    return np.array([[draw.count(case) for _, case in cases] for draw in drawn])


@pytest.mark.parametrize("folder", FOLDERS)
def test_bootstrap_of_challenger(folder: str) -> None:
    """Mean-then-rank agrees; the others once challengeR's way with repeated cases is put in by hand."""
    found: dict[tuple[str, str, str], tuple[tuple[str, ...], np.ndarray, np.ndarray]] = {}
    for line in lines(OFFICIAL / folder / "bootstrap_ranks.csv"):
        method, metric, region = line["method"], line["metric"], line["region"]
        sample = int(line["sample"]) - 1
        if (
            folder == "edge"
            and (method, metric, region) == ("meanThenRank", "dice", "ET")
            and sample in (1, 21)
        ):
            continue  # ties on paper that R splits
        key = (method, metric, region)
        if key not in found:
            found[key] = resampled(folder, *key)
        teams, drawn, full = found[key]
        assert drawn[:, sample].tolist() == [float(line[team]) for team in teams], line
        tau = kendall_tau(drawn[:, sample], full)
        recorded = float(line["kendall"] or "nan")
        assert tau == pytest.approx(recorded, abs=1e-9, nan_ok=True), line


def resampled(
    folder: str, method: str, metric: str, region: str
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    schemes = {
        "meanThenRank": "aggregate_then_rank",
        "rankThenMean": "rank_then_aggregate",
        "testBased": "test_then_rank",
    }
    options: dict[str, object] = {"scheme": schemes[method], "metrics": [metric], "regions": [region]}
    spec = challenge(**options).ranking
    one = one_column(OFFICIAL / folder / "table.csv", metric, region, scheme=schemes[method])
    counts = official_draws(folder, one.scores.cases)
    grid = one.scores.grid
    if method == "meanThenRank":
        return one.scores.teams, standings(one.scores, spec, counts)[1], one.places
    if method == "rankThenMean":
        # Copies of a case are ranked together: rank r in a case drawn m times becomes m (r - 1) + 1, m times.
        within = case_ranks(grid, spec, spec.plan)[:, 0]
        totals = [(draw * (draw * (within - 1) + 1)).sum(axis=1) / draw.sum() for draw in counts]
        return one.scores.teams, rank(np.array(totals).T, "min"), one.places
    # Copies of a case are dropped before the test.
    values = grid.values[:, 0] if grid.smaller[0] else -grid.values[:, 0]
    beaten = (wilcoxon(values, (counts > 0).astype(int)) <= 0.05).sum(axis=1)
    return one.scores.teams, rank(-beaten.astype(float), "min"), one.places


@pytest.mark.parametrize("folder", FOLDERS)
def test_consensus_and_agreement_of_regions(folder: str) -> None:
    """Mean of the ranks over regions (ties averaged), and tau-b between two regions."""
    methods = {
        "meanThenRank": "mean-then-rank",
        "medianThenRank": "median-then-rank",
        "rankThenMean": "rank-then-mean",
        "rankThenMedian": "rank-then-median",
        "testBased": "test-then-rank-none",
    }
    path = OFFICIAL / folder / "table.csv"
    found: dict[tuple[str, str, str], dict[str, float]] = {}

    def ranks(method: str, metric: str, region: str) -> dict[str, float]:
        key = (method, metric, region)
        if key not in found:
            found[key] = places(one_column(path, metric, region, **CHALLENGER[methods[method]]))
        return found[key]

    for line in lines(OFFICIAL / folder / "consensus.csv"):
        by_region = []
        for region in ("WT", "TC", "ET"):
            own = ranks(line["method"], line["metric"], region)
            averaged = rank(np.array(list(own.values())), "average")
            by_region.append(averaged[list(own).index(line["team"])])
        assert np.mean(by_region) == pytest.approx(float(line["consensus_score"]), abs=1e-9), line
    for line in lines(OFFICIAL / folder / "task_kendall.csv"):
        pair = [ranks(line["method"], line["metric"], line[f"region_{side}"]) for side in "ab"]
        tau = kendall_tau(*(np.array([one[team] for team in sorted(one)]) for one in pair))
        assert tau == pytest.approx(float(line["kendall"]), abs=1e-9), line
    for line in lines(OFFICIAL / folder / "method_agreement.csv"):
        pair = [ranks(line[f"method_{side}"], line["metric"], line["region"]) for side in "ab"]
        tau = kendall_tau(*(np.array([one[team] for team in sorted(one)]) for one in pair))
        assert tau == pytest.approx(float(line["kendall"]), abs=1e-9), line


@pytest.mark.parametrize("name", TABLES)
def test_cumulative_ranks_of_every_case(name: str) -> None:
    options: dict[str, object] = {"missing": {"dice": 0.0, "hd95": 374.0}}
    found = board(scores(GOLDEN / f"{name}.csv"), **options)
    ranks = cumulative_ranks(found.scores.grid, challenge(**options).ranking)
    at = {case: index for index, (_, case) in enumerate(found.scores.cases)}
    for line in lines(GOLDEN / f"{name}_brats_case_ranks.csv"):
        for team, value in zip(found.scores.teams, ranks[:, at[line["case"]]], strict=True):
            assert value == pytest.approx(float(line[team]), abs=1e-9), line


def by_institution(found: Leaderboard, **ranking: object) -> dict[str, dict[str, float]]:
    """Institution -> team -> score on that institution's cases."""
    result = {}
    for at, name in enumerate(found.scores.institutions):
        members = np.flatnonzero(found.scores.grid.institutions == at)
        values, _ = standings(found.scores.of_cases(members), challenge(**ranking).ranking)
        result[name] = dict(zip(found.scores.teams, values[:, 0].tolist(), strict=True))
    return result


@pytest.mark.parametrize("folder", ["fets_example", *FOLDERS])
def test_fets_task_2_by_institution(folder: str) -> None:
    """The R script: mean of six ranks; the Python code: each region and metric, with its rank."""
    path = OFFICIAL / folder / "table.csv"
    for method, options in FETS.items():
        settings: dict[str, object] = {"per": "institution", "ties": "min", **options}
        own = by_institution(board(scores(path), **settings), **settings)
        for line in lines(OFFICIAL / folder / "fets_task2_r_by_institution.csv"):
            if line["method"] == method:
                value = own[line["institution"]][line["team"]]
                assert value == pytest.approx(float(line["mean_rank"]), abs=1e-9), line
    last: dict[str, object] = {"scheme": "brats", "ties": "min", "missing": "worst"}
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for line in lines(OFFICIAL / folder / "fets_task2_python_by_institution.csv"):
        column = line["metric"], line["region"]
        if column not in found:
            found[column] = by_institution(one_column(path, *column, **last), **last)
        here = found[column][line["institution"]]
        assert here[line["team"]] == pytest.approx(float(line["mean_rank"]), abs=1e-9), line
        reached = rank(np.array(list(here.values())), "min")
        assert reached[list(here).index(line["team"])] == float(line["rank"]), line


@pytest.mark.parametrize("folder", FOLDERS)
def test_bootstrap_summaries(folder: str) -> None:
    """Rank intervals and shares over the 40 draws, and the spread of Kendall's tau, by our summaries."""
    found = {}
    for metric in ("dice", "hd95"):
        for region in ("WT", "TC", "ET"):
            if (folder, metric, region) == ("edge", "dice", "ET"):
                continue  # two draws hold ties on paper that R splits
            for method in ("meanThenRank", "rankThenMean", "testBased"):
                teams, drawn, full = resampled(folder, method, metric, region)
                named = SimpleNamespace(teams=teams)
                rows = csv.DictReader(io.StringIO(stability_csv(named, full, drawn, {})))  # type: ignore[arg-type]
                found[method, metric, region] = (
                    {row["team"]: row for row in rows},
                    kendall_summary(kendall_tau(drawn, full[:, None])),
                )
    columns = {
        "full_rank": "rank",
        "median": "median_rank",
        "q025": "rank_q025",
        "q975": "rank_q975",
        "mean": "mean_rank",
        "first_share": "first_share",
        "same_rank_share": "same_rank_share",
    }
    for line in lines(OFFICIAL / folder / "bootstrap_summary.csv"):
        key = (line["method"], line["metric"], line["region"])
        if key in found:
            row = found[key][0][line["team"]]
            for official, ours in columns.items():
                assert float(row[ours]) == pytest.approx(float(line[official]), abs=1e-9), (line, ours)
    for line in lines(OFFICIAL / folder / "bootstrap_kendall.csv"):
        key = (line["method"], line["metric"], line["region"])
        if key in found:
            for name in ("mean", "median", "q25", "q75", "undefined"):
                value = found[key][1].get(f"kendall_{name}", np.nan)
                assert value == pytest.approx(float(line[name] or "nan"), abs=1e-9, nan_ok=True), (line, name)
