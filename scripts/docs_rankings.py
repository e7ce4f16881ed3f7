"""One page a ranking scheme: from the table of schemes, docs/rankings.yml, and an example that is ranked."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docs_metrics import challenges
from docs_text import code, facts, formula, number, source, table

from bratseval.config import load_challenge
from bratseval.leaderboard import Leaderboard, rank_teams
from bratseval.ranking.rules import SCHEMES, Ranking, Scheme
from bratseval.tables import ScoreRow

CASES = tuple(f"case {number}" for number in range(1, 7))
SITE = {case: "site a" if case < "case 5" else "site b" for case in CASES}
# Dice and HD95 in mm of every case: fast is best but for one failure, solid never fails, last is last.
SCORES: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    "fast": ((0.94, 0.93, 0.95, 0.92, 0.94, 0.20), (2.0, 2.2, 1.8, 2.1, 1.9, 60.0)),
    "solid": ((0.90, 0.91, 0.90, 0.88, 0.91, 0.89), (3.0, 2.6, 3.1, 2.9, 3.2, 3.3)),
    "last": ((0.85, 0.80, 0.84, 0.82, 0.86, 0.81), (5.0, 7.5, 6.0, 5.5, 6.2, 6.4)),
}
CONVERGENCE = {"fast": 0.71, "solid": 0.64, "last": 0.66}


@dataclass(frozen=True)
class Example:
    """The example under one scheme."""

    board: Leaderboard

    @property
    def scores(self) -> dict[str, float]:
        return {str(row[1]): float(str(row[2])) for row in self.board.rows if row[2] is not None}


def _row(team: str, site: str, case: str, region: str, metric: str, value: float) -> ScoreRow:
    return ScoreRow(team, site, case, region, metric, value, value, "ok", "")


def example_of(scheme: str) -> Example:
    """Rank the example; with the convergence score where the scheme is made for it."""
    metrics = ["dice", "hd95"] + (["convergence_score"] if scheme == "fets_task1" else [])
    base = load_challenge("fets2022-task1" if scheme == "fets_task1" else "brats2021")
    spec = Ranking(scheme=scheme, metrics=metrics, regions=["WT"], permutations=0, bootstrap=0)
    rows = [
        _row(team, SITE[case], case, "WT", metric, values[k])
        for team, (dice, hd95) in SCORES.items()
        for metric, values in (("dice", dice), ("hd95", hd95))
        for k, case in enumerate(CASES)
    ]
    if scheme == "fets_task1":
        rows += [_row(team, "", "", "", "convergence_score", value) for team, value in CONVERGENCE.items()]
    board = rank_teams(rows, base.model_copy(update={"ranking": spec}))
    return Example(board)


def ranking_pages() -> dict[str, str]:
    """Path in the site -> Markdown: a page for every scheme, and their list."""
    pages = {f"rankings/{name}.md": _page(name, scheme) for name, scheme in SCHEMES.items()}
    return {"rankings/index.md": _index()} | pages


def _index() -> str:
    rows = [
        (f"[`{name}`]({name}.md)", f"teams are {scheme.says}", " → ".join(scheme.steps))
        for name, scheme in SCHEMES.items()
    ]
    return "\n".join(
        [
            "# Rankings\n",
            "A scheme is an order of small steps. `rank` numbers the teams, within every case or in every "
            "region and metric; `aggregate` joins cases; `test` compares pairs of teams; `combine` joins "
            "regions and metrics. `ranking.steps` spells out an order of your own. [How scores become "
            "places](../ranking.md) says what else can be set, and what the tables of doubt mean.\n",
            table(("scheme", "how", "steps"), rows),
            "## The example of these pages\n",
            "Three teams, six cases of two institutions, region WT. `fast` is best in five cases and fails "
            "in the last; `solid` never fails.\n",
            _scores_table(),
        ]
    )


def _scores_table() -> str:
    cells = [
        [f"{team}, {metric}", *(f"{value:g}" for value in values)]
        for team, (dice, hd95) in SCORES.items()
        for metric, values in (("Dice", dice), ("HD95", hd95))
    ]
    return table(("team", *(f"{case} ({SITE[case]})" for case in CASES)), cells)


def _page(name: str, scheme: Scheme) -> str:
    own, example = facts("rankings").get(name, {}), example_of(name)
    parts = [f"# {name}\n", f"Teams are {scheme.says}.\n"]
    if "formula" in own:
        parts.append(formula(own["formula"]))
    parts.append(
        "i is a team, c a case, k one of the K ranked columns (a region and a metric), C the number of "
        "cases. " + own.get("where", "") + "\n"
    )
    parts += ["| | |\n|---|---|", *(f"| **{key}** | {value} |" for key, value in _facts(scheme).items()), ""]
    if "note" in own:
        parts.append(own["note"] + "\n")
    parts += ["## Worked example\n", "The scores of three teams in six cases:\n", _scores_table()]
    if name == "fets_task1":
        given = ", ".join(f"{team} {value:g}" for team, value in CONVERGENCE.items())
        parts.append(f"Convergence scores: {given}.\n")
    if example.board.ranks is not None:
        parts += ["Ranks within every case:\n", _ranks_table(example.board)]
    caption = f"The steps of {name}, and the scores of the example."
    parts += ["The leaderboard:\n", _board_table(example.board)]
    parts.append(f"![{caption}](img/{name}.svg){{ .picture }}\n")
    parts += ["## Edge cases\n", _edges(scheme), "## Used by\n", _users(name)]
    parts += ["## Source\n", "".join(f"- {source(one)}\n" for one in own.get("source", ()))]
    return "\n".join(parts)


def _facts(scheme: Scheme) -> dict[str, str]:
    return {
        "steps": " → ".join(scheme.steps),
        "range": "the smallest score wins; "
        + (
            "1 is the least there can be"
            if scheme.combine == "mean"
            else "the number of columns is the least"
        )
        if not scheme.single_column_is_aggregate
        else "the smallest score wins; with one region and metric the score is the aggregate (or the share "
        "of wins) itself, in the metric's direction",
        "unit": "ranks",
        "equal values": f"`ties: {scheme.ties}`",
        "equal scores": f"`final_ties: {scheme.final_ties or scheme.ties}`",
        "columns are joined by": code(scheme.combine),
        "institutions": "ranked apart, then averaged" if scheme.per_institution else "all cases together",
        "test of significance.csv": code(scheme.test),
    }


def _ranks_table(board: Leaderboard) -> str:
    rows = list(csv.DictReader(io.StringIO("".join(board.ranks_csv))))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row["case"]:
            cells.setdefault((row["team"], row["metric"]), {})[row["case"]] = f"{float(row['rank']):g}"
    body = [
        [f"{team}, {metric}", *(of.get(case, "–") for case in CASES)] for (team, metric), of in cells.items()
    ]
    return table(("team", *CASES), body)


def _board_table(board: Leaderboard) -> str:
    rows = [(number(float(row[0] or 0)), row[1], number(float(row[2] or 0))) for row in board.rows]
    return table(("rank", "team", "score"), rows)


def _edges(scheme: Scheme) -> str:
    lines = [
        "Where nothing is to be measured on either side and the challenge states no value (`empty_both`), "
        "the score is empty by right: it is left out, and where another team has a value or failed there it "
        "counts as the best.",
        "A missing file has the penalty of its challenge, so that it is ranked like any value. Where there "
        "is no penalty, `ranking.missing` says what it counts: a number per metric, `worst`, or `drop` with "
        "a warning.",
    ]
    if "test" in scheme.steps:
        lines.append(
            "A pair of teams that differs in no case has the p-value 1. Pairs with an infinite value drop "
            "out."
        )
    if scheme.missing_after == "largest_rank":
        lines.append(
            "A missing value within a case ranks next after the largest rank present there (challengeR)."
        )
    if scheme.per_institution:
        lines.append("An institution that sent nothing is an error (exit code 4), not a smaller mean.")
    lines.append("Scores that agree to 12 significant digits are equal.")
    return "".join(f"- {line}\n" for line in lines)


def _users(name: str) -> str:
    users = [one.name for one in challenges() if one.ranking.scheme == name]
    if not users:
        return "No bundled challenge; any may name it.\n"
    return ", ".join(f"[{one}](../challenges/{one}.md)" for one in users) + "\n"
