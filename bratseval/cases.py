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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bratseval.blocks import Files, Side
from bratseval.challenge import Challenge
from bratseval.errors import Problem, ReferenceDataError, UsageError
from bratseval.inputs import example_name
from bratseval.model import Case, Part

IGNORED_NAMES = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|~.*|desktop\.ini", re.IGNORECASE)
IGNORED_FOLDERS = {"__MACOSX", ".idea", ".git", "__pycache__"}
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Found:
    """Files of one side by case id; a case with several files or a refused one has problems.

    parts: the further files of a case, those of the whole team under an empty case.
    """

    files: Mapping[str, Path]
    cohorts: Mapping[str, str]
    refused: Mapping[str, tuple[Problem, ...]]
    problems: tuple[Problem, ...]
    parts: Mapping[str, tuple[Part, ...]]


class _Name(NamedTuple):
    """What the name of a file says; role None for a prediction or reference."""

    role: str | None
    case: str = ""
    region: str = ""
    rater: str = ""
    cohort: str = ""


def list_files(root: Path) -> Iterator[tuple[Path, bool]]:
    """Every file below a folder with whether it is a symbolic link; links are never followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS and name not in linked)
        for name in sorted(names) + linked:
            if not IGNORED_NAMES.fullmatch(name):
                path = Path(folder, name)
                yield path, path.is_symlink()


def match_files(root: Path, files: Files, side: Side, *, team: str = "", only: Path | None = None) -> Found:
    """Assign the files below ``root`` (or ``only`` one of them) to case ids.

    Two files of one id (also by letter case, Unicode form or `.nii` beside `.nii.gz`) refuse the
    case; a symbolic link is refused, and a file that no pattern knows is a warning. The organizer's own
    folder is trusted: links are followed, and other files (the images) may lie beside the references.
    """
    trusted = side == "reference"
    patterns = _patterns(files, side)
    claims: dict[tuple[str | None, ...], list[tuple[_Name, Path, bool]]] = defaultdict(list)
    strays: list[Path] = []
    for path, is_link in [(only, only.is_symlink())] if only else list_files(root):
        name = _identify(path.relative_to(root), patterns)
        if name is None:
            if not any(re.fullmatch(pattern, path.name) for pattern in files.unread):
                strays.append(path)
            continue
        key = (name.role, name.case.casefold(), name.region.casefold(), name.rater)
        claims[key].append((name, path, is_link))
    spelling: dict[str, str] = {}
    cases: dict[str, Path] = {}
    cohorts: dict[str, str] = {}
    refused: dict[str, tuple[Problem, ...]] = {}
    parts: dict[str, list[Part]] = defaultdict(list)
    for entries in claims.values():
        name, path, _ = entries[0]
        case = spelling.setdefault(name.case.casefold(), name.case)
        faults = () if trusted and len(entries) == 1 else _faults(entries, case, team)
        if name.role is None:
            cases.setdefault(case, path)
            if name.cohort:
                cohorts[case] = name.cohort
        if name.role is None and not (name.region or name.rater):
            refused |= {case: faults} if faults else {}
        else:
            parts[case].append(Part(name.role or "", path, name.region, name.rater, faults))
    problems: list[Problem] = []
    if trusted and strays:
        message = f"{len(strays)} files beside the references are not read, such as {strays[0].name}"
        problems.append(
            Problem(
                "note", "SUB003", message, f"references are named like {example_name(files.reference[0])}"
            )
        )
    elif strays:
        known = [path.name for entries in claims.values() for _, path, _ in entries]
        problems += [_stray(path, team, known, files.prediction) for path in strays]
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
            return _Name(role, case, region, groups.get("rater", ""), groups.get("cohort", ""))
    return None


def _faults(entries: Sequence[tuple[_Name, Path, bool]], case: str, team: str) -> tuple[Problem, ...]:
    """Why files that claim one place must not be read."""
    name, path, _ = entries[0]
    what = f"case {case}" if case else "the team"
    if own := " ".join(filter(None, [name.role, name.region, name.rater])):
        what = f"{own} of {what}"
    if len(entries) > 1:
        names = " and ".join(str(entry[1]) for entry in entries)
        message = f"{len(entries)} files claim {what}: {names}"
        hint = "keep one file; none of them is scored"
        return (Problem("error", "SUB002", message, hint, team, case, str(path)),)
    if entries[0][2]:
        message = f"{path} is a symbolic link"
        return (Problem("error", "SUB005", message, "submit the file itself", team, case, str(path)),)
    return ()


def _stray(path: Path, team: str, known: Sequence[str], patterns: Sequence[str]) -> Problem:
    close = difflib.get_close_matches(path.name, known, n=1, cutoff=0.8)
    hint = f"names like {close[0]} are read" if close else f"expected a name like {example_name(patterns[0])}"
    kind = (
        "an archive inside the folder"
        if path.name.lower().endswith(ARCHIVES)
        else "no name of this challenge"
    )
    return Problem("warning", "SUB003", f"{path} is not read: {kind}", hint, team, file=str(path))


def find_references(challenge: Challenge, folder: Path) -> Found:
    """References by case id. Raises ReferenceDataError when the folder gives no usable case list."""
    if not folder.is_dir():
        raise ReferenceDataError(
            Problem("error", "SUB010", f"the reference folder {folder} does not exist", "check --references")
        )
    found = match_files(folder, challenge.files, "reference")
    refused = [*found.refused.values(), *(part.refused for parts in found.parts.values() for part in parts)]
    if any(refused):
        raise ReferenceDataError([problem for problems in refused for problem in problems])
    if not found.files:
        raise ReferenceDataError(
            Problem(
                "error",
                "SUB011",
                f"no reference of {challenge.name} in {folder}",
                f"expected file names like {example_name(challenge.files.reference[0])}",
            )
        )
    return found


def find_teams(submissions: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Team folders below ``--submissions`` by name, and problems of what is not a folder."""
    if not submissions.is_dir():
        raise UsageError(
            Problem(
                "error",
                "SUB012",
                f"the submissions folder {submissions} does not exist",
                "check --submissions",
            )
        )
    teams: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in sorted(submissions.iterdir()):
        if IGNORED_NAMES.fullmatch(path.name) or path.name in IGNORED_FOLDERS or path.name.startswith("."):
            continue
        if path.is_symlink():
            problems.append(
                Problem("error", "SUB005", f"{path} is a symbolic link", "copy the folder", file=str(path))
            )
        elif path.is_dir():
            teams[path.name] = path
        elif path.name.lower().endswith(ARCHIVES):
            problems.append(
                Problem("error", "ARC001", f"{path} is an archive", "unpack it into a folder of its own name")
            )
        else:
            problems.append(
                Problem(
                    "warning", "SUB003", f"{path} is not a team folder", "put each team's files into a folder"
                )
            )
    if not teams:
        raise UsageError(
            [
                *problems,
                Problem(
                    "error",
                    "SUB013",
                    f"no team folder in {submissions}",
                    "expected one folder a team: SUBMISSIONS/TEAM/files",
                ),
            ]
        )
    return teams, problems


def pair_cases(
    challenge: Challenge,
    references: Found,
    team: str,
    predictions: Found,
    institutions: Mapping[str, str],
    cohorts: Mapping[str, str],
) -> tuple[list[Case], list[Problem]]:
    """One Case per reference, in order of id, and the problems of this team's file names."""
    problems = list(predictions.problems)
    cases = []
    missing = []
    folded = {case.casefold(): case for case in (*predictions.files, *predictions.parts) if case}
    problems += [p for parts in predictions.parts.values() for part in parts for p in part.refused]
    for case, reference in sorted(references.files.items()):
        own = folded.pop(case.casefold(), None)
        refused = predictions.refused.get(own, ()) if own is not None else ()
        problems += refused
        prediction = None if own is None else predictions.files.get(own)
        if prediction is None:
            missing.append(case)
        cases.append(
            Case(
                team,
                case,
                reference.resolve(),
                prediction,
                institutions.get(case, ""),
                _cohort(challenge, case, references, predictions, cohorts),
                refused,
                tuple(replace(part, path=part.path.resolve()) for part in references.parts.get(case, ())),
                () if own is None else predictions.parts.get(own, ()),
            )
        )
    if missing:
        empty = ", an empty mask where nothing is found" if challenge.labels else ""
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


def team_case(challenge: Challenge, team: str, predictions: Found) -> tuple[Case, list[Problem]]:
    """What is scored once for a team: its own files; and a warning where it has none."""
    parts = predictions.parts.get("", ())
    refused = tuple(problem for part in parts for problem in part.refused)
    path = parts[0].path if parts else None
    case = Case(team, "", Path(), path, refused=refused, prediction_parts=parts)
    if parts:
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
