"""How far a command has come: a bar on a terminal, a line now and then in a log; both say what is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bratseval.errors import counted, harmless

if TYPE_CHECKING:
    from rich.console import Console

Draw = Callable[[int, int, str], None]  # cases done, of how many, and the last of them

LINE_S = 10.0  # at least, between two lines of a log
LINE_SHARE = 20  # and one more 20th of the cases, or
SILENT_S = 60.0  # that much time since the last line
NARROW = 60  # columns below which a bar stands without rate and names


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as rough as an estimate is."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def pace(clock: Callable[[], float]) -> Callable[[int, int], tuple[str, str]]:
    """Cases a second, and about how long the rest will take; both empty before a case is finished.

    The first call says how many need not be done again.
    """
    started: list[tuple[float, int]] = []

    def of(done: int, total: int) -> tuple[str, str]:
        if not started:
            started.append((clock(), done))
        (since, before), now = started[0], clock()
        if done <= before or now <= since:
            return "", ""
        each = (now - since) / (done - before)
        left = f"about {duration(each * (total - done))} left" if done < total else ""
        return f"{1 / each:.1f} cases/s", left

    return of


def log_lines(verb: str, clock: Callable[[], float] = time.monotonic) -> Draw:
    """A line each 10 s or 5 %, whichever comes later, but one a minute if a case was finished in it."""
    paced, last = pace(clock), {"time": clock(), "done": 0}

    def advance(done: int, total: int, what: str) -> None:
        now = clock()
        _, left = paced(done, total)
        since = now - last["time"]
        due = since >= LINE_S and ((done - last["done"]) * LINE_SHARE >= total or since >= SILENT_S)
        if (due or done == total) and done:
            last.update(time=now, done=done)
            rest = f", {left}" if left else ""
            print(f"{verb} {done} of {counted(total, 'case')}{rest}", file=sys.stderr, flush=True)

    return advance


@contextmanager
def moving_bar(verb: str, console: Console) -> Iterator[Draw]:
    """A bar that goes away at its end; cases are named where there is room."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    wide = console.width >= NARROW
    columns = [TextColumn(verb), BarColumn(bar_width=30 if wide else 10), MofNCompleteColumn()]
    columns += [TextColumn("{task.fields[rate]}")] * wide
    columns += [TextColumn("{task.fields[left]}")]
    columns += [TextColumn("{task.fields[what]}", markup=False)] * wide
    paced = pace(time.monotonic)
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task("", total=None, what="", rate="", left="")

        def advance(done: int, total: int, what: str) -> None:
            rate, left = paced(done, total)
            drawn.update(task, completed=done, total=total, what=harmless(what), rate=rate, left=left)

        yield advance
