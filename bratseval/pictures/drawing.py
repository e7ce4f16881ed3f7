"""One picture of one case: the kind of challenge says what is drawn, the page how it is laid out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError, printable
from bratseval.inputs import inputs_of
from bratseval.model import Case
from bratseval.pictures.drawers import Drawing, Task, table_of, without_folders
from bratseval.pictures.images import synthesis_drawing
from bratseval.pictures.maps import rater_drawing
from bratseval.pictures.masks import segmentation_drawing, uncertainty_drawing
from bratseval.pictures.model import CaseRecord, Picture
from bratseval.pictures.page import Numbers, Page, plain, render, shortened
from bratseval.pictures.points import registration_drawing

DRAWERS: dict[str, Callable[[Task], Drawing]] = {
    "segmentation": segmentation_drawing,
    "uncertainty": uncertainty_drawing,
    "multi_rater": rater_drawing,
    "synthesis": synthesis_drawing,
    "registration": registration_drawing,
}

ON_ANATOMY = ("segmentation", "uncertainty")  # the others bring the images that they are about


def check_drawable(challenge: Challenge) -> None:
    """Raises UsageError for a challenge whose cases have no picture."""
    if challenge.task not in DRAWERS:
        message = f"{challenge.name} scores a table of subjects, which has no picture"
        hint = "look at scores.csv and problems.csv of the results, and at the rows that the team handed in"
        raise UsageError(Problem("error", "PIC001", message, hint))


def draw(
    challenge: Challenge,
    case: Case,
    record: CaseRecord,
    *,
    image: Path | None = None,
    region: str = "",
) -> Picture:
    """Draw why a case scored as it did.

    challenge : the rules of the case's cohort, under the geometry of the run. image : anatomy to draw on.
    Where the prediction is missing or broken the reference is drawn alone, with the reason.
    Raises UsageError for a task without pictures, an unknown region or an unusable image,
    ReferenceDataError for an unusable reference.
    """
    check_drawable(challenge)
    if image is not None and challenge.task not in ON_ANATOMY:
        message = f"the cases of {challenge.name} are not drawn on an image of yours"
        raise UsageError(Problem("error", "PIC004", message, "leave out --image"))
    known = {(name, metric) for name in challenge.scored_regions for metric in challenge.metrics}
    # Rows of other cohorts are none of this case.
    record = replace(record, scores=tuple(s for s in record.scores if (s.region, s.metric) in known))
    drawing = DRAWERS[challenge.task](Task(challenge, case, record, image, region))
    drawing = replace(drawing, notes=[*drawing.notes, *_changes(case, record)])
    columns, rows, notes = table_of(record.scores, challenge)
    told = " ".join(drawing.notes)
    notes = [without_folders(note, record.problems) for note in notes]
    notes = [
        *drawing.notes,
        *(note for note in notes if note.partition(": ")[2] not in told or ": " not in note),
    ]
    title = f"{case.team}, case {case.case}"
    numbers = Numbers(columns, rows, drawing.region)
    png = render(Page(title, drawing.shows, drawing.panels, numbers, drawing.keys, notes, challenge.name))
    short = f"{shortened(plain(case.team), 80)}, case {shortened(plain(case.case), 80)}"
    values = "; ".join(
        f"{metric} "
        + ", ".join(f"{name} {cell}".strip() for name, cell in zip(columns, cells, strict=True) if cell)
        for metric, cells in rows
    )
    caption = " ".join([f"{_sentence(drawing.shows)} {drawing.how}", *map(_sentence, drawing.notes)])
    return Picture(
        png,
        short,
        f"Picture of {short}. {_sentence(drawing.shows)} {_sentence(values)}",
        plain(caption),
        drawing.region,
        drawing.lesion,
        drawing.planes,
        tuple(score for score in record.scores if score.metric in {name for name, _ in rows}),
    )


def _changes(case: Case, record: CaseRecord) -> list[str]:
    """A note of files that are others than those that were scored: the numbers are not of this picture."""
    now = {
        (one.role, printable(one.file), str(one.bytes), one.sha256): f"{one.role} {printable(one.file)}"
        for one in inputs_of(case)
    }
    there = {role for role, *_ in now}
    others = [name for one, name in now.items() if one not in record.inputs]
    others += sorted({f"{role} {name}" for role, name, *_ in record.inputs if role not in there})
    if not record.inputs or not others:
        return []
    return [f"Not as it was scored, so that the numbers are of other files: {', '.join(others)}"]


def _sentence(text: str) -> str:
    return plain(text) if not text or text.endswith(".") else f"{plain(text)}."
