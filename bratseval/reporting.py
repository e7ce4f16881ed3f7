"""Writing report.html into a result folder: its tables and, where the files are still there, pictures."""

from __future__ import annotations

import base64
from collections import Counter
from itertools import groupby, zip_longest
from pathlib import Path

from bratseval.config import recorded_rulebook
from bratseval.options import Options, Progress
from bratseval.pictures.worst import draw_all
from bratseval.report.contents import Contents, gather
from bratseval.report.page import Shown, render
from bratseval.results import Results, read_folder, read_run
from bratseval.state import write_whole

FILE = "report.html"
MOST_PICTURES = 40  # so that 30 teams stay far below 15 MB


def write_report(
    folder: Path,
    options: Options,
    target: Path | None = None,
    images: Path | None = None,
    each: int = 1,
    results: Results | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the report of a finished result folder; returns its path.

    each: worst cases of a team that are drawn; results: what the tables of the folder hold, where that is
    known already. Raises UsageError where the folder is none of ours, OutputError where the report cannot be
    written.
    """
    record = read_run(folder)
    rulebook = recorded_rulebook(record)
    contents = gather(folder, results or read_folder(folder), record, rulebook)
    target = target or folder / FILE
    write_whole(target, render(contents, _pictures(contents, folder, options, images, each, progress)))
    return target


def _pictures(
    contents: Contents,
    folder: Path,
    options: Options,
    images: Path | None,
    each: int,
    progress: Progress | None,
) -> list[Shown]:
    """Pictures of the worst cases of each team, one of every team before a second one."""
    by_team = [[*own][:each] for _, own in groupby(contents.worst, key=lambda one: one.team)]
    chosen = [one for turn in zip_longest(*by_team) for one in turn if one is not None][:MOST_PICTURES]
    shared = Counter(case for _, case in contents.cases)
    wanted = [(one.team, one.case) for one in contents.worst if one in chosen and shared[one.case] == 1]
    unclear = [
        Shown(one.team, one.case, why_not=f"{shared[one.case]} institutions have a case of this name.")
        for one in chosen
        if shared[one.case] > 1
    ]
    if not wanted:
        return unclear
    rulebook = recorded_rulebook(contents.record)
    drawn = draw_all(folder, rulebook, wanted, options=options, images=images, progress=progress)
    return unclear + [
        Shown(team, case, why_not=one)
        if isinstance(one, str)
        else Shown(team, case, one.alt, one.caption, base64.b64encode(one.png).decode())
        for (team, case), one in drawn.items()
    ]
