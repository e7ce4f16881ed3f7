"""What a run would take, from a few of its cases that are timed: nothing is written.

Cases differ in size, so those in the middle of five equal groups by file size are timed, the largest also
for its memory, and each for a second team, for which the reference is at hand.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bratseval.cases import find_references
from bratseval.challenge import Rulebook
from bratseval.cpus import allowed_cpus, peak_bytes
from bratseval.errors import Problem
from bratseval.finishing import exit_code_of
from bratseval.model import Case
from bratseval.options import Options, Progress
from bratseval.pipeline import MAX_SHARDS, file_size, in_shard, lost_case, plan, teams_of
from bratseval.results import check_output
from bratseval.scoring import Rules, read_reference, score_case
from bratseval.state import FOLDER, finished_cases
from bratseval.supervisor import supervise

GROUPS = 5  # of cases by size, of each of which one is timed
PATIENCE_S = 60.0  # after which no further case is timed
SHARD_S = 300.0  # of one CPU that a shard should take: long against its start, short against a time limit


@dataclass(frozen=True, slots=True)
class Forecast:
    """What remains to be done and what it would take.

    cases: of all teams, of this shard; finished: those that an earlier run keeps; timed: those measured here.
    first_s: seconds of one CPU for a case; next_s: for a further team's, None where there is none.
    start_s: seconds until a worker begins; cpu_s: of all that remains; jobs: workers that have a CPU each.
    worker_bytes: the largest worker's peak; rows: of scores.csv, about; shards: of some minutes each.
    """

    teams: int
    cases: int
    finished: int
    timed: int
    jobs: int
    start_s: float
    first_s: float
    next_s: float | None
    cpu_s: float
    worker_bytes: int
    rows: int
    shards: int
    problems: tuple[Problem, ...]
    exit_code: int

    @property
    def wall_s(self) -> float:
        """Seconds until all cases are scored with this number of workers."""
        return self.start_s + self.cpu_s / self.workers if self.workers else 0.0

    @property
    def workers(self) -> int:
        """Workers that have a case."""
        return min(self.jobs, self.cases - self.finished)


def forecast(
    rulebook: Rulebook,
    submissions: Path,
    references: Path,
    output: Path,
    options: Options,
    progress: Progress,
) -> Forecast:
    """Plan a run as `pipeline.run` does, and time a few of its cases. Raises what that would raise first."""
    teams, problems = teams_of(rulebook, submissions, output)
    check_output(output, rulebook.digest, options.overwrite)
    found = find_references(rulebook.challenge, references)
    planned, faults, _ = plan(rulebook, teams, found, options)
    mine = [case for case in planned if in_shard(case, options.shard)]
    done = finished_cases(output / FOLDER, rulebook.digest) if options.resume else set()
    todo = [case for case in mine if (case.team, case.case) not in done]
    times = _measure(rulebook, _samples(todo), options, progress)
    first_s = statistics.fmean(times.first) if times.first else 0.0
    next_s = statistics.fmean(times.further) if times.further else None
    timed = [case for case in todo if _takes_time(case)]
    different = len({case.case for case in timed})
    further = first_s if next_s is None else next_s
    cpu_s = different * first_s + (len(timed) - different) * further
    problems += [*faults, *times.problems]
    # What a team has once is formed when all its cases are there, which one shard does not have.
    once = len(teams) * len(rulebook.challenge.pooled_metrics) if options.shard[1] == 1 else 0
    return Forecast(
        len(teams),
        len(mine),
        len(mine) - len(todo),
        len(times.first) + len(times.further),
        min(options.jobs, allowed_cpus()),
        times.start_s,
        first_s,
        next_s,
        cpu_s,
        times.worker_bytes,
        round(len(mine) * statistics.fmean(times.rows)) + once if times.rows else 0,
        max(1, min(MAX_SHARDS, len(todo), round(cpu_s / SHARD_S))),
        tuple(problems),
        exit_code_of(problems, complete=not times.lost, fail_on=options.fail_on),
    )


def _samples(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases to time, each of up to two teams: the largest, then the middle ones of groups by size."""
    by_case: dict[str, list[Case]] = {}
    for case in cases:
        if _takes_time(case):
            by_case.setdefault(case.case, []).append(case)
    ordered = sorted(by_case.values(), key=lambda own: (_bytes(own[0]), own[0].case))
    if not ordered:
        return []
    count = min(GROUPS, len(ordered))
    middles = [ordered[(2 * group + 1) * len(ordered) // (2 * count)] for group in range(count)]
    return [own[:2] for own in (ordered[-1], *middles)]


def _takes_time(case: Case) -> bool:
    """Whether there is something to score: a case without its file takes the penalty."""
    return bool(case.prediction or case.prediction_parts) and not case.refused


def _bytes(case: Case) -> int:
    parts = [part.path for part in (*case.reference_parts, *case.prediction_parts)]
    return sum(file_size(path) for path in (case.reference, case.prediction, *parts))


@dataclass(slots=True)
class _Times:
    """Seconds of cases and of further teams' ones, what starting took, the peak, the rows of a case."""

    first: list[float] = field(default_factory=list)
    further: list[float] = field(default_factory=list)
    start_s: float = 0.0
    worker_bytes: int = 0
    rows: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lost: bool = False  # a case that could not be finished


def _measure(
    rulebook: Rulebook, samples: Sequence[Sequence[Case]], options: Options, progress: Progress
) -> _Times:
    """Score the samples in one worker. The first of them bears what is loaded once, so it is not counted."""
    items = [(case, not place) for own in samples for place, case in enumerate(own)]
    uncounted = len(samples[0]) if samples else 0
    times = _Times()
    started = time.monotonic()
    progress(0, len(items), "")
    work = supervise(
        partial(_timed, Rules(rulebook, options.geometry)),
        items,
        jobs=1,
        timeout_s=options.timeout_s,
        memory_bytes=options.memory_bytes,
    )
    with closing(work):  # type: ignore[type-var]  # a generator: its workers end with it
        for done, outcome in enumerate(work, start=1):
            case, anew = items[outcome.index]
            progress(done, len(items), f"{case.team} {case.case}")
            if outcome.result is None:
                times.problems.append(lost_case(case, outcome))
                times.lost = True
                continue
            seconds, peak, rows, problems = outcome.result
            times.worker_bytes = max(times.worker_bytes, peak)
            times.problems += problems
            if outcome.died:
                times.problems.append(_retried(case, outcome.died, options.memory_bytes))
            if done == 1:
                times.start_s = max(0.0, time.monotonic() - started - seconds)
            unusable = any(problem.code == "SUB014" for problem in problems)  # a reference takes no time then
            if outcome.index >= uncounted and not unusable:
                times.rows.append(rows)
                (times.first if anew else times.further).append(seconds)
            if times.first and time.monotonic() - started > PATIENCE_S:
                break
    return times


def _retried(case: Case, how: str, memory_bytes: int | None) -> Problem:
    """A case whose worker died and that a second one finished, alone and without a limit of memory."""
    limit = "" if memory_bytes is None else f" under --memory {memory_bytes / 1e9:.3g}"
    message = f"its worker died{limit} ({how}); timed again alone, without a limit of memory"
    hint = "each such case takes a run twice the time and all other workers; "
    hint += (
        "use fewer --jobs" if memory_bytes is None else "give a larger --memory, with fewer --jobs if need be"
    )
    return Problem("warning", "RUN020", message, hint, case.team, case.case)


def _timed(rules: Rules, item: tuple[Case, bool]) -> tuple[float, int, int, tuple[Problem, ...]]:
    """Seconds for a case, peak memory of this process in bytes, the number of scores, and its problems.

    The second of the item: whether the reference is to be read anew.
    """
    case, anew = item
    if anew:
        read_reference.cache_clear()
    started = time.perf_counter()
    result = score_case(rules, case)
    seconds = time.perf_counter() - started
    return seconds, peak_bytes(), len(result.scores), result.problems
