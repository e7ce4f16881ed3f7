"""Tables of text for a screen of any width: what goes into which of several narrow tables, nothing cut."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bratseval.errors import harmless

GAP = 2  # blanks between columns
LONGEST_NAME = 60  # letters of a name beyond which its middle is left out
_HEAD, _TAIL = 40, 17


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and its cells, as they are shown; names stand left and are repeated in every part."""

    heading: str
    cells: tuple[str, ...]
    name: bool = False


def cell_text(value: object) -> str:
    """What a cell shows; numbers are rounded only here.

    A line may begin within a name that is folded, so no two colons stay together: the log of a GitHub job
    takes a line that begins with them for a command.
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value + 0.0:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"
    text = str(value)
    return harmless(re.sub(r":(?=:)", ": ", text)) if text.strip() else repr(text)


def line_text(text: str) -> str:
    """A sentence as one line that the log of a GitHub job takes for no command, whatever it begins with."""
    shown = harmless(text)
    return shown.replace("::", ": :", 1) if shown.lstrip().startswith("::") else shown


def shortened(names: Sequence[str]) -> list[str]:
    """Names of which long ones lack their middle; two that would look alike get a number."""
    shown = [
        name if len(name) <= LONGEST_NAME else f"{name[:_HEAD]}...{name[-_TAIL:]}"
        for name in map(cell_text, names)
    ]
    often = Counter(shown)
    seen: Counter[str] = Counter()
    for place, name in enumerate(shown):
        seen[name] += 1
        if often[name] > 1:
            shown[place] = f"{name} ({seen[name]})"
    return shown


def folded(
    columns: Sequence[Column], width: int, cells: Callable[[str], int]
) -> list[list[tuple[Column, int]]]:
    """The columns, each with its room, in parts of at most ``width`` cells; names are in each part.

    cells : how many cells of the screen a text takes. What is longer than its room is folded within it by
    whoever draws the part.
    """
    named = next((column for column in columns if column.name), None)
    own = min(_taken(named, cells), max(8, width * 2 // 5)) if named else -GAP
    parts: list[list[tuple[Column, int]]] = [[]]
    left = width - own
    for column in columns:
        there = any(other is named for other, _ in parts[-1])
        if column is named:
            parts[-1] += [] if there else [(column, own)]
            continue
        needed = min(_taken(column, cells), width - own - GAP)
        if needed + GAP > left:
            if named and not there:
                parts[-1].append((named, own))
            parts.append([(named, own)] if named else [])
            left = width - own
        parts[-1].append((column, needed))
        left -= needed + GAP
    return parts


def _taken(column: Column, cells: Callable[[str], int]) -> int:
    """Cells that a column takes where nothing is folded."""
    return max(map(cells, (column.heading, *column.cells)))
