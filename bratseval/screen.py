"""What a person sees on stderr: progress, problems, leaderboard, verdict. JSON goes to stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from bratseval.errors import SEVERITIES, BratsevalError, Problem, harmless

if TYPE_CHECKING:
    from rich.console import Console

    from bratseval.leaderboard import Leaderboard
    from bratseval.pipeline import Ended, Progress
    from bratseval.planning import Forecast
    from bratseval.validation import Checked

SHOWN_PER_CODE = 20
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


class Screen:
    """The terminal of one command; a bar only on a terminal, plain lines elsewhere."""

    def __init__(self, format: str, quiet: bool, no_color: bool) -> None:
        self.format, self.quiet, self.no_color = format, quiet, no_color
        self._console: Console | None = None
        self._done, self._total = 0, 0
        self._kept: int | None = None  # of the done cases; None where a command keeps none

    @property
    def console(self) -> Console:
        """rich console on stderr, made at first use."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                stderr=True, no_color=self.no_color or None, highlight=False, soft_wrap=True
            )
        return self._console

    @contextmanager
    def progress(self, verb: str = "scored") -> Iterator[Progress]:
        """A callback that draws a bar, or prints a line every 10 s; meanwhile signals raise exceptions."""
        with self._drawing(verb) as draw, _unwinding(signal.SIGINT), _unwinding(signal.SIGTERM):

            def advance(done: int, total: int, what: str, kept: int | None = None, /) -> None:
                self._done, self._total, self._kept = done, total, kept
                draw(done, total, what)

            yield advance

    @contextmanager
    def _drawing(self, verb: str) -> Iterator[Callable[[int, int, str], None]]:
        if self.quiet:
            yield lambda done, total, what: None
        elif not self.console.is_terminal:
            yield _line_progress(verb)
        else:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn(verb),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[what]}", markup=False),
            )
            with Progress(*columns, console=self.console, transient=True) as bar:
                task = bar.add_task("", total=None, what="", rate="")
                started = time.monotonic()

                def advance(done: int, total: int, what: str) -> None:
                    rate = f"{done / max(time.monotonic() - started, 1e-9):.1f} cases/s" if done else ""
                    bar.update(task, completed=done, total=total, what=harmless(what), rate=rate)

                yield advance

    def ended(self, ended: Ended, output: Path) -> None:
        """Problems, leaderboard, signature and verdict of a finished command; then its exit code."""
        import typer

        self.problems(ended.problems, ", all in problems.csv")
        if ended.leaderboard is not None and not self.quiet:
            self.leaderboard(ended.leaderboard)
            for sentence in ended.doubt.sentences if ended.doubt else ():
                self.console.print(harmless(sentence), markup=False)
        self.console.print(ended.run["signature"], markup=False)
        counts = ended.run["counts"]
        index, total = ended.run["shard"]
        state = "complete" if ended.run["complete"] else "incomplete"
        if total > 1 and ended.exit_code != 4:
            state = f"shard {index}/{total} complete"
        if ended.changed:
            shown = ", ".join("/".join(filter(None, pair)) for pair in ended.changed[:10])
            shown += ", ..." if len(ended.changed) > 10 else ""
            message = f"{len(ended.changed)} cases changed since an earlier run and were scored anew: {shown}"
            self._problem(Problem("note", "RUN011", message))
        kept = f", {ended.kept} cases kept from an earlier run" if ended.kept else ""
        self.verdict(
            f"{state}: {counts['teams']} teams, {counts['cases']} cases, {counts['rows']} scores, "
            f"{counts['problems']} problems in {ended.run['wall_seconds']:.1f} s{kept}; written to {output}"
        )
        if self.format == "json":
            rows = ended.leaderboard
            board = [dict(zip(rows.columns, row, strict=True)) for row in rows.rows] if rows else None
            document = {"leaderboard": board, "output": str(output), **ended.run}
            print(json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False))
        if ended.exit_code:
            raise typer.Exit(ended.exit_code)

    def forecast(self, forecast: Forecast) -> None:
        """What a run would take; as JSON on stdout; then the exit code."""
        import typer

        self.problems(forecast.problems, "; --format json has all")
        one = forecast
        remain = one.cases - one.finished
        kept = f"; {one.finished} of them are finished and kept" if one.finished else ""
        lines = [f"{one.teams} teams, {one.cases} cases of theirs{kept}"]
        if one.timed:
            further = f", {one.next_s:.2g} s for each further team's" if one.next_s is not None else ""
            memory = one.worker_bytes / 1e6
            lines += [
                f"{one.timed} timed here: {one.first_s:.2g} s for a case{further}; "
                f"a worker took up to {memory:.0f} MB",
                f"about {one.rows} rows of scores.csv",
                f"{_duration(one.cpu_s)} of one CPU; with {one.workers} workers {_duration(one.wall_s)} and "
                f"{one.workers * memory / 1000:.1f} GB",
                f"{one.shards} shards of about {_duration(one.start_s + one.cpu_s / one.shards)} would suit: "
                f"--shard I/{one.shards}, or bratseval slurm --shards {one.shards}"
                if one.shards > 1
                else "no need for shards",
            ]
        for line in () if self.quiet else lines:
            self.console.print(line, markup=False)
        if self.format == "json":
            document = {**asdict(one), "wall_s": one.wall_s}
            print(json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False))
        self.verdict(f"dry run: {remain} cases remain, {_duration(one.wall_s)} here; nothing was written")
        if one.exit_code:
            raise typer.Exit(one.exit_code)

    def leaderboard(self, board: Leaderboard) -> None:
        """The teams in order, then the means of each ranked metric; numbers are rounded only here.

        One narrow table a metric, because a column for every metric and region does not fit 80 columns.
        """
        from bratseval.tables import column_name

        place = {name: index for index, name in enumerate(board.columns)}
        shown = [
            name for name in ("rank", "team", "score", "tier", "cases", "missing_cases") if name in place
        ]
        self._table(shown, [[row[place[name]] for name in shown] for row in board.rows])
        for metric in board.scores.metrics:
            regions = [region for region, name in board.scores.columns if name == metric]
            at = [place[column_name(region, metric)] for region in regions]
            rows = [(row[1], *(row[index] for index in at)) for row in board.rows]
            self._table(("team", *(region or "mean" for region in regions)), rows, f"mean {metric}")
        self.console.print()

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            justify: Literal["left", "right"] = "left" if column == "team" else "right"
            table.add_column(Text(harmless(column).replace("_", " ")), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(Text(_short(value)) for value in row))
        self.console.print()
        if title:  # a table's own title would be wrapped to its width
            self.console.print(Text(title, style="italic"))
        self.console.print(table, soft_wrap=False)

    def problems(self, problems: Sequence[Problem], listed: str = "") -> None:
        """Every problem, grouped by code, at most 20 of a code; listed says where all of them are."""
        by_code: dict[tuple[int, str], list[Problem]] = {}
        for problem in dict.fromkeys(problems):
            if problem.severity != "note" or not self.quiet:
                by_code.setdefault((SEVERITIES.index(problem.severity), problem.code), []).append(problem)
        for (_, code), group in sorted(by_code.items()):
            for problem in group[:SHOWN_PER_CODE]:
                self._problem(problem)
            if len(group) > SHOWN_PER_CODE:
                rest = len(group) - SHOWN_PER_CODE
                self.console.print(f"  ... and {rest} more {code}{listed}", markup=False)

    def _problem(self, problem: Problem) -> None:
        from rich.text import Text

        where = [f"team {problem.team}"] * bool(problem.team) + [f"case {problem.case}"] * bool(problem.case)
        text = Text(f"{problem.severity}[{problem.code}]", style=_STYLES[problem.severity])
        place = f" {harmless(', '.join(where))}:" if where else ""
        text.append(f"{place} {harmless(problem.message)}", style="default")
        self.console.print(text)
        if problem.hint:
            self.console.print(Text(f"  hint: {harmless(problem.hint)}", style="dim"))

    def validated(self, checked: Checked) -> None:
        """Problems and verdict of a submission; on stdout what the format asks for; then the exit code."""
        import typer

        from bratseval import gate

        self.problems(checked.problems, "; --format json has all")
        if self.format != "text":
            print(gate.FORMATS[self.format](checked))
        if self.format == "github" and (path := os.environ.get("GITHUB_STEP_SUMMARY")):
            try:
                with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(gate.as_markdown(checked))
            except OSError as error:
                message = f"GITHUB_STEP_SUMMARY names {path}, which cannot be written ({error.strerror})"
                self._problem(Problem("warning", "OUT001", message, "unset it outside of GitHub"))
        self.verdict(gate.verdict(checked))
        if checked.exit_code:
            raise typer.Exit(checked.exit_code)

    def failed(self, error: BratsevalError) -> None:
        """The problems that stopped the command, and the verdict."""
        self.problems(error.problems, "; --format json has all")
        if self.format == "json":
            listed = [asdict(problem) for problem in error.problems]
            print(
                json.dumps(
                    {"complete": False, "exit_code": error.exit_code, "problems": listed}, sort_keys=True
                )
            )
        if self.format in ("github", "junit"):
            from bratseval import gate

            print(gate.stopped(self.format, error.problems))
        count = len(error.problems)
        so_far = self._so_far() if self._kept else ", nothing was scored"
        self.verdict(f"stopped: {count} problem{'s' if count != 1 else ''}{so_far}")

    def stopped(self, how: str) -> None:
        """The verdict of a command that a signal ended."""
        self.verdict(f"{how}{self._so_far()}; the same command goes on")

    def _so_far(self) -> str:
        """How far the command has come, and what it need not do again; cases that crashed are not kept."""
        if not self._total:
            return ""
        known = {None: "", self._done: ", which are kept"}
        kept = known.get(self._kept, f", {self._kept} of which are kept")
        return f" after {self._done} of {self._total} cases{kept}"

    def verdict(self, sentence: str) -> None:
        """The last line on stderr."""
        self.console.print(harmless(sentence), markup=False)

    def trace(self) -> None:
        """The Python traceback, for -vv."""
        traceback.print_exc(file=sys.stderr)


@contextmanager
def _unwinding(number: signal.Signals) -> Iterator[None]:
    """Let a signal raise an exception, so that workers end and the verdict says what is kept."""
    if (before := signal.getsignal(number)) == signal.SIG_IGN:
        yield
        return
    signal.signal(number, _unwind)
    try:
        yield
    finally:
        signal.signal(number, before)


def _unwind(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"
    shown = harmless(str(value))
    return f" {shown}" if shown.startswith("::") else shown  # a line may begin with it


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as rough as an estimate is."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _line_progress(verb: str) -> Callable[[int, int, str], None]:
    """A line each 10 s or 5 %, whichever comes later, for logs and pipes."""
    state = {"time": time.monotonic(), "done": 0}

    def advance(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        due = now - state["time"] >= 10 and (done - state["done"]) * 20 >= total
        if (due or done == total) and done:
            state.update(time=now, done=done)
            print(f"{verb} {done} of {total} cases", file=sys.stderr, flush=True)

    return advance
