"""Results without images: join the folders of shards or institutions, rank any scores."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bratseval.challenge import Rulebook
from bratseval.errors import Problem, UsageError, printable
from bratseval.metadata import Metadata
from bratseval.pipeline import Ended, Options, finish, metadata_of
from bratseval.results import Results, check_output, read_folder, read_run
from bratseval.score_files import read_scores, unranked_rows
from bratseval.state import locked
from bratseval.tables import ScoreRow, read_rows


def merge(rulebook: Rulebook, folders: Sequence[Path], output: Path, options: Options) -> Ended:
    """Join result folders (shards or institutions); names what is missing or given twice."""
    started = time.monotonic()
    records = [read_run(folder) for folder in folders]
    wrong = [
        _other_configuration(folder, record, rulebook)
        for folder, record in zip(folders, records, strict=True)
        if record["config"] != rulebook.digest
    ]
    parts = [read_folder(folder) for folder in folders]
    pooled = set(rulebook.challenge.pooled_metrics)  # scored anew over all cases
    given = [
        (folder, [row for row in part.scores if row.case or (row.region, row.metric) not in pooled])
        for folder, part in zip(folders, parts, strict=True)
    ]
    wrong += _given_twice(given, "RUN006") + _same_references(folders)
    if wrong:
        raise UsageError(wrong)
    metadata = metadata_of(rulebook, options)
    expected: dict[str, set[str]] = {}
    for record in records:
        for team, cases in record["expected"].items():
            # As the tables name them: control characters are escaped there, and not in run.json.
            expected.setdefault(printable(team), set()).update(cases)
    joined = Results(
        [row for part in parts for row in part.scores],
        {
            table: [row for part in parts for row in part.details.get(table, ())]
            for table in dict.fromkeys(table for part in parts for table in part.details)
        },
        [problem for part in parts for problem in part.problems],
        [row for part in parts for row in part.inputs],
    )
    shards = {tuple(record["shard"]) for record in records}
    silent = _silent_institutions(_expected_institutions(rulebook, metadata), joined.scores)
    joined = replace(joined, problems=[*joined.problems, *silent])
    total = max(count for _, count in shards)
    lost = sorted(set(range(1, total + 1)) - {index for index, count in shards if count == total})
    if lost:
        shown = ", ".join(f"{index}/{total}" for index in lost[:10])
        joined = replace(
            joined,
            problems=[
                *joined.problems,
                Problem("error", "RUN002", f"shards {shown} are missing", "run and merge them too"),
            ],
        )
    record = {
        "command": "merge",
        "seed": options.seed_or(records[0]["seed"]),
        "shard": [1, 1],
        "expected": {team: sorted(cases) for team, cases in sorted(expected.items())},
        "institutions": sorted({name for r in records for name in r["institutions"]}),
    }
    rank = any(record["command"] in ("run", "merge") for record in records) or len(expected) > 1
    with locked(output):
        check_output(output, rulebook.digest, options.overwrite)
        return finish(rulebook, joined, record, output, options, metadata, started, rank=rank)


def _other_configuration(folder: Path, record: Mapping[str, Any], rulebook: Rulebook) -> Problem:
    message = f"{folder} was scored under configuration {record['config']}, expected {rulebook.digest}"
    return Problem("error", "RUN005", message, f"score it again under {rulebook.challenge.name}")


def _given_twice(sources: Sequence[tuple[Path, Sequence[ScoreRow]]], code: str) -> list[Problem]:
    """One problem for each pair of sources that both hold scores of a team and case."""
    first: dict[tuple[str, ...], Path] = {}
    repeated: dict[tuple[Path, Path], list[ScoreRow]] = {}
    for path, rows in sources:
        for row in rows:
            key = (row.team, row.institution, row.case, row.region, row.metric)
            if key in first:
                repeated.setdefault((path, first[key]), []).append(row)
            first.setdefault(key, path)
    problems = []
    for (path, earlier), rows in repeated.items():
        sites = sorted({row.institution for row in rows} - {""})
        who = f"institution {', '.join(sites)} was given twice: " if sites else ""
        cases = sorted({row.case for row in rows})
        shown = f"{', '.join(cases[:5])}{', ...' if len(cases) > 5 else ''}"
        message = f"{who}{path} repeats {len(rows)} scores of {earlier} (cases {shown})"
        problems.append(Problem("error", code, message, "keep one of them", file=str(path)))
    return problems


def rank(rulebook: Rulebook, sources: Sequence[Path], output: Path, options: Options) -> Ended:
    """Rank the scores of result folders or of any CSV files; no image is read.

    A source that is given twice, or was scored under another configuration, stops the command. One that
    holds nothing, and an expected institution that no source has, leave it incomplete.
    """
    started = time.monotonic()
    challenge = rulebook.challenge
    given: list[tuple[Path, list[ScoreRow]]] = []
    faults: list[Problem] = []
    problems: list[Problem] = []
    for source in sources:
        path = source / "scores.csv" if source.is_dir() else source
        try:
            if source.is_dir() or (path.name == "scores.csv" and (path.parent / "run.json").is_file()):
                record = read_run(path.parent)
                if record["config"] != rulebook.digest:
                    faults.append(_other_configuration(path.parent, record, rulebook))
            given.append((path, read_scores(path, challenge)))
        except UsageError as error:
            faults += error.problems
            continue
        if not given[-1][1]:
            message = f"{path} holds no score: nothing was sent"
            hint = "ask for its results, or rank without it: --allow-incomplete"
            problems.append(Problem("error", "RUN009", message, hint, file=str(path)))
    faults += _given_twice(given, "CSV004") + _same_references([path.parent for path, _ in given])
    metadata = metadata_of(rulebook, options)
    sites = metadata.institutions
    rows = [
        row if row.institution or not row.case else replace(row, institution=sites.get(row.case, ""))
        for _, own in given
        for row in own
    ]
    faults += _mixed_institutions(rows)
    if faults:
        raise UsageError(faults[:50])
    problems += _silent_institutions(_expected_institutions(rulebook, metadata), rows)
    absent = absent_rows(rows)
    problems += [*unranked_rows(rows, challenge), *_absent(absent, rows)]
    rows += absent
    run_record: dict[str, Any] = {
        "command": "rank",
        "seed": options.seed_or(challenge.ranking.seed),
        "shard": [1, 1],
        "expected": {team: sorted({row.case for row in rows}) for team in sorted({row.team for row in rows})},
        "institutions": sorted({row.institution for row in rows} - {""}),
    }
    results = Results(rows, {}, problems, [])
    with locked(output):
        check_output(output, rulebook.digest, options.overwrite)
        return finish(rulebook, results, run_record, output, options, metadata, started, rank=True)


def _same_references(folders: Sequence[Path]) -> list[Problem]:
    """Result folders of different institutions whose references are the same files."""
    found: list[tuple[Path, set[str]]] = []
    problems = []
    for folder in dict.fromkeys(folders):
        if not (folder / "inputs.csv").is_file():
            continue
        rows = read_rows(folder / "inputs.csv")[1]
        digests = {row["sha256"] for row in rows if row.get("role") == "reference" and row.get("sha256")}
        for other, theirs in found:
            same = len(digests) > 1 and (digests <= theirs or theirs <= digests)
            # Folders of one institution are its teams, or one given twice, which its rows tell.
            if same and read_run(folder)["institutions"] != read_run(other)["institutions"]:
                message = f"{folder} and {other} name different institutions but scored the same references"
                problems.append(Problem("error", "RUN010", message, "an institution counts once"))
        found.append((folder, digests))
    return problems


def _expected_institutions(rulebook: Rulebook, metadata: Metadata) -> list[str]:
    """Those that the challenge names and, where it ranks within institutions, those of --metadata."""
    ranking = rulebook.challenge.ranking
    stated = metadata.institutions.values() if ranking.plan.per_institution else ()
    return [*ranking.institutions, *stated]


def _silent_institutions(expected: Iterable[str], rows: Sequence[ScoreRow]) -> list[Problem]:
    """An error for every expected institution that no row names."""
    silent = sorted(set(expected) - {row.institution for row in rows} - {""})
    hint = "ask for its results, or rank without it: --allow-incomplete"
    return [Problem("error", "RUN009", f"institution {site} sent no score", hint) for site in silent]


def _mixed_institutions(rows: Sequence[ScoreRow]) -> list[Problem]:
    """A case that some rows place at an institution and others at none would count as two cases."""
    places: dict[str, set[str]] = {}
    for row in rows:
        if row.case:
            places.setdefault(row.case, set()).add(row.institution)
    mixed = sorted(
        case for case, institutions in places.items() if "" in institutions and len(institutions) > 1
    )
    if not mixed:
        return []
    shown = f"{', '.join(mixed[:5])}{', ...' if len(mixed) > 5 else ''}"
    message = f"{len(mixed)} cases ({shown}) have rows with an institution and rows without one"
    hint = "fill the institution column for every team, or give --metadata with case and institution"
    return [Problem("error", "CSV013", message, hint)]


def _absent(absent: Sequence[ScoreRow], rows: Sequence[ScoreRow]) -> list[Problem]:
    """One warning for each team whose rows do not cover every case, region and metric."""
    total = len({(row.institution, row.case, row.region, row.metric) for row in rows})
    own_cases: dict[str, set[str]] = {}
    for row in rows:
        own_cases.setdefault(row.team, set()).add(row.case)
    lacking: dict[str, list[ScoreRow]] = {}
    for row in absent:
        lacking.setdefault(row.team, []).append(row)
    problems = []
    for team, lost in sorted(lacking.items()):
        cases = sorted({row.case for row in lost} - own_cases[team])
        named = f"; no row at all for {len(cases)} cases ({', '.join(cases[:5])})" if cases else ""
        message = f"{len(lost)} of {total} scores are absent{named}"
        hint = "they count as missing, as ranking.missing says"
        problems.append(Problem("warning", "CSV012", message, hint, team=team))
    return problems


def absent_rows(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Complete the grid team x case x region x metric: an absent row is a missing value."""
    units = sorted({(row.institution, row.case, row.region, row.metric) for row in rows})
    present = {(row.team, row.institution, row.case, row.region, row.metric) for row in rows}
    return [
        ScoreRow(team, *unit, None, None, "missing", "no row was given")
        for team in sorted({row.team for row in rows})
        for unit in units
        if (team, *unit) not in present
    ]
