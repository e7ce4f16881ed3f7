"""Bounded reading of NIfTI label images from strangers.

Only the box of non-background voxels is kept. So a volume that is mostly background costs little more
than its decompression, in time and in memory. Broken files give an InputError, never an empty mask;
nothing is wrapped by a cast.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bratseval.errors import Problem
from bratseval.nifti import PIECE, Grid, Header, Limits, Source, read_header, scaled

MOST_VALUES = 256  # different unknown values after which a file is no label image
SNAP = 1e-3


@dataclass(frozen=True, slots=True)
class LabelImage:
    """A label image without its background.

    labels : (x, y, z) uint8 in Fortran order, the box of the non-background voxels; labels[0, 0, 0]
    lies at ``offset`` of the grid. unknown : values that became background -> voxels.
    """

    grid: Grid
    offset: tuple[int, int, int]
    labels: np.ndarray
    unknown: Mapping[float, int]
    notes: tuple[Problem, ...] = ()


class _Box(NamedTuple):
    """A part of the volume in memory order: first z, y, x and its labels."""

    z: int
    y: int
    x: int
    labels: np.ndarray


def read_labels(
    path: Path,
    known: Collection[int],
    unknown: Literal["background", "refuse"],
    limits: Limits | None = None,
    *,
    above: int = 0,
    judge: Callable[[Grid], None] | None = None,
) -> LabelImage:
    """Read a label image; values outside ``known`` become background, or refuse the file.

    known : labels 1 to 255; 0 is always background. above : what whole numbers above 255 become, if not
    background. judge : called with the grid before any voxel is read; may raise InputError.
    Raises InputError (codes NII for the file, LBL for its values) for anything that is not one
    whole, readable 3-D label image.
    """
    with Source(path) as source:
        header = read_header(source, limits or Limits())
        if judge is not None:
            judge(header.grid)
        strange: dict[float, int] = {}
        parts = list(_parts(source, header, sorted(known), strange, above))
        source.finish()
    if strange and unknown == "refuse":
        listed = ", ".join(f"{value:g} ({count} voxels)" for value, count in sorted(strange.items())[:10])
        allowed = ", ".join(str(label) for label in (0, *sorted(known)))
        hint = "export with the labels of this challenge, or set labels and remap in the YAML"
        raise source.refusal("LBL001", f"label {listed} is not in {{{allowed}}}", hint)
    if not parts:
        nothing = np.zeros((0, 0, 0), np.uint8, order="F")
        return LabelImage(header.grid, (0, 0, 0), nothing, strange, tuple(source.notes))
    low = [int(min(part[axis] for part in parts)) for axis in range(3)]
    high = [max(part[axis] + part.labels.shape[axis] for part in parts) for axis in range(3)]
    whole = np.zeros([stop - start for start, stop in zip(low, high, strict=True)], np.uint8)
    for part in parts:
        at = [part[axis] - low[axis] for axis in range(3)]
        whole[tuple(slice(a, a + n) for a, n in zip(at, part.labels.shape, strict=True))] = part.labels
    return LabelImage(header.grid, (low[2], low[1], low[0]), whole.T, strange, tuple(source.notes))


def remap_labels(image: LabelImage, remap: Mapping[int, int]) -> LabelImage:
    """The image with label values rewritten, e.g. {4: 3}."""
    if not remap:
        return image
    table = np.arange(256, dtype=np.uint8)
    table[list(remap)] = list(remap.values())
    return replace(image, labels=table[image.labels])


def _parts(
    source: Source, header: Header, known: list[int], strange: dict[float, int], above: int
) -> Iterator[_Box]:
    """Boxes of the non-background voxels, slab by slab of whole planes."""
    nx, ny, nz = header.grid.shape
    plane_bytes = nx * ny * header.dtype.itemsize
    step = max(1, PIECE // plane_bytes)
    table = np.zeros(256, np.uint8)
    table[known] = known
    for z in range(0, nz, step):
        wanted = min(step, nz - z) * plane_bytes
        raw = source.read(wanted)
        if len(raw) != wanted:
            raise source.refusal("NII005", "the file ends before its image does", "write the file again")
        stored = np.frombuffer(raw, header.dtype).reshape(-1, ny, nx)
        window = _nonzero_window(stored) if header.intercept == 0 else (slice(None),) * 3
        if window is not None:
            labels = _labels(source, stored[window], header, table, strange, above)
            yield _Box(z + (window[0].start or 0), window[1].start or 0, window[2].start or 0, labels)


def _nonzero_window(stored: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Box around the voxels of a slab (z, y, x) with any bit set; None if there is none."""
    bits = stored.view(f"u{stored.itemsize}")  # floats too: OR runs at memory speed
    flat = bits.reshape(len(bits), -1)
    if not flat.max():  # four times as fast as any()
        return None
    shadow = np.bitwise_or.reduce(bits, axis=0)
    lines = (
        np.bitwise_or.reduce(flat, axis=1),
        np.bitwise_or.reduce(shadow, axis=1),
        np.bitwise_or.reduce(shadow, axis=0),
    )
    z, y, x = (np.flatnonzero(line) for line in lines)
    return slice(z[0], z[-1] + 1), slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)


def _labels(
    source: Source,
    values: np.ndarray,
    header: Header,
    table: np.ndarray,
    strange: dict[float, int],
    above: int,
) -> np.ndarray:
    """Stored voxels to uint8 labels; counts unknown values, refuses what is no whole number."""
    values = scaled(values, header)
    if values.dtype.kind == "f":
        values = _whole_numbers(source, values)
    if values.dtype != np.uint8:
        inside = (values >= 0) & (values <= 255)
        labels = table[np.where(inside, values, 0).astype(np.uint8)]
        labels[values > 255] = above
    else:
        labels = table[values]
    unknown = (labels == 0) & (values != 0)
    if unknown.any():
        found, counts = np.unique(values[unknown], return_counts=True)
        if len(found) <= MOST_VALUES:
            for value, count in zip(found, counts, strict=True):
                strange[value.item()] = strange.get(value.item(), 0) + int(count)
        if max(len(found), len(strange)) > MOST_VALUES:
            message = f"more than {MOST_VALUES} different values are not labels of this challenge"
            raise source.refusal("LBL004", message, "this looks like an image, not a segmentation")
    return labels


def _whole_numbers(source: Source, values: np.ndarray) -> np.ndarray:
    """Floats within a thousandth of an integer, as that integer."""
    finite = np.isfinite(values)
    if not finite.all():
        message = f"{int((~finite).sum())} voxels are NaN or infinite, labels were expected"
        raise source.refusal("LBL003", message, "write whole numbers of an integer type")
    rounded = np.rint(values)
    off = np.abs(values - rounded) > SNAP
    if off.any():
        message = f"{int(off.sum())} voxels hold no whole number (such as {values[off][0]:g})"
        hint = "submit labels, not probabilities; resample with nearest neighbor"
        raise source.refusal("LBL002", message, hint)
    return rounded
