"""The cases that `make bench` measures: sample data, the real pairs under ../shared, and drawn volumes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"
REAL = ROOT.parent / "shared" / "golden" / "segmentation" / "inputs" / "MET"
OFFICIAL_SAMPLE = (
    "00132-000",
    "00217-000",
    "00630-001",
    "01325-000",
)  # the pairs that brats-evaluation ships

MRI = (240, 240, 155)
CT = (512, 512, 600)
LESIONS_ALONG = 10  # small lesions along each axis: 1 000 in all


class Pair(NamedTuple):
    """A case to be scored: what it is, under which challenge, and its two files."""

    title: str
    challenge: str
    reference: Path
    prediction: Path

    @property
    def is_there(self) -> bool:
        return self.reference.is_file() and self.prediction.is_file()


def sample_pair(challenge: str, folder: str, case: str, team: str) -> Pair:
    """A case of sample_data/, e.g. ("brats2023-gli", "brats-gli", "BraTS-GLI-00003-000", "steady")."""
    files = SAMPLE / folder
    return Pair(
        f"sample {case} as {challenge}",
        challenge,
        files / "references" / f"{case}-seg.nii.gz",
        files / "submissions" / team / f"{case}.nii.gz",
    )


def real_pair(challenge: str, case: str) -> Pair:
    """A real pair under ../shared; it may not be there."""
    return Pair(
        f"real BraTS-MET-{case} as {challenge}",
        challenge,
        REAL / "ref" / f"BraTS-MET-{case}-seg.nii.gz",
        REAL / "pred" / f"BraTS-MET-{case}.nii.gz",
    )


def draw_small_lesions(folder: Path, challenge: str, count: int) -> Pair:
    """A volume of MRI size with ``count`` of 1 000 small lesions, in the same box whatever the count.

    Each lies in a cell of its own, too far from the others to be merged: a ball of 2 to 3 voxels radius with
    all three labels. The prediction is moved by a voxel, every twentieth is missed, every twentieth spurious.
    """
    rng = np.random.default_rng(2023)
    cells = np.stack(np.meshgrid(*[np.arange(LESIONS_ALONG)] * 3, indexing="ij"), -1).reshape(-1, 3)
    size = np.array(MRI) / LESIONS_ALONG
    centers = np.rint((cells + 0.5) * size + rng.uniform(-1, 1, cells.shape)).astype(int)
    radii = rng.uniform(2, 3, len(cells))
    order = rng.permutation(np.arange(1, len(cells) - 1))
    chosen = [0, len(cells) - 1, *order[: count - 2]]  # two opposite corners always: the box is the same
    reference, prediction = np.zeros(MRI, np.uint8), np.zeros(MRI, np.uint8)
    for at, number in enumerate(chosen):
        if at % 20 != 18:
            _ball(reference, centers[number], radii[number])
        if at % 20 != 17:
            _ball(prediction, centers[number] + rng.integers(-1, 2, 3), radii[number])
    name = f"BraTS-GLI-{count:05d}-000"
    return Pair(
        f"{count} small lesions as {challenge}",
        challenge,
        _save(folder / f"{name}-seg.nii.gz", reference, (1, 1, 1)),
        _save(folder / f"{name}.nii.gz", prediction, (1, 1, 1)),
    )


def draw_ct(folder: Path) -> tuple[Path, Path]:
    """Reference and prediction of a liver with twelve tumors in a CT of 512x512x600."""
    rng = np.random.default_rng(2017)
    volumes = []
    for shift in (0, 3):
        volume = np.zeros(CT, np.uint8)
        _ellipsoid(volume, (200 + shift, 250, 330), (130, 110, 150), 1)
        volumes.append(volume)
    for _ in range(12):
        center, radius = rng.uniform(-0.5, 0.5, 3) * (130, 110, 150) + (200, 250, 330), rng.uniform(4, 25)
        for volume, shift in zip(volumes, (0, 2), strict=True):
            _ellipsoid(volume, tuple(center + shift), (radius,) * 3, 2)
    names = ("test-segmentation-reference.nii.gz", "test-segmentation-prediction.nii.gz")
    reference, prediction = (
        _save(folder / name, volume, (0.8, 0.8, 1.0)) for name, volume in zip(names, volumes, strict=True)
    )
    return reference, prediction


def _ball(volume: np.ndarray, center: np.ndarray, radius: float) -> None:
    """Edema (2) around enhancing tumor (3) around a necrotic voxel (1)."""
    for share, label in ((1.0, 2), (0.75, 3), (0.3, 1)):
        _ellipsoid(volume, tuple(center), (radius * share,) * 3, label)


def _ellipsoid(volume: np.ndarray, center: tuple[float, ...], radii: tuple[float, ...], label: int) -> None:
    window = tuple(
        slice(max(int(c - r), 0), min(int(c + r) + 2, n))
        for c, r, n in zip(center, radii, volume.shape, strict=True)
    )
    axes = np.ogrid[window]
    distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, radii, strict=True))
    volume[window][distance <= 1] = label


def _save(path: Path, volume: np.ndarray, spacing: tuple[float, ...]) -> Path:
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([*spacing, 1.0])), path)
    return path
