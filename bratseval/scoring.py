"""One case from files to scores: what a worker process runs.

A case that cannot be scored is an outcome, not an exception: it takes the challenge's penalty and
its problems say why. What a case consists of is the business of its task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import InputError
from bratseval.inputs import digests
from bratseval.model import Case, CaseResult, Reference, Score
from bratseval.policy import by_rule, expected_scores, unscored
from bratseval.tasks import federation, multi_rater, registration, segmentation, uncertainty


class Task(NamedTuple):
    """A kind of challenge: how the reference side of a case is read, and how a prediction is scored.

    Both raise InputError for what is wrong with a file as a whole.
    """

    read_reference: Callable[[Case, Challenge], Reference]
    score: Callable[[Reference, Case, Challenge], CaseResult]


TASKS = {
    "segmentation": Task(segmentation.read_reference, segmentation.score),
    "registration": Task(registration.read_reference, registration.score),
    "uncertainty": Task(uncertainty.read_reference, uncertainty.score),
    "multi_rater": Task(multi_rater.read_reference, multi_rater.score),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What every case of a run is scored under."""

    rulebook: Rulebook
    geometry: str = ""  # overrides the challenge's geometry policy


def score_case(rules: Rules, case: Case) -> CaseResult:
    """Read, check and score one case, or a team's own files; never raises for what is wrong with them."""
    challenge = _with_geometry(rules.rulebook.rules_of(case.cohort), rules.geometry)
    if not case.case:
        return _tagged(_scored(case, challenge, Reference(None), federation.score))
    try:
        reference = read_reference(_without_team(case), challenge)
    except InputError as error:
        hint = "the organizer must repair the reference"
        unusable = [replace(p, code="SUB014", case=case.case, hint=hint) for p in error.problems]
        reason = "the reference cannot be read"
        scores = tuple(
            by_rule(*pair, None, "not_applicable", reason) for pair in expected_scores(challenge, case)
        )
        return CaseResult(case, scores + _of_other_cohorts(rules, case, scores), tuple(unusable))
    result = _tagged(_scored(case, challenge, reference, TASKS[challenge.task].score))
    return replace(
        result,
        scores=result.scores + _of_other_cohorts(rules, case, result.scores),
        problems=(*(replace(problem, case=case.case) for problem in reference.problems), *result.problems),
        inputs=reference.inputs + result.inputs,
    )


def _scored(
    case: Case,
    challenge: Challenge,
    reference: Reference,
    score: Callable[[Reference, Case, Challenge], CaseResult],
) -> CaseResult:
    """The task's result, or the penalty where the prediction is missing or refused as a whole."""
    path = None if case.refused else case.prediction
    inputs = digests("prediction", path, case.prediction_parts)
    try:
        return replace(score(reference, case, challenge), inputs=inputs)
    except InputError as error:
        scores = unscored(challenge, expected_scores(challenge, case), error, reference.grid_shape)
        listed = case.prediction is None or case.refused  # by the plan, which saw the names of all files
        return CaseResult(case, scores, () if listed else error.problems, inputs)


def _without_team(case: Case) -> Case:
    """The case with its reference side alone, the same for every team."""
    return replace(case, team="", prediction=None, refused=(), prediction_parts=())


@lru_cache(maxsize=2)
def read_reference(case: Case, challenge: Challenge) -> Reference:
    """The reference of a case without its team, kept for the next one: cases are handed out case by case."""
    reference = TASKS[challenge.task].read_reference(case, challenge)
    return replace(reference, inputs=digests("reference", case.reference, case.reference_parts))


@lru_cache(maxsize=32)
def _with_geometry(challenge: Challenge, policy: str) -> Challenge:
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
    if not rules.rulebook.by_cohort:
        return ()
    given = {(score.region, score.metric) for score in scores}
    reason = f"not scored in cohort {case.cohort}"
    return tuple(
        by_rule(region, metric, None, "not_applicable", reason)
        for region in rules.rulebook.regions
        for metric in rules.rulebook.metrics
        if (region, metric) not in given
    )
