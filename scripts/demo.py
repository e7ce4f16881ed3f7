"""Score every folder of sample_data as a user would: ``make demo``.

The two large segmentation samples print their leaderboards, the others run quietly; a table with a line per
challenge follows, and one of all bundled challenges with what their numbers were compared with. Every command
is printed, to be copied. Results go to ``results/<challenge>``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bratseval.config import PARITY_STATES

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("bratseval")
AT_ONCE = 2  # quiet runs, most of whose time is start-up
HEADER = ("challenge", "winner", "its score", "teams", "cases", "scores", "problems", "seconds")
PARITY_HEADER = ("challenge", "parity", "sample data", "compared with")


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
    Sample("brats2023-inpainting", "inpainting"),
    Sample("brats2025-inpainting", "inpainting"),
    Sample("brats2023-brasyn", "brasyn"),
    Sample("brats2024-path", "path"),
    Sample("brats2025-path", "path"),
    Sample("brats2026-path", "path-2026"),
    Sample("brats2021-mgmt", "mgmt"),
    Sample("time-to-event", "time-to-event"),
    Sample("quality-estimation", "quality"),
    Sample("msd-liver", "liver"),
    Sample("lits", "liver"),
    Sample("crossmoda-2021", "crossmoda"),
    Sample("skin-lesion", "skin"),
)


def command_of(sample: Sample, results: Path) -> list[str]:
    """What a user types in the repository's folder; --overwrite, so that an update does not stop the demo."""
    folder = ROOT / "sample_data" / sample.folder
    named: list[tuple[str, Path]] = [
        ("--submissions", folder / "submissions"),
        ("--references", folder / "references"),
    ]
    if sample.metadata:
        named.append(("--metadata", folder / sample.metadata))
    named.append(("--output", results / sample.challenge))
    options = [text for name, path in named for text in (name, shortened(path))]
    if sample.in_full:
        options.append("--compare-schemes")
    return [shortened(PROGRAM), "run", sample.challenge, *options, "--overwrite", "--fail-on", "never"]


def shortened(path: Path) -> str:
    """The path from the repository's folder, where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def run(sample: Sample, results: Path) -> subprocess.CompletedProcess[str]:
    """Run the command; what a quiet one says is kept."""
    command = command_of(sample, results)
    if sample.in_full:
        return subprocess.run(command, cwd=ROOT, text=True)
    return subprocess.run([*command, "--quiet"], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def run_all(results: Path) -> Iterable[tuple[Sample, bool]]:
    """Print every command and run it: those in full one by one, then the quiet ones, two at a time."""
    quiet = [sample for sample in SAMPLES if not sample.in_full]
    for sample in SAMPLES:
        if sample.in_full:
            print(f"\n$ {shlex.join(command_of(sample, results))}", flush=True)
            yield sample, run(sample, results).returncode == 0
    print("\nThe other kinds of challenges, quietly:", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for sample, done in zip(quiet, pool.map(partial(run, results=results), quiet), strict=True):
            print(f"$ {shlex.join(command_of(sample, results))}", flush=True)
            if done.returncode:
                print(f"{done.stderr}exit code {done.returncode}", flush=True)
            yield sample, done.returncode == 0


def summarized(challenge: str, folder: Path) -> list[str]:
    """The cells of one line of the summary, from the files of a run."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    with open(folder / "leaderboard.csv", encoding="utf-8", newline="") as file:
        first = [row for row in csv.DictReader(file) if row["rank"] == "1"]
    counts = [str(record["counts"][name]) for name in ("teams", "cases", "rows", "problems")]
    winner, score = " = ".join(row["team"] for row in first), f"{float(first[0]['score']):.4g}"
    return [challenge, winner, score, *counts, f"{record['wall_seconds']:.1f}"]


def lined_up(rows: Sequence[Sequence[str]], words: int) -> Iterable[str]:
    """Lines with columns of equal width: the first ones, ``words``, to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def print_parity() -> bool:
    """All bundled challenges with what their numbers were compared with, as the program lists them."""
    command = [str(PROGRAM), "challenges", "list", "--format", "json"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if listed.returncode:
        return False
    folders = {sample.challenge: sample.folder for sample in SAMPLES}
    facts = json.loads(listed.stdout)
    rows = [[one["name"], one["parity"], folders.get(one["name"], ""), one["against"]] for one in facts]
    print(f"\nAll {len(rows)} bundled challenges, and what their numbers were compared with:\n")
    print(*lined_up([PARITY_HEADER, *rows], words=len(PARITY_HEADER)), sep="\n")
    counts = Counter(one["parity"] for one in facts)
    print()
    print(*(f"{counts[state]} {state}: {meaning}" for state, meaning in PARITY_STATES.items()), sep="\n")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Score all sample data and print a line per challenge.")
    parser.add_argument("--output", type=Path, default=ROOT / "results", help="default: results")
    results = parser.parse_args().output.resolve()
    rows: list[list[str]] = []
    failed: list[str] = []
    for sample, finished in run_all(results):
        if finished:
            rows.append(summarized(sample.challenge, results / sample.challenge))
        else:
            failed.append(sample.challenge)
    print()
    print(*lined_up([HEADER, *rows], words=2), sep="\n")
    print(
        f"\nThe problems are meant (sample_data/README.md) and listed in {shortened(results)}/*/problems.csv."
        f"\nTo look at: {shortened(results)}/*/report.html, for any browser."
    )
    if not print_parity():
        failed.append("challenges list")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
