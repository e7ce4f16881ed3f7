"""10 000 cases of 50 teams rank and report below 2 GB: the promise in miniature, as bytes a row of scores."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bratseval.score_table import ScoreTable, concatenated, distinct, repeats, sort_scores
from bratseval.tables import ScoreRow, csv_columns, csv_text, finite, number_texts, texts_of

BYTES_A_ROW = 500  # 3 million rows: 1.5 GB beside the 0.15 GB of the program; a kilobyte and more is a leak
SIZES = (200, 2_000)  # cases of 8 teams in 6 columns: 9 600 and 96 000 rows
CHALLENGE = "extends: brats2023-gli\nname: wide\nranking: {bootstrap: 100, permutations: 100}\n"
PEAK = """
import sys
from pathlib import Path
from bratseval.config import load_rulebook
from bratseval.joining import rank
from bratseval.options import Options
rank(load_rulebook(sys.argv[1]), [Path(sys.argv[2])], Path(sys.argv[3]), Options())
print(Path("/proc/self/status").read_text())
"""


def write_scores(path: Path, cases: int) -> int:
    """A table of random scores; the number of its rows."""
    random = np.random.default_rng(1)
    lines = [
        f"team{team},site{case % 5},case{case:05},{region},{metric},{random.random() * worst!r}"
        for team in range(8)
        for case in range(cases)
        for region in ("WT", "TC", "ET")
        for metric, worst in (("lesion_dice", 1), ("lesion_hd95", 374))
    ]
    path.write_text("team,institution,case,region,metric,value\n" + "\n".join(lines) + "\n")
    return len(lines)


def peak_of(folder: Path, cases: int) -> tuple[int, int]:
    """Rows, and the most bytes that ranking them held."""
    (folder / "wide.yaml").write_text(CHALLENGE)
    rows = write_scores(folder / f"{cases}.csv", cases)
    command = [
        sys.executable,
        "-c",
        PEAK,
        *(folder / name for name in ("wide.yaml", f"{cases}.csv", str(cases))),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert found is not None
    return rows, int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_row_of_scores_costs_little_memory_from_the_csv_to_the_last_table(tmp_path: Path) -> None:
    (few, low), (many, high) = (peak_of(tmp_path, cases) for cases in SIZES)
    assert (high - low) / (many - few) < BYTES_A_ROW


ROWS = [
    ScoreRow("b", "s", "1", "WT", "dice", 0.5, None, "ok", ""),
    ScoreRow("a", "", "", "", "score", None, 2.0, "missing", "gone"),
    ScoreRow("b", "s", "1", "TC", "dice", float("inf"), 1.0, "ok", "why"),
    ScoreRow("b", "s", "1", "WT", "other", -0.0, 0.25, "ok", ""),
]


def test_a_table_gives_back_its_rows_alone_and_joined() -> None:
    table = ScoreTable.of(iter(ROWS))
    assert list(table) == ROWS
    assert ScoreTable.of(table) is table
    assert list(concatenated([table, ScoreTable.of([]), table.take(np.array([1]))])) == [*ROWS, ROWS[1]]
    assert not list(ScoreTable.of([]))
    placed = [row.institution for row in table.with_institutions({"": "never", "1": "never either"})]
    assert placed == ["s", "", "s", "s"]
    away = ScoreTable.of([ScoreRow("a", "", f"{n}", "WT", "dice", n, None, "ok", "") for n in range(300)])
    given = {f"{n}": f"site{n}" for n in range(1, 300)}
    assert [row.institution for row in away.with_institutions(given)] == ["", *given.values()]


def test_more_names_than_a_byte_counts_keep_their_order() -> None:
    rows = [ScoreRow(f"t{n % 700:03}", "", f"{n}", "WT", "dice", 0.0, None, "ok", "") for n in range(3_000)]
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    found = list(sort_scores(ScoreTable.of(shuffled), ["WT"], ["dice"]))
    assert found == sorted(rows, key=lambda row: (row.team, row.case))


def test_unknown_regions_and_metrics_come_last_by_name() -> None:
    found = sort_scores(ScoreTable.of(ROWS), ["TC"], ["other"])
    assert [(row.region, row.metric) for row in found] == [
        *(("", "score"), ("TC", "dice"), ("WT", "other"), ("WT", "dice"))
    ]


def test_repeats_name_the_last_and_the_first_before() -> None:
    later, last, first = repeats(np.array([7, 5, 7, 9, 7, 5]))
    assert (later.tolist(), last.tolist(), first.tolist()) == ([2, 4, 5], [0, 2, 1], [0, 0, 1])
    assert not any(len(found) for found in repeats(np.arange(3)))


def test_columns_of_text_are_written_as_rows_are() -> None:
    names = ["plain", "a,b", 'say "so"', "=SUM(1)", "line\nbreak", "", "ünï"]
    numbers = np.array([0.1, -0.0, 3.0, 1e15, 1e16, np.nan, -np.inf])
    rows = [(name, finite(number)) for name, number in zip(names, numbers.tolist(), strict=True)]
    text = "".join(csv_columns(("name", "value"), [[texts_of(names), number_texts(numbers)]]))
    assert text == csv_text(("name", "value"), rows)


@pytest.mark.parametrize("names", [3, 3_000])
def test_combinations_of_names_are_numbered_in_the_order_of_their_codes(names: int) -> None:
    """Looked up where few are possible, else sorted: the same numbers."""
    random = np.random.default_rng(2)
    rows = [
        ScoreRow(f"t{team}", f"s{site}", "", "", "dice", 0.0, None, "ok", "")
        for team, site in random.integers(0, names, (4_000, 2)).tolist()
    ]
    table = ScoreTable.of(rows)
    first, number = distinct(table, "team", "institution")
    _, expected, numbers = np.unique(table.key("team", "institution"), return_index=True, return_inverse=True)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(number, numbers)
    again = distinct(ScoreTable.of([]), "team", "institution")
    assert [len(one) for one in again] == [0, 0]
