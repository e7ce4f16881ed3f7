"""Speed and memory, measured in one run: bratseval against public packages and the official method.

    make bench                                                  # everything
    BRATS2023_METRICS=path/to/BraTS-2023-Metrics make bench     # with the official code itself
    .venv/bin/python scripts/bench.py quick                     # without what takes minutes

On sample_data, on drawn volumes, and on the real cases under ../shared where they are. Packages that are not
installed in .venv-bench are reported and skipped. Every measurement is a process of its own on one thread,
the best of several calls without imports; ratios are of CPU seconds, since the machine may be busy, but for
two workers and start-up. Ratios are of one run on one machine: quote them, not the seconds. Nothing here is
a test.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_cases import (
    CT,
    OFFICIAL_SAMPLE,
    SAMPLE,
    Pair,
    draw_ct,
    draw_small_lesions,
    real_pair,
    sample_pair,
)

SCRIPTS = Path(__file__).parent
PEERS_PYTHON = SCRIPTS.parent / ".venv-bench" / "bin" / "python"
COMMAND = Path(sys.executable).with_name("bratseval")
OURS = (  # measured with this Python; the others have .venv-bench
    *("bratseval", "bratseval, next team", "our reading", "igzip.decompress", "igzip in pieces"),
    *("plain implementation", "official method 2023"),
)
OFFICIAL = "official code 2023" if os.environ.get("BRATS2023_METRICS") else "official method 2023"
PEER_LIMIT_S = 1800
TEAMS = 100  # of six cases each, for the two workers: more than ten seconds of work
STARTS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement; ``ratio`` and ``target`` are in ``unit``, ``at_least`` or at most is the target."""

    what: str
    ours: str
    theirs: str
    ratio: float
    unit: str = "x"
    target: float | None = None
    at_least: bool = True
    difference: float | None = None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        good = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "met" if good else "NOT MET"


def measure(name: str, pair: Pair) -> dict[str, Any]:
    """What scripts/peers.py prints of one package on one case; {"missing": why} if there is nothing."""
    python = Path(sys.executable) if name in OURS else PEERS_PYTHON
    if not python.is_file():
        return {"missing": "there is no .venv-bench"}
    command = [python, SCRIPTS / "peers.py", name, pair.challenge, pair.reference, pair.prediction]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PEER_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"missing": f"more than {PEER_LIMIT_S} s"}
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def largest_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float | None:
    """Largest difference of a score that both have; None if there is none."""
    return max(
        (
            abs(value - ours["scores"][region][name])
            for region, values in theirs["scores"].items()
            for name, value in values.items()
            if name in ours["scores"].get(region, {})
        ),
        default=None,
    )


def compare(pair: Pair, targets: dict[str, float | None]) -> Iterator[Row]:
    """A row for each peer on one case; ``targets`` are the ratios wanted."""
    if not pair.is_there:
        print(f"not here: {pair.title}", flush=True)
        return
    ours = measure("bratseval", pair)
    for name, target in targets.items():
        theirs = measure(name, pair)
        if "missing" in theirs:
            print(f"skipped: {name} on {pair.title}: {theirs['missing']}", flush=True)
            continue
        yield Row(
            f"{pair.title}: {name} {theirs['version']}".rstrip(),
            f"{ours['cpu_s']:.3f} s",
            f"{theirs['cpu_s']:.3f} s",
            theirs["cpu_s"] / ours["cpu_s"],
            target=target,
            difference=largest_difference(ours, theirs),
        )


def against_packages(quick: bool) -> Iterator[Row]:
    """The same cases, the same numbers where there are the same numbers."""
    slow = () if quick else (OFFICIAL,)
    partial: dict[str, float | None] = {"surface-distance": None, "MONAI": None, "seg-metrics": None}
    glioma = sample_pair("brats2023-gli", "brats-gli", "BraTS-GLI-00003-000", "steady")
    yield from compare(
        glioma,
        {"exacta": 5, "plain implementation": None, **partial, **dict.fromkeys(slow, 200.0)},
    )
    yield from compare(real_pair("brats2023-gli", "00132-000"), {"exacta": 5, **dict.fromkeys(slow, 200.0)})
    yield from compare(real_pair("brats2023-met", "01325-000"), {"exacta": 12, **dict.fromkeys(slow, 400.0)})
    for case in OFFICIAL_SAMPLE:
        yield from compare(real_pair("brats2026-met", case), {"brats-evaluation": 20})


def against_reading() -> Iterator[Row]:
    """From files to scores against the reading of the two files alone."""
    for pair in (
        real_pair("brats2023-met", "01325-000"),
        sample_pair("brats2023-gli", "brats-gli", "BraTS-GLI-00003-000", "steady"),
    ):
        if not pair.is_there:
            continue
        ours = measure("bratseval", pair)
        limit = 2.0 if pair.challenge == "brats2023-met" else None
        for name in ("igzip.decompress", "igzip in pieces", "our reading", "bratseval, next team"):
            theirs = measure(name, pair)
            if "missing" in theirs:
                print(f"skipped: {name}: {theirs['missing']}", flush=True)
                continue
            yield Row(
                f"{pair.title}: times {name}",
                f"{ours['cpu_s']:.3f} s",
                f"{theirs['cpu_s']:.3f} s",
                ours["cpu_s"] / theirs["cpu_s"],
                target=limit if name.startswith("igzip") else None,
                at_least=False,
            )


def small_lesions(folder: Path) -> Iterator[Row]:
    """The same volume with 1 000 small lesions and with 10."""
    for challenge in ("brats2023-met", "brats2023-gli", "brats2026-met"):
        many, few = (measure("bratseval", draw_small_lesions(folder, challenge, n)) for n in (1000, 10))
        yield Row(
            f"1 000 small lesions as {challenge}: times the volume with 10",
            f"{many['cpu_s']:.3f} s",
            f"{few['cpu_s']:.3f} s",
            many["cpu_s"] / few["cpu_s"],
            target=3,
            at_least=False,
        )


def memory(folder: Path) -> Iterator[Row]:
    """Peak resident memory of a process that scores one case several times."""
    crowded = draw_small_lesions(folder, "brats2024-gli", 1000)
    pairs = [
        sample_pair(challenge, "brats-gli", "BraTS-GLI-00003-000", "steady")
        for challenge in ("brats2023-gli", "brats2024-gli", "brats2026-gli")
    ]
    for pair in (*pairs, crowded):
        peak = measure("bratseval", pair)["peak_mb"]
        yield Row(f"{pair.title}: peak memory", f"{peak:.0f} MB", "", peak, "MB", 400, at_least=False)
    files = draw_ct(folder)
    limit = 8 * CT[0] * CT[1] * CT[2] / 2**20 + 200
    for challenge in ("lits", "msd-liver"):
        result = measure("bratseval", Pair("drawn CT 512x512x600", challenge, *files))
        if "missing" in result:
            raise SystemExit(f"{challenge}: {result['missing']}")
        peak = result["peak_mb"]
        what = f"drawn CT 512x512x600 as {challenge}: peak memory"
        yield Row(what, f"{result['cpu_s']:.2f} s", "", peak, "MB", limit, at_least=False)


def two_workers(folder: Path, teams: int = TEAMS) -> Iterator[Row]:
    """Whole runs with one worker and with two, by the clock; start-up is a run of one team and one case."""
    submissions, references = folder / "submissions", SAMPLE / "brats-gli" / "references"
    for number in range(teams):
        shutil.copytree(SAMPLE / "brats-gli" / "submissions" / "steady", submissions / f"team{number:03d}")
    alone, one_reference = folder / "alone" / "team000", folder / "one"
    alone.mkdir(parents=True)
    one_reference.mkdir()
    first = sorted(references.iterdir())[0]
    shutil.copy2(first, one_reference)
    name = first.name.replace("-seg", "")
    shutil.copy2(submissions / "team000" / name, alone / name)

    def run(given: Path, truth: Path, jobs: int) -> tuple[float, float]:
        output = folder / "out"
        command = [COMMAND, "run", "brats2023-gli", "-s", given, "-r", truth, "-o", output, "-j", str(jobs)]
        wall, cpu = time.perf_counter(), _children_cpu()
        subprocess.run(command, check=True, capture_output=True)
        spent = time.perf_counter() - wall, _children_cpu() - cpu
        shutil.rmtree(output)
        return spent

    start, start_cpu = min(run(alone.parent, one_reference, 1) for _ in range(3))
    (one, one_cpu), (two, two_cpu) = (
        min(run(submissions, references, jobs) for _ in range(2)) for jobs in (1, 2)
    )
    what = f"two workers, {teams} teams of 6 cases"
    yield Row(f"{what}: whole runs, wall", f"{two:.2f} s", f"{one:.2f} s", one / two)
    yield Row(
        f"{what}: wall without a start-up of {start:.2f} s",
        f"{two - start:.2f} s",
        f"{one - start:.2f} s",
        (one - start) / (two - start),
        target=1.85 if teams >= TEAMS else None,  # less work is mostly the start of the second worker
    )
    yield Row(
        f"{what}: CPU without a start-up of {start_cpu:.2f} s, two over one",
        f"{two_cpu - start_cpu:.2f} s",
        f"{one_cpu - start_cpu:.2f} s",
        (two_cpu - start_cpu) / (one_cpu - start_cpu),
    )


def start_up() -> Iterator[Row]:
    """Best wall time of two small commands."""
    for option, limit in (("--help", 0.3), ("--version", 0.2)):
        walls, cpus = [], []
        for _ in range(STARTS):
            wall, cpu = time.perf_counter(), _children_cpu()
            subprocess.run([COMMAND, option], check=True, capture_output=True)
            walls.append(time.perf_counter() - wall)
            cpus.append(_children_cpu() - cpu)
        what = f"bratseval {option}, wall (CPU {min(cpus):.3f} s)"
        yield Row(what, f"{min(walls):.3f} s", "", min(walls), "s", limit, at_least=False)


def _children_cpu() -> float:
    """CPU seconds of all processes that were started here and have ended, and of theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def print_table(rows: Sequence[Row]) -> None:
    """One line a row."""
    width = max(len(row.what) for row in rows)
    print(f"\n{'':{width}} {'ours':>10} {'theirs':>10} {'ratio':>9} {'target':>9}  {'':8} difference")
    for row in rows:
        target = "" if row.target is None else f"{'>=' if row.at_least else '<='}{row.target:.4g} {row.unit}"
        ratio = f"{row.ratio:.3g} {row.unit}" if row.ratio < 1000 else f"{row.ratio:.0f} {row.unit}"
        difference = "" if row.difference is None else f"{row.difference:.1g}"
        print(
            f"{row.what:{width}} {row.ours:>10} {row.theirs:>10} {ratio:>9} {target:>9}  "
            f"{row.verdict:8} {difference}"
        )


def main(quick: bool) -> None:
    """Measure all, print a table and the same as JSON."""
    rows: list[Row] = []
    print(
        f"load of the machine at the start: {os.getloadavg()[0]:.1f}; {OFFICIAL} stands for the official code"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (
            start_up(),
            against_reading(),
            small_lesions(folder),
            two_workers(folder, 10 if quick else TEAMS),
            memory(folder),
            against_packages(quick),
        ):
            for row in part:
                print(f"{row.what}: {row.ratio:.3g} {row.unit} {row.verdict}", flush=True)
                rows.append(row)
    print_table(rows)
    print(json.dumps([asdict(row) | {"verdict": row.verdict} for row in rows]))


if __name__ == "__main__":
    main(quick="quick" in sys.argv[1:])
