"""Speed of QU-BraTS scoring, from files to scores, measured in one run against the plain implementation.

    make bench      # after the other two

One synthetic case of 240x240x155 voxels, its maps once as uint8 and once as float32. Where QU_BRATS_SCRIPT
names a copy of the official BraTS_Seg_Uncertainty.py, that runs too as a process of its own, by the
interpreter QU_BRATS_PYTHON (it needs NumPy 1, scikit-learn, pandas, nibabel and matplotlib), and its table is
compared. Quote the ratios, not the seconds.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy, which reads them once

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference_uncertainty import MAPS, score_qu_brats  # noqa: E402

from bratseval.config import load_rulebook  # noqa: E402
from bratseval.model import Case, Part  # noqa: E402
from bratseval.scoring import Rules, read_reference, score_case  # noqa: E402

SHAPE = (240, 240, 155)
ID = "BraTS20_Validation_001"
OFFICIAL = {"dice_auc": "DICE_AUC", "ftp_ratio_auc": "FTP_RATIO_AUC", "ftn_ratio_auc": "FTN_RATIO_AUC"}
Table = dict[str, dict[str, float]]


def make_case(folder: Path, dtype: type, brain_type: type) -> None:
    """A brain of an ellipsoid, a tumor of three nested balls, a prediction that is off, and three maps."""
    random = np.random.default_rng(1)
    grid = np.ogrid[tuple(slice(0, extent) for extent in SHAPE)]

    def ball(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = [((axis - c) / r) ** 2 for axis, c, r in zip(grid, center, radii, strict=True)]
        return np.asarray(sum(parts))

    def save(name: str, values: np.ndarray, kind: type) -> None:
        image = nibabel.Nifti1Image(values.astype(kind), np.diag([-1.0, -1, 1, 1]))
        nibabel.save(image, path_of(folder, name))

    for side in ("references", "predictions"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    brain = ball((120, 120, 77), (70, 85, 65)) < 1
    rough = ndimage.gaussian_filter(random.standard_normal(SHAPE).astype(np.float32), 3)
    rough /= rough.std()

    def tumor(center: tuple[float, ...], edge: float) -> tuple[np.ndarray, list[np.ndarray]]:
        away = [ball(center, (r, r, r)) + edge * rough for r in (32, 20, 13)]
        labels = np.select([away[2] < 1, away[1] < 1, away[0] < 1], [4, 1, 2], 0)
        return labels * brain, away

    truth, _ = tumor((140, 130, 80), 0.1)
    found, away = tumor((142, 129, 81), -0.1)
    save("_seg", truth, np.uint8)
    save("", found, np.uint8)
    intensity = np.where(brain, np.clip(300 + 60 * rough + 20 * random.standard_normal(SHAPE), 1, None), 0)
    save("_t1", intensity, brain_type)
    for distance, name in zip(away, ("whole", "core", "enhance"), strict=True):
        doubt = 100 * np.exp(-np.abs(distance - 1)) + 4 * random.standard_normal(SHAPE)
        doubt = np.clip(np.where(brain, doubt, 0), 0, 100)
        save(f"_unc_{name}", np.rint(doubt) if np.issubdtype(dtype, np.integer) else doubt, dtype)


def path_of(folder: Path, name: str) -> Path:
    """Where a file of the case lies: the organizer's apart from the team's."""
    return folder / ("references" if name in ("_seg", "_t1") else "predictions") / f"{ID}{name}.nii.gz"


def files_of(folder: Path) -> tuple[Path, Path, dict[str, Path], Path]:
    """Reference, prediction, maps by region, brain."""
    maps = {region: path_of(folder, f"_unc_{name}") for region, name in MAPS.items()}
    return path_of(folder, "_seg"), path_of(folder, ""), maps, path_of(folder, "_t1")


def case_of(folder: Path) -> Case:
    reference, prediction, maps, brain = files_of(folder)
    parts = tuple(Part(f"uncertainty_{region}", path) for region, path in maps.items())
    return Case("team", ID, reference, prediction, "", "", (), (Part("brain", brain),), parts)


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def score(rules: Rules, case: Case) -> Table:
    """Ours, from files."""
    table: Table = {}
    for one in score_case(rules, case).scores:
        assert one.value is not None
        assert one.status == "ok", one
        table.setdefault(one.region, {})[one.metric] = one.value
    return table


def as_the_first_team(rules: Rules, case: Case) -> Table:
    read_reference.cache_clear()  # all six files are read
    return score(rules, case)


def command_line(folder: Path) -> None:
    """Ours as a user runs it: a process of its own, a result folder with every table."""
    command = [sys.executable, "-m", "bratseval", "evaluate", "qu-brats-2020", "--jobs", "1", "--quiet"]
    command += ["-p", str(folder / "predictions"), "-r", str(folder / "references")]
    command += ["-o", str(folder / "results"), "--overwrite"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)


def official(script: str, folder: Path) -> Table:
    """The official script's table of one case."""
    reference, prediction, maps, brain = files_of(folder)
    out = folder / "official"
    command = [os.environ.get("QU_BRATS_PYTHON", sys.executable), script, "-a", "-o", str(out)]
    command += ["-r", str(reference), "-s", str(prediction), "-m", str(brain)]
    for flag, region in (("-w", "WT"), ("-c", "TC"), ("-e", "ET")):
        command += [flag, str(maps[region])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        row["TUMOR_TYPE"]: {ours: float(row[theirs]) for ours, theirs in OFFICIAL.items()} for row in rows
    }


def difference(ours: Table, theirs: Table) -> float:
    """Largest difference of the values that both have."""
    return max(abs(ours[region][name] - value) for region in theirs for name, value in theirs[region].items())


def main() -> None:
    """Print a block for each kind of maps."""
    script = os.environ.get("QU_BRATS_SCRIPT", "")
    if not script:
        print("\nQU_BRATS_SCRIPT is not set: without the official script")
    for title, dtype, brain_type in (("uint8", np.uint8, np.int16), ("float32", np.float32, np.float32)):
        with tempfile.TemporaryDirectory() as name:
            make_case(Path(name), dtype, brain_type)
            print(f"\nQU-BraTS, {'x'.join(map(str, SHAPE))}, maps {title}, 41 thresholds")
            compare(Path(name), script)


def compare(folder: Path, script: str) -> None:
    """Print times, ratios and largest differences of one case."""
    rules, case, expected = Rules(load_rulebook("qu-brats-2020")), case_of(folder), Table()
    ours = as_the_first_team(rules, case)
    fast = statistics.median(timed(lambda: as_the_first_team(rules, case)) for _ in range(7))
    again = statistics.median(timed(lambda: score(rules, case)) for _ in range(7))
    slow = timed(lambda: expected.update(score_qu_brats(*files_of(folder))))
    print(f"  bratseval            {fast:8.3f} s   next team, same reference {again:.3f} s")
    print(f"  plain                {slow:8.1f} s   ratio {slow / fast:.0f}")
    print(f"  largest difference   {difference(ours, expected):8.1g}", flush=True)
    if not script:
        return
    theirs = Table()
    official_s, evaluate_s = [], []
    for _ in range(3):  # in turn, so that both see the same machine
        official_s.append(timed(lambda: theirs.update(official(script, folder))))
        evaluate_s.append(timed(lambda: command_line(folder)))
    slow, whole = statistics.median(official_s), statistics.median(evaluate_s)
    print(f"  official, process    {slow:8.1f} s   ratio {slow / fast:.0f}")
    print(f"  bratseval evaluate   {whole:8.2f} s   ratio {slow / whole:.0f}")
    print(f"  largest difference   {difference(ours, theirs):8.1g}", flush=True)


if __name__ == "__main__":
    main()
