"""From the rows of all cases to a result folder: rank, examine the ranking, write, name the exit code."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bratseval import __version__
from bratseval.challenge import Rulebook
from bratseval.detail_table import DetailTable
from bratseval.doubt import Doubt, examine
from bratseval.errors import Problem, UsageError
from bratseval.leaderboard import Leaderboard, case_count, rank_teams, subject_counts
from bratseval.metadata import Metadata
from bratseval.options import Options
from bratseval.pooling import with_pooled
from bratseval.results import SCHEMA_VERSION, Results, tables, write_folder
from bratseval.score_table import ScoreTable, pairs, sort_scores
from bratseval.signature import describe_ranking, signature
from bratseval.strata import strata_csv

# Exit codes in the order in which they win.
_WINNING = (70, 5, 3, 2, 4, 1, 0)
# By --fail-on: severities of problems from which the exit code is 1.
FAILING = {"error": ("error",), "warning": ("error", "warning"), "never": ()}


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command did: its exit code, leaderboard, problems and the record in run.json.

    kept: cases that an earlier run had finished; changed: those it had, whose files or rules are others now.
    """

    exit_code: int
    leaderboard: Leaderboard | None
    doubt: Doubt | None
    problems: tuple[Problem, ...]
    run: Mapping[str, Any]
    results: Results
    kept: int = 0
    changed: tuple[tuple[str, str], ...] = ()


def finish(
    rulebook: Rulebook,
    results: Results,
    record: Mapping[str, Any],
    output: Path,
    options: Options,
    metadata: Metadata,
    started: float,
    *,
    rank: bool,
) -> Ended:
    """Rank where asked, write every file, and name the exit code."""
    shard = record["shard"]
    scores = results.scores
    if shard[1] == 1 and record["command"] != "rank":
        sums = results.details.get("pooled.csv", DetailTable())
        scores = with_pooled(scores, sums.rows(), rulebook.challenge, record["expected"])
    # Sums run in a fixed order, so that any order of arrival gives the same bytes.
    results = replace(results, scores=sort_scores(scores, rulebook.regions, rulebook.metrics))
    absent = missing_cases(results.scores, record["expected"]) if shard[1] == 1 else []
    unrun = results.scores.status.where(("crashed", "timeout").__contains__).any()
    problems = list(results.problems)
    if absent:
        shown = ", ".join(f"{team}/{case}" for team, case in absent[:10])
        problems.append(
            Problem(
                "error",
                "RUN002",
                f"{len(absent)} expected cases have no scores ({shown}{', ...' if len(absent) > 10 else ''})",
                "add the missing shards or institutions, or run the same command again",
            )
        )
    # A source or institution without scores, or a shard that is not there, whatever it would have held.
    silent = any(problem.code in ("RUN009", "RUN002") for problem in problems)
    complete = not unrun and not silent
    leaderboard, doubt = None, None
    ranking_tables: dict[str, str | Iterable[str]] = {}
    if rank and (complete or options.allow_incomplete) and shard[1] == 1 and len(results.scores):
        try:
            leaderboard, doubt, ranking_tables = rank_scores(
                results.scores, rulebook, record["seed"], options, metadata
            )
            problems += leaderboard.problems
        except UsageError as error:  # the scores are written all the same
            problems += error.problems
    results = replace(results, problems=problems)
    exit_code = exit_code_of(problems, complete, options.fail_on)
    counted = case_count(results.scores) or subject_counts(results.scores)[0]
    run_record = {
        **record,
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "challenge": rulebook.challenge.name,
        "config": rulebook.digest,
        "configuration": rulebook.challenge.model_dump(mode="json"),
        "cohort_configurations": {
            cohort: one.model_dump(mode="json") for cohort, one in rulebook.by_cohort.items()
        },
        "order": {"regions": rulebook.regions, "metrics": rulebook.metrics},  # keys of JSON are sorted
        "ranking": {**describe_ranking(rulebook), **(doubt.record if doubt else {})},
        "signature": signature(rulebook, counted),
        "counts": {
            "teams": len(results.scores.team.used),
            "cases": counted,
            "rows": len(results.scores),
            "problems": len(set(problems)),
        },
        "complete": complete and shard[1] == 1,
        "exit_code": exit_code,
        "wall_seconds": round(time.monotonic() - started, 3),
        "host": {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()},
    }
    write_folder(output, tables(results, rulebook) | ranking_tables, run_record)
    return Ended(exit_code, leaderboard, doubt, tuple(problems), run_record, results)


def rank_scores(
    rows: ScoreTable, rulebook: Rulebook, seed: int, options: Options, metadata: Metadata
) -> tuple[Leaderboard, Doubt, dict[str, str | Iterable[str]]]:
    """The leaderboard, the doubt beside it, and the text or its pieces of every file that shows them."""
    challenge = rulebook.challenge
    board = rank_teams(rows, challenge)
    doubt = examine(board, challenge, seed=seed, compare=options.compare_schemes)
    board = replace(board, problems=(*board.problems, *doubt.problems))
    if doubt.tiers:
        board = board.with_column("tier", doubt.tiers)
    files: dict[str, str | Iterable[str]] = {"leaderboard.csv": board.leaderboard_csv, **doubt.tables}
    if board.ranks is not None:
        files["ranks.csv"] = board.ranks_csv
    cases = board.scores.cases
    columns = {"institution": [institution for institution, _ in cases]}
    for name, of_case in metadata.columns.items():
        if name != "institution":
            columns[name] = [of_case.get(case, "") for _, case in cases]
    if len(board.scores.institutions) < 2:
        del columns["institution"]
    if columns and any(case for _, case in cases):
        files["strata.csv"], notes = strata_csv(board.scores, rows, challenge.ranking, columns)
        board = replace(board, problems=(*board.problems, *notes))
    return board, doubt, files


def missing_cases(scores: ScoreTable, expected: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Expected (team, case) pairs without a row, sorted."""
    present: dict[str, set[str]] = {}
    for team, case in pairs(scores, "team", "case"):
        present.setdefault(team, set()).add(case)
    return sorted(
        {(team, case) for team, cases in expected.items() for case in {*cases} - present.get(team, set())}
    )


def exit_code_of(problems: Iterable[Problem], complete: bool, fail_on: str) -> int:
    """The exit code of a command that has come to its end."""
    reached = {0}
    for problem in problems:
        if problem.code == "RUN003":
            reached.add(70)
        elif problem.code == "SUB014":
            reached.add(3)
        elif problem.code in ("CFG006", "CSV006", "CSV010"):  # nothing can be ranked
            reached.add(2)
        elif problem.severity in FAILING[fail_on]:
            reached.add(1)
    if not complete:
        reached.add(4)
    return winning(reached)


def winning(reached: Collection[int]) -> int:
    """The exit code that wins over the others."""
    return next(code for code in _WINNING if code in reached)
