"""Speed and memory, measured in one run: bratseval against a plain implementation and public packages.

    make bench      # on sample_data, and on the real cases under ../shared where they are

Ratios are of one run on one machine; quote them, not the seconds. Nothing here is a test.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy, which reads them once

import nibabel  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT.parent / "shared" / "golden" / "segmentation" / "inputs" / "MET"
sys.path.insert(0, str(ROOT / "tests"))

from reference_implementation import REGIONS_2023, score_2023  # noqa: E402

from bratseval.config import load_rulebook  # noqa: E402
from bratseval.images import read_labels  # noqa: E402
from bratseval.model import Case  # noqa: E402
from bratseval.scoring import Rules, read_reference, score_case  # noqa: E402


def cases() -> list[tuple[str, str, Path, Path, int, float]]:
    """Name, challenge, reference, prediction, dilation and limit of what is measured."""
    sample = ROOT / "sample_data" / "brats-gli"
    found = [
        (
            "glioma-like sample, 240x240x155",
            "brats2023-gli",
            sample / "references" / "BraTS-GLI-00003-000-seg.nii.gz",
            sample / "submissions" / "steady" / "BraTS-GLI-00003-000.nii.gz",
            3,
            50.0,
        )
    ]
    for case, challenge, dilation, limit in (
        ("00132-000", "brats2023-gli", 3, 50.0),
        ("00217-000", "brats2023-gli", 3, 50.0),
        ("01325-000", "brats2023-met", 1, 2.0),
    ):
        reference = GOLDEN / "ref" / f"BraTS-MET-{case}-seg.nii.gz"
        if reference.is_file():
            prediction = GOLDEN / "pred" / f"BraTS-MET-{case}.nii.gz"
            shape = "x".join(map(str, nibabel.load(reference).shape))
            found.append(
                (f"real BraTS-MET-{case}, {shape}", challenge, reference, prediction, dilation, limit)
            )
    return found


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call on one core, after a warm-up when there are several."""
    if repeats > 1:
        function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def read_only(*paths: Path) -> None:
    for path in paths:
        read_labels(path, (1, 2, 3, 4), "background")


def plain(reference: Path, prediction: Path, dilation: int, limit: float) -> dict[str, dict[str, float]]:
    """The plain implementation, from files; cropped to the tumor plus a margin, or it would take minutes."""
    images = [nibabel.load(path) for path in (reference, prediction)]
    volumes = [np.asarray(image.dataobj) for image in images]
    used = np.argwhere(volumes[0].astype(bool) | volumes[1].astype(bool))
    low = np.maximum(used.min(axis=0) - dilation - 2, 0)
    high = used.max(axis=0) + dilation + 3
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    spacing = tuple(float(value) for value in images[1].header.get_zooms())
    return score_2023(volumes[0][window], volumes[1][window], spacing, dilation, limit, 374)  # type: ignore[arg-type]


def surface_distance_hd95(reference: Path, prediction: Path) -> dict[str, float]:
    """HD95 of the three regions by the public package surface-distance-based-measures, from files.

    It does only this one of the ten metrics, and no lesions.
    """
    import surface_distance

    images = [nibabel.load(path) for path in (reference, prediction)]
    volumes = [np.asarray(image.dataobj) for image in images]
    spacing = tuple(float(value) for value in images[1].header.get_zooms())
    result = {}
    for region, labels in REGIONS_2023.items():
        masks = [np.isin(volume, labels) for volume in volumes]
        distances = surface_distance.compute_surface_distances(*masks, spacing)
        result[region] = float(surface_distance.compute_robust_hausdorff(distances, 95))
    return result


def peak_megabytes(name: str, reference: Path, prediction: Path) -> float:
    """Peak resident memory of a fresh process that scores one case."""
    code = (
        "import sys; from pathlib import Path\n"
        "from bratseval.config import load_rulebook; from bratseval.model import Case\n"
        "from bratseval.scoring import Rules, score_case\n"
        "rules, case = Rules(load_rulebook(sys.argv[1])), Case('t', 'c', *map(Path, sys.argv[2:4]))\n"
        "score_case(rules, case)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)\n"
    )
    command = [sys.executable, "-c", code, name, str(reference), str(prediction)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print a row per case: seconds, ratios, largest difference, memory."""
    report = []
    for title, name, reference, prediction, dilation, limit in cases():
        rules = Rules(load_rulebook(name))
        case = Case("team", "case", reference, prediction)

        def ours(rules: Rules = rules, case: Case = case) -> None:
            read_reference.cache_clear()  # measured as for the first team: both files read and prepared
            score_case(rules, case)

        fast = seconds(ours, 7)
        again = seconds(lambda rules=rules, case=case: score_case(rules, case), 5)
        reading = seconds(lambda paths=(reference, prediction): read_only(*paths), 7)
        started = time.perf_counter()
        expected = plain(reference, prediction, dilation, limit)
        slow = time.perf_counter() - started
        found = score_case(rules, case).scores
        worst = max(
            abs(score.value - expected[score.region][score.metric])
            for score in found
            if score.value is not None
            and score.metric != "specificity"  # the crop has fewer background voxels
        )
        row = {
            "case": title,
            "bratseval_s": fast,
            "next_team_s": again,
            "only_reading_s": reading,
            "plain_s": slow,
            "plain_ratio": slow / fast,
            "largest_difference": worst,
            "peak_MB": peak_megabytes(name, reference, prediction),
        }
        if importlib.util.find_spec("surface_distance"):
            started = time.perf_counter()
            theirs = surface_distance_hd95(reference, prediction)
            row["surface_distance_s"] = time.perf_counter() - started
            row["surface_distance_ratio"] = row["surface_distance_s"] / fast
            ours_hd95 = {score.region: score.value for score in found if score.metric == "hd95"}
            differences = [
                abs(ours_hd95[region] - value) for region, value in theirs.items() if value != np.inf
            ]
            row["surface_distance_difference"] = max(differences, default=0.0)
        report.append(row)
        print(title)
        for key, value in row.items():
            if key != "case":
                print(f"  {key:20} {value:.3g}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
