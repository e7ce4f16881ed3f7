"""One package scores one case, timed in a process of its own: bratseval and its peers alike.

    .venv/bin/python scripts/peers.py bratseval brats2023-gli REFERENCE PREDICTION
    .venv-bench/bin/python scripts/peers.py exacta brats2023-gli REFERENCE PREDICTION

Prints one line of JSON: the best wall and CPU seconds of several calls, peak memory, version, and scores by
region under our names as far as the package has them; {"missing": why} where it cannot be imported. Timed is
the way from the two files to the numbers on one thread; imports and the building of an evaluator are not.
Only the functions for bratseval need bratseval, so that the others run in an environment of their own.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
os.environ.update(dict.fromkeys(THREADS, "1"))  # before numpy, torch and ITK, which read them once

Scores = dict[str, dict[str, float]]
Scorer = Callable[[Path, Path], Scores]

RUNS = 8  # the first warms up
ENOUGH_S = 10.0  # CPU seconds after which there is no further call
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


def bratseval(challenge: str) -> Scorer:
    """Every score of the challenge, as for the first team of a run: both files read and prepared."""
    from bratseval.config import load_rulebook
    from bratseval.model import Case
    from bratseval.scoring import Rules, read_reference, score_case

    rules = Rules(load_rulebook(challenge))

    def score(reference: Path, prediction: Path) -> Scores:
        read_reference.cache_clear()
        result = score_case(rules, Case("team", "case", reference, prediction))
        scores: Scores = {}
        for found in result.scores:
            if found.value is not None:
                scores.setdefault(found.region, {})[found.metric] = found.value
        return scores

    return score


def bratseval_next_team(challenge: str) -> Scorer:
    """The same for every further team: the reference side is already there."""
    from bratseval.config import load_rulebook
    from bratseval.model import Case
    from bratseval.scoring import Rules, score_case

    rules = Rules(load_rulebook(challenge))

    def score(reference: Path, prediction: Path) -> Scores:
        score_case(rules, Case("team", "case", reference, prediction))
        return {}

    return score


def read_labels(challenge: str) -> Scorer:
    """Only our reading of both files: header, decompression, the box of the labels."""
    from bratseval import images

    def score(reference: Path, prediction: Path) -> Scores:
        for path in (reference, prediction):
            images.read_labels(path, (1, 2, 3, 4), "background")
        return {}

    return score


def decompress_whole(challenge: str) -> Scorer:
    """Only the bytes of both files, each by one call of ISA-L into a new block of memory."""
    from isal import igzip

    def score(reference: Path, prediction: Path) -> Scores:
        for path in (reference, prediction):
            igzip.decompress(path.read_bytes())
        return {}

    return score


def decompress_pieces(challenge: str) -> Scorer:
    """The same into one small buffer again and again: no less is possible."""
    from isal import igzip

    def score(reference: Path, prediction: Path) -> Scores:
        buffer = bytearray(2**20)
        for path in (reference, prediction):
            with igzip.open(path) as stream:
                while stream.readinto(buffer):
                    pass
        return {}

    return score


def plain(challenge: str) -> Scorer:
    """The oracle of our tests, on the box of the tumor and a margin, or it would take minutes."""
    import numpy as np

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from official_method_2023 import DILATION_AND_LIMIT, PENALTY
    from reference_implementation import score_2023

    dilation, limit = DILATION_AND_LIMIT[challenge]

    def score(reference: Path, prediction: Path) -> Scores:
        (truth, _), (guess, spacing) = _volume(reference), _volume(prediction)
        used = np.argwhere(truth.astype(bool) | guess.astype(bool))
        low, high = np.maximum(used.min(axis=0) - dilation - 2, 0), used.max(axis=0) + dilation + 3
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        return score_2023(truth[window], guess[window], spacing, dilation, limit, PENALTY, truth.shape)

    return score


def official_method(challenge: str) -> Scorer:
    """Our plain writing of the method of the official code of 2023, with its cost."""
    from official_method_2023 import DILATION_AND_LIMIT, score

    return lambda reference, prediction: score(reference, prediction, *DILATION_AND_LIMIT[challenge])


def official_code(challenge: str) -> Scorer:
    """The official code of 2023 itself, from the checkout in BRATS2023_METRICS."""
    from official_code_2023 import scorer

    return scorer(os.environ["BRATS2023_METRICS"], challenge)


def exacta(challenge: str) -> Scorer:
    """C++ kernels on torch: the lesion-wise scores of BraTS 2023."""
    import torch
    from exacta import lesions

    torch.set_num_threads(1)
    names = ("lesion_dice", "lesion_hd95", "tp", "fp", "fn")

    def score(reference: Path, prediction: Path) -> Scores:
        (truth, _), (guess, spacing) = _volume(reference), _volume(prediction)
        masks = [lesions.brats_regions(torch.from_numpy(volume)[None]) for volume in (guess, truth)]
        found = lesions.brats2023(*masks, challenge=challenge.rsplit("-")[-1].upper(), spacing=spacing)
        return {
            region: {
                name if "_" in name else f"lesion_{name}": float(getattr(found, name)[0, at])
                for name in names
            }
            for at, region in enumerate(REGIONS)
        }

    return score


def brats_evaluation(challenge: str) -> Scorer:
    """The official package of 2026, panoptica under its configuration for metastases."""
    from importlib.resources import files

    from brats_evaluation.evaluation import evaluate_single_exam
    from panoptica import Panoptica_Evaluator

    config = files("brats_evaluation").joinpath("configs", "config_mets.yaml")
    evaluator = Panoptica_Evaluator.load_from_config(str(config))

    names = {
        f"global_bin_{theirs}": ours for theirs, ours in (("dsc", "dice"), ("nsd", "nsd"), ("hd95", "hd95"))
    }
    names |= {name: f"lesion_{name}" for name in ("tp", "fp", "fn")}

    def score(reference: Path, prediction: Path) -> Scores:
        found = evaluate_single_exam(str(prediction), str(reference), reference.name, evaluator)
        found.pop("subject_name")
        return {
            region.upper(): {
                ours: float(values[theirs]) for theirs, ours in names.items() if theirs in values
            }
            for region, values in found.items()
        }

    return score


def surface_distance(challenge: str) -> Scorer:
    """DeepMind's surface distances: HD95 of whole regions, no lesions."""
    import numpy as np
    import surface_distance

    def score(reference: Path, prediction: Path) -> Scores:
        (truth, _), (guess, spacing) = _volume(reference), _volume(prediction)
        scores = {}
        for region, labels in REGIONS.items():
            masks = [np.isin(volume, labels) for volume in (truth, guess)]
            distances = surface_distance.compute_surface_distances(*masks, spacing)
            scores[region] = {"hd95": float(surface_distance.compute_robust_hausdorff(distances, 95))}
        return scores

    return score


def monai(challenge: str) -> Scorer:
    """Dice and HD95 of whole regions, no lesions. Its HD95 is another one: voxels, not surfels."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    torch.set_num_threads(1)

    def score(reference: Path, prediction: Path) -> Scores:
        (truth, _), (guess, spacing) = _volume(reference), _volume(prediction)
        masks = [
            torch.stack([torch.isin(torch.from_numpy(v), torch.tensor(r)) for r in REGIONS.values()])[None]
            for v in (guess, truth)
        ]
        dice = compute_dice(*masks, include_background=True)[0]
        compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing)
        return {region: {"dice": float(dice[at])} for at, region in enumerate(REGIONS)}

    return score


def seg_metrics(challenge: str) -> Scorer:
    """HD95 of whole regions alone: its overlap metrics walk the volume voxel by voxel in Python.

    Its HD95 is another one (voxels, both sides pooled), so that no number can be compared.
    """
    import numpy as np
    from seg_metrics import seg_metrics as package

    def score(reference: Path, prediction: Path) -> Scores:
        (truth, _), (guess, spacing) = _volume(reference), _volume(prediction)
        for labels in REGIONS.values():
            masks = [np.isin(volume, labels).astype(np.uint8) for volume in (truth, guess)]
            package.write_metrics(
                labels=[1], gdth_img=masks[0], pred_img=masks[1], spacing=spacing, metrics=["hd95"]
            )
        return {}

    return score


# Name -> what makes the scorer, and the distribution whose version is told.
PEERS: dict[str, tuple[Callable[[str], Scorer], str]] = {
    "bratseval": (bratseval, "bratseval"),
    "bratseval, next team": (bratseval_next_team, "bratseval"),
    "our reading": (read_labels, "bratseval"),
    "igzip.decompress": (decompress_whole, "isal"),
    "igzip in pieces": (decompress_pieces, "isal"),
    "plain implementation": (plain, ""),
    "official method 2023": (official_method, ""),
    "official code 2023": (official_code, ""),
    "exacta": (exacta, "exacta"),
    "brats-evaluation": (brats_evaluation, "brats-evaluation"),
    "surface-distance": (surface_distance, "surface-distance-based-measures"),
    "MONAI": (monai, "monai"),
    "seg-metrics": (seg_metrics, "seg-metrics"),
}


def _volume(path: Path) -> tuple[Any, tuple[float, ...]]:
    """Labels as stored (x, y, z) and the spacing in mm, by nibabel as a user of these packages would."""
    import nibabel
    import numpy as np

    image = nibabel.load(path)
    return np.asarray(image.dataobj), tuple(float(value) for value in image.header.get_zooms())


def timed(call: Callable[[], Scores]) -> dict[str, Any]:
    """Best wall and CPU seconds of a call, how often it ran, and the scores that are numbers."""
    walls: list[float] = []
    cpus: list[float] = []
    while len(walls) < RUNS and sum(cpus) < ENOUGH_S:
        wall, cpu = time.perf_counter(), time.process_time()
        scores = call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    numbers = {
        region: {name: value for name, value in values.items() if math.isfinite(value)}
        for region, values in scores.items()
    }
    return {"wall_s": min(walls), "cpu_s": min(cpus), "runs": len(walls), "scores": numbers}


def peak_megabytes() -> float:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def main() -> None:
    """Time one package on one case."""
    warnings.simplefilter("ignore")
    name, challenge, reference, prediction = sys.argv[1:]
    make, distribution = PEERS[name]
    try:
        scorer = make(challenge)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    row = timed(lambda: scorer(Path(reference), Path(prediction)))
    facts = {"peak_mb": peak_megabytes(), "version": version(distribution) if distribution else ""}
    print(json.dumps(row | facts))


if __name__ == "__main__":
    main()
