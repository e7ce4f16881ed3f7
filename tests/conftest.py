"""Shared fixtures: phantoms and little challenge folders."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from bratseval.cases import Submission, find_references
from bratseval.challenge import Rulebook
from bratseval.errors import Problem
from bratseval.metadata import Metadata
from bratseval.model import Case
from bratseval.options import Options
from bratseval.pipeline import plan

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
Breaker = Callable[[Path], object]  # makes of a file what a test submits
# Tests draw a report only where they are about it (`--report`): drawing takes longer than their runs.
os.environ.setdefault("BRATSEVAL_REPORT", "0")
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE, dtype: object = np.uint8) -> Path:
    """Write labels as NIfTI with sform and qform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(labels.astype(dtype), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
    return path


def values_of(path: Path) -> np.ndarray:
    """Values of a NIfTI file as it stores them."""
    load: Any = nibabel.load  # which returns several kinds of image
    return np.asarray(load(path).dataobj)


def rewritten(
    change: Callable[[np.ndarray], object], affine: np.ndarray = AFFINE, dtype: object = np.float32
) -> Breaker:
    """Write an image again, changed in place or replaced."""

    def write(path: Path) -> None:
        values = values_of(path).astype(np.float64)
        changed = change(values)
        save(path, changed if isinstance(changed, np.ndarray) else values, affine, dtype)

    return write


def unzipped(path: Path) -> bytes:
    """Raw bytes of a .nii.gz."""
    return gzip.decompress(path.read_bytes())


def cube(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice], label: int = 1) -> np.ndarray:
    """A label volume with boxes of one label."""
    labels = np.zeros(shape, np.uint8)
    for box in boxes:
        labels[box] = label
    return labels


@pytest.fixture
def shared() -> Path:
    """The folder of golden results; absent on other machines."""
    if not SHARED.is_dir():
        pytest.skip("../shared with the official results is not here")
    return SHARED


@pytest.fixture
def challenge_folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two teams and three small BraTS-like cases: (submissions, references)."""
    random = np.random.default_rng(7)
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    for number in range(1, 4):
        labels = phantom(random)
        save(references / f"BraTS-GLI-0000{number}-000-seg.nii.gz", labels)
        save(submissions / "exact" / f"BraTS-GLI-0000{number}-000.nii.gz", labels)
        save(submissions / "shifted" / f"BraTS-GLI-0000{number}-000.nii.gz", np.roll(labels, 2, axis=0))
    return submissions, references


def phantom(random: np.random.Generator, shape: tuple[int, int, int] = (40, 36, 30)) -> np.ndarray:
    """A tumor of three nested boxes and a separate small lesion, placed at random."""
    labels = np.zeros(shape, np.uint8)
    x, y, z = (int(random.integers(8, 12)) for _ in range(3))
    labels[x : x + 12, y : y + 12, z : z + 10] = 2
    labels[x + 2 : x + 9, y + 2 : y + 9, z + 2 : z + 8] = 3
    labels[x + 4 : x + 7, y + 4 : y + 7, z + 4 : z + 6] = 1
    labels[32:36, 30:34, 3:8] = 3
    return labels


def plan_cases(
    rulebook: Rulebook, teams: Mapping[str, Path], references: Path
) -> tuple[list[Case], list[Problem], Metadata]:
    """The cases of teams by folder, as `run` plans them."""
    submissions = [Submission(team, path) for team, path in teams.items()]
    return plan(rulebook, submissions, find_references(rulebook.challenge, references), Options())


def table(path: Path) -> list[Mapping[str, str]]:
    """Rows of a CSV file."""
    from bratseval.tables import read_rows

    return read_rows(path)[1]
