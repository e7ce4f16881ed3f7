"""One case from files to scores: what a worker process runs.

A case that cannot be scored is an outcome, not an exception: it takes the challenge's penalty and
its problems say why.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import InputError, Problem
from bratseval.images import Grid, LabelImage, geometry_problems, read_labels
from bratseval.model import Case, CaseResult, InputFile, Score
from bratseval.policy import by_rule, unscored_case
from bratseval.regions import Prepared, prepare
from bratseval.resample import resample_nearest
from bratseval.tasks import segmentation


@dataclass(frozen=True, slots=True)
class Rules:
    """What every case of a run is scored under."""

    rulebook: Rulebook
    geometry: str = ""  # overrides the challenge's geometry policy


def score_case(rules: Rules, case: Case) -> CaseResult:
    """Read, check and score one case; never raises for what is wrong with its files."""
    challenge = rules.rulebook.rules_of(case.cohort)
    try:
        reference, reference_file, reference_problems = _reference(case.reference, challenge)
    except InputError as error:
        hint = "the organizer must repair the reference"
        unusable = [replace(p, code="SUB014", case=case.case, hint=hint) for p in error.problems]
        scores = tuple(
            by_rule(region, column, None, "not_applicable", "the reference cannot be read")
            for region in challenge.scored_regions
            for column in challenge.metrics
        )
        return _result(rules, case, challenge, scores, problems=tuple(unusable))
    problems = [replace(problem, case=case.case) for problem in reference_problems]
    inputs = [reference_file]
    grid = reference.grid
    if case.refused or case.prediction is None:
        status = "invalid" if case.refused else "missing"
        reason = case.refused[0].message if case.refused else "no prediction was submitted"
        scores = unscored_case(challenge, status, reason, grid.shape)
        return _result(rules, case, challenge, scores, tuple(problems), tuple(inputs))
    try:
        inputs.append(_digest("prediction", case.prediction))
        image = _read(case.prediction, challenge)
        problems += [replace(note, team=case.team, case=case.case) for note in image.notes]
        problems += _unknown_labels(image, case, challenge)
        prediction = prepare(
            _check_geometry(rules, challenge, case, grid, image, problems), challenge, "prediction"
        )
    except InputError as error:
        refusal = [replace(problem, team=case.team, case=case.case) for problem in error.problems]
        scores = unscored_case(challenge, "invalid", refusal[0].message, grid.shape)
        return _result(rules, case, challenge, scores, (*problems, *refusal), tuple(inputs))
    scored, lesions = segmentation.score_case(reference, prediction, challenge)
    result = _result(rules, case, challenge, tuple(scored), tuple(problems), tuple(inputs))
    return replace(result, lesions=tuple(lesions))


def _result(
    rules: Rules,
    case: Case,
    challenge: Challenge,
    scores: tuple[Score, ...],
    problems: tuple[Problem, ...] = (),
    inputs: tuple[InputFile, ...] = (),
) -> CaseResult:
    """The result with a not_applicable row for every region and metric of other cohorts."""
    given = {(score.region, score.metric) for score in scores}
    others = tuple(
        by_rule(region, metric, None, "not_applicable", f"not scored in cohort {case.cohort}")
        for region in rules.rulebook.regions
        for metric in rules.rulebook.metrics
        if (region, metric) not in given
    )
    return CaseResult(case, scores + others, problems=problems, inputs=inputs)


@lru_cache(maxsize=2)
def _reference(path: Path, challenge: Challenge) -> tuple[Prepared, InputFile, tuple[Problem, ...]]:
    """The prepared reference, kept for the next team: cases are handed out case by case."""
    image = _read(path, challenge)
    file = _digest("reference", path)
    return prepare(image, challenge, "reference"), file, image.notes


def _read(path: Path, challenge: Challenge) -> LabelImage:
    image = read_labels(path, {*challenge.labels.values(), *challenge.remap}, challenge.unknown_labels)
    if challenge.geometry.spacing_from == "affine":
        lengths = np.sqrt((image.grid.affine[:3, :3] ** 2).sum(axis=0))
        x_mm, y_mm, z_mm = (float(np.float32(length)) for length in lengths)
        image = replace(image, grid=replace(image.grid, spacing_mm=(x_mm, y_mm, z_mm)))
    if not challenge.remap:
        return image
    table = np.arange(256, dtype=np.uint8)
    table[list(challenge.remap)] = list(challenge.remap.values())
    return replace(image, labels=table[image.labels])


def _digest(role: str, path: Path) -> InputFile:
    """Digest of a regular file, refused as the reader would refuse it."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            message, hint = f"{path}: this is not a regular file", "submit the file itself"
            raise InputError(Problem("error", "NII001", message, hint, file=str(path)))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return InputFile(role, path.name, file.tell(), digest)
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror})"
        raise InputError(Problem("error", "NII001", message, "check the file", file=str(path))) from None


def _unknown_labels(image: LabelImage, case: Case, challenge: Challenge) -> list[Problem]:
    if not image.unknown:
        return []
    found = ", ".join(f"{value:g} ({count} voxels)" for value, count in sorted(image.unknown.items())[:10])
    allowed = ", ".join(map(str, (0, *sorted(challenge.labels.values()))))
    return [
        Problem(
            "warning",
            "LBL001",
            f"labels {found} are not in {{{allowed}}}; counted as background",
            "export with the labels of this edition, or set labels and remap in the YAML",
            case.team,
            case.case,
            str(case.prediction),
        )
    ]


def _check_geometry(
    rules: Rules, challenge: Challenge, case: Case, grid: Grid, image: LabelImage, problems: list[Problem]
) -> LabelImage:
    """Refuse another grid, resample onto it, or ignore all but the shape, as the policy says."""
    policy = rules.geometry or challenge.geometry.policy
    found = geometry_problems(grid, image.grid, challenge.geometry.tolerance)
    placed = [replace(p, team=case.team, case=case.case, file=str(case.prediction)) for p in found]
    resized = any(problem.code == "GEO001" for problem in placed)
    if placed and (policy == "strict" or (policy == "ignore" and resized)):
        raise InputError(placed)
    problems += [
        replace(p, severity="warning", hint=f"scored all the same: geometry is {policy}") for p in placed
    ]
    return resample_nearest(image, grid) if placed and policy == "resample" else image
