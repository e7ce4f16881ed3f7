"""Score tables of any tool to rows: our scores.csv, wide tables, challengeR's long tables."""

from __future__ import annotations

import difflib
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.ranking.rules import WideColumn
from bratseval.score_table import Coded, Encoder, ScoreTable, combined, repeats
from bratseval.tables import BLOCK, INFINITE, KEY_COLUMNS, column_name, read_numbered, unescaped

# Column names that the field's tools use, first choice first.
_NAMES: dict[str, tuple[str, ...]] = {
    "team": ("team", "algorithm", "alg_name", "method"),
    "institution": ("institution", "site"),
    "case": ("case", "case_id", "subject", "image"),
    "region": ("region", "task"),
    "metric": ("metric",),
    "value": ("value", "score"),
}
MAX_FAULTS = 50
NUMBER_HINT = "numbers have a dot as decimal mark; leave the cell of a missing score empty"


def read_scores(path: Path, challenge: Challenge | None = None) -> ScoreTable:
    """Rows of a score table; the challenge's `score_table` names columns that are called otherwise.

    Long tables have a value column; without one the table is wide, a column per metric and region.
    The file is read in blocks of rows, none of which is kept as text.
    Raises UsageError with every problem found, each with its line.
    """
    lines = read_numbered(path)
    _, header = next(lines)
    columns = _columns(header, challenge)
    wide = {} if "value" in columns else _wide_columns(header, challenge)
    only = challenge.ranking.metrics[0] if challenge and len(challenge.ranking.metrics) == 1 else ""
    regions = (challenge.ranking.regions or challenge.scored_regions) if challenge else []
    required = {"team", "case"} if wide else {"team", "case", "region", "metric", "value"}
    required -= ({"metric"} if only else set()) | ({"region"} if len(regions) == 1 else set())
    absent = [name for name in _NAMES if name in required and name not in columns]
    if absent:
        deque(lines, maxlen=0)  # what is wrong with the file as a CSV is said first
        message = f"{path} has no column {', '.join(absent)} (found {', '.join(header)})"
        hint = (
            "expected team, case, region, metric, value and optionally institution, or a column per "
            "metric and region named like dice_WT; `score_table` of the challenge maps other names"
        )
        raise UsageError(Problem("error", "CSV003", message, hint, file=str(path)))
    usual = {} if wide else {"region": regions[0] if len(regions) == 1 else "", "metric": only}
    numbers = [*wide] or [columns["value"], *(["measured"] if "measured" in header else [])]
    texts: dict[str, tuple[str | None, Callable[[str], str]]] = {
        name: (columns.get(name), partial(_name, usual.get(name, ""))) for name in KEY_COLUMNS
    }
    if "region" in columns:  # an empty one is the whole case
        texts["region"] = (columns["region"], unescaped)
    if not wide:
        texts |= {name: (name if name in header else None, unescaped) for name in ("status", "reason")}
    read = _read_columns(path, lines, header, texts, numbers, one_fault=not wide)
    keys = [read.texts[name] for name in KEY_COLUMNS]
    faults = [*read.faults, *_unnamed(path, keys[0], read.lines), *_repeated(path, keys, read.lines)]
    if faults:
        raise UsageError([problem for _, _, problem in sorted(faults)[:MAX_FAULTS]])
    return _wide_table(read, list(wide.values())) if wide else _long_table(read)


Fault = tuple[int, int, Problem]  # line, order within the line, what is wrong there


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a file: text by name, numbers (nan where none is), which of them are empty cells.

    lines: (rows,) of the file, in which the rows begin.
    """

    texts: Mapping[str, Coded]
    numbers: Sequence[np.ndarray]
    blank: Sequence[np.ndarray]
    faults: Sequence[Fault]
    lines: np.ndarray


def _read_columns(
    path: Path,
    lines: Iterator[tuple[int, list[str]]],
    header: Sequence[str],
    texts: Mapping[str, tuple[str | None, Callable[[str], str]]],
    numbers: Sequence[str],
    *,
    one_fault: bool,
) -> _Columns:
    """Read the rest of a file, a block of rows at a time.

    texts : name -> column, None for one that the file lacks, and what a cell stands for.
    one_fault : name only the first cell of a line that is no number.
    """
    encoders = {name: Encoder(stands_for) for name, (_, stands_for) in texts.items()}
    codes: dict[str, list[np.ndarray]] = {name: [] for name in texts}
    values: list[list[np.ndarray]] = [[np.zeros(0)] for _ in numbers]
    blank: list[list[np.ndarray]] = [[np.zeros(0, bool)] for _ in numbers]
    faults: list[Fault] = []
    places = [np.zeros(0, np.uint32)]
    while block := list(islice(lines, BLOCK)):
        place = [line for line, _ in block]
        places.append(np.array(place, np.uint32))
        cells = dict(zip(header, zip(*(row for _, row in block), strict=True), strict=True))
        for name, (column, _) in texts.items():
            own = ("",) * len(block) if column is None else cells[column]
            codes[name].append(encoders[name].codes(own))
        wrong: dict[int, list[Fault]] = {}
        for order, column in enumerate(numbers):
            found, empty, unread = _numbers(cells[column])
            values[order].append(found)
            blank[order].append(empty)
            for row, message in unread.items():
                fault = _fault("CSV005", path, place[row], message, NUMBER_HINT)
                wrong.setdefault(row, []).append((place[row], 2 + order, fault))
        of_block = [fault for row in sorted(wrong) for fault in wrong[row][: 1 if one_fault else None]]
        faults = (faults + of_block)[:MAX_FAULTS]
    return _Columns(
        {name: encoder.column(codes.pop(name)) for name, encoder in encoders.items()},
        [np.concatenate(parts) for parts in values],
        [np.concatenate(parts) for parts in blank],
        faults,
        np.concatenate(places),
    )


def _name(usual: str, text: str) -> str:
    return unescaped(text) or usual


def _numbers(cells: Sequence[str]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """The numbers of some cells, nan where there is none; which cells are empty; messages by row."""
    try:
        found = np.array([float(text) if text else math.nan for text in cells])
        doubtful = np.flatnonzero(np.isnan(found)).tolist()
    except ValueError:
        found, doubtful = np.full(len(cells), np.nan), list(range(len(cells)))
    empty = np.zeros(len(cells), bool)
    wrong: dict[int, str] = {}
    for row in doubtful:
        text = unescaped(cells[row])
        empty[row] = not text.strip()
        try:
            value = _parse(text)
        except ValueError as error:
            wrong[row] = str(error)
            continue
        if value is not None:
            found[row] = value
    return found, empty, wrong


def _unnamed(path: Path, team: Coded, lines: np.ndarray) -> list[Fault]:
    nameless = lines[np.flatnonzero(team.where(lambda name: not name))[:MAX_FAULTS]].tolist()
    return [(line, 0, _fault("CSV005", path, line, "the team is empty", "name it")) for line in nameless]


def _repeated(path: Path, keys: Sequence[Coded], lines: np.ndarray) -> list[Fault]:
    later, earlier, _ = repeats(combined(keys))
    faults = []
    for row, before in zip(later[:MAX_FAULTS].tolist(), earlier[:MAX_FAULTS].tolist(), strict=True):
        text = ", ".join(filter(None, (column.names[column.codes[row]] for column in keys)))
        line, message = int(lines[row]), f"repeats line {lines[before]} ({text})"
        faults.append((line, 1, _fault("CSV004", path, line, message, "keep one of them")))
    return faults


def _long_table(read: _Columns) -> ScoreTable:
    value, reason = read.numbers[0], read.texts["reason"]
    for name, infinite in INFINITE.items():
        value[read.blank[0] & reason.where(name.__eq__)] = infinite
    measured = read.numbers[1] if len(read.numbers) > 1 else np.full(len(value), np.nan)
    status = read.texts["status"]
    stated = Encoder()
    own = stated.codes(status.names)
    usual = stated.codes(["missing", "ok"])
    codes = np.where(status.where(bool), own[status.codes], usual[(~np.isnan(value)).astype(np.uint8)])
    keys = {name: read.texts[name] for name in KEY_COLUMNS}
    return ScoreTable(value=value, measured=measured, status=stated.column([codes]), reason=reason, **keys)


def _wide_table(read: _Columns, targets: Sequence[WideColumn]) -> ScoreTable:
    """Line by line, the columns of each in their order."""
    width, height = len(targets), len(read.numbers[0])
    keys = {
        name: Coded(np.repeat(read.texts[name].codes, width), read.texts[name].names)
        for name in KEY_COLUMNS[:3]
    }
    for name in KEY_COLUMNS[3:]:
        encoder = Encoder()
        codes = encoder.codes([getattr(target, name) for target in targets])
        keys[name] = encoder.column([np.tile(codes, height)])
    value = np.stack(read.numbers, axis=1).ravel()
    status = Coded((~np.isnan(value)).astype(np.uint8), ("missing", "ok"))
    reason = Coded(np.zeros(len(value), np.uint8), ("",))
    measured = np.full(len(value), np.nan)
    return ScoreTable(value=value, measured=measured, status=status, reason=reason, **keys)


def _columns(header: Sequence[str], challenge: Challenge | None) -> dict[str, str]:
    """What -> column name, for the columns that the table has."""
    found: dict[str, str] = {}
    for name, usual in _NAMES.items():
        stated = getattr(challenge.score_table, name) if challenge else ""
        for candidate in (stated,) if stated else usual:
            if candidate in header:
                found.setdefault(name, candidate)
    return found


def _wide_columns(header: Sequence[str], challenge: Challenge | None) -> dict[str, WideColumn]:
    """Column -> metric and region: as the challenge maps them, or named <metric>_<region>."""
    if challenge is None:
        return {}
    mapped = {name: target for name, target in challenge.score_table.wide.items() if name in header}
    known = dict.fromkeys([*challenge.metrics, *challenge.ranking.metrics])
    for metric in known:
        for region in ("", *challenge.scored_regions):
            name = column_name(region, metric)
            if name in header:
                mapped.setdefault(name, WideColumn(metric=metric, region=region))
    return mapped


def _fault(code: str, path: Path, line: int, message: str, hint: str) -> Problem:
    return Problem("error", code, f"{path}:{line}: {message}", hint, file=str(path))


def _parse(text: str) -> float | None:
    if text.strip() in ("", "NA"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if math.isnan(value):
        raise ValueError(f"{text!r} is not a number; leave the cell empty or put the penalty")
    return value


def unranked_rows(rows: ScoreTable, challenge: Challenge) -> list[Problem]:
    """Warnings for rows whose metric or region the challenge does not know."""
    known = {
        "metric": {*challenge.metrics, *challenge.ranking.metrics, *challenge.ranking.directions}
        | {breaker.metric for breaker in challenge.ranking.breakers},
        "region": {*challenge.regions, ""},
    }
    counts: dict[tuple[str, str], int] = {}
    for kind, column in (("metric", rows.metric), ("region", rows.region)):
        for name in column.used:
            if name not in known[kind]:
                counts[kind, name] = int(column.where(name.__eq__).sum())
    problems = []
    for (kind, name), n in sorted(counts.items()):
        close = difflib.get_close_matches(name, known[kind], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known[kind] - {''}))}"
        message = f"{n} rows of the {kind} {name!r}, unknown to {challenge.name}, are not ranked"
        problems.append(Problem("warning", "CSV008", message, hint))
    return problems
