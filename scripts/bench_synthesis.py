"""Speed of inpainting and BraSyn scoring, from files to scores, in one run against the plain implementation.

    make bench      # after the other ones

Synthetic cases of 240x240x155 voxels; the plain implementation reads with nibabel and filters whole volumes
with SciPy, as the official scripts do with torch. Quote the ratios, not the seconds.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy, which reads them once

import nibabel  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import reference_synthesis as plain  # noqa: E402

from bratseval.config import load_rulebook  # noqa: E402
from bratseval.model import Case, Part  # noqa: E402
from bratseval.scoring import Rules, read_reference, score_case  # noqa: E402

SHAPE = (240, 240, 155)
Table = dict[str, float]


def make_files(folder: Path) -> None:
    """A brain of an ellipsoid, a mask of healthy tissue, a tumor, and two synthetic images."""
    random = np.random.default_rng(1)
    grid = np.ogrid[tuple(slice(0, extent) for extent in SHAPE)]

    def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = [((axis - c) / r) ** 2 for axis, c, r in zip(grid, center, radii, strict=True)]
        return np.asarray(sum(parts)) < 1

    def save(name: str, values: np.ndarray, dtype: type) -> None:
        image = nibabel.Nifti1Image(values.astype(dtype), np.diag([-1.0, -1, 1, 1]))
        nibabel.save(image, folder / f"{name}.nii.gz")

    brain = ellipsoid((120, 120, 77), (70, 85, 65))
    rough = plain.ndimage.gaussian_filter(random.standard_normal(SHAPE).astype(np.float32), 3)
    target = np.where(brain, np.clip(300 + 60 * rough / rough.std(), 1, None), 0)
    healthy, tumor = ellipsoid((100, 110, 80), (22, 20, 18)), ellipsoid((145, 130, 80), (20, 22, 19))
    noise = 20 * random.standard_normal(SHAPE)
    save("target", target, np.int16)
    save("void", target * ~(healthy | tumor), np.int16)
    save("healthy", healthy, np.uint8)
    save("seg", tumor * 2 + ellipsoid((145, 130, 80), (10, 12, 9)), np.uint8)
    save("inpainted", target + noise * healthy, np.float32)
    save("synthesized", np.clip(target + noise * brain, 0, None), np.float32)


def cases_of(folder: Path) -> dict[str, Case]:
    """The case of each challenge."""

    def path(name: str) -> Path:
        return folder / f"{name}.nii.gz"

    beside = (Part("mask", path("healthy")), Part("void", path("void")))
    image = (Part("image", path("target"), "t1c"),)
    handed_in = (Part("", path("synthesized"), "t1c"), Part("segmentation", path("seg")))
    return {
        "brats2025-inpainting": Case(
            "team", "00001-000", path("target"), path("inpainted"), reference_parts=beside
        ),
        "brats2023-brasyn": Case(
            "team",
            "00001-000",
            path("seg"),
            path("synthesized"),
            reference_parts=image,
            prediction_parts=handed_in,
        ),
    }


def plainly(challenge: str, folder: Path) -> Table:
    """The same numbers, but for those of masks."""

    def read(name: str) -> np.ndarray:
        return plain.read(folder / f"{name}.nii.gz")

    if challenge == "brats2025-inpainting":
        images = plain.inpainting(read("target"), read("inpainted"), read("healthy"), read("void"))
        table = {f"{name} ": value for name, value in plain.differences(images).items()}
        return {**table, "ssim ": plain.similarity(images, plain.SLICES, "region")}
    target, image, tumor = read("target"), read("synthesized"), read("seg") > 0
    table = {}
    for region, inside in (("whole", tumor | True), ("healthy", ~tumor), ("tumor", tumor)):
        images = plain.brasyn(target, image, inside)
        found = plain.similarity_map(images, plain.VOLUME, plain.by_filter)
        table[f"ssim {region}"] = float(found.mean())
        table[f"ssim_inside {region}"] = float(found[inside].mean())
    return table


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def score(rules: Rules, case: Case) -> Table:
    """Ours, from files."""
    scores = score_case(rules, case).scores
    assert {one.status for one in scores} == {"ok"}, scores
    return {f"{one.metric} {one.region}": one.value or 0.0 for one in scores}


def as_the_first_team(rules: Rules, case: Case) -> Table:
    read_reference.cache_clear()  # all files are read
    return score(rules, case)


def main() -> None:
    """Print a block for each challenge."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        for challenge, case in cases_of(folder).items():
            print(f"\n{challenge}, {'x'.join(map(str, SHAPE))}")
            rules = Rules(load_rulebook(challenge))
            ours = as_the_first_team(rules, case)
            fast = statistics.median(timed(lambda: as_the_first_team(rules, case)) for _ in range(5))  # noqa: B023
            again = statistics.median(timed(lambda: score(rules, case)) for _ in range(5))  # noqa: B023
            expected = Table()
            slow = timed(lambda: expected.update(plainly(challenge, folder)))  # noqa: B023
            off = max(abs(ours[key] - value) for key, value in expected.items() if key in ours)
            print(f"  bratseval            {fast:8.3f} s   next team, same reference {again:.3f} s")
            print(f"  plain                {slow:8.1f} s   ratio {slow / fast:.0f}")
            print(f"  largest difference   {off:8.1g}", flush=True)


if __name__ == "__main__":
    main()
