"""What every kind of sample data is drawn with: seeded noise, another hand's copy, files.

Random numbers come from ``Generator.random`` alone, seeded by name, and fields are rounded before they
meet a threshold, so that every machine draws the same voxels.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image as PngImage
from scipy import ndimage

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Field = npt.NDArray[np.float64]
Random = np.random.Generator
Place = Sequence[float] | Field  # a position, in voxels
TOUCHING = np.ones((3, 3, 3), dtype=bool)  # 26 neighbors


class Image(NamedTuple):
    """Voxels as they are stored.

    ``is_field`` : (x, y, z, 3) vectors in mm along ITK's (LPS) axes. ``is_plain`` : no affine, as pictures
    have no place in a scanner.
    """

    values: npt.NDArray[Any]
    is_field: bool = False
    is_plain: bool = False
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Picture(NamedTuple):
    """Pixels of a PNG: rows x columns, or rows x columns x 3 colors."""

    pixels: npt.NDArray[np.uint8]


Content = Image | Picture | str  # str: the text of a table
Cohort = Iterator[tuple[str, Content]]  # paths below sample_data/ and what they hold


def random_source(*names: str) -> Random:
    """A generator of its own for (cohort, case, team), so that additions leave the rest as it is."""
    return np.random.default_rng(np.random.SeedSequence([zlib.crc32(name.encode()) for name in names]))


def smooth_field(rng: Random, shape: tuple[int, ...], scale: int) -> Field:
    """Noise of about unit deviation that varies over ``scale`` voxels (cubic B-splines on a random grid)."""
    values = rng.random([size // scale + 4 for size in shape]) - 0.5
    for size in shape:  # each turn contracts the first axis and appends its finer successor
        gap = np.abs(np.arange(size)[:, None] / scale + 1 - np.arange(size // scale + 4))
        near, far = 2 / 3 - gap**2 + gap**3 / 2, np.clip(2 - gap, 0, None) ** 3 / 6
        values = np.tensordot(values, np.where(gap < 1, near, far), axes=(0, 1))
    return np.round(10 * values, 3)


def distance_from(center: Place, shape: tuple[int, ...], stretch: Sequence[float] = ()) -> Field:
    """Distance of every voxel from a point, in voxels; ``stretch`` > 1 lengthens an axis."""
    axes = np.meshgrid(*(np.arange(size, dtype=float) for size in shape), indexing="ij", sparse=True)
    scales = stretch or [1.0] * len(shape)
    squares = (
        ((axis - middle) / scale) ** 2 for axis, middle, scale in zip(axes, center, scales, strict=True)
    )
    return np.sqrt(sum(squares, np.zeros(shape)))


def stepped(values: Field, step: float, dtype: type = np.float32) -> np.ndarray:
    """Multiples of ``step``, so that files stay small and every machine rounds alike."""
    return (np.round(np.round(values, 3) / step) * step).astype(dtype)


def redraw(labels: Labels, rng: Random, blur: float, bias: float, wobble: float, small: str) -> Labels:
    """Each lesion by another hand: ``bias`` > 0 shrinks, ``wobble`` moves borders, ``small`` is < 20 mm3."""
    drawn = np.zeros_like(labels)
    pieces = ndimage.label(labels, TOUCHING)[0]
    for number, extent in enumerate(ndimage.find_objects(pieces), start=1):
        box = tuple(slice(max(s.start - 6, 0), s.stop + 6) for s in extent)
        part = labels[box] * (pieces[box] == number)
        size = np.count_nonzero(part)
        if size < 20:
            made = {"keep": part, "drop": part * 0, "grow": ndimage.grey_dilation(part, 3)}[small]
        else:
            made, best = np.zeros_like(part), np.full(part.shape, -np.inf)
            for label in np.unique(part):
                share = ndimage.gaussian_filter((part == label) * 1.0, blur * min(1, np.cbrt(size) / 8))
                noise = wobble * smooth_field(rng, part.shape, 6)
                score = np.round(share + noise + bias * (label == 0), 3)
                wins = (score > best) & ((np.round(share, 3) > 0.05) | (label == 0))
                made[wins], best[wins] = label, score[wins]
        drawn[box] = np.where(made > 0, made, drawn[box])
    return drawn


def affine_of(image: Image) -> Field:
    """As BraTS images lie: ITK's x and z are index * spacing, its y is (index - (ny - 1)) * spacing."""
    x, y, z = image.spacing
    affine = np.diag([-x, -y, z, 1.0])
    affine[1, 3] = (image.values.shape[1] - 1) * y
    return affine


def encode(content: Content) -> bytes:
    """The bytes of a file: text as it is, an image as .nii.gz without a time stamp, a picture as PNG."""
    if isinstance(content, str):
        return content.encode()
    packed = io.BytesIO()
    if isinstance(content, Picture):
        PngImage.fromarray(content.pixels).save(packed, format="PNG", optimize=True)
        return packed.getvalue()
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as stream:
        stream.write(_nifti(content).to_bytes())
    return packed.getvalue()


def _nifti(content: Image) -> nib.Nifti1Image:
    values = content.values[:, :, :, None, :] if content.is_field else content.values
    if content.is_plain:
        return nib.Nifti1Image(values, None)
    affine = affine_of(content)
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    if content.is_field:
        image.header.set_intent("vector")  # 1007, from which ITK and bratseval know LPS components
    for axis, value in (("b", 0), ("c", 0), ("d", 1)):  # a half turn, whose signs nibabel leaves to LAPACK
        image.header[f"quatern_{axis}"] = value
    return image


def is_same(path: Path, content: Content) -> bool:
    """Whether the file holds this; of images the voxels, as their bytes depend on the zlib version."""
    if not path.is_file():
        return False
    if isinstance(content, str):
        return path.read_bytes() == content.encode()
    if isinstance(content, Picture):
        with PngImage.open(path) as picture:
            return np.array_equal(np.asarray(picture), content.pixels)
    found: Any = nib.load(path)
    wanted = _nifti(content)
    return bool(
        np.array_equal(found.header.get_best_affine(), wanted.header.get_best_affine())
        and found.get_data_dtype() == wanted.get_data_dtype()
        and found.header.get_intent() == wanted.header.get_intent()
        and np.array_equal(found.dataobj, wanted.dataobj, equal_nan=True)
    )
