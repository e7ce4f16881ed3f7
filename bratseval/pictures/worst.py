"""Many pictures of a result folder, in worker processes: one that hangs or dies costs its own picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import BratsevalError, Problem, UsageError, printable
from bratseval.model import Case
from bratseval.options import Options, Progress
from bratseval.pictures.drawing import ON_ANATOMY, check_drawable, draw
from bratseval.pictures.finding import CaseFiles, Pair, find_cases, image_of, read_records
from bratseval.pictures.model import CaseRecord, Picture
from bratseval.sources import Source, read_sources
from bratseval.supervisor import supervise

SECONDS = 120.0  # that one picture may take where no limit is given


@dataclass(frozen=True, slots=True)
class Item:
    """What a worker needs for one picture."""

    challenge: Challenge
    case: Case
    record: CaseRecord
    images: Path | None
    modality: str


def draw_all(
    folder: Path,
    rulebook: Rulebook,
    wanted: Sequence[Pair],
    *,
    options: Options,
    sources: Sequence[Source] | None = None,
    images: Path | None = None,
    modality: str = "",
    progress: Progress | None = None,
) -> dict[Pair, Picture | str]:
    """A picture of every wanted (team, case), or the sentence why there is none; in the order of ``wanted``.

    Teams and cases are named as in the tables. sources : where the files are, by default as the folder says.
    images : a folder of anatomy (or one file); a case without a usable one is drawn on gray and says so.
    The same for any number of jobs. Raises UsageError where the tables cannot be read.
    """
    pairs = list(dict.fromkeys(wanted))
    try:
        check_drawable(rulebook.challenge)
    except UsageError as error:
        return dict.fromkeys(pairs, _sentence(error.problems[0]))
    records = read_records(folder, pairs)
    files = find_cases(
        rulebook, pairs, read_sources(folder) if sources is None else sources, options.archives
    )
    drawn: dict[Pair, Picture | str] = {}
    items: list[Item] = []
    places: list[Pair] = []
    for pair in pairs:
        found, record = files[pair], records.get(pair)
        if record is None:
            drawn[pair] = f"There are no scores of team {pair[0]}, case {pair[1]}."
        elif isinstance(found, CaseFiles):
            anatomy = images if found.challenge.task in ON_ANATOMY else None
            items.append(Item(found.challenge, found.case, record, anatomy, modality))
            places.append(pair)
        else:
            drawn[pair] = _sentence(found)
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


def draw_item(item: Item) -> Picture | str:
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
                return _sentence(error.problems[0])
            without = error.problems[0].message
        picture = draw_item(replace(item, images=None))
        if isinstance(picture, Picture):
            picture = replace(picture, caption=f"{picture.caption} On gray: {_named(without)}.")
        return picture


def _named(message: str) -> str:
    """A message without the folders of this machine."""
    return " ".join(word.rpartition("/")[2] if word.startswith("/") else word for word in message.split(" "))


def _sentence(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    return printable(f"{_named(problem.message)}{hint}.")


def _lost(status: str) -> str:
    why = {"crashed": "its worker process died", "timeout": "it took too long"}.get(
        status, "bratseval failed"
    )
    return f"The picture could not be drawn: {why}."
