"""The files of a case as its task sees them: digests, and the parts of either side by role."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bratseval.errors import InputError, Problem
from bratseval.files import open_file
from bratseval.model import Case, InputFile, Part

MOST_HASHED = 1 << 32  # bytes; of a larger file the size alone tells whether it has changed


def submitted(case: Case) -> Path:
    """The prediction of a case. Raises InputError where it is missing (SUB004) or refused."""
    if case.refused:
        raise InputError(case.refused)
    if case.prediction is None:
        raise InputError(Problem("warning", "SUB004", "no prediction was submitted"))
    return case.prediction


def untold(error: InputError, case: Case) -> list[Problem]:
    """The problems of a prediction, but for those that the plan, which saw the names, has told already."""
    return [] if case.prediction is None or case.refused else list(error.problems)


def unusable_reference(error: InputError, case: str) -> tuple[Problem, ...]:
    """What is wrong with the reference of a case, as the organizer's fault."""
    hint = "the organizer must repair the reference"
    return tuple(replace(problem, code="SUB014", case=case, hint=hint) for problem in error.problems)


def reference_of(case: Case) -> Path:
    """The reference file of a case that is scored."""
    assert case.reference is not None  # only checks go without
    return case.reference


def without_team(case: Case) -> Case:
    """The case with its reference side alone, the same for every team."""
    return replace(case, team="", prediction=None, refused=(), prediction_parts=())


def inputs_of(case: Case) -> tuple[InputFile, ...]:
    """Digests of all files of a case that may be read, of both sides."""
    path = None if case.refused else case.prediction
    return _reference_inputs(without_team(case)) + digests("prediction", path, case.prediction_parts)


@lru_cache(maxsize=2)
def _reference_inputs(case: Case) -> tuple[InputFile, ...]:
    return digests("reference", case.reference, case.reference_parts)


def digests(role: str, path: Path | None, parts: Iterable[Part]) -> tuple[InputFile, ...]:
    """Digests of a file and its parts, as far as they can be read; who reads them says what is wrong."""
    files = [*([path] if path else []), *(part.path for part in parts if not part.refused)]
    found = []
    for one in dict.fromkeys(files):
        with contextlib.suppress(OSError), contextlib.closing(open_file(one)) as file:
            digest, size = hashlib.sha256(), 0
            while file.size <= MOST_HASHED and (piece := file.read(1 << 20)):
                digest.update(piece)
                size += len(piece)
            hexadecimal = digest.hexdigest() if file.size <= MOST_HASHED else ""
            found.append(InputFile(role, one.name, size or file.size, hexadecimal))
    return tuple(found)


# What a piece of a pattern is replaced by in an example, in this order.
_PLAIN = (
    (r"\[[^]]*\][*?]|\w\?(?!\w*>)", ""),  # optional
    (r"\[(?:\\\w|\\)?([^]\\])[^]]*\]", r"\1"),  # the first of several characters
    (r"\\d\{(\d+)(?:,\d+)?\}", lambda found: "0" * int(found[1])),
    (r"\\d\+", "1"),
    (r"\\w\+\??|(?<!\\)\.\+\??", "NAME"),
    (r"\\(.)", r"\1"),
)


def example_name(pattern: str, case: str = "") -> str:
    """A file name that a pattern of the YAML matches, of the given case."""
    text = pattern.replace(r"(?:\.gz)?", r"\.gz")
    if case:
        text = re.sub(r"\(\?P<case>(?:[^()]|\([^()]*\))*\)", lambda _: re.escape(case), text)
    group = re.compile(r"\((?:\?(?:P<\w+>|\w*:|!))?([^()]*)\)([?*]?)")
    while found := group.search(text):
        kept = "" if found[2] or found[0].startswith("(?!") else found[1].partition("|")[0]
        text = text[: found.start()] + kept + text[found.end() :]
    for piece, plain in _PLAIN:
        text = re.sub(piece, plain, text)
    return text


def find_part(parts: Iterable[Part], role: str, region: str = "") -> Part | None:
    """The file of a role (and region), None where it is missing. Raises InputError for a refused one."""
    found = next((part for part in parts if part.role == role and part.region == region), None)
    if found is not None and found.refused:
        raise InputError(found.refused)
    return found
