"""The gate before scoring: everything that is wrong with one submission, at once and without a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bratseval.cases import Found, find_references, listed_cases
from bratseval.challenge import Rulebook
from bratseval.errors import Problem, ReferenceDataError, UsageError, in_order
from bratseval.finishing import FAILING, exit_code_of
from bratseval.metadata import read_case_list
from bratseval.options import Options, Progress
from bratseval.pipeline import lost_case, plan, submission_of, supervised
from bratseval.supervisor import undisturbed


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a submission.

    cases: the ids that were expected; problems of a case carry its id. failing: severities that fail it.
    subjects: of a table, how many were expected or, where nothing says so, have a usable row.
    """

    challenge: str
    team: str
    cases: tuple[str, ...]
    problems: tuple[Problem, ...]
    failing: tuple[str, ...]
    exit_code: int
    subjects: int = 0

    @property
    def valid(self) -> bool:
        """Whether it holds no error and nothing that --fail-on fails."""
        return self.exit_code == 0 and not any(problem.severity == "error" for problem in self.problems)

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of cases, of a table of subjects, and of problems of each severity."""
        severities = [problem.severity for problem in self.problems]
        return {
            "cases": len(self.cases) or self.subjects,
            **{f"{kind}s": severities.count(kind) for kind in ("error", "warning", "note")},
        }


def validate(
    rulebook: Rulebook,
    predictions: Path,
    team: str,
    references: Path | None,
    case_list: Path | None,
    options: Options,
    progress: Progress,
) -> Checked:
    """Check the names and files of one team against the references, or a list of cases, or the YAML.

    Of references only headers are read. Without any of them the submitted cases are checked, with a
    warning. Raises UsageError and ReferenceDataError.
    """
    with undisturbed():  # the exception of a signal may leave an import as another one
        from bratseval.scoring import SUBJECTS, Rules, check_case

    if references is not None and case_list is not None:
        raise UsageError(Problem("error", "SUB010", "give --references or --cases, not both"))
    submission = submission_of(predictions, team)
    expected, unsure = _expected(rulebook, references, case_list)
    cases, found, _ = plan(rulebook, [submission], expected, options)
    problems = [*unsure, *found]
    complete, subjects = True, 0
    progress(0, len(cases), "")
    outcomes = supervised(partial(check_case, Rules(rulebook, options.geometry)), cases, options)
    for done, outcome in enumerate(outcomes, start=1):
        case = cases[outcome.index]
        if outcome.result is None:
            problems.append(lost_case(case, outcome))
            complete = False
        else:
            problems += outcome.result.problems
            subjects += len(outcome.result.details.get(SUBJECTS, ()))
        progress(done, len(cases), case.case)
    ordered = in_order(replace(problem, team=submission.team) for problem in problems)
    silent = not any(case.prediction or case.prediction_parts or case.refused for case in cases)
    if silent and not any(problem.severity == "error" for problem in ordered):
        message = f"{predictions} holds no file of {rulebook.challenge.name}"
        ordered.insert(0, Problem("error", "SUB011", message, "check --predictions", submission.team))
    exit_code = exit_code_of(ordered, complete, options.fail_on)
    ids = tuple(case.case for case in cases if case.case)
    failing = FAILING[options.fail_on]
    return Checked(
        rulebook.challenge.name, submission.team, ids, tuple(ordered), failing, exit_code, subjects
    )


def _expected(
    rulebook: Rulebook, references: Path | None, case_list: Path | None
) -> tuple[Found | None, list[Problem]]:
    """The expected cases, None where nothing states them, and what therefore is not checked."""
    challenge = rulebook.challenge
    if references is not None:
        return find_references(challenge, references), []
    if challenge.task == "table" and case_list is not None:
        return Found({"": case_list}), []
    listed = read_case_list(challenge, case_list) if case_list else challenge.expected.cases
    if listed and len(set(listed)) < len(listed):
        raise ReferenceDataError(Problem("error", "CSV004", "expected.cases names a case twice"))
    unsure = []
    if challenge.task == "table" and listed:
        return None, []
    if challenge.task == "table":
        message = "without --references nobody knows which subjects are expected; missing ones go unnoticed"
        return None, [Problem("warning", "SUB015", message, "give --references or --cases")]
    if not listed:
        message = "neither --references nor --cases nor the YAML name the cases; missing ones go unnoticed"
        unsure.append(Problem("warning", "SUB015", message, "give --references or --cases"))
    if challenge.expected.grid is None and challenge.task != "multi_rater":
        message = "neither --references nor the YAML state a grid; shape, spacing and place are not checked"
        unsure.append(Problem("note", "SUB016", message, "give --references, or state expected.grid"))
    return (listed_cases(listed) if listed else None), unsure
