"""From folders to a result folder: plan the cases, score them in parallel, rank, write.

The only module that knows of processes, time and the output folder. Prints nothing: what happens
meanwhile goes to a `Progress` callback, what came of it is an `Ended`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bratseval import __version__
from bratseval.cases import find_references, find_teams, match_files, pair_cases
from bratseval.challenge import Rulebook
from bratseval.errors import Problem, UsageError
from bratseval.leaderboard import Leaderboard, rank_teams
from bratseval.model import Case, CaseResult
from bratseval.policy import unscored_case
from bratseval.results import (
    SCHEMA_VERSION,
    Results,
    check_output,
    collect,
    read_folder,
    read_run,
    tables,
    write_folder,
)
from bratseval.tables import ScoreRow, read_metadata, read_scores, sort_scores

Progress = Callable[[int, int, str], None]  # done, total, what

# Exit codes in the order in which they win.
_WINNING = (70, 5, 3, 2, 4, 1, 0)


@dataclass(frozen=True, slots=True)
class Options:
    """Options that mean the same in every verb."""

    jobs: int = 1
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    metadata: Path | None = None
    fail_on: str = "error"
    geometry: str = ""
    timeout_s: float | None = None
    memory_bytes: int | None = None
    seed: int | None = None
    institution: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command did: its exit code, leaderboard, problems and the record in run.json."""

    exit_code: int
    leaderboard: Leaderboard | None
    problems: tuple[Problem, ...]
    run: Mapping[str, Any]


def run(
    rulebook: Rulebook,
    submissions: Path,
    references: Path,
    output: Path,
    options: Options,
    progress: Progress,
) -> Ended:
    """Score every team below ``submissions``, rank them and write the result folder."""
    teams, problems = find_teams(submissions)
    return _evaluate(rulebook, "run", teams, references, output, options, progress, problems)


def evaluate(
    rulebook: Rulebook,
    predictions: Path,
    team: str,
    references: Path,
    output: Path,
    options: Options,
    progress: Progress,
) -> Ended:
    """Score one team; no ranking."""
    if not predictions.is_dir():
        raise UsageError(
            Problem(
                "error",
                "SUB012",
                f"the prediction folder {predictions} does not exist",
                "check --predictions",
            )
        )
    return _evaluate(rulebook, "evaluate", {team: predictions}, references, output, options, progress, [])


def _evaluate(
    rulebook: Rulebook,
    command: str,
    teams: Mapping[str, Path],
    references: Path,
    output: Path,
    options: Options,
    progress: Progress,
    problems: list[Problem],
) -> Ended:
    started = time.monotonic()
    check_output(output, rulebook.digest, options.overwrite)
    cases, found = plan(rulebook, teams, references, options)
    problems = problems + found
    mine = [case for case in cases if in_shard(case, options.shard)]
    results = score_all(rulebook, mine, options, progress)
    tabled = collect(results, problems)
    record = {
        "command": command,
        "seed": rulebook.challenge.ranking.seed if options.seed is None else options.seed,
        "shard": list(options.shard),
        "expected": {team: sorted({case.case for case in cases if case.team == team}) for team in teams},
        "institutions": sorted({case.institution for case in cases} - {""}),
    }
    return finish(rulebook, tabled, record, output, options.fail_on, started, rank=command == "run")


def plan(
    rulebook: Rulebook, teams: Mapping[str, Path], references: Path, options: Options
) -> tuple[list[Case], list[Problem]]:
    """Every expected case of every team, and what is wrong with the file names."""
    challenge = rulebook.challenge
    found = find_references(challenge, references)
    problems = list(found.problems)
    institutions: dict[str, str] = {}
    cohorts: dict[str, str] = {}
    if options.metadata is not None:
        institutions, cohorts = _metadata(rulebook, options.metadata)
    if options.institution:
        institutions = dict.fromkeys(found.files, options.institution)
    cases: list[Case] = []
    for team, folder in teams.items():
        predictions = match_files(folder, challenge.files.prediction, team=team)
        own, faults = pair_cases(challenge, found, team, predictions, institutions, cohorts)
        cases += own
        problems += faults
    if challenge.cohorts is not None:
        unassigned = sorted(case for case in found.files if case not in cohorts and case not in found.cohorts)
        if unassigned:
            problems.append(
                Problem(
                    "warning",
                    "CFG007",
                    f"no cohort is stated for {len(unassigned)} cases ({', '.join(unassigned[:5])}"
                    f"{', ...' if len(unassigned) > 5 else ''}); scored as {challenge.cohorts.default}",
                    f"give --metadata with columns {challenge.cohorts.case_column} and "
                    f"{challenge.cohorts.cohort_column}",
                )
            )
    return cases, problems


def _metadata(rulebook: Rulebook, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Institution and cohort by case id; the id may be written as a file name without its ending."""
    import re

    from bratseval.tables import read_rows

    challenge = rulebook.challenge
    header, _ = read_rows(path)
    official = challenge.cohorts.case_column if challenge.cohorts else "case"
    table = read_metadata(path, "case" if "case" in header else official)
    institutions: dict[str, str] = {}
    cohorts: dict[str, str] = {}
    for written, record in table.items():
        name = f"{written}.nii.gz"
        found = next((m for p in challenge.files.prediction if (m := re.fullmatch(p, name))), None)
        case = found["case"] if found else written
        institutions[case] = record.get("institution", "")
        if challenge.cohorts:
            cohort = record.get(challenge.cohorts.cohort_column, "").removeprefix("BraTS-")
            if cohort and cohort not in challenge.cohorts.challenges:
                raise UsageError(
                    Problem(
                        "error",
                        "CSV007",
                        f"{path}: case {written} has the unknown cohort {cohort!r}",
                        f"known: {', '.join(challenge.cohorts.challenges)}",
                        file=str(path),
                    )
                )
            if cohort:
                cohorts[case] = cohort
    return institutions, cohorts


def in_shard(case: Case, shard: tuple[int, int]) -> bool:
    """Whether a case belongs to shard (I, N), 1-based; stable on every machine."""
    digest = hashlib.sha256(f"{case.team}\0{case.case}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % shard[1] == shard[0] - 1


def score_all(
    rulebook: Rulebook, cases: Sequence[Case], options: Options, progress: Progress
) -> list[CaseResult]:
    """Score cases in worker processes, largest first; a case that kills its worker costs itself only."""
    from bratseval.scoring import Rules, score_case
    from bratseval.supervisor import supervise

    # Teams of one case follow each other, so that a worker prepares its reference once.
    ordered = sorted(cases, key=lambda case: (-_size(case.reference), case.case, case.team))
    results: list[CaseResult] = []
    rules = Rules(rulebook, options.geometry)
    progress(0, len(ordered), "")
    for outcome in supervise(
        partial(score_case, rules),
        ordered,
        jobs=options.jobs,
        timeout_s=options.timeout_s,
        memory_bytes=options.memory_bytes,
    ):
        case = ordered[outcome.index]
        results.append(outcome.result or _lost(rulebook, case, outcome.status, outcome.detail))
        progress(len(results), len(ordered), f"{case.team} {case.case}")
    return results


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lost(rulebook: Rulebook, case: Case, status: str, detail: str) -> CaseResult:
    """A case whose worker died, ran out of time, or failed by a fault of ours: the penalty, and why."""
    what = {"crashed": "its worker process died", "timeout": "it took too long"}.get(
        status, "bratseval failed"
    )
    problem = Problem(
        "error",
        "RUN003" if status == "fault" else "RUN001",
        f"case {case.case} could not be scored: {what} ({detail.strip().splitlines()[-1] if detail else ''})",
        "the same command tries it again" if status != "fault" else "please report this with the trace (-vv)",
        case.team,
        case.case,
        str(case.prediction or ""),
    )
    status = "timeout" if status == "timeout" else "crashed"
    scores = unscored_case(rulebook.rules_of(case.cohort), status, problem.message, None)
    return CaseResult(case, scores, problems=(problem,))


def finish(
    rulebook: Rulebook,
    results: Results,
    record: Mapping[str, Any],
    output: Path,
    fail_on: str,
    started: float,
    *,
    rank: bool,
) -> Ended:
    """Rank where asked, write every file, and name the exit code."""
    shard = record["shard"]
    # Sums run in a fixed order, so that any order of arrival gives the same bytes.
    results = replace(results, scores=sort_scores(results.scores, rulebook.regions, rulebook.metrics))
    absent = missing_cases(results.scores, record["expected"]) if shard[1] == 1 else []
    unrun = [row for row in results.scores if row.status in ("crashed", "timeout")]
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
    complete = not absent and not unrun
    leaderboard = None
    if rank and complete and shard[1] == 1 and results.scores:
        leaderboard = rank_teams(results.scores, rulebook.challenge)
        problems += leaderboard.problems
    results = replace(results, problems=problems)
    exit_code = _exit_code(problems, complete, fail_on)
    cases = {(row.institution, row.case) for row in results.scores}
    run_record = {
        **record,
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "challenge": rulebook.challenge.name,
        "config": rulebook.digest,
        "configuration": rulebook.challenge.model_dump(mode="json"),
        "ranking": _ranking_text(rulebook),
        "signature": signature(rulebook, len(cases)),
        "counts": {
            "teams": len({row.team for row in results.scores}),
            "cases": len(cases),
            "rows": len(results.scores),
            "problems": len(set(problems)),
        },
        "complete": complete and shard[1] == 1,
        "exit_code": exit_code,
        "wall_seconds": round(time.monotonic() - started, 3),
        "host": {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()},
    }
    write_folder(output, tables(results, rulebook), leaderboard, run_record)
    return Ended(exit_code, leaderboard, tuple(problems), run_record)


def missing_cases(scores: Iterable[ScoreRow], expected: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Expected (team, case) pairs without a row, sorted."""
    present = {(row.team, row.case) for row in scores}
    return sorted({(team, case) for team, cases in expected.items() for case in cases} - present)


def _exit_code(problems: Iterable[Problem], complete: bool, fail_on: str) -> int:
    reached = {0}
    levels = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[fail_on]
    for problem in problems:
        if problem.code == "RUN003":
            reached.add(70)
        elif problem.code == "SUB014":
            reached.add(3)
        elif problem.severity in levels:
            reached.add(1)
    if not complete:
        reached.add(4)
    return next(code for code in _WINNING if code in reached)


def _ranking_text(rulebook: Rulebook) -> str:
    """The ranking in a sentence, so that a leaderboard says what its score is."""
    spec = rulebook.challenge.ranking
    missing = (
        spec.missing
        if isinstance(spec.missing, str)
        else ", ".join(f"{k}={v:g}" for k, v in spec.missing.items())
    )
    return (
        f"{spec.scheme}: ranks per case, region and metric (ties {spec.ties}), mean within the case, then "
        f"over cases; smallest wins; equal scores share the smaller place; missing values: {missing}; "
        "a score left empty because both sides are empty counts as the best one"
    )


def signature(rulebook: Rulebook, cases: int) -> str:
    """One line that makes two numbers comparable."""
    challenge = rulebook.challenge
    rules = challenge.lesions
    merged = f"+dil{rules.dilation_voxels}" if rules.merge else ""
    matched = f"+{rules.matching}" if rules.matching != "contact" else ""
    limit = f"+vol>{rules.min_reference_mm3:g}" if rules.min_reference_mm3 else ""
    distance = next((spec for spec in challenge.metrics.values() if spec.metric.endswith("hd95")), None)
    hd95 = f"|hd95:{distance.surface}" if distance else ""
    return (
        f"bratseval|{challenge.name}@{challenge.version}|config:{rulebook.digest}"
        f"|lesions:{rules.connectivity}conn{merged}{matched}{limit}{hd95}"
        f"|cases:{cases}|rank:{challenge.ranking.scheme}|ties:{challenge.ranking.ties}|v{__version__}"
    )


def merge(rulebook: Rulebook, folders: Sequence[Path], output: Path, options: Options) -> Ended:
    """Join result folders (shards or institutions); names what is missing or given twice."""
    started = time.monotonic()
    records = [read_run(folder) for folder in folders]
    wrong = [
        _other_configuration(folder, record, rulebook)
        for folder, record in zip(folders, records, strict=True)
        if record["config"] != rulebook.digest
    ]
    parts = [read_folder(folder) for folder in folders]
    seen: dict[tuple[str, str, str], Path] = {}
    for folder, part in zip(folders, parts, strict=True):
        for key in {(row.team, row.institution, row.case) for row in part.scores}:
            if key in seen:
                message = f"{folder} repeats team {key[0]}, case {key[2]} of {seen[key]}"
                wrong.append(Problem("error", "RUN006", message, "name each result folder once"))
            seen[key] = folder
    if wrong:
        raise UsageError(wrong)
    check_output(output, rulebook.digest, options.overwrite)
    expected: dict[str, set[str]] = {}
    for record in records:
        for team, cases in record["expected"].items():
            expected.setdefault(team, set()).update(cases)
    joined = Results(
        [row for part in parts for row in part.scores],
        [row for part in parts for row in part.lesions],
        [problem for part in parts for problem in part.problems],
        [row for part in parts for row in part.inputs],
    )
    shards = {tuple(record["shard"]) for record in records}
    total = max(count for _, count in shards)
    lost = sorted(set(range(1, total + 1)) - {index for index, count in shards if count == total})
    if lost:
        shown = ", ".join(f"{index}/{total}" for index in lost[:10])
        joined = replace(
            joined,
            problems=[
                *joined.problems,
                Problem("error", "RUN002", f"shards {shown} are missing", "run and merge them too"),
            ],
        )
    record = {
        "command": "merge",
        "seed": records[0]["seed"],
        "shard": [1, 1],
        "expected": {team: sorted(cases) for team, cases in sorted(expected.items())},
        "institutions": sorted({name for r in records for name in r["institutions"]}),
    }
    rank = any(record["command"] in ("run", "merge") for record in records) or len(expected) > 1
    return finish(rulebook, joined, record, output, options.fail_on, started, rank=rank)


def _other_configuration(folder: Path, record: Mapping[str, Any], rulebook: Rulebook) -> Problem:
    message = f"{folder} was scored under configuration {record['config']}, expected {rulebook.digest}"
    return Problem("error", "RUN005", message, f"score it again under {rulebook.challenge.name}")


def rank(rulebook: Rulebook, sources: Sequence[Path], output: Path, options: Options) -> Ended:
    """Rank the scores of result folders or of any CSV files; no image is read."""
    started = time.monotonic()
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, ...], Path] = {}
    faults: list[Problem] = []
    for source in sources:
        path = source / "scores.csv" if source.is_dir() else source
        if source.is_dir() and (record := read_run(source))["config"] != rulebook.digest:
            faults.append(_other_configuration(source, record, rulebook))
        for row in read_scores(path):
            key = (row.team, row.institution, row.case, row.region, row.metric)
            if key in seen:
                faults.append(
                    Problem(
                        "error", "CSV004", f"{path} repeats {', '.join(key)} of {seen[key]}", file=str(path)
                    )
                )
            seen[key] = path
            rows.append(row)
    if faults:
        raise UsageError(faults[:50])
    check_output(output, rulebook.digest, options.overwrite)
    rows += _absent_rows(rows)
    run_record: dict[str, Any] = {
        "command": "rank",
        "seed": rulebook.challenge.ranking.seed,
        "shard": [1, 1],
        "expected": {team: sorted({row.case for row in rows}) for team in sorted({row.team for row in rows})},
        "institutions": sorted({row.institution for row in rows} - {""}),
    }
    return finish(
        rulebook, Results(rows, [], [], []), run_record, output, options.fail_on, started, rank=True
    )


def _absent_rows(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Complete the grid team x case x region x metric: an absent row is a missing value."""
    units = {(row.institution, row.case, row.region, row.metric) for row in rows}
    present = {(row.team, row.institution, row.case, row.region, row.metric) for row in rows}
    return [
        ScoreRow(team, *unit, None, None, "missing", "no row was given")
        for team in sorted({row.team for row in rows})
        for unit in sorted(units)
        if (team, *unit) not in present
    ]
