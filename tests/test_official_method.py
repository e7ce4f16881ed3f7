"""The slow opponent of `make bench` gives the numbers of bratseval: the same work is timed."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import ROOT

from bratseval.config import load_rulebook
from bratseval.model import Case
from bratseval.scoring import Rules, score_case

TOLERANCE = 1e-9
SHAPE = (44, 40, 32)


def draw(boxes: list[tuple[tuple[int, int, int], int, int]]) -> np.ndarray:
    """Cubes given by a corner, an edge in voxels and a label."""
    volume = np.zeros(SHAPE, np.uint8)
    for (x, y, z), edge, label in boxes:
        volume[x : x + edge, y : y + edge, z : z + edge] = label
    return volume


# Merged by dilation and cut in two, met only by the rim, under the limit, missed, spurious; ET is nowhere
# in the second pair and on one side only in the third.
PAIRS = [
    (
        draw(
            [
                ((2, 2, 2), 7, 2),
                ((4, 4, 4), 4, 1),
                ((5, 5, 5), 2, 3),
                ((12, 2, 2), 5, 3),
                ((30, 30, 24), 6, 1),
            ]
        ),
        draw(
            [
                ((3, 2, 2), 6, 2),
                ((4, 4, 4), 4, 3),
                ((13, 3, 2), 4, 1),
                ((20, 20, 20), 5, 3),
                ((30, 4, 4), 2, 3),
            ]
        ),
    ),
    (draw([((2, 2, 2), 5, 2), ((20, 20, 20), 1, 1)]), draw([((9, 2, 2), 4, 2), ((20, 21, 20), 1, 1)])),
    (draw([((2, 2, 2), 6, 2)]), draw([((3, 2, 2), 6, 2), ((4, 4, 4), 2, 3)])),
]


@pytest.mark.parametrize("challenge", ["brats2023-gli", "brats2023-met", "brats2023-men"])
@pytest.mark.parametrize("pair", PAIRS, ids=["many", "nothing enhances", "spurious"])
def test_numbers_are_those_of_bratseval(
    challenge: str, pair: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from official_method_2023 import DILATION_AND_LIMIT, score

    files = tmp_path / "BraTS-GLI-00001-000-seg.nii.gz", tmp_path / "BraTS-GLI-00001-000.nii.gz"
    for file, volume in zip(files, pair, strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.9, 1.0, 1.5, 1.0])), file)
    found = score_case(Rules(load_rulebook(challenge)), Case("team", "BraTS-GLI-00001-000", *files))
    slow = score(*files, *DILATION_AND_LIMIT[challenge])
    ours = {(row.region, row.metric): row.value for row in found.scores}
    theirs = {(region, metric): value for region, values in slow.items() for metric, value in values.items()}
    assert ours == pytest.approx(theirs, rel=0, abs=TOLERANCE)
