"""Rows, memory and time of ranking synthetic challenges of 10 to 10 000 cases: part of ``make bench``.

A challenge is a scores.csv of 50 teams, 3 regions and 2 metrics, drawn with a fixed seed; no image is made.
Each is ranked as `bratseval rank brats2023-gli` does, all tests, draws and tables included, in a process of
its own. ``--large`` adds 10 000 cases (3 million rows, some minutes); ``--cases`` takes any sizes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bratseval.tables import csv_columns, number_texts

CHALLENGE = "brats2023-gli"
TEAMS, SITES, SEED = 50, 30, 0
REGIONS = ("WT", "TC", "ET")
METRICS = ("lesion_dice", "lesion_hd95")
USUAL, LARGE = (10, 100, 1_000), (10_000,)
HEADER = (
    "cases", "rows", "CSV MB", "wall s", "CPU s", "peak MB", "reading", "ranking", "writing", "output MB",
)  # fmt: skip


def blocks(cases: int) -> Iterator[list[list[str]]]:
    """The columns of the scores of one team after the other."""
    random = np.random.default_rng(SEED)
    names = [f"case{case:05}" for case in range(cases)]
    width = len(REGIONS) * len(METRICS)
    for team in range(TEAMS):
        dice = np.clip(random.normal(0.8 - team / 500, 0.1, (cases, len(REGIONS))), 0, 1)
        distance = np.abs(random.normal(10 + team / 10, 8, dice.shape))
        yield [
            [f"team{team:02}"] * cases * width,
            [f"site{case % SITES:02}" for case in range(cases) for _ in range(width)],
            [name for name in names for _ in range(width)],
            [region for region in REGIONS for _ in METRICS] * cases,
            [*METRICS] * len(REGIONS) * cases,
            number_texts(np.stack([dice, distance], axis=2).ravel()),
        ]


def write_scores(path: Path, cases: int) -> None:
    """A scores.csv of a challenge with so many cases."""
    with path.open("w") as file:
        file.writelines(
            csv_columns(("team", "institution", "case", "region", "metric", "value"), blocks(cases))
        )


def ranked(path: Path, output: Path) -> dict[str, float]:
    """Rank a table in this process: seconds of its parts and the peak of memory in bytes."""
    from bratseval import finishing, joining
    from bratseval.config import load_rulebook
    from bratseval.cpus import peak_bytes
    from bratseval.options import Options

    started = time.perf_counter()
    marks: dict[str, float] = {}
    inner = finishing.rank_scores

    def timed(*given: object) -> object:
        marks["read"] = time.perf_counter() - started
        result = inner(*given)  # type: ignore[arg-type]
        marks["ranked"] = time.perf_counter() - started
        return result

    finishing.rank_scores = timed  # type: ignore[assignment]
    joining.rank(load_rulebook(CHALLENGE), [path], output, Options())
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **marks,
        "all": time.perf_counter() - started,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": peak_bytes(),
    }


def line(cases: int, folder: Path) -> list[str]:
    """The cells of one size."""
    path, output = folder / f"{cases}.csv", folder / str(cases)
    write_scores(path, cases)
    command = [sys.executable, __file__, "--rank", str(path), str(output)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    written = sum(one.stat().st_size for one in output.iterdir() if one.is_file())
    shares = (found["read"], found["ranked"] - found["read"], found["all"] - found["ranked"])
    return [
        str(cases),
        str(cases * TEAMS * len(REGIONS) * len(METRICS)),
        f"{path.stat().st_size / 1e6:.1f}",
        f"{found['all']:.1f}",
        f"{found['cpu']:.1f}",
        f"{found['peak'] / 1e6:.0f}",
        *(f"{share / found['all']:.0%}" for share in shares),
        f"{written / 1e6:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank synthetic challenges of growing size.")
    parser.add_argument("--cases", type=int, nargs="+", default=USUAL, help="default: 10 100 1000")
    parser.add_argument("--large", action="store_true", help="10 000 cases too: some minutes, 1 GB of disk")
    parser.add_argument("--rank", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank:
        print(json.dumps(ranked(*given.rank)))
        return
    print(f"{TEAMS} teams, {len(REGIONS)} regions, {len(METRICS)} metrics, ranked as {CHALLENGE}")
    print(*(f"{name:>9}" for name in HEADER))
    with tempfile.TemporaryDirectory() as folder:
        for cases in (*given.cases, *(LARGE if given.large else ())):
            print(*(f"{cell:>9}" for cell in line(cases, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
