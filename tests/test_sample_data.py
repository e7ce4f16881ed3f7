"""sample_data is what its script makes, and the demo's leaderboards keep their order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, table
from test_cli import bratseval


def test_sample_data_is_what_the_script_makes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_sample_data.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sample_data_is_small() -> None:
    files = [path for path in (ROOT / "sample_data").rglob("*") if path.is_file()]
    assert len(files) > 40
    assert sum(path.stat().st_size for path in files) < 3_000_000


@pytest.mark.parametrize(
    ("name", "cohort", "order"),
    [
        ("brats2024-gli", "brats-gli", ["steady", "patchy", "bold"]),
        ("brats2026-met", "brats-met", ["steady", "bold", "patchy"]),
    ],
)
def test_the_demo(name: str, cohort: str, order: list[str], tmp_path: Path) -> None:
    folder = ROOT / "sample_data" / cohort
    arguments = ("--submissions", folder / "submissions", "--references", folder / "references")
    done = bratseval("run", name, *arguments, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    board = table(tmp_path / "leaderboard.csv")
    assert [row["team"] for row in board] == order
    assert {row["team"]: row["missing_cases"] for row in board} == {"steady": "0", "bold": "0", "patchy": "1"}
    rows = table(tmp_path / "scores.csv")
    assert len(rows) == len({tuple(row[key] for key in ("team", "case", "region", "metric")) for row in rows})
    kinds = {row["kind"] for row in table(tmp_path / "lesions.csv")}
    assert {"tp", "fn", "fp"} <= kinds
