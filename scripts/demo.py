"""Score every folder of sample_data as a user would: ``make demo``.

The two large segmentation samples print their leaderboards, the others run quietly; a table with a line per
challenge ends it. Every command is printed, to be copied. Results go to ``results/<challenge>``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HEADER = ("challenge", "winner", "its score", "teams", "cases", "scores", "problems", "seconds")


class Sample(NamedTuple):
    """A challenge and the folder of sample_data that it is shown on."""

    challenge: str
    folder: str
    in_full: bool = False
    metadata: str = ""


SAMPLES = (
    Sample("brats2024-gli", "brats-gli", in_full=True),
    Sample("brats2026-met", "brats-met", in_full=True),
    Sample("brats-reg-2022", "brats-reg"),
    Sample("landmark-hit-rate", "brats-reg"),
    Sample("landmark-rtre", "brats-reg"),
    Sample("qu-brats-2020", "qu-brats"),
    Sample("qubiq-2021", "qubiq"),
    Sample("fets2021-task1", "fets"),
    Sample("fets2022-task1", "fets"),
    Sample("fets2022-task2", "fets", metadata="partitioning.csv"),
    Sample("fets2024", "brats-gli"),
)


def command_of(sample: Sample, results: Path) -> list[str]:
    """What a user types in the repository's folder; --overwrite, so that an update does not stop the demo."""
    program = Path(sys.executable).with_name("bratseval")
    folder = ROOT / "sample_data" / sample.folder
    named: list[tuple[str, Path]] = [
        ("--submissions", folder / "submissions"),
        ("--references", folder / "references"),
    ]
    if sample.metadata:
        named.append(("--metadata", folder / sample.metadata))
    named.append(("--output", results / sample.challenge))
    options = [text for name, path in named for text in (name, shortened(path))]
    return [shortened(program), "run", sample.challenge, *options, "--overwrite", "--fail-on", "never"]


def shortened(path: Path) -> str:
    """The path from the repository's folder, where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def run(sample: Sample, results: Path) -> bool:
    """Print the command and run it; what a quiet one says is shown only where it fails."""
    command = command_of(sample, results)
    print(f"{chr(10) if sample.in_full else ''}$ {shlex.join(command)}", flush=True)
    if sample.in_full:
        return subprocess.run(command, cwd=ROOT).returncode == 0
    done = subprocess.run([*command, "--quiet"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{done.stderr}exit code {done.returncode}", flush=True)
    return done.returncode == 0


def summarized(challenge: str, folder: Path) -> list[str]:
    """The cells of one line of the summary, from the files of a run."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    with open(folder / "leaderboard.csv", encoding="utf-8", newline="") as file:
        first = [row for row in csv.DictReader(file) if row["rank"] == "1"]
    counts = [str(record["counts"][name]) for name in ("teams", "cases", "rows", "problems")]
    winner, score = " = ".join(row["team"] for row in first), f"{float(first[0]['score']):.4g}"
    return [challenge, winner, score, *counts, f"{record['wall_seconds']:.1f}"]


def lined_up(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines with columns of equal width: words to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells)


def main() -> int:
    parser = argparse.ArgumentParser(description="Score all sample data and print a line per challenge.")
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="default: results")
    results = parser.parse_args().output.resolve()
    rows: list[list[str]] = []
    failed: list[str] = []
    for number, sample in enumerate(SAMPLES):
        if number and SAMPLES[number - 1].in_full and not sample.in_full:
            print("\nThe other kinds of challenges, quietly:", flush=True)
        if run(sample, results):
            rows.append(summarized(sample.challenge, results / sample.challenge))
        else:
            failed.append(sample.challenge)
    print()
    print(*lined_up([HEADER, *rows]), sep="\n")
    print(
        f"\nThe problems are meant (sample_data/README.md) and listed in {shortened(results)}/*/problems.csv."
    )
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
