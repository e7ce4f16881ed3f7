"""Names to CSV and back, and the lines of a file that problems name."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bratseval.config import load_challenge
from bratseval.errors import UsageError, printable
from bratseval.metadata import read_metadata
from bratseval.number_tables import read_numbers
from bratseval.score_files import read_scores
from bratseval.tables import FORMULA_STARTS, cell, csv_text, texts_of, unescaped

names = st.text(st.sampled_from("'=+-@\t\r\\tr\"a,\n"), max_size=6) | st.text(max_size=20)


@given(names)
def test_a_name_is_read_as_it_was_written_and_runs_nowhere(name: str) -> None:
    written = cell(name)
    assert not written.startswith(FORMULA_STARTS)
    assert unescaped(written) == printable(name)
    assert written == printable(name) or written == f"'{printable(name)}"
    quoted = next(csv.reader(io.StringIO(f"{texts_of([name])[0]},x\n", newline=""), strict=True))
    assert quoted == [written, "x"]


@given(st.lists(st.text(st.sampled_from("'=-a"), max_size=5), unique=True, max_size=8))
def test_no_two_names_become_one(names: list[str]) -> None:
    assert len({unescaped(cell(name)) for name in names}) == len(names)
    assert len(set(map(cell, names))) == len(names)


@pytest.mark.parametrize(
    ("name", "written"),
    [("=x", "'=x"), ("'=x", "''=x"), ("''-1", "'''-1"), ("'x", "'x"), ("'", "'"), ("\tx", r"'\tx")],
)
def test_what_stands_in_the_file(name: str, written: str) -> None:
    assert cell(name) == written
    assert unescaped(written) == printable(name)


def test_teams_that_differ_by_an_apostrophe_stay_two(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    rows = [(team, "1", "WT", "dice", 0.5) for team in ("=x", "'=x", "''=x")]
    path.write_text(csv_text(("team", "case", "region", "metric", "value"), rows))
    assert read_scores(path).team.used == ["''=x", "'=x", "=x"]


def test_problems_name_the_line_of_the_file_after_cells_with_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    head = (
        'team,case,region,metric,value,reason\na,1,WT,dice,1,"two\nor\r\nthree"\n\n'  # lines 1-4, a blank 5
    )
    path.write_bytes((head + "a,2,WT,dice,x,\nb,1,WT,dice,1,\nb,1,WT,dice,1,\n,1,WT,dice,1,\n").encode())
    with pytest.raises(UsageError) as caught:
        read_scores(path)
    assert [problem.message for problem in caught.value.problems] == [
        f"{path}:6: 'x' is not a number",
        f"{path}:8: repeats line 7 (b, 1, WT, dice)",
        f"{path}:9: the team is empty",
    ]
    path.write_bytes((head + "a,2\n").encode())
    with pytest.raises(UsageError, match=r":6: 2 cells, the header has 6"):
        read_scores(path)


def test_lines_of_metadata_and_of_number_tables(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('case,note\n1,"a\nb"\n\n1,c\n')
    with pytest.raises(UsageError, match=r"m\.csv:5: case 1 occurs twice"):
        read_metadata(load_challenge("brats2023-gli"), path)
    path.write_text('id,x\n"1\n",2\n2,"y\n"\n')
    found = read_numbers(path, ["x"], id_column="id")
    assert found.lines == (2, 4)
    assert found.faults[0][0].startswith(":4: x is")
