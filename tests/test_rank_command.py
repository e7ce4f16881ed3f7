"""`bratseval rank` on score tables of any tool: what it reads, what it refuses, what it writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import table
from test_cli import bratseval

HEADER = "team,institution,case,region,metric,value\n"
SCHEME = "ranking:\n  metrics: [dice, hd95]\n  bootstrap: 50\n  permutations: 1000\n"


def yaml(folder: Path, ranking: str = SCHEME, extra: str = "") -> Path:
    path = folder / "my.yaml"
    path.write_text(f"extends: brats2021\nname: mine\n{ranking}{extra}")
    return path


def scores(path: Path, teams: str = "abc", cases: int = 12, seed: int = 0) -> Path:
    """A table of random scores of two metrics in three regions at two institutions."""
    random = np.random.default_rng(seed)
    rows = [
        f"{team},site{case % 2},case{case:02},{region},{metric},{round(float(random.random()), 3)}"
        for team in teams
        for case in range(cases)
        for region in ("WT", "TC", "ET")
        for metric in ("dice", "hd95")
    ]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def rank(challenge: object, *more: object) -> subprocess.CompletedProcess[str]:
    return bratseval("rank", challenge, *more)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_every_file_of_the_contract(tmp_path: Path) -> None:
    done = rank(yaml(tmp_path), scores(tmp_path / "s.csv"), "-o", tmp_path / "out", "--compare-schemes")
    assert done.returncode == 0, done.stderr
    columns = {path.name: list(table(path)[0]) for path in (tmp_path / "out").glob("*.csv") if table(path)}
    assert columns["leaderboard.csv"][:5] == ["rank", "team", "score", "cases", "missing_cases"]
    assert columns["leaderboard.csv"][-1] == "tier"
    assert columns["significance.csv"][:6] == [
        *("team", "other", "p_value", "p_adjusted", "significant", "test")
    ]
    assert columns["stability.csv"][:8] == [
        *("team", "rank", "mean_rank", "median_rank", "rank_q025", "rank_q975"),
        *("first_share", "same_rank_share"),
    ]
    expected = {"ranks.csv", "superiority.csv", "rank_frequencies.csv", "leave_one_out.csv"}
    expected |= {"strata.csv", "agreement.csv", "schemes.csv", "scores.csv", "teams.csv", "cases.csv"}
    assert expected <= set(columns)
    assert len(table(tmp_path / "out" / "significance.csv")) == 6
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["ranking"]["ties"] == "average"
    assert run["ranking"]["final_ties"] == "min"
    assert (
        run["ranking"]["significance"] | {"seed": 1, "permutations": 1000, "exact": False}
        == (run["ranking"]["significance"])
    )
    assert run["ranking"]["bootstrap"]["draws"] == 50
    winners = {row["team"] for row in table(tmp_path / "out" / "schemes.csv") if row["rank"] == "1"}
    assert ("would crown another winner" in done.stderr) == (len(winners) > 1)
    assert done.stderr.splitlines()[-1].startswith("complete: 3 teams, 12 cases")


def test_joined_shards_and_shuffled_rows_rank_like_the_whole(tmp_path: Path) -> None:
    whole = scores(tmp_path / "whole.csv")
    lines = whole.read_text().splitlines()[1:]
    shuffled = np.random.default_rng(1).permutation(lines).tolist()
    (tmp_path / "one.csv").write_text(HEADER + "\n".join(shuffled[:90]) + "\n")
    (tmp_path / "two.csv").write_text(HEADER + "\n".join(shuffled[90:]) + "\n")
    assert rank(yaml(tmp_path), whole, "-o", tmp_path / "a").returncode == 0
    assert (
        rank(yaml(tmp_path), tmp_path / "two.csv", tmp_path / "one.csv", "-o", tmp_path / "b").returncode == 0
    )
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert rank(yaml(tmp_path), tmp_path / "a", "-o", tmp_path / "c").returncode == 0
    assert files(tmp_path / "a") == files(tmp_path / "c")


def test_the_seed_repeats_the_draws(tmp_path: Path) -> None:
    path = scores(tmp_path / "s.csv")
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        assert rank(yaml(tmp_path), path, "-o", tmp_path / name, "--seed", seed).returncode == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert files(tmp_path / "one")["significance.csv"] != files(tmp_path / "three")["significance.csv"]
    assert files(tmp_path / "one")["leaderboard.csv"] == files(tmp_path / "three")["leaderboard.csv"]


def test_a_wide_table(tmp_path: Path) -> None:
    """Columns named as in cases.csv need no mapping; others are mapped in the challenge."""
    long = scores(tmp_path / "s.csv")
    assert rank(yaml(tmp_path), long, "-o", tmp_path / "long").returncode == 0
    assert rank(yaml(tmp_path), tmp_path / "long" / "cases.csv", "-o", tmp_path / "wide").returncode == 0
    assert files(tmp_path / "long") == files(tmp_path / "wide")
    foreign = (
        (tmp_path / "long" / "cases.csv")
        .read_text()
        .replace("dice_WT", "Dice whole")
        .replace("team,", "Group,")
    )
    (tmp_path / "foreign.csv").write_text(foreign)
    mapping = "score_table: {team: Group, wide: {Dice whole: {metric: dice, region: WT}}}\n"
    mapped = yaml(tmp_path, extra=mapping)
    done = rank(mapped, tmp_path / "foreign.csv", "-o", tmp_path / "mapped")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "long") == files(tmp_path / "mapped")


def test_a_long_table_of_challenger(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(
        "algorithm,case,task,value\nA1,case1,WT,0.8\nA1,case2,WT,0.7\nA2,case1,WT,0.9\nA2,case2,WT,NA\n"
    )
    ranking = "ranking: {scheme: aggregate_then_rank, metrics: [dice], regions: [WT]}\n"
    done = rank(yaml(tmp_path, ranking), tmp_path / "c.csv", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    board = [(row["rank"], row["team"], row["score"]) for row in table(tmp_path / "out" / "leaderboard.csv")]
    assert board == [("1", "A1", "0.75"), ("2", "A2", "0.45")]


def test_infinite_values_are_kept_as_the_worst_and_survive_the_round(tmp_path: Path) -> None:
    text = HEADER + "a,,1,WT,hd95,inf\na,,2,WT,hd95,1\nb,,1,WT,hd95,500\nb,,2,WT,hd95,2\n"
    (tmp_path / "s.csv").write_text(text)
    challenge = yaml(tmp_path, "ranking: {metrics: [hd95], scheme: rank_then_aggregate}\n")
    done = rank(challenge, tmp_path / "s.csv", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "warning[CSV014] infinite scores (a: 1)" in done.stderr
    assert [row["score"] for row in table(tmp_path / "out" / "leaderboard.csv")] == ["1.5", "1.5"]
    assert "inf" not in (tmp_path / "out" / "scores.csv").read_text().replace("infinite", "")
    again = rank(challenge, tmp_path / "out", "-o", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "out")["scores.csv"] == files(tmp_path / "again")["scores.csv"]
    assert files(tmp_path / "out")["leaderboard.csv"] == files(tmp_path / "again")["leaderboard.csv"]


def test_an_absent_case_counts_as_missing_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(HEADER + "a,,1,WT,dice,0.5\na,,2,WT,dice,0.5\nb,,1,WT,dice,0.9\n")
    ranking = "ranking: {{scheme: aggregate_then_rank, metrics: [dice], missing: {}}}\n"
    for missing, places in (("{dice: 0}", ["a", "b"]), ("worst", ["a", "b"]), ("drop", ["b", "a"])):
        done = rank(
            yaml(tmp_path, ranking.format(missing)), tmp_path / "s.csv", "-o", tmp_path / "out", "--overwrite"
        )
        assert done.returncode == 0, done.stderr
        assert [row["team"] for row in table(tmp_path / "out" / "leaderboard.csv")] == places
        assert (
            "warning[CSV012] team b: 1 of 2 scores are absent; no row at all for 1 cases (2)" in done.stderr
        )
        assert (
            "warning[RUN004] 1 missing scores are left out of the ranking (b: 1 cases)" in done.stderr
        ) == (missing == "drop")


def test_unknown_metrics_and_regions_are_named(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        HEADER + "a,,1,WT,dice,1\nb,,1,WT,dice,0\na,,1,WT,dise,1\na,,1,XX,dice,1\n"
    )
    done = rank(yaml(tmp_path), tmp_path / "s.csv", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 rows of the metric 'dise', unknown to mine, are not ranked" in done.stderr
    assert "hint: did you mean 'dice'?" in done.stderr
    assert "1 rows of the region 'XX', unknown to mine, are not ranked" in done.stderr
    assert "warning[CSV009] no row of the ranked metric hd95" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEADER + "a,,1,WT,dice,1\na,,1,WT,dice,0\n",
            "error[CSV004] {path}:3: repeats line 2 (a, 1, WT, dice)",
        ),
        (HEADER + "a,,1,WT,dice,nan\n", "error[CSV005] {path}:2: 'nan' is not a number"),
        (HEADER + 'a,,1,WT,dice,"0,5"\n', "error[CSV005] {path}:2: '0,5' is not a number"),
        (HEADER + ",,1,WT,dice,1\n", "error[CSV005] {path}:2: the team is empty"),
        (
            HEADER + "a,x,1,WT,dice,1\nb,,1,WT,dice,1\n",
            "error[CSV013] 1 cases (1) have rows with an institution",
        ),
        (
            HEADER + "a,,1,WT,dice,1\nb,,,WT,dice,1\n",
            "error[CSV010] dice WT has rows with a case and rows without",
        ),
        (HEADER + "a,,1,WT,iou,1\n", "error[CSV006] no row of the ranked metrics (dice, hd95)"),
        ("team,case,thing\na,1,2\n", "error[CSV003] {path} has no column region, metric, value"),
        ("team;case;value\n", "error[CSV003] {path} has no column team, case, region, metric, value"),
        ("", "error[CSV001] {path} is empty"),
    ],
)
def test_refused_tables(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(text)
    done = rank(yaml(tmp_path), path, "-o", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert expected.format(path=path) in done.stderr
    assert "Traceback" not in done.stderr


def test_scores_of_another_configuration_are_refused(tmp_path: Path) -> None:
    assert rank(yaml(tmp_path), scores(tmp_path / "s.csv"), "-o", tmp_path / "out").returncode == 0
    other = tmp_path / "other.yaml"
    other.write_text("extends: brats2021\nname: other\nlesions: {connectivity: 6}\n")
    for source in (tmp_path / "out", tmp_path / "out" / "scores.csv"):
        done = rank(other, source, "-o", tmp_path / "new")
        assert done.returncode == 2
        assert "error[RUN005]" in done.stderr
    # The ranking may change: the scores stay comparable.
    ranking = SCHEME + "  scheme: test_then_rank\n"
    assert rank(yaml(tmp_path, ranking), tmp_path / "out", "-o", tmp_path / "new").returncode == 0


def test_metadata_give_institutions_and_strata(tmp_path: Path) -> None:
    text = scores(tmp_path / "s.csv").read_text().replace(",site0,", ",,").replace(",site1,", ",,")
    (tmp_path / "s.csv").write_text(text)
    lines = [f"case{case:02},site{case % 2},{'FM'[case % 3 % 2]},{40 + case}" for case in range(12)]
    (tmp_path / "m.csv").write_text("case,institution,sex,age\n" + "\n".join(lines) + "\n")
    done = rank(yaml(tmp_path), tmp_path / "s.csv", "--metadata", tmp_path / "m.csv", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    strata = table(tmp_path / "out" / "strata.csv")
    assert [*dict.fromkeys((row["column"], row["value"]) for row in strata)] == [
        *(("institution", "site0"), ("institution", "site1"), ("sex", "F"), ("sex", "M")),
        *(("age", "<= 43.6667"), ("age", "43.6667 to 47.3333"), ("age", "> 47.3333")),
    ]
    assert {row["institution"] for row in table(tmp_path / "out" / "scores.csv")} == {"site0", "site1"}


def test_one_team_and_one_case_are_ranked_without_tests(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(HEADER + "a,,1,WT,dice,0.5\n")
    done = rank(yaml(tmp_path), tmp_path / "s.csv", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [row["rank"] for row in table(tmp_path / "out" / "leaderboard.csv")] == ["1"]
    assert not (tmp_path / "out" / "significance.csv").exists()
    (tmp_path / "s.csv").write_text(HEADER + "a,,1,WT,dice,0.5\nb,,1,WT,dice,0.6\n")
    assert rank(yaml(tmp_path), tmp_path / "s.csv", "-o", tmp_path / "out").returncode == 0
    assert not (tmp_path / "out" / "stability.csv").exists()


def test_cohort_metrics_need_no_case(tmp_path: Path) -> None:
    """A table like BraTS-Path's: one value per team and metric."""
    (tmp_path / "s.csv").write_text(
        HEADER + "a,,,,mcc,0.5\na,,,,f1,0.9\nb,,,,mcc,0.6\nb,,,,f1,0.8\nc,,,,mcc,0.1\nc,,,,f1,0.1\n"
    )
    ranking = "ranking: {scheme: brats_mean, metrics: [mcc, f1]}\n"
    done = rank(yaml(tmp_path, ranking), tmp_path / "s.csv", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    board = [
        (row["rank"], row["team"], row["score"], row["mcc"])
        for row in table(tmp_path / "out" / "leaderboard.csv")
    ]
    assert board == [("1", "a", "1.5", "0.5"), ("1", "b", "1.5", "0.6"), ("3", "c", "3", "0.1")]
