"""What a person sees: tables of any width, in terminals, pipes and logs; problems, progress, verdicts."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bratseval.config import load_challenge
from bratseval.errors import Problem, counted
from bratseval.leaderboard import Leaderboard, rank_teams
from bratseval.progress import duration, log_lines, pace
from bratseval.screen import Screen
from bratseval.tables import ScoreRow
from bratseval.text_tables import LONGEST_NAME, Column, cell_text, folded, line_text, shortened

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOSTILE = (
    *("[red]x[/red]", "<script>alert(1)</script>", "::error::x", "##[error]z", ":tada:", '=HYPERLINK("x")'),
    *(
        "a" * 500,
        "日本語チーム" * 8,
        "e\u0301te\u0301",
        "tab\there",
        "\x1b[31mred",
        "line\nbreak",
        "   ",
        "NA",
        "007",
    ),
    *(
        "a" * 25 + "::error::y",
        "b" * 31 + "::stop-commands::z",
        "c" * 240 + "::warning::",
        "x" * 30 + " ##[group]q",
    ),
)
KINDS = ("TERM", "CI", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


def board_of(teams: Sequence[str], regions: int = 3, empty: str = "") -> Leaderboard:
    """The leaderboard of made-up scores, the first team best; the team ``empty`` has none."""
    names = [f"R{number}" for number in range(regions)]
    challenge = load_challenge("generic-segmentation")
    ranking = challenge.ranking.model_copy(
        update={"metrics": ["dice", "hd95"], "regions": names, "scheme": "rank_then_aggregate", "steps": ()}
    )
    rows = [
        ScoreRow(team, "", str(case), region, metric, None if team == empty else value, None, "ok", "")
        for number, team in enumerate(teams)
        for case in range(2)
        for place, region in enumerate(names)
        for metric, value in (("dice", 0.9 / (number + 1 + case + place / 7)), ("hd95", number + place / 7))
    ]
    return rank_teams(rows, challenge.model_copy(update={"ranking": ranking}))


@contextmanager
def stderr_to(file: TextIO) -> Iterator[None]:
    before, sys.stderr = sys.stderr, file
    try:
        yield
    finally:
        sys.stderr = before


def in_pipe(show: Callable[[Screen], object], tmp_path: Path, *, no_color: bool = False) -> str:
    path = tmp_path / "stderr.txt"
    with path.open("w", encoding="utf-8") as file, stderr_to(file):
        show(Screen("text", False, no_color))
    return path.read_text(encoding="utf-8")


def on_terminal(show: Callable[[Screen], object], width: int = 80, *, no_color: bool = False) -> str:
    """What arrives at a real pseudo-terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    parts: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(master, parts))
    reader.start()
    with os.fdopen(slave, "w", encoding="utf-8") as file, stderr_to(file):
        show(Screen("text", False, no_color))
    reader.join(20)
    os.close(master)
    return b"".join(parts).decode().replace("\r\n", "\n")


def _drain(master: int, parts: list[bytes]) -> None:
    try:
        while part := os.read(master, 65536):
            parts.append(part)
    except OSError as error:
        if error.errno != errno.EIO:  # what Linux says at the end
            raise


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Of a person at a terminal, whatever runs the tests."""
    for name in KINDS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return monkeypatch


def shows(board: Leaderboard, **intervals: tuple[float, float]) -> Callable[[Screen], None]:
    return lambda screen: screen.leaderboard(board, intervals)


def test_a_pipe_gets_plain_aligned_text_of_the_same_bytes(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    show = shows(board_of(["b", "a", "c"]), a=(1.0, 2.0), b=(2.0, 2.0))
    text = in_pipe(show, tmp_path)
    assert text.isascii()
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[1] == "rank  team  score  95% ranks  cases  missing cases"
    assert [line.split()[:2] for line in lines[2:5]] == [["1", "b"], ["2", "a"], ["3", "c"]]
    assert [line.split()[3] for line in lines[2:5]] == ["2", "1-2", "-"]
    assert lines[6:8] == ["mean dice", "team      R0      R1      R2"]
    assert lines[8].split()[0] == "b"
    assert len({len(line) for line in lines[1:5]}) == 1
    for name, value in (("CI", "true"), ("NO_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "80")):
        with environment.context() as one:
            one.setenv(name, value)
            assert in_pipe(show, tmp_path) == text
    environment.setenv("FORCE_COLOR", "1")
    colored = in_pipe(show, tmp_path)
    assert "\x1b[" in colored
    assert ESCAPE.sub("", colored) == text
    assert in_pipe(show, tmp_path, no_color=True) == text


def test_a_terminal_gets_lines_and_colors_where_it_can_show_them(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    board = board_of(["b", "a", "c"]).with_column("tier", {"a": 2, "b": 1, "c": 2})
    plain = in_pipe(shows(board), tmp_path)
    shown = on_terminal(shows(board))
    first = next(line for line in shown.splitlines() if " b " in ESCAPE.sub("", line))
    others = [line for line in shown.splitlines() if re.search(" [ac] ", ESCAPE.sub("", line))]
    assert "\x1b[1;32m" in first  # bold green: the first team in the first tier
    assert others
    assert all("\x1b[36m" in line and "\x1b[1;" not in line for line in others)  # cyan: the second tier
    assert "───" in shown
    assert [line.rstrip() for line in ESCAPE.sub("", shown).splitlines() if "─" not in line] == [
        line.rstrip() for line in plain.splitlines()
    ]
    for no_color in (on_terminal(shows(board), no_color=True), _with(environment, "NO_COLOR", "1", board)):
        assert no_color == ESCAPE.sub("", shown)
    for name, value in (("TERM", "dumb"), ("CI", "true")):
        assert _with(environment, name, value, board) == plain
    assert _with(environment, "CI", "false", board) == shown
    assert _with(environment, "COLUMNS", "80", board, width=200) == shown


def _with(environment: pytest.MonkeyPatch, name: str, value: str, board: Leaderboard, width: int = 80) -> str:
    with environment.context() as one:
        one.setenv(name, value)
        return on_terminal(shows(board), width)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_width_cuts_a_name_or_a_number(
    environment: pytest.MonkeyPatch, tmp_path: Path, width: int
) -> None:
    board = board_of(HOSTILE, regions=20, empty="007")
    environment.setenv("COLUMNS", str(width))
    for text in (in_pipe(shows(board), tmp_path), ESCAPE.sub("", on_terminal(shows(board), width))):
        tables = text.split("\n\nlong names lack")[0]
        assert max(map(cell_len, tables.splitlines())) <= width
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        assert not re.search(r"^\s*::|##\[", text, re.MULTILINE)  # no command to GitHub's runner
        squeezed = re.sub(r"\s", "", text)
        for number in board.rows[0][5:]:
            assert cell_text(number) in squeezed
        headings = " ".join(line for line in text.splitlines() if line.startswith("team"))
        assert all(headings.split().count(f"R{number}") == 2 for number in range(20))
    if width == 200:
        assert all(
            name in tables for name in ("[red]x[/red]", ":tada:", "<script>alert(1)</script>", "'   '")
        )
        assert r"\x1b[31mred" in tables


def test_many_teams_shorten_the_tables_of_metrics_on_a_terminal_only(tmp_path: Path) -> None:
    board = board_of([f"team-{number}" for number in range(45)])
    pipe, terminal = in_pipe(shows(board), tmp_path), ESCAPE.sub("", on_terminal(shows(board)))
    assert pipe.count("team-") == 3 * 45
    assert terminal.count("team-") == 45 + 2 * 30
    assert "the means of the first 30 teams; leaderboard.csv has those of all 45" in terminal
    assert "the means of the first" not in pipe


def test_why_a_team_has_no_mean_is_said() -> None:
    """As with BraTS 2026 metastases: all cases of a region empty but the missing file of one team."""
    rows = [
        ScoreRow(team, "", case, region, "dice", value, None, status, "")
        for team in ("a", "b", "c")
        for case in ("1", "2")
        for region in ("WT", "TC")
        for value, status in [
            (0.0, "missing")
            if (team, case) == ("c", "2")
            else (None, "empty_both")
            if region == "TC"
            else (0.5, "ok")
        ]
    ]
    challenge = load_challenge("brats2023-gli")
    ranking = challenge.ranking.model_copy(update={"metrics": ["dice"], "regions": ["WT", "TC"]})
    board = rank_teams(rows, challenge.model_copy(update={"ranking": ranking}))
    (remark,) = board.remarks
    assert remark.startswith("dice TC: a mean is over the cases with a value, of 2 these are 1 for c;")
    full = [replace(row, value=1.0, status="ok") for row in rows]
    assert rank_teams(full, challenge.model_copy(update={"ranking": ranking})).remarks == ()


@given(
    st.lists(st.tuples(st.text(max_size=30), st.integers(1, 30)), min_size=1, max_size=12),
    st.integers(0, 12),
    st.integers(20, 90),
)
def test_folding_keeps_every_column_once_and_within_the_width(
    given: list[tuple[str, int]], at: int, width: int
) -> None:
    columns = [Column(heading, ("x" * size,)) for heading, size in given]
    name = Column("team", ("y" * 25,), name=True)
    columns.insert(at, name)
    parts = folded(columns, width, cell_len)
    assert [one for part in parts for one, _ in part if one is not name] == [
        one for one in columns if one is not name
    ]
    for part in parts:
        assert sum(one is name for one, _ in part) == 1
        assert len(part) > 1 or len(parts) == 1
        assert sum(room for _, room in part) + 2 * (len(part) - 1) <= width


def test_long_names_that_look_alike_are_told_apart() -> None:
    names = ["a" * 70 + "b" + "c" * 30, "a" * 71 + "c" * 30, "short"]
    assert shortened(names) == [f"{'a' * 40}...{'c' * 17} (1)", f"{'a' * 40}...{'c' * 17} (2)", "short"]
    assert shortened(["d" * LONGEST_NAME]) == ["d" * LONGEST_NAME]


@given(st.text(alphabet=":# [e\n", max_size=20))
def test_no_text_begins_a_line_with_a_command(text: str) -> None:
    assert not re.match(r"\s*::", line_text(text))
    assert "::" not in cell_text(f"x{text}")
    assert not any("##[" in shown for shown in (line_text(text), cell_text(text)))


def test_problems_hang_on_a_terminal_and_are_one_line_in_a_log(tmp_path: Path) -> None:
    path = "/a/" + "very-long-name/" * 8 + "file.nii.gz"
    problem = Problem("error", "GEO002", f"{path} {'has words ' * 12}", "do " * 40, "alpha", "00012-000")
    many = [replace(problem, message=f"m{number}", hint="", code="NII001") for number in range(25)]

    def show(screen: Screen) -> None:
        screen.problems([problem, *many], ", all in problems.csv")

    log = in_pipe(show, tmp_path).splitlines()
    assert log[0].startswith(f"error[GEO002] team alpha, case 00012-000: {path} has words")
    assert log[1] == f"  hint: {'do ' * 40}".rstrip() + " "
    assert len(log) == 2 + 20 + 1
    assert log[-1] == "  ... and 5 more NII001, all in problems.csv"
    shown = on_terminal(show)
    assert shown.startswith("\x1b[1;31merror[GEO002]\x1b[0m")
    lines = ESCAPE.sub("", shown).splitlines()
    assert path in {line.strip() for line in lines}  # whole, to be copied
    assert all(len(line) <= 80 for line in lines if path not in line)
    hint = next(number for number, line in enumerate(lines) if line.startswith("  hint: do"))
    assert all(line.startswith("  ") for line in lines[1:hint])
    assert lines[hint + 1].startswith("        do")
    assert " ".join(ESCAPE.sub("", shown).split()) == " ".join(" ".join(log).split())


def test_emoji_codes_and_markup_of_names_stay_as_they_are(tmp_path: Path) -> None:
    text = in_pipe(lambda screen: screen.verdict("complete: :tada: [bold]x[/bold]"), tmp_path)
    assert text == "complete: :tada: [bold]x[/bold]\n"


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_each_10_s_or_5_percent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    draw = log_lines("scored", clock)
    draw(20, 100, "")  # kept from an earlier run
    for done in range(21, 101):
        clock.now += 1
        draw(done, 100, "team case")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "scored 30 of 100 cases, about 70 s left"
    assert lines[1:] == [f"scored {n} of 100 cases, about {100 - n} s left" for n in range(40, 100, 10)] + [
        "scored 100 of 100 cases"
    ]


def test_a_slow_job_says_each_minute_that_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    draw = log_lines("scored", clock)
    draw(0, 1000, "")
    for done in range(1, 13):
        clock.now += 20
        draw(done, 1000, "")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"scored {n} of 1000 cases, about {duration((1000 - n) * 20)} left" for n in (3, 6, 9, 12)
    ]


def test_cases_that_are_kept_do_not_count_as_fast() -> None:
    clock = Clock()
    paced = pace(clock)
    assert paced(50, 100) == ("", "")
    clock.now = 10
    assert paced(50, 100) == ("", "")
    assert paced(51, 100) == ("0.1 cases/s", "about 8 min left")


def test_a_bar_moves_on_terminals_only(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def show(screen: Screen) -> None:
        with screen.progress("scored") as progress:
            progress(0, 4, "", 0)
            progress(4, 4, "team\x1b[31m [red]case[/red]", 4)
        screen.verdict("complete: 1 team")

    shown = on_terminal(show)
    assert "\r" in shown
    assert "4/4" in shown
    assert "\x1b[31m" not in shown
    assert ESCAPE.sub("", shown).splitlines()[-1].endswith("complete: 1 team")
    for width in (20, 40, 59):
        narrow = re.split(r"[\r\n]+", ESCAPE.sub("", on_terminal(show, width)))
        assert max(map(cell_len, narrow)) <= width
    assert in_pipe(show, tmp_path) == "scored 4 of 4 cases\ncomplete: 1 team\n"
    for name, value in (("CI", "1"), ("TERM", "dumb")):
        with environment.context() as one:
            one.setenv(name, value)
            assert on_terminal(show) == "scored 4 of 4 cases\ncomplete: 1 team\n"


def test_one_is_singular() -> None:
    assert [counted(number, "case") for number in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]


def test_the_command_on_a_terminal_and_its_errors_in_a_pipe(tmp_path: Path) -> None:
    """One case of one team: singular everywhere, the verdict last, no box around a usage error."""
    (tmp_path / "s.csv").write_text("team,case,region,metric,value\na,1,WT,lesion_dice,0.5\n")
    command = [sys.executable, "-m", "bratseval", "rank", "brats2023-gli", str(tmp_path / "s.csv")]
    plain = {name: value for name, value in os.environ.items() if name not in KINDS}
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out")], capture_output=True, text=True, env=plain, cwd=ROOT
    )
    assert done.stderr.splitlines()[-1].startswith("complete: 1 team, 1 case, 1 score, ")
    wrong = subprocess.run([*command, "--nonsense"], capture_output=True, text=True, env=plain, cwd=ROOT)
    assert wrong.returncode == 2
    assert wrong.stderr.isascii()
    assert wrong.stderr.splitlines()[-1].startswith("Error: No such option: --nonsense")
