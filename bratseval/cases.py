"""Folders to cases: which file belongs to which case, and everything that is wrong with the names.

The references (or the case list) define the expected cases; every one of them gives a Case for
every team, whether or not a usable prediction exists.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bratseval.archives import MOST_LEVELS, OTHER_SUFFIXES, SUFFIXES, ArchiveLimits, Entry, list_archive
from bratseval.blocks import Files, Side
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem, ReferenceDataError, UsageError
from bratseval.inputs import example_name
from bratseval.model import Case, Part

IGNORED_NAMES = re.compile(
    r"\.DS_Store|\._.*|Thumbs\.db|~.*|desktop\.ini|\.git(?:ignore|attributes|keep)", re.IGNORECASE
)
IGNORED_FOLDERS = {"__MACOSX", ".idea", ".git", ".github", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Found:
    """Files of one side by case id; a case with several files or a refused one has problems.

    files: None where only a list names the case. parts: the further files of a case, those of the whole team
    under an empty case. unusable: why nothing of a submission can be read, so that every case takes the
    penalty.
    """

    files: Mapping[str, Path | None] = field(default_factory=dict)
    cohorts: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    unusable: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """What a team handed in: a folder, an archive or one CSV file, and why none of it may be read."""

    team: str
    path: Path
    refused: tuple[Problem, ...] = ()


class _Name(NamedTuple):
    """What the name of a file says; role None for a prediction or reference."""

    role: str | None
    case: str = ""
    region: str = ""
    rater: str = ""
    cohort: str = ""


def list_files(root: Path) -> Iterator[Entry]:
    """Every file below a folder; links are never followed."""
    levels = len(root.parts) + MOST_LEVELS
    unreadable: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=unreadable.append, followlinks=False):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS and name not in linked)
        if folders and len(Path(folder).parts) >= levels:
            message = f"{folder} lies more than {MOST_LEVELS} folders deep; what is below it is not read"
            yield Entry(Path(folder), Problem("warning", "SUB003", message, "move the files up"))
            folders.clear()
        for name in sorted(names) + linked:
            path = Path(folder, name)
            yield Entry(path, _link(path, "submit the file itself") if path.is_symlink() else None)
    for error in unreadable:
        message = f"the folder {error.filename} cannot be read ({error.strerror})"
        problem = Problem("error", "SUB009", message, "make it readable", file=str(error.filename))
        yield Entry(Path(error.filename), problem)


def read_submission(submission: Submission, files: Files, limits: ArchiveLimits) -> Found:
    """The files of a team by case id, of a folder, an archive or one CSV file."""
    path, team = submission.path, submission.team
    try:
        if submission.refused:
            raise InputError(submission.refused)
        if path.is_dir():
            return match_files(path, list_files(path), files, "prediction", team=team)
        if is_archive(path):
            return match_files(path, list_archive(path, limits), files, "prediction", team=team)
        return match_files(path.parent, [Entry(path)], files, "prediction", team=team)
    except InputError as error:
        return Found(unusable=tuple(replace(problem, team=team) for problem in error.problems))


def team_name(path: Path) -> str:
    """The name of a folder, or of an archive or a table without its ending."""
    suffix = archive_suffix(path) or (".csv" if is_table(path) else "")
    stem = path.name[: len(path.name) - len(suffix)]
    return path.name if path.is_dir() or not stem else stem


def archive_suffix(path: Path) -> str:
    """The ending by which a file is an archive, of a kind that is read or another; else nothing."""
    name = path.name.lower()
    return next((suffix for suffix in (*SUFFIXES, *OTHER_SUFFIXES) if name.endswith(suffix)), "")


def is_table(path: Path) -> bool:
    """Whether a file is named like a table."""
    return path.name.lower().endswith(".csv")


def is_archive(path: Path) -> bool:
    """Whether a file is named like an archive that is read."""
    return archive_suffix(path) in SUFFIXES


def _link(path: Path, hint: str) -> Problem:
    return Problem("error", "SUB005", f"{path} is a symbolic link", hint, file=str(path))


def _ignored(path: Path) -> bool:
    """Whether a path below the root is what systems and editors leave behind."""
    return IGNORED_NAMES.fullmatch(path.name) is not None or not IGNORED_FOLDERS.isdisjoint(path.parts[:-1])


def match_files(root: Path, entries: Iterable[Entry], files: Files, side: Side, *, team: str = "") -> Found:
    """Assign files below ``root`` to case ids.

    Two files of one id (also by letter case, Unicode form or `.nii` beside `.nii.gz`) refuse the case, as
    does the fault of a file; a hidden file, or one that no pattern knows, is a warning. The organizer's own
    folder is trusted: links are followed, and other files (the images) may lie beside the references.
    """
    trusted = side == "reference"
    patterns = _patterns(files, side)
    claims: dict[tuple[str | None, ...], list[tuple[_Name, Entry]]] = defaultdict(list)
    strays: list[Path] = []
    problems: list[Problem] = []
    for entry in entries:
        path = entry.path.relative_to(root)
        if _ignored(path):
            continue
        hidden = any(part.startswith(".") for part in path.parts)
        name = None if hidden else _identify(path, patterns)
        if name is not None:
            key = (name.role, name.case.casefold(), name.region.casefold(), name.rater)
            claims[key].append((name, entry))
        elif entry.fault and not trusted:
            problems.append(replace(entry.fault, team=team))
        elif not any(re.fullmatch(pattern, path.name) for pattern in files.unread):
            strays.append(entry.path)
    spelling: dict[str, str] = {}
    cases: dict[str, Path | None] = {}
    cohorts: dict[str, str] = {}
    refused: dict[str, tuple[Problem, ...]] = {}
    parts: dict[str, list[Part]] = defaultdict(list)
    for claimed in claims.values():
        name, path = claimed[0][0], claimed[0][1].path
        case = spelling.setdefault(name.case.casefold(), name.case)
        faults = () if trusted and len(claimed) == 1 else _faults(claimed, case, team, trusted)
        if name.role is None:
            cases.setdefault(case, path)
            if name.cohort:
                cohorts[case] = name.cohort
        if name.role is None and not (name.region or name.rater):
            refused |= {case: faults} if faults else {}
        else:
            parts[case].append(Part(name.role or "", path, name.region, name.rater, faults))
    if trusted and strays:
        message = f"{len(strays)} files beside the references are not read, such as {strays[0].name}"
        problems.append(
            Problem(
                "note", "SUB003", message, f"references are named like {example_name(files.reference[0])}"
            )
        )
    elif strays:
        known = [entry.path.name for claimed in claims.values() for _, entry in claimed]
        wanted = [*files.prediction, *(one for patterns_of in files.team.values() for one in patterns_of)]
        problems += [_stray(path, team, known, wanted) for path in strays]
    ordered = {
        case: tuple(sorted(found, key=lambda part: (part.role, part.region, part.rater)))
        for case, found in parts.items()
    }
    return Found(cases, cohorts, refused, tuple(problems), ordered)


def _patterns(files: Files, side: Side) -> list[tuple[str | None, re.Pattern[str]]]:
    """Every pattern of one side with its role, in the order in which they are tried."""
    primary, parts = (
        (files.prediction, files.prediction_parts | files.team)
        if side == "prediction"
        else (files.reference, files.reference_parts)
    )
    listed = [(None, one) for one in primary] + [(role, one) for role in parts for one in parts[role]]
    return [(role, re.compile(f"(?:.*?/)??(?:{one})" if "/" in one else one)) for role, one in listed]


def _identify(path: Path, patterns: Sequence[tuple[str | None, re.Pattern[str]]]) -> _Name | None:
    """What the name (or, for a pattern with a /, the path below the root) says."""
    whole = unicodedata.normalize("NFC", path.as_posix())
    for role, pattern in patterns:
        if found := pattern.fullmatch(whole if "/" in pattern.pattern else whole.rpartition("/")[2]):
            groups = {name: text for name, text in found.groupdict().items() if text}
            dataset = [groups["dataset"]] if "dataset" in groups else []
            case, region = (
                "-".join([*dataset, groups[name]]) if name in groups else "" for name in ("case", "region")
            )
            rater = groups.get("rater") or groups.get("subject", "")
            return _Name(role, case, region, rater, groups.get("cohort", ""))
    return None


def _faults(
    claimed: Sequence[tuple[_Name, Entry]], case: str, team: str, trusted: bool
) -> tuple[Problem, ...]:
    """Why files that claim one place must not be read."""
    name, entry = claimed[0]
    what = f"case {case}" if case else "the one table of references" if trusted else "the team"
    if own := " ".join(filter(None, [name.role, name.region, name.rater])):
        what = f"{own} of {what}"
    if len(claimed) > 1:
        names = " and ".join(str(other.path) for _, other in claimed)
        message = f"{len(claimed)} files claim {what}: {names}"
        hint = "keep one file; none of them is scored"
        if trusted:
            hint = "keep one file" if case else f"keep one file, or give it itself: --references {entry.path}"
        return (Problem("error", "SUB002", message, hint, team, case, str(entry.path)),)
    return () if entry.fault is None else (replace(entry.fault, team=team, case=case),)


def _stray(path: Path, team: str, known: Sequence[str], patterns: Sequence[str]) -> Problem:
    close = difflib.get_close_matches(path.name, known, n=1, cutoff=0.8)
    hint = f"names like {close[0]} are read" if close else f"expected a name like {example_name(patterns[0])}"
    kind = "no name of this challenge"
    if path.name.startswith("."):
        kind, hint = "a hidden file", "rename it"
    elif _only_by_case(path, patterns):
        kind, hint = "capital letters where small ones are read, or the reverse", f"{hint}; rename it"
    elif is_archive(path):
        kind = "an archive inside the submission"
    return Problem("warning", "SUB003", f"{path} is not read: {kind}", hint, team, file=str(path))


def _only_by_case(path: Path, patterns: Iterable[str]) -> bool:
    """Whether a name would be read if capitals did not matter."""
    return any(re.fullmatch(pattern, path.name, re.IGNORECASE) for pattern in patterns)


def find_references(challenge: Challenge, folder: Path) -> Found:
    """References by case id, of a folder or, where one table holds all answers, of that file.

    Raises ReferenceDataError when there is no usable case list.
    """
    alone = challenge.task == "table" and folder.is_file()
    if not (alone or folder.is_dir()):
        kind = "is no folder" if folder.exists() else "does not exist"
        message = f"the reference folder {folder} {kind}"
        raise ReferenceDataError(Problem("error", "SUB010", message, "check --references"))
    entries = [Entry(folder)] if alone else list(list_files(folder))
    folder = folder.parent if alone else folder
    if unreadable := [entry.fault for entry in entries if entry.fault and entry.fault.code == "SUB009"]:
        raise ReferenceDataError(unreadable)
    found = match_files(folder, entries, challenge.files, "reference")
    refused = [*found.refused.values(), *(part.refused for parts in found.parts.values() for part in parts)]
    if any(refused):
        raise ReferenceDataError([problem for problems in refused for problem in problems])
    if not found.files and alone:
        path, patterns = entries[0].path, challenge.files.reference
        message = f"{path} is not named like the reference table of {challenge.name}"
        if _only_by_case(path, patterns):
            message += ", but for small and capital letters"
        hint = f"give a CSV file named like {example_name(patterns[0])}, or the folder that holds it"
        raise ReferenceDataError(Problem("error", "SUB011", message, hint, file=str(path)))
    if not found.files:
        raise ReferenceDataError(
            Problem(
                "error",
                "SUB011",
                f"no reference of {challenge.name} in {folder}",
                f"expected file names like {example_name(challenge.files.reference[0])}",
            )
        )
    if headless := sorted(set(found.parts) - set(found.files)):
        names = ", ".join(headless[:10]) + (f", and {len(headless) - 10} more" if len(headless) > 10 else "")
        message = (
            f"{len(headless)} cases have files beside a reference that is not there ({names}); not scored"
        )
        hint = f"expected a name like {example_name(challenge.files.reference[0], headless[0])}"
        return replace(found, problems=(*found.problems, Problem("error", "SUB014", message, hint)))
    return found


def listed_cases(cases: Iterable[str]) -> Found:
    """Cases that are known by their ids alone."""
    return Found(dict.fromkeys(cases))


def find_teams(
    submissions: Path, output: Path, *, tables: bool = False
) -> tuple[list[Submission], list[Problem]]:
    """Every folder and archive of ``--submissions`` but the output; and problems of what is neither.

    tables: a team may also be one CSV file.
    """
    if not submissions.is_dir():
        raise UsageError(
            Problem(
                "error",
                "SUB012",
                f"the submissions folder {submissions} does not exist",
                "check --submissions",
            )
        )
    given: dict[str, list[Path]] = {}
    problems: list[Problem] = []
    for path in sorted(submissions.iterdir()):
        if IGNORED_NAMES.fullmatch(path.name) or path.name in IGNORED_FOLDERS or path.name.startswith("."):
            continue
        if path.resolve() == output.resolve():
            continue
        if path.is_dir() or archive_suffix(path) or (tables and is_table(path)):
            given.setdefault(team_name(path), []).append(path)
        else:
            hint = "put each team's files into a folder or an archive"
            problems.append(Problem("warning", "SUB003", f"{path} is no team's folder or archive", hint))
    if not given:
        raise UsageError(
            [
                *problems,
                Problem(
                    "error",
                    "SUB013",
                    f"no team folder in {submissions}",
                    "expected one folder or archive a team: SUBMISSIONS/TEAM/files, SUBMISSIONS/TEAM.zip",
                ),
            ]
        )
    return [Submission(team, paths[0], unusable(paths)) for team, paths in given.items()], problems


def unusable(paths: Sequence[Path]) -> tuple[Problem, ...]:
    """Why what a team handed in must not be read: it did so twice, or in an archive of another kind."""
    path = paths[0]
    if len(paths) > 1:
        message = f"the team is given {len(paths)} times: {' and '.join(map(str, paths))}"
        return (Problem("error", "SUB002", message, "keep one; none of them is scored", file=str(path)),)
    if path.is_symlink():
        return (_link(path, "copy what it points to"),)
    if not path.is_dir() and archive_suffix(path) in OTHER_SUFFIXES:
        message, hint = f"{path} is an archive of a kind that is not read", "expected .zip, .tar or .tar.gz"
        if path.suffixes[-2:-1] in ([".nii"], [".csv"]):
            message = f"{path} is a single compressed file, not what a team hands in"
            hint = "unpack it" if ".csv" in path.suffixes else "give the folder that holds it, or an archive"
        return (Problem("error", "ARC001", message, hint, file=str(path)),)
    return ()


def pair_cases(
    challenge: Challenge,
    references: Found,
    team: str,
    predictions: Found,
    institutions: Mapping[str, str],
    cohorts: Mapping[str, str],
) -> tuple[list[Case], list[Problem]]:
    """One Case per reference, in order of id, and the problems of this team's file names."""
    problems = [*predictions.problems, *predictions.unusable]
    cases = []
    missing = []
    folded = {case.casefold(): case for case in (*predictions.files, *predictions.parts) if case}
    problems += [p for parts in predictions.parts.values() for part in parts for p in part.refused]
    for case, reference in sorted(references.files.items()):
        if not case:  # the one table
            continue
        own = folded.pop(case.casefold(), None)
        refused = predictions.refused.get(own, ()) if own is not None else ()
        problems += refused
        refused = predictions.unusable or refused
        prediction = None if own is None else predictions.files.get(own)
        if prediction is None and not refused:
            missing.append(case)
        cases.append(
            Case(
                team,
                case,
                None if reference is None else reference.resolve(),
                prediction,
                institutions.get(case, ""),
                _cohort(challenge, case, references, predictions, cohorts),
                refused,
                tuple(replace(part, path=part.path.resolve()) for part in references.parts.get(case, ())),
                () if own is None else predictions.parts.get(own, ()),
            )
        )
    if missing:
        masks = challenge.labels and challenge.task != "synthesis"
        empty = ", an empty mask where nothing is found" if masks else ""
        shown = ", ".join(missing[:20]) + (f", and {len(missing) - 20} more" if len(missing) > 20 else "")
        problems.append(
            Problem(
                "warning",
                "SUB004",
                f"{len(missing)} of {len(cases)} cases missing ({shown}); penalized",
                f"submit a file for every case{empty}",
                team,
            )
        )
    for case in folded.values():
        path = predictions.files[case] if case in predictions.files else predictions.parts[case][0].path
        message = f"{path} belongs to no expected case ({case}); not scored"
        hint = _nearest_case(case, references.files)
        problems.append(Problem("warning", "SUB006", message, hint, team, case, str(path)))
    return cases, problems


def team_case(
    challenge: Challenge, reference: Path | None, team: str, predictions: Found
) -> tuple[Case, list[Problem]]:
    """What is scored once for a team: its own files; and a warning where it has none."""
    parts = predictions.parts.get("", ())
    whole = [part for part in parts if not part.rater]  # not the file of one subject
    refused = predictions.unusable or tuple(problem for part in whole for problem in part.refused)
    path = parts[0].path if parts else None
    reference = None if reference is None else reference.resolve()
    case = Case(team, "", reference, path, refused=refused, prediction_parts=parts)
    if parts or refused:
        return case, []
    metrics = ", ".join(challenge.team_metrics)
    message = f"the team's own file is missing; {metrics} takes the penalty"
    hint = f"expected a name like {example_name(next(iter(challenge.files.team.values()))[0])}"
    return case, [Problem("warning", "SUB007", message, hint, team)]


def _nearest_case(case: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(case, list(known), n=1)
    return f"did you mean {close[0]}?" if close else "the references define the expected cases"


def _cohort(
    challenge: Challenge, case: str, references: Found, predictions: Found, table: Mapping[str, str]
) -> str:
    if challenge.cohorts is None:
        return ""
    named = table.get(case) or references.cohorts.get(case) or predictions.cohorts.get(case)
    return named or challenge.cohorts.default
