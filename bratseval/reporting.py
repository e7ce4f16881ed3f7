"""Writing report.html into a result folder: its tables and, where the files are still there, pictures."""

from __future__ import annotations

import base64
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from pathlib import Path

from bratseval.cases import find_teams
from bratseval.challenge import Rulebook
from bratseval.config import recorded_rulebook
from bratseval.errors import OutputError, Problem, UsageError, counted
from bratseval.finishing import Ended, winning
from bratseval.options import Options, Progress
from bratseval.pictures.drawing import DRAWERS
from bratseval.pictures.model import Picture
from bratseval.pictures.worst import Undrawn, draw_all
from bratseval.report.contents import Contents, gather
from bratseval.report.page import Shown, render
from bratseval.results import Results, read_folder, read_run
from bratseval.sources import Source, moved, read_sources
from bratseval.state import write_whole

FILE = "report.html"
MOST_PICTURES = 40  # so that 30 teams stay far below 15 MB
GRAY_HINT = "--images takes a folder with one image a case, named with the case and on the reference's grid"


@dataclass(frozen=True, slots=True)
class Places:
    """Where files are that have moved: references, a folder of all teams, or what the only team handed in."""

    references: Path | None = None
    submissions: Path | None = None
    predictions: Path | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A report, and what its reader must know of pictures that are not as wanted."""

    path: Path
    problems: tuple[Problem, ...] = ()


def with_report(ended: Ended, output: Path, options: Options, images: Path | None, each: int) -> Ended:
    """Add the report to a folder that has its tables; where it cannot be written they stay (exit 5)."""
    try:
        written = write_report(output, options, images=images, each=each, results=ended.results)
        return replace(ended, problems=(*ended.problems, *written.problems))
    except OutputError as error:
        hint = f"the tables are written; bratseval report {shlex.quote(str(output))} makes it later"
        problems = (replace(problem, hint=hint) for problem in error.problems)
        code = winning((ended.exit_code, error.exit_code))
        run = {**ended.run, "exit_code": code}
        return replace(ended, problems=(*ended.problems, *problems), exit_code=code, run=run)


def write_report(
    folder: Path,
    options: Options,
    target: Path | None = None,
    images: Path | None = None,
    each: int = 1,
    results: Results | None = None,
    progress: Progress | None = None,
    places: Places | None = None,
) -> Written:
    """Write the report of a finished result folder.

    each: worst cases of a team that are drawn; results: what the tables of the folder hold, where that is
    known already; places: where the files are, if not where the folder says. Raises UsageError where the
    folder is none of ours, OutputError where the report cannot be written.
    """
    record = read_run(folder)
    rulebook = recorded_rulebook(record)
    contents = gather(folder, results or read_folder(folder), record, rulebook)
    target = target or folder / FILE
    sources = _sources(folder, contents.teams, places or Places())
    drawn = _pictures(contents, folder, rulebook, sources, options, images, each, progress)
    write_whole(target, render(contents, [*map(_shown, drawn, drawn.values())]))
    # What `rank` was given as plain tables has no files, and nobody expects pictures of them.
    expected = rulebook.challenge.task in DRAWERS and (sources or record["command"] != "rank")
    return Written(target, _not_as_wanted(drawn) if expected else ())


def _sources(folder: Path, teams: Sequence[str], places: Places) -> tuple[Source, ...]:
    """Where the files of a result folder are. Raises UsageError where the places fit no team."""
    given = None
    if places.submissions is not None:
        given = {one.team: one.path for one in find_teams(places.submissions, folder)[0]}
    if places.predictions is not None:
        if len(teams) != 1:
            message = f"--predictions is what one team handed in, {folder} has {counted(len(teams), 'team')}"
            hint = "give --submissions, the folder with a folder or an archive of every team"
            raise UsageError(Problem("error", "PIC006", message, hint))
        given = {**(given or {}), teams[0]: places.predictions}
    return moved(read_sources(folder), places.references, given)


def _not_as_wanted(drawn: Mapping[tuple[str, str], Picture | Undrawn]) -> tuple[Problem, ...]:
    """Notes of worst cases without a picture, and of pictures without the anatomy that was asked for."""
    lost = [(pair, one) for pair, one in drawn.items() if isinstance(one, Undrawn)]
    gray = [(pair, one.on_gray) for pair, one in drawn.items() if isinstance(one, Picture) and one.on_gray]
    notes = []
    if lost:
        (team, case), first = lost[0]
        message = (
            f"{len(lost)} of the {counted(len(drawn), 'worst case')} to be drawn "
            f"{'has' if len(lost) == 1 else 'have'} no picture in the report: {first.why}"
        )
        notes.append(Problem("note", "PIC006", message, first.hint, team, case))
    if gray:
        (team, case), why = gray[0]
        lie = "lies" if len(gray) == 1 else "lie"
        message = (
            f"{len(gray)} of {counted(len(drawn) - len(lost), 'picture')} in the report {lie} on gray: {why}"
        )
        notes.append(Problem("note", "PIC006", message, GRAY_HINT, team, case))
    return tuple(notes)


def _pictures(
    contents: Contents,
    folder: Path,
    rulebook: Rulebook,
    sources: Sequence[Source],
    options: Options,
    images: Path | None,
    each: int,
    progress: Progress | None,
) -> dict[tuple[str, str], Picture | Undrawn]:
    """Pictures of the worst cases of each team, one of every team before a second one."""
    by_team = [[*own][:each] for _, own in groupby(contents.worst, key=lambda one: one.team)]
    chosen = [one for turn in zip_longest(*by_team) for one in turn if one is not None][:MOST_PICTURES]
    shared = Counter(case for _, case in contents.cases)
    wanted = [(one.team, one.case) for one in contents.worst if one in chosen and shared[one.case] == 1]
    drawn: dict[tuple[str, str], Picture | Undrawn] = {
        (one.team, one.case): Undrawn(f"{shared[one.case]} institutions have a case of this name")
        for one in chosen
        if shared[one.case] > 1
    }
    if wanted:
        drawn |= draw_all(
            *(folder, rulebook, wanted),
            options=options,
            results=contents.results,
            sources=sources,
            images=images,
            progress=progress,
        )
    return drawn


def _shown(pair: tuple[str, str], drawn: Picture | Undrawn) -> Shown:
    if isinstance(drawn, Undrawn):
        return Shown(*pair, why_not=drawn.sentence)
    return Shown(*pair, drawn.alt, drawn.caption, base64.b64encode(drawn.png).decode())
