"""Many pictures of a result folder, in worker processes: one that hangs or dies costs its own picture."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import BratsevalError, Problem, UsageError, printable
from bratseval.model import Case
from bratseval.options import Options, Progress
from bratseval.pictures.drawing import ON_ANATOMY, check_drawable, draw
from bratseval.pictures.finding import CaseFiles, Pair, find_cases, image_of, read_records, records_of
from bratseval.pictures.model import CaseRecord, Picture
from bratseval.results import Results
from bratseval.sources import Source, read_sources, why_unknown
from bratseval.supervisor import supervise

MOVED = (
    "`bratseval report` draws it with --references and --submissions, or --predictions of the only team, "
    "where the files are now"
)
SECONDS = 120.0  # that one picture may take where no limit is given


@dataclass(frozen=True, slots=True)
class Undrawn:
    """Why a case has no picture, without a stop at its end, and what to do about it."""

    why: str
    hint: str = ""

    @property
    def sentence(self) -> str:
        """Both, for a page."""
        return printable(f"{self.why} ({self.hint})." if self.hint else f"{self.why}.")


@dataclass(frozen=True, slots=True)
class Item:
    """What a worker needs for one picture."""

    challenge: Challenge
    case: Case
    record: CaseRecord
    images: Path | None
    modality: str
    places: tuple[Path, ...] = ()  # whose folders no sentence names


def draw_all(
    folder: Path,
    rulebook: Rulebook,
    wanted: Sequence[Pair],
    *,
    options: Options,
    results: Results | None = None,
    sources: Sequence[Source] | None = None,
    images: Path | None = None,
    modality: str = "",
    progress: Progress | None = None,
) -> dict[Pair, Picture | Undrawn]:
    """A picture of every wanted (team, case), or why there is none; in the order of ``wanted``.

    Teams and cases are named as in the tables. results : those of the folder, `as_read`, where they are at
    hand, which saves reading them. sources : where the files are, by default as the folder says.
    images : a folder of anatomy (or one file); a case without a usable one is drawn on gray and says so.
    The same for any number of jobs. Raises UsageError where the tables cannot be read.
    """
    pairs = list(dict.fromkeys(wanted))
    try:
        check_drawable(rulebook.challenge)
    except UsageError as error:
        return dict.fromkeys(pairs, _undrawn(error.problems[0], ()))
    records = read_records(folder, pairs) if results is None else records_of(results, pairs)
    sources = read_sources(folder) if sources is None else sources
    files = find_cases(rulebook, pairs, sources, options.archives, why_unknown(folder))
    roots = {path for one in sources for path in (one.references, one.metadata, *one.submissions.values())}
    known = (*sorted(filter(None, roots)), *([images.absolute(), images] if images else ()))
    drawn: dict[Pair, Picture | Undrawn] = {}
    items: list[Item] = []
    places: list[Pair] = []
    for pair in pairs:
        found, record = files[pair], records.get(pair)
        if record is None:
            drawn[pair] = Undrawn(f"there are no scores of team {pair[0]}, case {pair[1]}")
        elif isinstance(found, CaseFiles):
            anatomy = images if found.challenge.task in ON_ANATOMY else None
            items.append(Item(found.challenge, found.case, record, anatomy, modality, known))
            places.append(pair)
        else:
            drawn[pair] = _undrawn(found, known)
    outcomes = supervise(
        draw_item,
        items,
        jobs=max(1, min(options.jobs, len(items))),
        timeout_s=min(options.timeout_s or SECONDS, SECONDS),
        memory_bytes=options.memory_bytes,
        kind=lambda item: item.case.case,
    )
    for done, outcome in enumerate(outcomes, start=1):
        pair = places[outcome.index]
        drawn[pair] = outcome.result if outcome.result is not None else _lost(outcome.status)
        if progress is not None:
            progress(done, len(items), f"{pair[0]} {pair[1]}")
    return {pair: drawn[pair] for pair in pairs}


def draw_item(item: Item) -> Picture | Undrawn:
    """One picture; an unusable image costs the anatomy, an unusable reference the picture."""
    with warnings.catch_warnings(action="ignore"):
        try:
            image = (
                None
                if item.images is None
                else image_of(item.images, item.case, item.challenge, item.modality)
            )
            return draw(item.challenge, item.case, item.record, image=image)
        except BratsevalError as error:
            if item.images is None or error.problems[0].code != "PIC004":
                return _undrawn(error.problems[0], _places(item))
            without = _named(error.problems[0].message, _places(item))
        picture = draw_item(replace(item, images=None))
        if isinstance(picture, Picture):
            caption = f"{picture.caption} On gray: {without}."
            picture = replace(picture, caption=caption, on_gray=without)
        return picture


def _places(item: Item) -> tuple[Path, ...]:
    """Every path that a message on a case may name."""
    case = item.case
    parts = (part.path for part in (*case.reference_parts, *case.prediction_parts))
    return (*item.places, *filter(None, (case.reference, case.prediction, *parts)))


def _named(message: str, places: Iterable[Path]) -> str:
    """A message without the folders of this machine, whatever blanks are in their names.

    places : files and folders that it may name. Of others a word that begins with a slash loses its folders.
    """
    folders = {os.path.dirname(path) for place in places for path in (place, os.path.realpath(place))}
    for folder in sorted(folders - {"", "/"}, key=len, reverse=True):
        message = message.replace(f"{folder}/", "")
    return " ".join(word.rpartition("/")[2] if word.startswith("/") else word for word in message.split(" "))


def _undrawn(problem: Problem, places: Iterable[Path]) -> Undrawn:
    hint = MOVED if problem.code == "PIC002" else problem.hint
    return Undrawn(printable(_named(problem.message, places)), hint)


def _lost(status: str) -> Undrawn:
    why = {"crashed": "its worker process died", "timeout": "it took too long"}.get(
        status, "bratseval failed"
    )
    return Undrawn(f"the picture could not be drawn: {why}")
