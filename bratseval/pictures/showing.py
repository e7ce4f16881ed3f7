"""`bratseval show`: one case of a result folder, from its name to a file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bratseval.archives import ArchiveLimits
from bratseval.config import recorded_rulebook
from bratseval.errors import UsageError, printable
from bratseval.pictures.drawing import check_drawable, draw
from bratseval.pictures.finding import CaseFiles, find_cases, image_of, read_records, unknown_pair
from bratseval.pictures.model import Picture
from bratseval.results import read_run
from bratseval.sources import moved, read_sources, why_unknown

LONGEST = 60  # of a name in the name of a file


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller may say beside team and case: where files are now, and what to show.

    predictions : of the team. image : a file, or a folder in which modality chooses among those of the case.
    """

    references: Path | None = None
    predictions: Path | None = None
    image: Path | None = None
    modality: str = ""
    region: str = ""


def show(folder: Path, team: str, case: str, wish: Wish, archives: ArchiveLimits) -> Picture:
    """The picture of a case. Raises UsageError where names, files or image are not there.

    Raises ReferenceDataError where the reference cannot be used.
    """
    rulebook = recorded_rulebook(read_run(folder))
    check_drawable(rulebook.challenge)
    pair = printable(team), printable(case)
    records = read_records(folder, [pair])
    if not pair[1] or pair not in records:
        raise unknown_pair(folder, pair)
    predictions = None if wish.predictions is None else {team: wish.predictions}
    sources = moved(read_sources(folder), wish.references, predictions)
    found = find_cases(rulebook, [pair], sources, archives, why_unknown(folder))[pair]
    if not isinstance(found, CaseFiles):
        raise UsageError(found)
    image = None
    if wish.image is not None:
        image = image_of(wish.image, found.case, found.challenge, wish.modality)
    return draw(found.challenge, found.case, records[pair], image=image, region=wish.region)


def usual_path(folder: Path, team: str, case: str) -> Path:
    """Where the picture goes without --output: pictures/TEAM--CASE.png of the results.

    Names that are no plain file names, or could be taken for others, are shortened and get a digest.
    """
    plain = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._]|-(?!-))*")
    names = (team, case)
    safe = [re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:LONGEST] for name in names]
    stem = "--".join(filter(None, safe))
    if any(not plain.fullmatch(name) or name.endswith("-") or len(name) > LONGEST for name in names):
        digest = hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:8]
        stem = f"{stem}--{digest}" if stem else digest
    return folder / "pictures" / f"{stem}.png"
