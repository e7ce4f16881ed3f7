"""Results without images: join the folders of shards or institutions, rank any scores."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bratseval.challenge import Challenge, Rulebook
from bratseval.detail_table import joined as joined_details
from bratseval.detail_table import read_details
from bratseval.errors import Problem, UsageError, printable
from bratseval.finishing import Ended, finish
from bratseval.metadata import Metadata
from bratseval.options import Options
from bratseval.pipeline import metadata_of
from bratseval.pooling import is_pooled, with_pooled
from bratseval.results import Results, check_output, read_folder, read_run
from bratseval.score_files import read_scores, unranked_rows
from bratseval.score_table import Coded, ScoreTable, concatenated, distinct, pairs, repeats
from bratseval.sources import joined as joined_sources
from bratseval.sources import read_sources, write_sources
from bratseval.state import locked
from bratseval.tables import KEY_COLUMNS, read_lines, unescaped


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
    scores, source = _joined([part.scores for part in parts])
    # Two institutions may give a case one name: its rows are in the order of institutions, not of folders.
    by_institution = sorted(zip(records, parts, strict=True), key=lambda one: one[0]["institutions"])
    parts = [replace(part, scores=ScoreTable.of(())) for _, part in by_institution]
    of_cases = ~is_pooled(scores, rulebook.challenge)  # the others are formed anew
    wrong += _given_twice(scores.take(of_cases), source[of_cases], folders, "RUN006")
    wrong += _same_references(folders)
    if wrong:
        raise UsageError(wrong)
    metadata = metadata_of(rulebook, options)
    expected = _expected_cases(records)
    joined = Results(
        scores,
        {
            name: joined_details(part.details[name] for part in parts if name in part.details)
            for name in dict.fromkeys(name for part in parts for name in part.details)
        },
        # What an earlier merge missed may be here now.
        [problem for part in parts for problem in part.problems if problem.code != "RUN002"],
        [*dict.fromkeys(row for part in parts for row in part.inputs)],  # every shard names its references
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
    with locked(output) as state:
        check_output(output, rulebook.digest, options.overwrite)
        write_sources(state, joined_sources(one for folder in folders for one in read_sources(folder)))
        return finish(rulebook, joined, record, output, options, metadata, started, rank=rank)


def _other_configuration(folder: Path, record: Mapping[str, Any], rulebook: Rulebook) -> Problem:
    message = f"{folder} was scored under configuration {record['config']}, expected {rulebook.digest}"
    return Problem("error", "RUN005", message, f"score it again under {rulebook.challenge.name}")


def _expected_cases(records: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The cases of every team that any of the runs expects."""
    expected: dict[str, set[str]] = {}
    for record in records:
        for team, cases in record["expected"].items():
            # As the tables name them: control characters are escaped there, and not in run.json.
            expected.setdefault(printable(team), set()).update(cases)
    return expected


def _joined(tables: Sequence[ScoreTable]) -> tuple[ScoreTable, np.ndarray]:
    """The rows of all tables, and which table each is from: (rows,) int."""
    kind = np.min_scalar_type(max(len(tables) - 1, 0))
    return concatenated(tables), np.repeat(np.arange(len(tables), dtype=kind), [len(one) for one in tables])


def _given_twice(rows: ScoreTable, source: np.ndarray, paths: Sequence[Path], code: str) -> list[Problem]:
    """One problem for each pair of sources that both hold scores of a team and case.

    source : index into ``paths`` of every row.
    """
    later, _, first = repeats(rows.key(*KEY_COLUMNS))
    both = source[later].astype(np.int64) * len(paths) + source[first]
    problems = []
    for pair in dict.fromkeys(both.tolist()):
        path, earlier = paths[pair // len(paths)], paths[pair % len(paths)]
        again = rows.take(later[both == pair])
        sites = [site for site in again.institution.used if site]
        who = f"institution {', '.join(sites)} was given twice: " if sites else ""
        cases = again.case.used
        shown = f"{', '.join(cases[:5])}{', ...' if len(cases) > 5 else ''}"
        message = f"{who}{path} repeats {len(again)} scores of {earlier} (cases {shown})"
        problems.append(Problem("error", code, message, "keep one of them", file=str(path)))
    return problems


def rank(rulebook: Rulebook, sources: Sequence[Path], output: Path, options: Options) -> Ended:
    """Rank the scores of result folders or of any CSV files; no image is read.

    A source that is given twice, or was scored under another configuration, stops the command. One that
    holds nothing, and an expected institution that no source has, leave it incomplete.
    """
    started = time.monotonic()
    challenge = rulebook.challenge
    paths: list[Path] = []
    given: list[ScoreTable] = []
    records: list[Mapping[str, Any]] = []
    faults: list[Problem] = []
    problems: list[Problem] = []
    for source in sources:
        path = source / "scores.csv" if source.is_dir() else source
        try:
            if source.is_dir() or (path.name == "scores.csv" and (path.parent / "run.json").is_file()):
                records.append(read_run(path.parent))
                if records[-1]["config"] != rulebook.digest:
                    faults.append(_other_configuration(path.parent, records[-1], rulebook))
            given.append(read_scores(path, challenge))
        except UsageError as error:
            faults += error.problems
            continue
        paths.append(path)
        if not len(given[-1]):
            message = f"{path} holds no score: nothing was sent"
            hint = "ask for its results, or rank without it: --allow-incomplete"
            problems.append(Problem("error", "RUN009", message, hint, file=str(path)))
    rows, of_source = _joined(given) if given else (ScoreTable.of(()), np.zeros(0, np.int64))
    given.clear()
    # A number over all cases of a team is not the mean of those of its folders: it is formed from their sums.
    sums = [path.parent / "pooled.csv" for path in paths] if challenge.pooled_metrics else []
    anew = len(sums) > 1 and len(records) == len(paths) and all(one.is_file() for one in sums)
    if anew:
        of_cases = ~is_pooled(rows, challenge)
        rows, of_source = rows.take(of_cases), of_source[of_cases]
    faults += _given_twice(rows, of_source, paths, "CSV004")
    faults += _same_references([path.parent for path in paths])
    metadata = metadata_of(rulebook, options)
    rows = rows.with_institutions(metadata.institutions)
    faults += _mixed_institutions(rows)
    if faults:
        raise UsageError(faults[:50])
    if anew:
        parts = joined_details(read_details(one.parent, one.name) for one in sums)
        rows = with_pooled(rows, parts.rows(), challenge, _expected_cases(records))
    else:
        problems += _averaged(rows, challenge)
    problems += _silent_institutions(_expected_institutions(rulebook, metadata), rows)
    absent = absent_rows(rows)
    problems += [*unranked_rows(rows, challenge), *_absent(absent, rows)]
    rows = concatenated([rows, absent])
    cases = rows.case.used
    run_record: dict[str, Any] = {
        "command": "rank",
        "seed": options.seed_or(challenge.ranking.seed),
        "shard": [1, 1],
        "expected": dict.fromkeys(rows.team.used, cases),
        "institutions": [name for name in rows.institution.used if name],
    }
    results = Results(rows, {}, problems, [])
    with locked(output) as state:
        check_output(output, rulebook.digest, options.overwrite)
        kept = (one for path in paths for one in read_sources(path.parent))
        write_sources(state, joined_sources(kept))
        return finish(rulebook, results, run_record, output, options, metadata, started, rank=True)


def _averaged(rows: ScoreTable, challenge: Challenge) -> list[Problem]:
    """A warning where a team has a number over all its cases more than once: of each institution."""
    pooled = rows.take(is_pooled(rows, challenge))
    teams = pooled.take(repeats(pooled.key("team", "region", "metric"))[0]).team.used
    if not teams:
        return []
    names = ", ".join(dict.fromkeys(metric for _, metric in challenge.pooled_metrics))
    shown = f"{', '.join(teams[:5])}{', ...' if len(teams) > 5 else ''}"
    message = (
        f"{names} of {shown} come more than once and are averaged, which is not the number over all cases"
    )
    hint = "rank the result folders themselves, whose pooled.csv holds the sums, or `bratseval merge` them"
    return [Problem("warning", "CSV018", message, hint)]


def _same_references(folders: Sequence[Path]) -> list[Problem]:
    """Result folders of different institutions whose references are the same files."""
    found: list[tuple[Path, set[str]]] = []
    problems = []
    for folder in dict.fromkeys(folders):
        if not (folder / "inputs.csv").is_file():
            continue
        digests = _reference_digests(folder / "inputs.csv")
        for other, theirs in found:
            same = len(digests) > 1 and (digests <= theirs or theirs <= digests)
            # Folders of one institution are its teams, or one given twice, which its rows tell.
            if same and read_run(folder)["institutions"] != read_run(other)["institutions"]:
                message = f"{folder} and {other} name different institutions but scored the same references"
                problems.append(Problem("error", "RUN010", message, "an institution counts once"))
        found.append((folder, digests))
    return problems


def _reference_digests(path: Path) -> set[str]:
    lines = read_lines(path)
    header = next(lines)
    digests = set()
    for line in lines:
        row = dict(zip(header, line, strict=True))
        if row.get("role") == "reference" and row.get("sha256"):
            digests.add(unescaped(row["sha256"]))
    return digests


def _expected_institutions(rulebook: Rulebook, metadata: Metadata) -> list[str]:
    """Those that the challenge names and, where it ranks within institutions, those of --metadata."""
    ranking = rulebook.challenge.ranking
    stated = metadata.institutions.values() if ranking.plan.per_institution else ()
    return [*ranking.institutions, *stated]


def _silent_institutions(expected: Iterable[str], rows: ScoreTable) -> list[Problem]:
    """An error for every expected institution that no row names."""
    silent = sorted(set(expected) - set(rows.institution.used) - {""})
    hint = "ask for its results, or rank without it: --allow-incomplete"
    return [Problem("error", "RUN009", f"institution {site} sent no score", hint) for site in silent]


def _mixed_institutions(rows: ScoreTable) -> list[Problem]:
    """A case that some rows place at an institution and others at none would count as two cases."""
    places: dict[str, set[str]] = {}
    for case, institution in pairs(rows, "case", "institution"):
        if case:
            places.setdefault(case, set()).add(institution)
    mixed = sorted(
        case for case, institutions in places.items() if "" in institutions and len(institutions) > 1
    )
    if not mixed:
        return []
    shown = f"{', '.join(mixed[:5])}{', ...' if len(mixed) > 5 else ''}"
    message = f"{len(mixed)} cases ({shown}) have rows with an institution and rows without one"
    hint = "fill the institution column for every team, or give --metadata with case and institution"
    return [Problem("error", "CSV013", message, hint)]


def _absent(absent: ScoreTable, rows: ScoreTable) -> list[Problem]:
    """One warning for each team whose rows do not cover every case, region and metric."""
    if not len(absent):
        return []
    total = len(distinct(rows, *_UNIT)[0])
    problems = []
    for team in absent.team.used:
        lost = absent.take(absent.team.where(team.__eq__))
        own_cases = set(rows.case.take(rows.team.where(team.__eq__)).used)
        cases = [case for case in lost.case.used if case not in own_cases]
        named = f"; no row at all for {len(cases)} cases ({', '.join(cases[:5])})" if cases else ""
        message = f"{len(lost)} of {total} scores are absent{named}"
        hint = "they count as missing, as ranking.missing says"
        problems.append(Problem("warning", "CSV012", message, hint, team=team))
    return problems


_UNIT = KEY_COLUMNS[1:]  # what every team has a score of


def absent_rows(rows: ScoreTable) -> ScoreTable:
    """Complete the grid team x case x region x metric: an absent row is a missing value."""
    first, unit = distinct(rows, *_UNIT)
    given = np.zeros((len(rows.team.names), len(first)), bool)
    given[rows.team.codes, unit] = True
    del unit
    given |= ~rows.team.seen[:, None]
    team, lacking = np.nonzero(~given)
    of_unit = rows.take(first[lacking])
    nothing = np.full(len(team), np.nan)
    alike = np.zeros(len(team), np.uint8)
    return replace(
        of_unit,
        team=Coded(team.astype(rows.team.codes.dtype), rows.team.names),
        value=nothing,
        measured=nothing,
        status=Coded(alike, ("missing",)),
        reason=Coded(alike, ("no row was given",)),
    )
