"""The files, rules and numbers of cases of a result folder."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bratseval.archives import ArchiveLimits
from bratseval.cases import (
    Found,
    Submission,
    archive_suffix,
    find_references,
    list_files,
    pair_cases,
    read_submission,
    unusable,
)
from bratseval.challenge import Challenge, Rulebook
from bratseval.detail_table import DetailTable
from bratseval.errors import BratsevalError, Problem, UsageError, in_order, printable
from bratseval.metadata import Metadata, read_metadata
from bratseval.model import Case, Score
from bratseval.pictures.model import CaseRecord
from bratseval.results import Results
from bratseval.scoring import with_geometry
from bratseval.sources import Source
from bratseval.tables import (
    DETAIL_COLUMNS,
    INPUT_COLUMNS,
    PROBLEM_COLUMNS,
    SCORE_COLUMNS,
    finite,
    read_columns,
    unescaped,
)

SHOWN_TABLES = ("curves.csv", "landmarks.csv")  # what pictures have beside masks and images
Pair = tuple[str, str]  # team and case, as the tables name them
IMAGES = (".nii", ".nii.gz", ".png", ".jpg", ".jpeg")
MOVED = "give --references and --predictions, where the files are now"


@dataclass(frozen=True, slots=True)
class CaseFiles:
    """A case with the rules that score it."""

    challenge: Challenge
    case: Case


def records_of(results: Results, wanted: Collection[Pair]) -> dict[Pair, CaseRecord]:
    """What results `as_read` say of some cases: what `read_records` gives, without reading them again."""
    pairs = set(wanted)
    of_teams = pairs | {(team, "") for team, _ in pairs}
    of_both = pairs | {("", case) for _, case in pairs}
    table = results.scores
    chosen = table.team.where({team for team, _ in pairs}.__contains__)
    chosen &= table.case.where({case for _, case in pairs}.__contains__)
    scores: dict[Pair, list[Score]] = {}
    for row in table.take(chosen):
        if (row.team, row.case) in pairs:
            value, measured = (one if one is None else finite(one) for one in (row.value, row.measured))
            score = Score(row.region, row.metric, value, measured, row.status, row.reason)
            scores.setdefault((row.team, row.case), []).append(score)
    details: dict[Pair, dict[str, list[tuple[str, ...]]]] = {}
    for name in SHOWN_TABLES:
        cases = results.details[name].cases if name in results.details else ()
        for team, case, *cells in DetailTable([one for one in cases if one[:2] in pairs]).rows():
            details.setdefault((team, case), {}).setdefault(name, []).append(tuple(cells))
    return _records(
        scores,
        details,
        (one for one in in_order(results.problems) if (one.team, one.case) in of_teams),
        (tuple(map(str, row)) for row in results.inputs if row[:2] in of_both),
    )


def read_records(folder: Path, wanted: Collection[Pair]) -> dict[Pair, CaseRecord]:
    """What the tables say of some cases; those without a score are left out. Raises UsageError."""
    pairs = set(wanted)
    scores: dict[Pair, list[Score]] = {}
    for team, case, region, metric, value, measured, status, reason in _rows(
        folder / "scores.csv", tuple(name for name in SCORE_COLUMNS if name != "institution"), pairs
    ):
        score = Score(region, metric, _number(value), _number(measured), status, reason)
        scores.setdefault((team, case), []).append(score)
    details: dict[Pair, dict[str, list[tuple[str, ...]]]] = {}
    for table in SHOWN_TABLES:
        if (folder / table).is_file():
            for team, case, *cells in _rows(folder / table, ("team", "case", *DETAIL_COLUMNS[table]), pairs):
                details.setdefault((team, case), {}).setdefault(table, []).append(tuple(cells))
    of_teams = pairs | {(team, "") for team, _ in pairs}
    problems: list[Problem] = []
    if (folder / "problems.csv").is_file():
        columns = ("team", "case", *(name for name in PROBLEM_COLUMNS if name not in ("team", "case")))
        for cells in _rows(folder / "problems.csv", columns, of_teams):
            problems.append(Problem(**dict(zip(columns, cells, strict=True))))  # type: ignore[arg-type]
    inputs: list[tuple[str, ...]] = []
    if (folder / "inputs.csv").is_file():
        of_both = pairs | {("", case) for _, case in pairs}
        inputs += map(tuple, _rows(folder / "inputs.csv", INPUT_COLUMNS, of_both))
    return _records(scores, details, problems, inputs)


def _records(
    scores: Mapping[Pair, Sequence[Score]],
    details: Mapping[Pair, Mapping[str, Sequence[tuple[str, ...]]]],
    problems: Iterable[Problem],
    inputs: Iterable[tuple[str, ...]],
) -> dict[Pair, CaseRecord]:
    """The records of all cases that have a score."""
    told: dict[Pair, list[Problem]] = {}
    for problem in problems:
        told.setdefault((problem.team, problem.case), []).append(problem)
    files: dict[Pair, set[tuple[str, ...]]] = {}
    for team, case, *cells in inputs:
        files.setdefault((team, case), set()).add(tuple(cells))
    return {
        pair: CaseRecord(
            tuple(rows),
            (*told.get(pair, ()), *told.get((pair[0], ""), ())),
            {table: tuple(found) for table, found in details.get(pair, {}).items()},
            frozenset(files.get(("", pair[1]), set()) | files.get(pair, set())),
        )
        for pair, rows in scores.items()
    }


def _rows(path: Path, columns: Sequence[str], pairs: Collection[Pair]) -> Iterator[list[str]]:
    """Rows of the wanted teams and cases, the first two columns; the others are not even unescaped."""
    places = (columns.index("team"), columns.index("case"))
    for line in read_columns(path, columns):
        if (unescaped(line[places[0]]), unescaped(line[places[1]])) in pairs:
            yield [unescaped(cell) for cell in line]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def find_cases(
    rulebook: Rulebook,
    wanted: Collection[Pair],
    sources: Sequence[Source],
    archives: ArchiveLimits,
    unknown: str,
) -> dict[Pair, CaseFiles | Problem]:
    """The files of cases, matched by name as for scoring; or why there are none.

    unknown : why there are no sources, for a sentence.
    """
    found: dict[Pair, CaseFiles | Problem] = {}
    if not sources:
        message = f"the results do not say where the files are ({unknown})"
        return dict.fromkeys(wanted, Problem("error", "PIC002", message, MOVED))
    for source in sources:
        challenge = rulebook.challenge
        references: Found | Problem = _references(challenge, source)
        cohorts = _cohorts(challenge, source)
        by_team: dict[str, list[Pair]] = {}
        for pair in wanted:
            if not isinstance(found.get(pair), CaseFiles):
                by_team.setdefault(pair[0], []).append(pair)
        for team, pairs in by_team.items():
            of_team = _cases_of(rulebook, source, references, team, cohorts, archives)
            for pair in pairs:
                one = of_team if isinstance(of_team, Problem) else of_team.get(pair[1])
                found[pair] = one or found.get(pair) or _absent(pair, source)
    return found


def _references(challenge: Challenge, source: Source) -> Found | Problem:
    if source.references is None:
        return Problem("error", "PIC002", "the results do not say where the references are", MOVED)
    try:
        return find_references(challenge, source.references)
    except BratsevalError as error:
        return Problem("error", "PIC002", error.problems[0].message, MOVED)


def _cohorts(challenge: Challenge, source: Source) -> Mapping[str, str]:
    """Cohorts by case of --metadata; without the table those that the names of files say."""
    if challenge.cohorts is None or source.metadata is None:
        return {}
    try:
        metadata: Metadata = read_metadata(challenge, source.metadata)
    except BratsevalError:
        return {}
    return metadata.cohorts


def _cases_of(
    rulebook: Rulebook,
    source: Source,
    references: Found | Problem,
    team: str,
    cohorts: Mapping[str, str],
    archives: ArchiveLimits,
) -> dict[str, CaseFiles] | Problem:
    """The cases of a team by the name that the tables have."""
    if isinstance(references, Problem):
        return references
    challenge = rulebook.challenge
    path = source.submissions.get(team)
    if path is None:
        message = f"the results do not say where the files of team {team} are"
        return Problem("error", "PIC002", message, MOVED, team)
    if not path.exists():
        return Problem("error", "PIC002", f"{path}, what team {team} handed in, is not there", MOVED, team)
    refused = unusable([path]) if archive_suffix(path) or path.is_symlink() else ()
    submission = Submission(team, path, refused)
    predictions = read_submission(submission, challenge.files, archives)
    cases, _ = pair_cases(challenge, references, team, predictions, {}, cohorts)
    return {
        printable(case.case): CaseFiles(
            with_geometry(rulebook.rules_of(case.cohort), source.geometry), replace(case, team=team)
        )
        for case in cases
    }


def _absent(pair: Pair, source: Source) -> Problem:
    team, case = pair
    message = f"no reference of case {case} is in {source.references}"
    return Problem("error", "PIC002", message, MOVED, team, case)


def unknown_pair(folder: Path, pair: Pair) -> UsageError:
    """The error of a team or a case that has no score in a result folder, with the nearest that has."""
    known: dict[str, set[str]] = {}
    for team, case in read_columns(folder / "scores.csv", ("team", "case")):
        known.setdefault(unescaped(team), set()).add(unescaped(case))
    what, given, names = ("team", pair[0], [*known])
    if pair[0] in known:
        what, given, names = ("case", pair[1], sorted(known[pair[0]]))
    close = difflib.get_close_matches(given, names, n=1)
    shown = f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
    hint = f"did you mean {close[0]!r}?" if close else f"known: {shown}"
    message = f"{folder} has no scores of {what} {given}" + (f" of team {pair[0]}" if what == "case" else "")
    return UsageError(Problem("error", "PIC001", message, hint))


def image_of(images: Path, case: Case, challenge: Challenge, modality: str = "") -> Path:
    """The anatomy of a case: the file itself, or the one in a folder whose name holds the case's id.

    modality : what the name must hold where several do. Raises UsageError where it is not exactly one.
    """
    if images.is_file():
        return images
    if not images.is_dir():
        message = f"the image {images} does not exist"
        raise UsageError(Problem("error", "PIC004", message, "check --image", file=str(images)))
    whole_word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(case.case)}(?![A-Za-z0-9])")
    masks = [re.compile(one.rpartition("/")[2]) for one in challenge.files.reference]
    known = {case.reference, *(part.path for part in case.reference_parts if part.role != "image")}
    found = [
        entry.path
        for entry in list_files(images)
        if entry.fault is None
        and entry.path.name.lower().endswith(IMAGES)
        and whole_word.search(entry.path.name)
        and entry.path.resolve() not in known
        and not any(mask.fullmatch(entry.path.name) for mask in masks)
    ]
    chosen = [path for path in found if modality.lower() in path.name.lower()] if modality else found
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(sorted(path.name for path in chosen or found)[:10])
    if chosen:
        message = f"{len(chosen)} images in {images} are of case {case.case}: {names}"
        hint = "choose one by a part of its name, --modality t1c, or name the file itself"
    elif found:
        message = f"no image of case {case.case} in {images} has {modality!r} in its name, only {names}"
        hint = "name another --modality"
    else:
        message = f"no image in {images} has {case.case} in its name"
        hint = f"name the file itself; files that end in {', '.join(IMAGES)} are looked at"
    raise UsageError(Problem("error", "PIC004", message, hint, case=case.case, file=str(images)))
