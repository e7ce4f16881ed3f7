"""Speed of ranking, measured in one run against the plain implementation under tests/.

    make bench      # after the scoring benchmark

20 teams x 570 cases x 3 regions x 2 metrics, the size that an organizer has. The plain implementation is
timed on a part and scaled, as stated; quote the ratios, not the seconds.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import reference_ranking as plain  # noqa: E402
from scipy.stats import rankdata  # noqa: E402

from bratseval.challenge import Challenge  # noqa: E402
from bratseval.config import load_challenge  # noqa: E402
from bratseval.leaderboard import rank_teams  # noqa: E402
from bratseval.pairwise import significance, superiority_rows  # noqa: E402
from bratseval.ranking.rules import Ranking  # noqa: E402
from bratseval.robustness import bootstrap_places, leave_one_out  # noqa: E402
from bratseval.score_table import ScoreTable  # noqa: E402
from bratseval.tables import ScoreRow  # noqa: E402

TEAMS, CASES, PERMUTATIONS, DRAWS = 20, 570, 100_000, 10_000
FILLED = {"dice": 0.0, "hd95": 374.0}


def rows() -> list[ScoreRow]:
    random = np.random.default_rng(0)
    return [
        ScoreRow(f"team{t:02}", f"site{c % 9}", f"case{c:03}", region, metric, value, value, "ok", "")
        for t in range(TEAMS)
        for c in range(CASES)
        for region in ("WT", "TC", "ET")
        for metric, value in (
            ("dice", float(np.clip(random.normal(0.8 - t / 500, 0.1), 0, 1))),
            ("hd95", float(abs(random.normal(10 + t / 10, 8)))),
        )
    ]


def challenge(scheme: str) -> Challenge:
    ranking = Ranking(
        scheme=scheme,
        metrics=["dice", "hd95"],
        missing=dict(FILLED),
        permutations=PERMUTATIONS,
        bootstrap=DRAWS,
    )
    return load_challenge("brats2021").model_copy(update={"ranking": ranking})


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def one_by_one(ranks: np.ndarray, permutations: int) -> None:
    """The permutation test as it is usually written: a permutation of a pair at a time."""
    random = np.random.default_rng(0)
    for a, b in combinations(range(len(ranks)), 2):
        observed = (ranks[a] - ranks[b]).mean()
        hits = 0
        for _ in range(permutations):
            swapped = random.random(ranks.shape[1]) < 0.5
            first = np.where(swapped, ranks[b], ranks[a])
            second = np.where(swapped, ranks[a], ranks[b])
            hits += (first - second).mean() <= observed


def means_one_by_one(values: np.ndarray, permutations: int) -> None:
    """The same where means are ranked: values (teams, columns, cases), all small is better."""
    random = np.random.default_rng(0)
    for a, b in combinations(range(len(values)), 2):
        for _ in range(permutations):
            swapped = random.random(values.shape[2]) < 0.5
            table = values.copy()
            table[a][:, swapped], table[b][:, swapped] = values[b][:, swapped], values[a][:, swapped]
            rankdata(table.mean(axis=2), axis=0).mean(axis=1)


def main() -> None:
    table = ScoreTable.of(rows())
    flat = {(r.team, r.institution, r.case, r.region, r.metric): r.value for r in table}
    print(f"\n{TEAMS} teams x {CASES} cases x 3 regions x 2 metrics = {len(table)} scores, scheme brats\n")
    brats = challenge("brats")
    board = rank_teams(table, brats)
    scores, spec = board.scores, brats.ranking
    print(f"{'step':44} {'bratseval':>10} {'plain':>10} {'ratio':>7}")

    def line(what: str, ours: Callable[[], object], theirs: float) -> None:
        mine = seconds(ours)
        print(f"{what:44} {mine:8.2f} s {theirs:8.0f} s {theirs / mine:7.0f}", flush=True)

    once = seconds(lambda: plain.brats(flat, {"hd95"}, FILLED, "average"))
    line("leaderboard", lambda: rank_teams(table, brats), once)
    ranks = np.random.default_rng(0).random((TEAMS, CASES))
    loop = seconds(lambda: one_by_one(ranks, 20)) * PERMUTATIONS / 20
    line(f"{PERMUTATIONS} permutations of all pairs", lambda: significance(scores, spec), loop)
    draw = seconds(lambda: plain.brats(flat, {"hd95"}, FILLED, "average")) * DRAWS
    line(f"{DRAWS} bootstrap rankings", lambda: bootstrap_places(scores, spec, board.places), draw)
    line(
        "leave one case, one institution out",
        lambda: leave_one_out(scores, spec, board.places),
        once * (CASES + 9),
    )
    tests = seconds(lambda: plain.test_then_rank(flat, {"hd95"}, FILLED, "min", 0.05, "holm"))
    line("Wilcoxon tests of all pairs, Holm", lambda: superiority_rows(scores, spec), tests)
    means = challenge("brats_mean")
    first = rank_teams(table, means)
    line(
        f"{PERMUTATIONS} permutations with means formed anew",
        lambda: significance(first.scores, means.ranking),
        seconds(lambda: means_one_by_one(first.scores.grid.values, 5)) * PERMUTATIONS / 5,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\nplain is scaled from 20 and 5 permutations, one draw and one left out; peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
