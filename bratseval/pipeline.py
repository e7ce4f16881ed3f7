"""From folders to a result folder: plan the cases and score them in parallel; `finishing` ranks and writes.

Knows of processes and of the output folder. Prints nothing: what happens meanwhile goes to a `Progress`
callback, what came of it is an `Ended`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bratseval.cases import (
    Found,
    Submission,
    archive_suffix,
    find_references,
    find_teams,
    is_table,
    listed_cases,
    pair_cases,
    read_submission,
    team_case,
    team_name,
    unusable,
)
from bratseval.challenge import Rulebook
from bratseval.errors import Problem, UsageError
from bratseval.finishing import Ended, finish
from bratseval.inputs import inputs_of
from bratseval.metadata import Metadata, read_metadata
from bratseval.model import Case, CaseResult
from bratseval.options import Options, Progress
from bratseval.policy import expected_scores, unscored
from bratseval.results import (
    check_output,
    collect,
)
from bratseval.sources import source_of, write_sources
from bratseval.state import Journal, locked, paths_of, rules_of, unchanged
from bratseval.supervisor import Outcome, supervise, undisturbed

MAX_SHARDS = 1000  # of a run; Slurm's MaxArraySize is 1001 unless a site changes it
R = TypeVar("R")


def run(
    rulebook: Rulebook,
    submissions: Path,
    references: Path,
    output: Path,
    options: Options,
    progress: Progress,
) -> Ended:
    """Score every team below ``submissions``, rank them and write the result folder."""
    teams, problems = teams_of(rulebook, submissions, output)
    return _evaluate(rulebook, "run", teams, references, output, options, progress, problems)


def teams_of(rulebook: Rulebook, submissions: Path, output: Path) -> tuple[list[Submission], list[Problem]]:
    """The teams of a run into this output, and what is wrong with their folders.

    Raises UsageError where what is ranked is not computed, and where the output lies in a submission.
    """
    teams, problems = find_teams(submissions, output, tables=rulebook.challenge.task == "table")
    if strange := rulebook.uncomputed:
        message = f"{rulebook.challenge.name} ranks {', '.join(strange)} but does not compute it"
        hint = "add it to metrics, or rank scores from elsewhere with `bratseval rank`"
        raise UsageError(Problem("error", "CFG008", message, hint))
    _check_place(output, [one.path for one in teams])
    return teams, problems


def evaluate(
    rulebook: Rulebook,
    predictions: Path,
    team: str,
    references: Path | None,
    output: Path,
    options: Options,
    progress: Progress,
) -> Ended:
    """Score one team, by default named like its folder; no ranking.

    Without references only what a whole team is scored for.
    """
    if references is None and rulebook.challenge.needs_references:
        message = f"{rulebook.challenge.name} cannot be scored without references"
        raise UsageError(Problem("error", "SUB010", message, "give --references"))
    submission = submission_of(predictions, team)
    _check_place(output, [submission.path])
    return _evaluate(rulebook, "evaluate", [submission], references, output, options, progress, [])


def submission_of(path: Path, team: str) -> Submission:
    """What one team handed in. Raises UsageError where it is no folder, no archive and no CSV file."""
    known = is_table(path) or archive_suffix(path)
    if not (path.is_dir() or (path.exists() and known)):
        what = "is no folder, no CSV file and no .zip, .tar or .tar.gz" if path.exists() else "does not exist"
        message = f"the prediction folder {path} {what}"
        raise UsageError(Problem("error", "SUB012", message, "check --predictions"))
    if path.is_symlink():  # named by the caller, who may follow it
        path = path.resolve()
    return Submission(team or team_name(path.resolve()), path, unusable([path]))


def _evaluate(
    rulebook: Rulebook,
    command: str,
    submissions: Sequence[Submission],
    references: Path | None,
    output: Path,
    options: Options,
    progress: Progress,
    problems: list[Problem],
) -> Ended:
    started = time.monotonic()
    with locked(output) as state:
        check_output(output, rulebook.digest, options.overwrite)
        known = None if references is None else find_references(rulebook.challenge, references)
        cases, found, metadata = plan(rulebook, submissions, known or Found(), options)
        mine = [case for case in cases if in_shard(case, options.shard)]
        with closing(
            Journal(state, rulebook.digest, keep=options.resume, overwrite=options.overwrite)
        ) as journal:
            kept, changed = _unchanged(rulebook, mine, options, journal)
            results = kept + score_all(rulebook, mine, options, progress, journal, kept)
        expected: dict[str, set[str]] = {one.team: set() for one in submissions}
        for case in cases:
            expected[case.team].add(case.case)
        record = {
            "command": command,
            "seed": options.seed_or(rulebook.challenge.ranking.seed),
            "shard": list(options.shard),
            "expected": {team: sorted(of_team) for team, of_team in expected.items()},
            "institutions": sorted({case.institution for case in cases} - {""}),
            "geometry": options.geometry or rulebook.challenge.geometry.policy,
        }
        tabled = collect(results, [*problems, *found])
        submitted = ((one.team, one.path) for one in submissions)
        write_sources(state, [source_of(references, submitted, options.metadata, options.geometry)])
        rank = command == "run"
        ended = finish(rulebook, tabled, record, output, options, metadata, started, rank=rank)
    return replace(ended, kept=len(kept), changed=changed)


def _check_place(output: Path, submitted: Iterable[Path]) -> None:
    """Results must not lie where the next run would take them for a submission."""
    for path in submitted:
        if output.resolve().is_relative_to(path.resolve()):
            message = f"the output {output} lies inside the submission {path}"
            raise UsageError(Problem("error", "OUT005", message, "choose another --output"))


def plan(
    rulebook: Rulebook, submissions: Sequence[Submission], expected: Found | None, options: Options
) -> tuple[list[Case], list[Problem], Metadata]:
    """Every expected case of every team, what is wrong with the file names, and the table of the cases.

    Without expected cases those that a team submits are.
    """
    challenge = rulebook.challenge
    problems = list(expected.problems) if expected else []
    metadata = metadata_of(rulebook, options)
    if options.metadata and challenge.task == "table":
        message = f"--metadata has no effect: {challenge.name} scores a team once over all its subjects"
        hint = "leave it out; --institution says where the subjects are from"
        problems.append(Problem("warning", "SUB018", message, hint))
    cohorts = metadata.cohorts
    institutions = metadata.institutions
    if options.institution and expected:
        institutions = dict.fromkeys(expected.files, options.institution)
    cases: list[Case] = []
    named: set[str] = set()  # cases without a reference whose submitted name states the cohort
    for one in submissions:
        predictions = read_submission(one, challenge.files, options.archives)
        found = expected or listed_cases(case for case in {**predictions.files, **predictions.parts} if case)
        named |= {case for case in predictions.cohorts if found.files.get(case, one.path) is None}
        own, faults = pair_cases(challenge, found, one.team, predictions, institutions, cohorts)
        cases += own
        if challenge.team_metrics:
            of_team, lacking = team_case(challenge, found.files.get(""), one.team, predictions)
            site = options.institution if challenge.task == "table" else ""  # a training has none
            cases.append(replace(of_team, institution=site))
            problems += lacking
        problems += faults
    if challenge.cohorts is not None and expected:
        unassigned = sorted({*expected.files} - {*cohorts} - {*expected.cohorts} - named)
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
    return cases, problems, metadata


def metadata_of(rulebook: Rulebook, options: Options) -> Metadata:
    """The table of --metadata, empty without the option."""
    return Metadata() if options.metadata is None else read_metadata(rulebook.challenge, options.metadata)


def in_shard(case: Case, shard: tuple[int, int]) -> bool:
    """Whether a case belongs to shard (I, N), 1-based."""
    return shard_of(case, shard[1]) == shard[0] - 1


def shard_of(case: Case, count: int) -> int:
    """The shard of a case among ``count``, 0-based; stable on every machine."""
    digest = hashlib.sha256(f"{case.team}\0{case.case}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % count


def _unchanged(
    rulebook: Rulebook, cases: Sequence[Case], options: Options, journal: Journal
) -> tuple[list[CaseResult], tuple[tuple[str, str], ...]]:
    """Results of an earlier run that scoring anew would give again, and the cases that it would not."""
    known = _in_order(case for case in cases if (case.team, case.case) in journal.kept)
    results: list[CaseResult] = []
    changed: list[tuple[str, str]] = []
    for outcome in supervised(inputs_of, known, options):
        case = known[outcome.index]
        kept = journal.kept[case.team, case.case]
        rules = rules_of(rulebook.digest, options.geometry, case)
        if outcome.result is not None and unchanged(kept, case, rules, outcome.result):
            results.append(replace(kept.result, case=case))
        else:
            changed.append((case.team, case.case))
    return results, tuple(sorted(changed))


def _in_order(cases: Iterable[Case]) -> list[Case]:
    """Largest first, and the teams of a case in a row, so that a worker prepares its reference once."""
    return sorted(cases, key=lambda case: (-file_size(case.reference), case.case, case.team))


def supervised(
    function: Callable[[Case], R], cases: Sequence[Case], options: Options
) -> Iterator[Outcome[R]]:
    """Run a function over cases in worker processes, here or on a cluster, within the options' limits."""
    if options.scheduler:
        from bratseval.dask_engine import distribute

        return distribute(
            function,
            cases,
            scheduler=options.scheduler,
            shards=options.shards,
            shard_of=shard_of,
            files_of=paths_of,
            timeout_s=options.timeout_s,
            memory_bytes=options.memory_bytes,
        )
    return supervise(
        function,
        cases,
        jobs=options.jobs,
        timeout_s=options.timeout_s,
        memory_bytes=options.memory_bytes,
        kind=lambda case: case.case,  # so that a reference is prepared once for all teams
    )


def score_all(
    rulebook: Rulebook,
    cases: Sequence[Case],
    options: Options,
    progress: Progress,
    journal: Journal,
    kept: Sequence[CaseResult],
) -> list[CaseResult]:
    """Score the cases that are not kept, in worker processes; one that kills its worker costs itself only."""
    with undisturbed():  # the exception of a signal may leave an import as another one
        from bratseval.scoring import Rules, score_case

    done = {(result.case.team, result.case.case) for result in kept}
    todo = _in_order(case for case in cases if (case.team, case.case) not in done)
    results: list[CaseResult] = []
    on_disk = len(kept)
    progress(on_disk, len(cases), "", on_disk)
    for outcome in supervised(partial(score_case, Rules(rulebook, options.geometry)), todo, options):
        case = todo[outcome.index]
        with undisturbed():  # so that what is kept is what is said to be
            if outcome.result is not None:
                journal.append(rules_of(rulebook.digest, options.geometry, case), outcome.result)
                on_disk += 1
            results.append(outcome.result or _lost(rulebook, case, outcome))
            progress(len(kept) + len(results), len(cases), f"{case.team} {case.case}", on_disk)
    return results


def file_size(path: Path | None) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return 0 if path is None else path.stat().st_size
    except OSError:
        return 0


def _lost(rulebook: Rulebook, case: Case, outcome: Outcome[CaseResult]) -> CaseResult:
    """A case that was not finished: the penalty, and why."""
    problem = lost_case(case, outcome)
    why = ("timeout" if outcome.status == "timeout" else "crashed", problem.message)
    challenge = rulebook.rules_of(case.cohort)
    scores = unscored(challenge, expected_scores(challenge, case), why)
    return CaseResult(case, scores, problems=(problem,))


def lost_case(case: Case, outcome: Outcome[Any]) -> Problem:
    """Why a worker gave no answer about a case: it died, ran out of time, or failed by a fault of ours."""
    fault = outcome.status == "fault"
    what = {"crashed": "its worker process died", "timeout": "it took too long"}.get(
        outcome.status, "bratseval failed"
    )
    last = outcome.detail.strip().splitlines()[-1] if outcome.detail else ""
    return Problem(
        "error",
        "RUN003" if fault else "RUN001",
        f"case {case.case} could not be finished: {what} ({last})",
        "please report this with the trace (-vv)" if fault else "the same command tries it again",
        case.team,
        case.case,
        str(case.prediction or ""),
    )
