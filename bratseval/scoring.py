"""One case from files to scores: what a worker process runs.

A case that cannot be scored is an outcome, not an exception: it takes the challenge's penalty and
its problems say why. What a case consists of is the business of its task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import InputError, Problem
from bratseval.inputs import inputs_of, untold, unusable_reference, without_team
from bratseval.model import Case, CaseResult, Reference, Score
from bratseval.policy import by_rule, expected_scores, unscored
from bratseval.tasks import federation, multi_rater, registration, segmentation, synthesis, table, uncertainty


class Task(NamedTuple):
    """A kind of challenge: how the reference side of a case is read, and how a prediction is scored.

    expect reads of the reference side no more than a check of the prediction needs, headers where they
    suffice; check is score without the measuring. All raise InputError for what is wrong with a file as a
    whole.
    """

    read_reference: Callable[[Case, Challenge], Reference]
    score: Callable[[Reference, Case, Challenge], CaseResult]
    expect: Callable[[Case, Challenge], Any]
    check: Callable[[Any, Case, Challenge], list[Problem]]


TASKS = {
    name: Task(module.read_reference, module.score, module.expect, module.check)
    for name, module in {
        "segmentation": segmentation,
        "registration": registration,
        "uncertainty": uncertainty,
        "multi_rater": multi_rater,
        "synthesis": synthesis,
        "table": table,
        "federation": federation,  # of a whole team, beside the cases of any other task
    }.items()
}


SUBJECTS = "subjects"  # details of a checked table: a row each


@dataclass(frozen=True, slots=True)
class Rules:
    """What every case of a run is scored under."""

    rulebook: Rulebook
    geometry: str = ""  # overrides the challenge's geometry policy


def score_case(rules: Rules, case: Case) -> CaseResult:
    """Read, check and score one case, or a team's own files; never raises for what is wrong with them."""
    challenge = with_geometry(rules.rulebook.rules_of(case.cohort), rules.geometry)
    inputs = inputs_of(case)  # before: a file that changes meanwhile then differs at the next run
    return replace(_result(rules, case, challenge), inputs=inputs)


def _result(rules: Rules, case: Case, challenge: Challenge) -> CaseResult:
    try:
        reference = read_reference(without_team(case), challenge)
    except InputError as error:
        unusable = unusable_reference(error, case.case)
        reason = "the reference cannot be read"
        scores = tuple(
            by_rule(*pair, None, "not_applicable", reason) for pair in expected_scores(challenge, case)
        )
        return CaseResult(case, scores + _of_other_cohorts(rules, case, scores), unusable)
    result = _tagged(_scored(case, challenge, reference, _task_of(case, challenge).score))
    return replace(
        result,
        scores=result.scores + _of_other_cohorts(rules, case, result.scores),
        problems=(*(replace(problem, case=case.case) for problem in reference.problems), *result.problems),
    )


def check_case(rules: Rules, case: Case) -> CaseResult:
    """Everything that is wrong with the files of a case, without a score; never raises for it.

    Of a table also its subjects: those expected or, where nothing says so, those with a usable row.
    """
    challenge = with_geometry(rules.rulebook.rules_of(case.cohort), rules.geometry)
    task = _task_of(case, challenge)
    try:
        expected = task.expect(case, challenge)
    except InputError as error:
        return CaseResult(case, (), unusable_reference(error, case.case))
    subjects = expected if task is TASKS["table"] else ()
    try:
        problems = task.check(expected, case, challenge)
        if subjects is None:
            subjects = table.submitted_subjects(case, challenge)
    except InputError as error:
        problems = untold(error, case)
    details = {SUBJECTS: tuple((own,) for own in subjects or ())}
    return _tagged(CaseResult(case, (), tuple(problems), details=details))


def _scored(
    case: Case,
    challenge: Challenge,
    reference: Reference,
    score: Callable[[Reference, Case, Challenge], CaseResult],
) -> CaseResult:
    """The task's result, or the penalty where the prediction is missing or refused as a whole."""
    try:
        return score(reference, case, challenge)
    except InputError as error:
        scores = unscored(challenge, expected_scores(challenge, case), error, reference.grid_shape)
        return CaseResult(case, scores, tuple(untold(error, case)))


@lru_cache(maxsize=2)
def read_reference(case: Case, challenge: Challenge) -> Reference:
    """The reference of a case without its team, kept for the next one: cases are handed out case by case."""
    return _task_of(case, challenge).read_reference(case, challenge)


def _task_of(case: Case, challenge: Challenge) -> Task:
    """What a case is; a team's own files hold a table or, beside cases of another kind, its training."""
    return TASKS[challenge.task if case.case or challenge.task == "table" else "federation"]


@lru_cache(maxsize=32)
def with_geometry(challenge: Challenge, policy: str) -> Challenge:
    """The challenge under the policy of --geometry."""
    if not policy:
        return challenge
    return challenge.model_copy(update={"geometry": challenge.geometry.model_copy(update={"policy": policy})})


def _tagged(result: CaseResult) -> CaseResult:
    """The result with the team and case at every problem."""
    case = result.case
    problems = (replace(problem, team=case.team, case=case.case) for problem in result.problems)
    return replace(result, problems=tuple(problems))


def _of_other_cohorts(rules: Rules, case: Case, scores: tuple[Score, ...]) -> tuple[Score, ...]:
    """A not_applicable row for every region and metric of other cohorts."""
    if not (rules.rulebook.by_cohort and case.case):
        return ()
    given = {(score.region, score.metric) for score in scores}
    reason = f"not scored in cohort {case.cohort}"
    return tuple(
        by_rule(region, metric, None, "not_applicable", reason)
        for region in rules.rulebook.regions
        for metric in rules.rulebook.metrics
        if (region, metric) not in given
    )
