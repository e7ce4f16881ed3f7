"""The rows of scores.csv column by column: 20 to 30 bytes a row, where a row of its own takes a kilobyte.

A text column is a number for every row beside the names that the numbers stand for. Nothing here changes
in place; a table that is read, filtered or joined is a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np

from bratseval.tables import BLOCK, KEY_COLUMNS, ScoreRow

LOOKED_UP = 1_000_000  # rows whose combinations of names are looked up at a time


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column of text: codes (rows,) of the smallest unsigned kind, and the name of every code."""

    codes: np.ndarray
    names: tuple[str, ...]

    @property
    def used(self) -> list[str]:
        """The names that a row has, sorted."""
        return sorted(self.names[code] for code in np.flatnonzero(self.seen).tolist())

    @property
    def seen(self) -> np.ndarray:
        """Whether a row has the name: (names,) bool."""
        seen = np.zeros(len(self.names), bool)
        seen[self.codes] = True
        return seen

    def where(self, holds: Callable[[str], object]) -> np.ndarray:
        """The rows whose name fulfils a condition: (rows,) bool."""
        return np.array([bool(holds(name)) for name in self.names], bool)[self.codes]

    def ordered(self, first: Sequence[str] = ()) -> Coded:
        """The same column with names in order, so that codes compare as they do: some first, then by name."""
        known = {name: index for index, name in enumerate(first)}
        by_name = sorted(
            range(len(self.names)),
            key=lambda code: (known.get(self.names[code], len(known)), self.names[code]),
        )
        places = np.empty(len(by_name), np.int64)
        places[by_name] = np.arange(len(by_name))
        return Coded(_small(places, len(by_name))[self.codes], tuple(self.names[code] for code in by_name))

    def take(self, chosen: np.ndarray | slice) -> Coded:
        """Some rows, given as bool, indices or a slice."""
        return Coded(self.codes[chosen], self.names)

    def texts(self) -> list[str]:
        """The name of every row."""
        return [self.names[code] for code in self.codes.tolist()]


def _small(codes: np.ndarray, size: int) -> np.ndarray:
    """Codes below ``size`` in the smallest unsigned kind."""
    return codes.astype(np.min_scalar_type(max(size - 1, 0)), copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Rows of scores.csv: every field is a column of all rows; value and measured are nan where none is."""

    team: Coded
    institution: Coded
    case: Coded
    region: Coded
    metric: Coded
    value: np.ndarray
    measured: np.ndarray
    status: Coded
    reason: Coded

    @staticmethod
    def of(rows: Iterable[ScoreRow]) -> ScoreTable:
        """The table of some rows, which come one by one; a table is returned as it is."""
        return rows if isinstance(rows, ScoreTable) else of_blocks(_blocks(rows))

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[ScoreRow]:
        for start in range(0, len(self), BLOCK):
            part = self.take(slice(start, start + BLOCK))
            values, measured = (
                [None if number != number else number for number in column.tolist()]
                for column in (part.value, part.measured)
            )
            keys = (getattr(part, name).texts() for name in KEY_COLUMNS)
            yield from map(ScoreRow, *keys, values, measured, part.status.texts(), part.reason.texts())

    def take(self, chosen: np.ndarray | slice) -> ScoreTable:
        """Some rows, given as bool, indices or a slice; all of them are no copy."""
        if isinstance(chosen, np.ndarray) and chosen.dtype == bool and chosen.all():
            return self
        columns = (getattr(self, field.name) for field in fields(self))
        return ScoreTable(
            *(one.take(chosen) if isinstance(one, Coded) else one[chosen] for one in columns)  # type: ignore[arg-type]
        )

    def key(self, *columns: str) -> np.ndarray:
        """One int64 a row, equal where all named columns are equal, in their order of the codes."""
        return combined([getattr(self, name) for name in columns])

    def with_institutions(self, of_case: Mapping[str, str]) -> ScoreTable:
        """The table with an institution for the rows of a case that state none."""
        blank = self.institution.where(lambda name: not name) & self.case.where(bool)
        if not of_case or not blank.any():
            return self
        stated = Encoder()
        own = stated.codes(self.institution.names)
        given = stated.codes([of_case.get(case, "") for case in self.case.names])
        codes = _small(own, len(stated.names))[self.institution.codes]
        codes[blank] = given[self.case.codes[blank]]
        return replace(self, institution=stated.column([codes]))


def combined(columns: Sequence[Coded]) -> np.ndarray:
    """One int64 a row, equal where all columns are equal; it orders rows as the codes do."""
    key = np.zeros(len(columns[0].codes), np.int64)
    span = 1
    for column in columns:
        size = max(len(column.names), 1)
        if span * size >= 2**62:  # many names in many columns: number the combinations that there are
            found, key = np.unique(key, return_inverse=True)
            span = len(found)
        key *= size
        key += column.codes
        span *= size
    return key


def repeats(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose key an earlier row has, in order: their indices, the last and the first such row's."""
    order = np.argsort(key, kind="stable")
    in_order = key[order]
    again = np.flatnonzero(in_order[1:] == in_order[:-1]) + 1
    starts = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1])) if again.size else again
    first = order[starts[np.searchsorted(starts, again, "right") - 1]]
    later = order[again]
    by_row = np.argsort(later)
    return later[by_row], order[again - 1][by_row], first[by_row]


class Encoder:
    """Numbers the names of a column as they come, block by block."""

    def __init__(self, read: Callable[[str], str] = str) -> None:
        """read: from a written name to the name that it stands for."""
        self._read = read
        self._of_text: dict[str, int] = {}
        self._of_name: dict[str, int] = {}

    def codes(self, texts: Sequence[str]) -> np.ndarray:
        """The codes of some written names."""
        known = self._of_text
        for text in dict.fromkeys(texts):
            if text not in known:
                known[text] = self._of_name.setdefault(self._read(text), len(self._of_name))
        return _small(np.fromiter(map(known.__getitem__, texts), np.int64, len(texts)), len(self._of_name))

    def code(self, name: str) -> int:
        """The code of one name."""
        return self._of_name.setdefault(name, len(self._of_name))

    @property
    def names(self) -> tuple[str, ...]:
        """The names so far, by code."""
        return tuple(self._of_name)

    def column(self, blocks: Iterable[np.ndarray]) -> Coded:
        """The column whose codes came in blocks."""
        parts = [*blocks] or [np.zeros(0, np.uint8)]
        return Coded(_small(np.concatenate(parts), len(self._of_name)), self.names)


def _blocks(rows: Iterable[ScoreRow]) -> Iterator[Sequence[Sequence[object]]]:
    rows = iter(rows)
    names = [field.name for field in fields(ScoreRow)]
    while block := list(islice(rows, BLOCK)):
        yield [[getattr(row, name) for row in block] for name in names]


def of_blocks(blocks: Iterable[Sequence[Sequence[object]]]) -> ScoreTable:
    """A table from blocks of columns, each with the fields of a row; None is no number."""
    kinds = [field.name in ("value", "measured") for field in fields(ScoreTable)]
    encoders = [Encoder() for _ in kinds]
    parts: list[list[np.ndarray]] = [[] for _ in kinds]
    for block in blocks:
        for cells, number, encoder, part in zip(block, kinds, encoders, parts, strict=True):
            part.append(np.array(cells, np.float64) if number else encoder.codes(cells))  # type: ignore[arg-type]
    return ScoreTable(
        *(
            np.concatenate([np.zeros(0), *part]) if number else encoder.column(part)  # type: ignore[arg-type]
            for number, encoder, part in zip(kinds, encoders, parts, strict=True)
        )
    )


def concatenated(tables: Sequence[ScoreTable]) -> ScoreTable:
    """The rows of several tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    columns: list[Coded | np.ndarray] = []
    for field in fields(ScoreTable):
        parts = [getattr(table, field.name) for table in tables]
        if field.name in ("value", "measured"):
            columns.append(np.concatenate([np.zeros(0), *parts]))
            continue
        encoder = Encoder()
        codes = [encoder.codes(part.names) for part in parts]
        columns.append(encoder.column(own[part.codes] for own, part in zip(codes, parts, strict=True)))
    return ScoreTable(*columns)  # type: ignore[arg-type]


def sort_scores(table: ScoreTable, regions: Sequence[str], metrics: Sequence[str]) -> ScoreTable:
    """The rows by the key columns; names the challenge does not know come last, by name."""
    region, metric = table.region.ordered(regions), table.metric.ordered(metrics)
    others = [getattr(table, name).ordered() for name in ("team", "institution", "case")]
    key = combined([*others, region, metric])
    if (key[1:] >= key[:-1]).all():
        return table
    return table.take(np.argsort(key, kind="stable"))


def groups(key: np.ndarray) -> np.ndarray:
    """Where each run of equal keys begins, and the number of rows at the end: (runs + 1,)."""
    begins = np.flatnonzero(key[1:] != key[:-1]) + 1
    return np.concatenate([[0], begins, [len(key)]]) if len(key) else np.zeros(1, np.int64)


def distinct(table: ScoreTable, *columns: str) -> tuple[np.ndarray, np.ndarray]:
    """The different combinations of names in some columns, in the order of the codes.

    Returns the first row of each, and for every row the number of its own: (combinations,) and (rows,).
    """
    parts = [getattr(table, name) for name in columns]
    span = math.prod(max(len(part.names), 1) for part in parts)
    if span > 4 * len(table) + 1000:
        _, first, number = np.unique(combined(parts), return_index=True, return_inverse=True)
        return first, _small(number, len(first))
    # Looked up instead of sorted, block by block: a key of all rows is 8 bytes a row.
    blocks = [slice(start, start + LOOKED_UP) for start in range(0, len(table), LOOKED_UP)]
    first = np.full(span, -1)
    for block in reversed(blocks):  # the first row of all is written last
        key = combined([part.take(block) for part in parts])
        first[key[::-1]] = np.arange(block.start + len(key) - 1, block.start - 1, -1)
    found = np.flatnonzero(first >= 0)
    place = _small(np.zeros(span, np.int64), len(found))
    place[found] = np.arange(len(found))
    numbers = [place[combined([part.take(block) for part in parts])] for block in blocks]
    return first[found], np.concatenate(numbers) if numbers else place[:0]


def pairs(table: ScoreTable, *columns: str) -> list[tuple[str, ...]]:
    """The different combinations of names in some columns, sorted."""
    first, _ = distinct(table, *columns)
    return sorted(zip(*(getattr(table, name).take(first).texts() for name in columns), strict=True))


def places_of(table: ScoreTable, columns: Sequence[str], names: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Place of every row's combination of names in a list of different ones: (rows,) int, -1 for none."""
    known = {name: index for index, name in enumerate(names)}
    first, of_row = distinct(table, *columns)
    found = zip(*(getattr(table, name).take(first).texts() for name in columns), strict=True)
    places = np.array([known.get(name, -1) for name in found], np.int64)
    return places[of_row]
