"""What every kind of picture is made from, and the sentences that all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import BratsevalError, InputError, Problem, ReferenceDataError, UsageError
from bratseval.model import Case, Score
from bratseval.nifti import Grid, geometry_problems
from bratseval.pictures.choice import by_badness, shown_metrics
from bratseval.pictures.model import CaseRecord
from bratseval.pictures.page import Key, Panel
from bratseval.pictures.panels import Anatomy, anatomy_of
from bratseval.volumes import read_volume

UNFINISHED = ("crashed", "timeout")  # statuses of a prediction that is not read again
PHOTOGRAPHS = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 80_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to draw: the rules, the files and numbers of a case, and what the caller asked for."""

    challenge: Challenge
    case: Case
    record: CaseRecord
    image: Path | None = None
    region: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a kind of challenge puts on the page.

    shows : what the panels show, a phrase that goes into subtitle and caption. how : how to read them.
    """

    panels: Sequence[Panel]
    shows: str
    how: str
    keys: Sequence[Key] = ()
    notes: Sequence[str] = ()
    region: str = ""
    lesion: str = ""
    planes: Mapping[str, int] = field(default_factory=dict)
    challenge: Challenge | None = None  # whose regions the numbers have, where it is another one


def regions_in_order(task: Task, allowed: Sequence[str]) -> list[str]:
    """The regions that may be shown, the worst first, or the one that was asked for. Raises UsageError."""
    if task.region:
        if task.region not in allowed:
            message = f"{task.region} is no region of the case"
            hint = f"--region is one of {', '.join(filter(None, allowed)) or 'none'}"
            raise UsageError(Problem("error", "PIC005", message, hint))
        return [task.region]
    worst = [name for name in by_badness(task.challenge, task.record.scores) if name in allowed]
    return [*worst, *(name for name in allowed if name not in worst)]


def was_unfinished(record: CaseRecord) -> str:
    """Why a prediction is not looked at again: it killed the worker that scored it, or took too long."""
    return next((score.reason for score in record.scores if score.status in UNFINISHED), "")


def reason_of(error: InputError, record: CaseRecord) -> str:
    """Why there is no usable prediction: as the scores say it, else as it was found now; without folders."""
    told = next((score.reason for score in record.scores if score.status in ("missing", "invalid")), "")
    found = [*record.problems, *error.problems]
    return without_folders(told or "; ".join(dict.fromkeys(p.message for p in error.problems)), found)


def without_folders(text: str, problems: Iterable[Problem]) -> str:
    """A sentence whose files are named without the folders that they lie in."""
    files = {problem.file for problem in problems if problem.file}
    for file in sorted(files, key=len, reverse=True):
        text = text.replace(file, file.rpartition("/")[2])
    return text


def as_usage(error: BratsevalError, code: str, hint: str) -> UsageError:
    """What is wrong with a file, for the caller."""
    return UsageError(Problem("error", code, without_folders(str(error), error.problems), hint))


def unusable_reference(error: BratsevalError, case: Case) -> ReferenceDataError:
    """What is wrong with the reference of a case, for the organizer; what a link points at is not named."""
    paths = [path for path in (case.reference, *(part.path for part in case.reference_parts)) if path]
    text = str(error)
    names = {*map(str, paths), *(problem.file for problem in error.problems if problem.file)}
    names |= {name.rpartition("/")[2] for name in names}
    for name in sorted(filter(None, names), key=len, reverse=True):
        text = text.replace(name, "its file")
    message = f"the reference of case {case.case} cannot be used: {text}"
    hint = "the organizer must repair the reference"
    return ReferenceDataError(Problem("error", "PIC003", message, hint, case=case.case))


def read_anatomy(path: Path, grid: Grid) -> tuple[Anatomy, str]:
    """The image to draw on, and a note where it lies elsewhere. Raises UsageError."""
    hint = "give the image that the masks were drawn on, --image FILE; without it masks lie on gray"
    if path.suffix.lower() in PHOTOGRAPHS:
        return _photograph(path, grid, hint), ""
    try:
        volume = read_volume(path, onto=grid)
    except InputError as error:
        raise as_usage(error, "PIC004", hint) from None
    elsewhere = geometry_problems(grid, volume.grid)
    note = (
        f"The image {path.name} has the shape of the reference, but {elsewhere[0].message}."
        if elsewhere
        else ""
    )
    return anatomy_of(volume.values), note


def _photograph(path: Path, grid: Grid, hint: str) -> Anatomy:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            if (*image.size, 1) != grid.shape:
                message = f"{path.name}: the image has {image.size[0]} x {image.size[1]} pixels"
                raise UsageError(
                    Problem(
                        "error", "PIC004", f"{message}, the reference {grid.shape[0]} x {grid.shape[1]}", hint
                    )
                )
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        kind = "is damaged" if path.is_file() else "cannot be read"
        message = f"{path.name} {kind} ({type(error).__name__})"
        raise UsageError(Problem("error", "PIC004", message, hint)) from None
    return Anatomy(pixels.transpose(1, 0, 2), (0.0, 1.0))


def number_text(value: float | None) -> str:
    """A number of the table, with three digits that count."""
    if value is None:
        return "-"
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e" in text and 1e3 <= abs(value) < 1e6 else text


def table_of(
    scores: Sequence[Score], challenge: Challenge
) -> tuple[list[str], list[tuple[str, list[str]]], list[str]]:
    """Columns, rows and footnotes of the ranked metrics of a case; a star marks what a rule gave."""
    metrics = shown_metrics(challenge, scores)
    values = {(score.metric, score.region): score for score in scores if score.metric in metrics}
    regions = list(dict.fromkeys(region for _, region in values))
    rows = []
    for metric in metrics:
        cells = []
        for region in regions:
            score = values.get((metric, region))
            star = "*" if score is not None and score.status != "ok" else ""
            cells.append("" if score is None else number_text(score.value) + star)
        rows.append((metric, cells))
    reasons: dict[tuple[str, str], list[str]] = {}
    for (_, region), score in values.items():
        if score.status != "ok":
            reasons.setdefault((score.status, score.reason), []).append(region)
    notes = []
    for (status, reason), found in list(reasons.items())[:4]:
        names = [*dict.fromkeys(filter(None, found))]
        where = f" in {', '.join(names)}" if names and len(names) < len(regions) else ""
        notes.append(f"* {status.replace('_', ' ')}{where}" + (f": {reason}" if reason else ""))
    return regions, rows, notes
