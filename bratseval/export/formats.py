"""The table of formats, and the one function that writes a result folder in one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bratseval.errors import Problem, UsageError
from bratseval.export import challenger, grand_challenge, medperf, nnunet, synapse
from bratseval.export.finished import Finished, TeamResults, read_finished
from bratseval.export.names import team_folders
from bratseval.state import write_whole


@dataclass(frozen=True, slots=True)
class Format:
    """documents: results -> relative path -> text; remarks: what to know, such as what is left out."""

    documents: Callable[[Finished], dict[str, str]]
    remarks: Callable[[Finished, Collection[str]], list[Problem]] = lambda finished, names: []


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, where, and what is to be said of it."""

    place: Path
    files: Sequence[Path]
    teams: int
    complete: bool
    problems: Sequence[Problem]


def _of_each_team(name: str, document: Callable[[TeamResults], str]) -> Callable[[Finished], dict[str, str]]:
    """One document a team: in the folder itself where there is one team, else in a folder of each."""

    def documents(finished: Finished) -> dict[str, str]:
        if len(finished.teams) == 1:
            return {name: document(finished.teams[0])}
        folders = team_folders(one.team for one in finished.teams)
        return {f"{folders[one.team]}/{name}": document(one) for one in finished.teams}

    return documents


FORMATS = {
    "synapse": Format(_of_each_team("results.json", synapse.document), synapse.remarks),
    "grand-challenge": Format(_of_each_team("metrics.json", grand_challenge.document)),
    "medperf": Format(_of_each_team("results.yaml", medperf.document)),
    "nnunet": Format(_of_each_team("summary.json", nnunet.document), nnunet.remarks),
    "challenger": Format(challenger.documents, challenger.remarks),
}


def export(folder: Path, to: str, team: str, output: Path | None) -> Exported:
    """Write a finished result folder in another format.

    output : a folder (by default export/<format> in the result folder), or the file, named with the ending
    of the format, where there is one document.
    Raises UsageError and OutputError.
    """
    if to not in FORMATS:
        message = f"the format {to[:100]!r} is unknown"
        raise UsageError(Problem("error", "RUN019", message, f"known: {', '.join(FORMATS)}"))
    format = FORMATS[to]
    finished = read_finished(folder, team)
    documents = format.documents(finished)
    problems = format.remarks(finished, documents)
    if not documents:
        message = f"{folder} has no score that {to} could hold"
        raise UsageError(Problem("error", "RUN019", message, "check that it was scored"))
    if not finished.complete:
        message = f"{folder} is incomplete: cases, shards or institutions remain"
        hint = "run the same command again, or merge what is missing, and export anew"
        problems.append(Problem("warning", "OUT006", message, hint))
    place = output or folder / "export" / to
    texts = _placed(documents, place)
    for path, text in texts.items():
        write_whole(path, text)
    return Exported(place, [*texts], len(finished.teams), finished.complete, problems)


def _placed(documents: Mapping[str, str], output: Path) -> dict[Path, str]:
    """Where each document goes. Raises UsageError where one file is named for several."""
    endings = {Path(name).suffix for name in documents}
    if output.suffix not in endings or output.is_dir():
        return {output / name: text for name, text in documents.items()}
    if len(documents) > 1:
        message = f"--output {output} names one file, and there are {len(documents)} documents"
        raise UsageError(Problem("error", "RUN019", message, "name a folder, or one team by --team"))
    (text,) = documents.values()
    return {output: text}
