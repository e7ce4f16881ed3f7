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
from dataclasses import dataclass
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import Problem, ReferenceDataError, UsageError
from bratseval.model import Case

IGNORED_NAMES = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|~.*|desktop\.ini", re.IGNORECASE)
IGNORED_FOLDERS = {"__MACOSX", ".idea", ".git", "__pycache__"}
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Found:
    """Files of one side by case id; a case with several files or a refused one has problems."""

    files: Mapping[str, Path]
    cohorts: Mapping[str, str]
    refused: Mapping[str, tuple[Problem, ...]]
    problems: tuple[Problem, ...]


def list_files(root: Path) -> Iterator[tuple[Path, bool]]:
    """Every file below a folder with whether it is a symbolic link; links are never followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name not in IGNORED_FOLDERS and name not in linked)
        for name in sorted(names) + linked:
            if not IGNORED_NAMES.fullmatch(name):
                path = Path(folder, name)
                yield path, path.is_symlink()


def match_files(root: Path, patterns: Sequence[str], *, team: str = "", trusted: bool = False) -> Found:
    """Assign the files below ``root`` to case ids.

    Two files of one id (also by letter case, Unicode form or `.nii` beside `.nii.gz`) refuse the
    case; a symbolic link is refused, and a file that no pattern knows is a warning. The organizer's own
    folder is ``trusted``: links are followed, and other files (the images) may lie beside the references.
    """
    compiled = [re.compile(pattern) for pattern in patterns]
    by_key: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    cohorts: dict[str, str] = {}
    refused: dict[str, tuple[Problem, ...]] = {}
    problems: list[Problem] = []
    strays: list[Path] = []
    for path, is_link in list_files(root):
        name = unicodedata.normalize("NFC", path.name)
        found = next((m for pattern in compiled if (m := pattern.fullmatch(name))), None)
        if found is None:
            strays.append(path)
            continue
        case = found["case"]
        by_key[case.casefold()].append((case, path))
        if found.groupdict().get("cohort"):
            cohorts[case] = found["cohort"]
        if is_link and not trusted:
            refused[case] = (
                Problem(
                    "error",
                    "SUB005",
                    f"{path} is a symbolic link",
                    "submit the file itself",
                    team,
                    case,
                    str(path),
                ),
            )
    files: dict[str, Path] = {}
    for entries in by_key.values():
        case, path = entries[0]
        files[case] = path
        if len(entries) > 1:
            names = " and ".join(str(entry[1]) for entry in entries)
            refused[case] = (
                Problem(
                    "error",
                    "SUB002",
                    f"{len(entries)} files claim case {case}: {names}",
                    "keep one file a case; none of them is scored",
                    team,
                    case,
                    str(path),
                ),
            )
    if trusted and strays:
        message = f"{len(strays)} files beside the references are not read, such as {strays[0].name}"
        problems.append(Problem("note", "SUB003", message, f"references are named like {patterns[0]}"))
    else:
        problems += [_stray(path, team, files, patterns) for path in strays]
    return Found(files, cohorts, refused, tuple(problems))


def _stray(path: Path, team: str, files: Mapping[str, Path], patterns: Sequence[str]) -> Problem:
    close = difflib.get_close_matches(path.name, [file.name for file in files.values()], n=1, cutoff=0.8)
    hint = f"names like {close[0]} are read" if close else f"expected a name like {patterns[0]}"
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
    found = match_files(folder, challenge.files.reference, trusted=True)
    if found.refused:
        raise ReferenceDataError([problem for problems in found.refused.values() for problem in problems])
    if not found.files:
        raise ReferenceDataError(
            Problem(
                "error",
                "SUB011",
                f"no reference of {challenge.name} in {folder}",
                f"expected file names like {challenge.files.reference[0]}",
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
    folded = {case.casefold(): case for case in predictions.files}
    for case, reference in sorted(references.files.items()):
        own = folded.pop(case.casefold(), None)
        refused = predictions.refused.get(own, ()) if own is not None else ()
        problems += refused
        if own is None:
            missing.append(case)
        cases.append(
            Case(
                team,
                case,
                reference.resolve(),
                None if own is None else predictions.files[own],
                institutions.get(case, ""),
                _cohort(challenge, case, references, predictions, cohorts),
                refused,
            )
        )
    if missing:
        shown = ", ".join(missing[:20]) + (f", and {len(missing) - 20} more" if len(missing) > 20 else "")
        problems.append(
            Problem(
                "warning",
                "SUB004",
                f"{len(missing)} of {len(cases)} cases missing ({shown}); penalized",
                "submit a file for every case, an empty mask where nothing is found",
                team,
            )
        )
    problems += [
        Problem(
            "warning",
            "SUB006",
            f"{predictions.files[case]} belongs to no expected case ({case}); not scored",
            _nearest_case(case, references.files),
            team,
            case,
            str(predictions.files[case]),
        )
        for case in folded.values()
    ]
    return cases, problems


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
