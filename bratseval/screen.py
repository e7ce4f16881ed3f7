"""What a person sees on stderr: progress, problems, leaderboard, verdict. JSON goes to stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from bratseval.errors import SEVERITIES, BratsevalError, Problem, counted, harmless
from bratseval.progress import Draw, duration, log_lines, moving_bar
from bratseval.text_tables import LONGEST_NAME, Column, cell_text, folded, line_text, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from bratseval.finishing import Ended
    from bratseval.leaderboard import Leaderboard
    from bratseval.options import Progress
    from bratseval.planning import Forecast
    from bratseval.validation import Checked

SHOWN_PER_CODE = 20
MOST_TEAMS = 30  # in the tables of a metric on a terminal
NARROWEST = 20  # columns; what is narrower is left to the terminal
_TIERS = ("magenta", "green", "cyan", "yellow", "blue")  # by tier, from 1; again from the start
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


class Screen:
    """The terminal of one command; a bar only on a terminal, plain lines elsewhere."""

    def __init__(self, format: str, quiet: bool, no_color: bool, scores: bool = True) -> None:
        self.format, self.quiet, self.no_color = format, quiet, no_color
        self._scores = scores
        self._console: Console | None = None
        self._done, self._total = 0, 0
        self._kept: int | None = None  # of the done cases; None where a command keeps none

    @property
    def lively(self) -> bool:
        """Whether a person looks at a terminal that can move its cursor; the log of a CI job is none."""
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        logged = os.environ.get("CI", "").lower() not in ("", "0", "false")
        return sys.stderr.isatty() and not dumb and not logged

    @property
    def console(self) -> Console:
        """rich console on stderr, made at first use; without color it writes no escape at all but a bar's."""
        if self._console is None:
            from rich.console import Console

            forced = os.environ.get("FORCE_COLOR", "") not in ("", "0")
            plain = self.no_color or os.environ.get("NO_COLOR", "") or not (self.lively or forced)
            self._console = Console(
                stderr=True,
                force_terminal=self.lively or (forced and not plain),
                color_system=None if plain else "auto" if self.lively else "standard",
                width=_columns(self.lively),
                highlight=False,
                emoji=False,
                soft_wrap=True,
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
    def _drawing(self, verb: str) -> Iterator[Draw]:
        if self.quiet:
            yield lambda done, total, what: None
        elif not self.lively:
            yield log_lines(verb)
        else:
            with moving_bar(verb, self.console) as draw:
                yield draw

    def ended(self, ended: Ended, output: Path) -> None:
        """Problems, leaderboard, signature and verdict of a finished command; then its exit code."""
        import typer

        self.problems(ended.problems, ", all in problems.csv")
        if ended.leaderboard is not None and not self.quiet:
            self.leaderboard(ended.leaderboard, ended.doubt.intervals if ended.doubt else {})
            for sentence in (*ended.leaderboard.remarks, *(ended.doubt.sentences if ended.doubt else ())):
                self._remark(sentence)
        self._say(ended.run["signature"])
        counts = ended.run["counts"]
        index, total = ended.run["shard"]
        state = "complete" if ended.run["complete"] else "incomplete"
        if total > 1 and ended.exit_code != 4:
            state = f"shard {index}/{total} complete"
        if ended.changed:
            shown = ", ".join("/".join(filter(None, pair)) for pair in ended.changed[:10])
            shown += ", ..." if len(ended.changed) > 10 else ""
            count = len(ended.changed)
            were = "was" if count == 1 else "were"
            message = f"{counted(count, 'case')} changed since an earlier run and {were} scored anew: {shown}"
            self._problem(Problem("note", "RUN011", message))
        kept = f", {counted(ended.kept, 'case')} kept from an earlier run" if ended.kept else ""
        nouns = {"teams": "team", "cases": "case", "rows": "score", "problems": "problem"}
        found = ", ".join(counted(counts[key], noun) for key, noun in nouns.items())
        but = " without report.html" if any(one.code == "OUT001" for one in ended.problems) else ""
        self.verdict(f"{state}: {found} in {ended.run['wall_seconds']:.1f} s{kept}; written to {output}{but}")
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

        from bratseval.planning import SHARD_S
        from bratseval.slurm import CASES_PER_SHARD

        self.problems(forecast.problems, "; --format json has all")
        one = forecast
        remain = one.cases - one.finished
        are = "is" if one.finished == 1 else "are"
        kept = f"; {one.finished} of them {are} finished and kept" if one.finished else ""
        said = [f"{counted(one.teams, 'team')}, {counted(one.cases, 'case')} of theirs{kept}"]
        if one.timed:
            further = f", {one.next_s:.2g} s for each further team's" if one.next_s is not None else ""
            memory = one.worker_bytes / 1e6
            said += [
                f"{one.timed} timed here: {one.first_s:.2g} s for a case{further}; "
                f"a worker took up to {memory:.0f} MB",
                f"about {counted(one.rows, 'row')} of scores.csv",
                f"{duration(one.cpu_s)} of one CPU; with {counted(one.workers, 'worker')} "
                f"{duration(one.wall_s)} and {one.workers * memory / 1000:.1f} GB",
                f"{one.shards} shards, some {duration(SHARD_S)} of one CPU each, would suit: "
                f"--shard I/{one.shards}, or bratseval slurm --shards {one.shards}, "
                f"which without it makes one per {CASES_PER_SHARD} cases"
                if one.shards > 1
                else f"no need for shards: one should take some {duration(SHARD_S)} of one CPU",
            ]
        for line in () if self.quiet else said:
            self._remark(line)
        if self.format == "json":
            document = {**asdict(one), "wall_s": one.wall_s}
            print(json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False))
        remaining = f"{counted(remain, 'case')} remain{'s' if remain == 1 else ''}"
        self.verdict(f"dry run: {remaining}, {duration(one.wall_s)} here; nothing was written")
        if one.exit_code:
            raise typer.Exit(one.exit_code)

    def leaderboard(self, board: Leaderboard, intervals: Mapping[str, tuple[float, float]]) -> None:
        """The teams in order, then the means of each ranked metric.

        One table a metric, because a column for every metric and region does not fit 80 columns; a table that
        is still too wide is folded into several. intervals: of the rank by team, from the bootstrap.
        """
        from bratseval.tables import column_name

        place = {name: index for index, name in enumerate(board.columns)}
        names = [str(row[place["team"]]) for row in board.rows]
        teams = Column("team", tuple(shortened(names)), name=True)
        cells = {name: [row[index] for row in board.rows] for name, index in place.items()}
        ends = [intervals.get(name) for name in names]
        if any(ends):
            cells["95% ranks"] = [
                "-".join(map(cell_text, sorted({*pair}))) if pair else None for pair in ends
            ]
        shown = [
            teams if name == "team" else Column(name.replace("_", " "), tuple(map(cell_text, cells[name])))
            for name in ("rank", "team", "score", "tier", "95% ranks", "cases", "missing_cases")
            if name in cells
        ]
        styles = _styles(cells["rank"], cells.get("tier"))
        self._table(shown, styles)
        most = MOST_TEAMS if self.lively else len(names)
        some = replace(teams, cells=teams.cells[:most])
        for metric in board.scores.metrics:
            regions = [region for region, name in board.scores.columns if name == metric]
            means = [
                Column(region or "mean", tuple(map(cell_text, cells[column_name(region, metric)][:most])))
                for region in regions
            ]
            self._table([some, *means], styles[:most], f"mean {metric}")
        self.console.print()
        if len(names) > most:
            self._remark(
                f"the means of the first {most} teams; leaderboard.csv has those of all {len(names)}"
            )
        if any(len(name) > LONGEST_NAME for name in names):
            self._remark("long names lack their middle here; leaderboard.csv has them whole")

    def _table(self, columns: Sequence[Column], styles: Sequence[str], title: str = "") -> None:
        """Aligned text, with a line under the headings on a terminal; in parts where it is too wide."""
        from rich import box
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        self.console.print()
        if title:  # a table's own title would be wrapped to its width
            self.console.print(Text(harmless(title), style="italic"))
        lined = self.lively and not self.console.options.ascii_only
        for number, part in enumerate(folded(columns, self.console.width, cell_len)):
            table = Table(
                box=box.SIMPLE_HEAD if lined else None,
                show_edge=False,
                pad_edge=False,
                padding=(0, 1, 0, 0) if lined else (0, 1),
                header_style="bold",
            )
            for column, room in part:
                justify: Literal["left", "right"] = "left" if column.name else "right"
                heading = Text(cell_text(column.heading))
                table.add_column(heading, justify=justify, overflow="fold", max_width=room)
            for row, style in zip(
                zip(*(column.cells for column, _ in part), strict=True), styles, strict=True
            ):
                table.add_row(*map(Text, row), style=style)
            if number:
                self.console.print()
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
                self._say(f"  ... and {rest} more {code}{listed}")

    def _problem(self, problem: Problem) -> None:
        where = [f"team {problem.team}"] * bool(problem.team) + [f"case {problem.case}"] * bool(problem.case)
        head = f"{problem.severity}[{problem.code}]"
        place = f" {harmless(', '.join(where))}:" if where else ""
        message = f"{head}{place} {harmless(problem.message)}"
        self._hanging(message, "  ", head=(_STYLES[problem.severity], len(head)))
        if problem.hint:
            self._hanging(f"  hint: {harmless(problem.hint)}", " " * len("  hint: "), "dim")

    def _remark(self, sentence: str) -> None:
        self._hanging(line_text(sentence), "  ")

    def _hanging(self, text: str, indent: str, style: str = "", head: tuple[str, int] = ("", 0)) -> None:
        """One line in a log. On a terminal words are wrapped and further lines indented; a long word, such as
        a path, stays whole, so that it can be copied. head: the style of so many first letters."""
        from rich.text import Text

        lines = [text]
        if self.lively:
            width = max(self.console.width, len(indent) + 12)
            lines = textwrap.wrap(
                text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
        shown = Text("\n".join(lines), style=style)
        shown.stylize(head[0], 0, head[1])
        self.console.print(shown)

    def _say(self, sentence: str) -> None:
        self.console.print(line_text(sentence), markup=False)

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
        if self.format in ("github", "junit", "synapse"):
            from bratseval import gate

            print(gate.stopped(self.format, error.problems))
        so_far = self._so_far() if self._kept else ", nothing was scored" if self._scores else ""
        self.verdict(f"stopped: {counted(len(error.problems), 'problem')}{so_far}")

    def stopped(self, how: str) -> None:
        """The verdict of a command that a signal ended."""
        self.verdict(f"{how}{self._so_far()}; the same command goes on")

    def _so_far(self) -> str:
        """How far the command has come, and what it need not do again; cases that crashed are not kept."""
        if not self._total:
            return ""
        known = {None: "", self._done: ", which are kept"}
        kept = known.get(self._kept, f", {self._kept} of which are kept")
        return f" after {self._done} of {counted(self._total, 'case')}{kept}"

    def verdict(self, sentence: str) -> None:
        """The last line on stderr."""
        self._say(sentence)

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


def _columns(lively: bool) -> int:
    """Width of what is printed: COLUMNS, else the terminal's, else 80, so that a pipe gets the same bytes."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated):
        return max(int(stated), NARROWEST)
    found = os.get_terminal_size(sys.stderr.fileno()).columns if lively else 0
    return max(found, NARROWEST) if found else 80


def _styles(ranks: Sequence[Any], tiers: Sequence[Any] | None) -> list[str]:
    """Of every team: the first in bold, each tier in a color of its own, baselines dim."""
    colors = [""] * len(ranks) if tiers is None else [_TIERS[int(t or 0) % len(_TIERS)] for t in tiers]
    weights = {None: "dim", 1: "bold"}
    return [
        f"{weights.get(rank, '')} {color if rank else ''}".strip()
        for rank, color in zip(ranks, colors, strict=True)
    ]
