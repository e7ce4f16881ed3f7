"""Where the files behind a result folder are: `state/sources.json`.

The tables hold no path of a machine, so that they are the same everywhere. Whoever looks at a case again
(`bratseval show`, the report's pictures) finds its files by this record, or by options where they have moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bratseval.archives import open_regular
from bratseval.errors import printable
from bratseval.state import FOLDER, write_whole

NAME = "sources.json"
MOST_BYTES = 1 << 28  # what is longer is none of ours


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one run: references, what each team handed in, and how they were read.

    submissions : by team as the tables name it. geometry : of --geometry, empty for the challenge's.
    """

    references: Path | None
    submissions: Mapping[str, Path]
    metadata: Path | None = None
    geometry: str = ""


def source_of(
    references: Path | None,
    submissions: Iterable[tuple[str, Path]],
    metadata: Path | None = None,
    geometry: str = "",
) -> Source:
    """The record of a run, with absolute paths."""
    return Source(
        None if references is None else references.absolute(),
        {printable(team): path.absolute() for team, path in submissions},
        None if metadata is None else metadata.absolute(),
        geometry,
    )


def joined(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Every run once: shards of one run differ in nothing, or in the teams that they scored."""
    runs: list[Source] = []
    for one in sources:
        for at, known in enumerate(runs):
            same = replace(one, submissions=known.submissions) == known
            shared = known.submissions.keys() & one.submissions.keys()
            if same and all(known.submissions[team] == one.submissions[team] for team in shared):
                runs[at] = replace(known, submissions={**known.submissions, **one.submissions})
                break
        else:
            runs.append(one)
    return tuple(runs)


def moved(
    sources: Iterable[Source], references: Path | None, predictions: Mapping[str, Path] | None
) -> tuple[Source, ...]:
    """The record with other places: those of options, of files that lie elsewhere by now."""
    known = tuple(sources)
    if references is None and predictions is None:
        return known
    known = known or (Source(None, {}),)
    return joined(
        replace(
            one,
            references=one.references if references is None else references.absolute(),
            submissions={
                **one.submissions,
                **{printable(team): path.absolute() for team, path in (predictions or {}).items()},
            },
        )
        for one in known
    )


def write_sources(state: Path, sources: Iterable[Source]) -> None:
    """Replace the record in a `state` folder. Raises OutputError."""
    runs = [
        {
            "references": _text(one.references),
            "submissions": {team: str(path) for team, path in sorted(one.submissions.items())},
            "metadata": _text(one.metadata),
            "geometry": one.geometry,
        }
        for one in sources
    ]
    # ASCII, since a path may be no Unicode
    write_whole(state / NAME, json.dumps({"sources": runs}, indent=2, sort_keys=True) + "\n")


def read_sources(folder: Path) -> tuple[Source, ...]:
    """The record of a result folder, nothing where there is none that can be read."""
    found = _read(folder)
    return () if isinstance(found, str) else found


def why_unknown(folder: Path) -> str:
    """Why `read_sources` gives nothing."""
    found = _read(folder)
    return found if isinstance(found, str) else f"{FOLDER}/{NAME} names no files"


def _read(folder: Path) -> tuple[Source, ...] | str:
    """The record, or why there is none."""
    try:
        with open_regular(folder / FOLDER / NAME, follow=True) as file:
            runs = json.loads(file.read(MOST_BYTES).decode("ascii"))["sources"]
        return tuple(_source(run) for run in runs)
    except FileNotFoundError:
        return f"there is no {FOLDER}/{NAME}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{FOLDER}/{NAME} cannot be read"


def _source(run: Mapping[str, Any]) -> Source:
    return Source(
        None if run["references"] is None else Path(run["references"]),
        {str(team): Path(path) for team, path in run["submissions"].items()},
        None if run["metadata"] is None else Path(run["metadata"]),
        str(run["geometry"]),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
