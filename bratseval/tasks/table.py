"""Tables: a team hands in one row a subject, and is scored once over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bratseval.blocks import SubjectTable
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.inputs import reference_of, submitted
from bratseval.metrics.classes import Labels, Scores
from bratseval.metrics.counts import Counts
from bratseval.metrics.ratings import Ratings
from bratseval.metrics.registry import find_metric
from bratseval.metrics.survival import Times
from bratseval.model import Case, CaseResult, Reference, Score
from bratseval.policy import by_rule, missing_value
from bratseval.subject_tables import Check, Subjects, read_subject_files, read_subjects

SUM_TOLERANCE = 1e-3  # of probabilities, which people round to three digits
NAMED = 10  # subjects that a sentence lists


@dataclass(frozen=True, slots=True)
class Truth:
    """The answers of all subjects, and the metrics that these answers leave undefined whatever is submitted.

    answers (n, 1), for times (n, 2): the time, and 1 where the event was observed.
    """

    ids: tuple[str, ...]
    answers: np.ndarray
    undefined: frozenset[str]


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read the answers. Raises InputError where one of them is unusable."""
    rules, path = _rules(challenge), reference_of(case)
    columns = [rules.target, *([[rules.event]] if rules.event else [])]
    found = _whole(path, rules.id, columns, rules.id_pattern, _answer_checks(rules))
    # In an order of their own, so that sums and bootstrap draws do not depend on that of the file.
    order = sorted(range(len(found.ids)), key=lambda row: found.ids[row])
    ids, answers = tuple(found.ids[row] for row in order), found.numbers[order]
    perfect = _records(rules, answers, _perfect(rules, answers))
    undefined = [column for column in challenge.metrics if math.isnan(_measured(perfect, challenge, column))]
    problems = [
        Problem(
            "error" if column in challenge.ranking.metrics else "warning",
            "SUB014" if column in challenge.ranking.metrics else "CSV017",
            f"{path}: {column} is undefined for these subjects ({_why(rules)})",
            "the organizer must add subjects",
        )
        for column in undefined
    ]
    return Reference(Truth(ids, answers, frozenset(undefined)), tuple(problems))


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score a team's table; a subject without a usable row takes its penalty. Raises InputError."""
    rules, truth = _rules(challenge), reference.data
    table = _read(case, rules)
    row_of = {own: row for row, own in enumerate(table.ids)}
    rows = np.array([row_of.get(own, -1) for own in truth.ids])
    problems = _compared(table, truth.ids, rules, case)
    answers = truth.answers
    if rules.missing_rows == "dropped":
        answers, rows = answers[rows >= 0], rows[rows >= 0]
    values = np.full((len(rows), table.numbers.shape[1]), np.nan)
    values[rows >= 0] = table.numbers[rows[rows >= 0]]
    records = _records(rules, answers, values)
    scores: list[Score] = []
    for column in challenge.team_metrics:
        if column in truth.undefined:
            scores.append(by_rule("", column, None, "not_applicable", "undefined for these subjects"))
            continue
        value = _measured(records, challenge, column)
        if math.isfinite(value):
            scores.append(Score("", column, value, value, "ok"))
        else:
            price = missing_value(challenge.metrics[column], None)
            scores.append(by_rule("", column, price, "invalid", "undefined for what was submitted"))
    return CaseResult(case, tuple(scores), tuple(problems))


def expect(case: Case, challenge: Challenge) -> tuple[str, ...] | None:
    """Ids of the expected subjects, None where neither a table nor the YAML names them. Raises InputError."""
    if case.reference is None:
        return tuple(challenge.expected.cases) or None
    rules = _rules(challenge)
    names = [*rules.id, "case"] if case.reference.suffix.lower() == ".csv" else []  # else an id a line
    return _whole(case.reference, names, [], rules.id_pattern).ids


def check(expected: tuple[str, ...] | None, case: Case, challenge: Challenge) -> list[Problem]:
    """What is wrong with a table, row by row. Raises InputError where none of it can be read."""
    rules = _rules(challenge)
    table = _read(case, rules)
    if expected is None:
        return [*table.problems, *_alike(table, case)]
    return _compared(table, expected, rules, case)


def submitted_subjects(case: Case, challenge: Challenge) -> tuple[str, ...]:
    """Ids of the subjects with a usable row. Raises InputError."""
    return _read(case, _rules(challenge)).ids


def _compared(table: Subjects, expected: tuple[str, ...], rules: SubjectTable, case: Case) -> list[Problem]:
    """What is wrong with a table of the expected subjects. Raises InputError where it has none of them."""
    known = set(table.ids)
    lost = [own for own in expected if own not in known]
    problems = [*table.problems, *_strange(table, expected, case), *_alike(table, case)]
    if len(lost) == len(expected):
        raise InputError([_nothing(case, expected), *problems])
    return problems + _lost(lost, len(expected), rules, case)


def _whole(
    path: Path,
    id_names: Sequence[str],
    columns: Sequence[Sequence[str]],
    id_pattern: str,
    checks: Sequence[Check] = (),
) -> Subjects:
    """The organizer's own table. Raises InputError where a row is unusable or there is none."""
    found = read_subjects(path, id_names, columns, id_pattern=id_pattern, checks=checks)
    if found.problems:
        raise InputError(found.problems)
    if not found.ids:
        message = f"{path} names no subject"
        raise InputError(Problem("error", "SUB011", message, "write one row a subject", file=str(path)))
    return found


def _rules(challenge: Challenge) -> SubjectTable:
    assert challenge.table is not None  # the model asks for it in a table challenge
    return challenge.table


def _read(case: Case, rules: SubjectTable) -> Subjects:
    """The submitted table, or the files of single subjects in its place. Raises InputError."""
    path = submitted(case)
    files = {part.rater: part.path for part in case.prediction_parts if part.rater and not part.refused}
    if files:
        if any(not part.rater for part in case.prediction_parts):
            message = f"{path}: the team hands in a table and files of single subjects ({len(files)})"
            raise InputError(Problem("error", "SUB002", message, "keep one of them", file=str(path)))
        return read_subject_files(files, _checks(rules))
    several = rules.submitted == "probabilities"
    columns = [[name] for name in rules.prediction] if several else [rules.prediction]
    return read_subjects(path, rules.id, columns, id_pattern=rules.id_pattern, checks=_checks(rules))


def _no_class(classes: int) -> Check:
    return Check(
        f"with a label that is no class from 0 to {classes - 1}",
        "write the number of a class",
        lambda numbers: ~np.isin(numbers[:, 0], np.arange(classes)),
    )


def _answer_checks(rules: SubjectTable) -> list[Check]:
    """What an answer must be."""
    if rules.submitted == "rating":
        return _within(rules)
    if rules.submitted != "time":
        return [_no_class(rules.classes)]
    return [
        Check("with a time below 0", "", lambda numbers: numbers[:, 0] < 0),
        Check(f"whose {rules.event} is neither 0 nor 1", "", lambda n: ~np.isin(n[:, 1], (0, 1))),
    ]


def _checks(rules: SubjectTable) -> list[Check]:
    """What a submitted row must be."""
    if rules.submitted == "label":
        return [_no_class(rules.classes)]
    if rules.submitted != "probabilities":
        return _within(rules)
    return [
        Check(
            "with a probability outside 0 to 1",
            "write probabilities, not logits or percent",
            lambda numbers: ((numbers < 0) | (numbers > 1)).any(axis=1),
        ),
        Check(
            "whose probabilities do not add up to 1",
            "normalize them",
            lambda numbers: np.abs(numbers.sum(axis=1) - 1) > SUM_TOLERANCE,
        ),
    ]


def _within(rules: SubjectTable) -> list[Check]:
    low = -math.inf if rules.low is None else rules.low
    high = math.inf if rules.high is None else rules.high
    return [
        Check(
            f"with a number outside {low:g} to {high:g}",
            "check the unit and the scale",
            lambda numbers: np.logical_or(numbers[:, 0] < low, numbers[:, 0] > high),
        )
    ]


def _strange(table: Subjects, expected: tuple[str, ...], case: Case) -> list[Problem]:
    known = set(expected)
    strange = [own for own in table.ids if own not in known]
    if not strange:
        return []
    what = f"{len(strange)} subject{'s are' if len(strange) > 1 else ' is'} not expected"
    message = f"{case.prediction}: {what} ({_listed(strange)}); not scored"
    hint = f"the references have ids like {expected[0]}"
    return [Problem("warning", "SUB006", message, hint, file=str(case.prediction))]


def _nothing(case: Case, expected: Sequence[str]) -> Problem:
    message = f"{case.prediction}: none of the {len(expected)} expected subjects has a usable row"
    hint = f"write a row for every subject, with ids like {expected[0]}"
    return Problem("error", "SUB011", message, hint, file=str(case.prediction))


def _lost(lost: list[str], total: int, rules: SubjectTable, case: Case) -> list[Problem]:
    if not lost:
        return []
    message = f"{len(lost)} of {total} subjects have no usable row ({_listed(lost)}); {rules.missing_rows}"
    return [Problem("warning", "SUB004", message, "write a row for every subject", file=str(case.prediction))]


def _alike(table: Subjects, case: Case) -> list[Problem]:
    if len(table.numbers) < 2 or not (table.numbers == table.numbers[0]).all():
        return []
    alike = f"all submitted numbers are the same ({table.numbers[0][0]:g})"
    message = f"{case.prediction}: {alike}, so they tell no subject from another"
    return [Problem("warning", "CSV017", message, "check the export", file=str(case.prediction))]


def _listed(ids: list[str]) -> str:
    return ", ".join(ids[:NAMED]) + (f", and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def _why(rules: SubjectTable) -> str:
    """What makes a metric undefined although every prediction is right."""
    reasons = {
        "time": "no pair of them can be compared: all censored, or too few",
        "rating": "all rated alike",
    }
    return reasons.get(rules.submitted, "one class only")


def _perfect(rules: SubjectTable, answers: np.ndarray) -> np.ndarray:
    """What would be submitted if every answer were known."""
    if rules.submitted == "probabilities":
        return np.eye(rules.classes)[answers[:, 0].astype(np.int64)]
    return answers[:, :1]


def _records(rules: SubjectTable, answers: np.ndarray, values: np.ndarray) -> Mapping[str, object]:
    """What the metrics read, by name; values (n, columns) are nan where a subject has no usable row."""
    return {"counts": Counts(len(values), int(np.isnan(values[:, 0]).sum()))} | _BUILD[rules.submitted](
        rules, answers, values
    )


def _measured(records: Mapping[str, object], challenge: Challenge, column: str) -> float:
    """A metric of the record that it reads, nan where it is undefined."""
    spec = challenge.metrics[column]
    entry = find_metric(spec.metric)[1]
    return entry.measure(records[entry.reads], spec.parameters)


def _classified(
    rules: SubjectTable, answers: np.ndarray, named: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, object]:
    """Records of a classification: labels that are named (n,), nan for none, and scores (n, classes).

    By default the scores are the labels, 0 or 1; a label beyond the classes has none.
    """
    reference = answers[:, 0].astype(np.int64)
    missing = rules.classes if rules.missing_label is None else rules.missing_label
    wrong = (reference + 1) % rules.classes if missing == "next_class" else missing
    labels = np.where(np.isnan(named), wrong, named).astype(np.int64)
    if scores is None:
        scores = (labels[:, None] == np.arange(rules.classes)).astype(np.float64)
    return {"labels": Labels(reference, labels, rules.classes), "scores": Scores(reference, scores)}


def _of_labels(rules: SubjectTable, answers: np.ndarray, values: np.ndarray) -> dict[str, object]:
    return _classified(rules, answers, values[:, 0])


def _of_score(rules: SubjectTable, answers: np.ndarray, values: np.ndarray) -> dict[str, object]:
    scores = np.hstack([1 - values, values])
    named = np.where(np.isnan(values[:, 0]), np.nan, values[:, 0] >= 0.5)
    return _classified(rules, answers, named, scores)


def _of_probabilities(rules: SubjectTable, answers: np.ndarray, values: np.ndarray) -> dict[str, object]:
    named = np.where(np.isnan(values[:, 0]), np.nan, np.argmax(np.nan_to_num(values), axis=1))
    return _classified(rules, answers, named, values)


def _of_times(rules: SubjectTable, answers: np.ndarray, values: np.ndarray) -> dict[str, object]:
    return {"times": Times(answers[:, 0], answers[:, 1] > 0, values[:, 0])}


def _of_ratings(rules: SubjectTable, answers: np.ndarray, values: np.ndarray) -> dict[str, object]:
    assert rules.low is not None
    assert rules.high is not None
    return {"ratings": Ratings(answers[:, 0], values[:, 0], rules.low, rules.high)}


_BUILD: dict[str, Callable[[SubjectTable, np.ndarray, np.ndarray], dict[str, object]]] = {
    "label": _of_labels,
    "score": _of_score,
    "probabilities": _of_probabilities,
    "time": _of_times,
    "rating": _of_ratings,
}
