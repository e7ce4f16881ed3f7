"""Bounded reading of NIfTI images whose voxels are numbers: masks of anything, maps, fields.

Read slab by slab and checked on the way, so that a value that must not be there refuses the file before
the rest is read. Broken files give an InputError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bratseval.errors import Problem
from bratseval.nifti import PIECE, Grid, Header, Limits, Source, geometry_problems, read_header, scaled

MOST_MM = 1e6  # a displacement of a kilometer is none, and its determinants would overflow
LIMITS = Limits(max_voxels=2**29, max_bytes=2**31)  # the whole volume is held, not a box of it


@dataclass(frozen=True, slots=True)
class Volume:
    """A whole image: values (x, y, z) in Fortran order, or (x, y, z, components) for a field."""

    grid: Grid
    values: np.ndarray
    notes: tuple[Problem, ...] = ()


def read_volume(
    path: Path,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    rounding: float = 0.0,
    onto: Grid | None = None,
    judge: Callable[[Grid], None] | None = None,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Volume:
    """Read a 3-D (or 2-D) image of numbers.

    low, high : smallest and largest value allowed; rounding is granted beyond them. onto : the grid that the
    image must share the shape of, checked before its voxels are read. judge : called with the grid then; may
    raise InputError. convert : what to keep of every slab, such as a mask.
    The stored type is kept where the header does not scale it, else float64.
    Raises InputError: codes NII for the file, GEO001 for the shape, NII013 and NII014 for its values.
    """
    with Source(path) as source:
        header = read_header(source, LIMITS)
        if onto is not None and header.grid.shape != onto.shape:
            problem = geometry_problems(onto, header.grid)[0]
            raise source.refusal(problem.code, problem.message, problem.hint)
        if judge is not None:
            judge(header.grid)
        nx, ny, nz = header.grid.shape
        step = max(1, PIECE // (nx * ny * header.dtype.itemsize))
        whole: np.ndarray | None = None
        for z in range(0, nz, step):
            planes = min(step, nz - z)
            slab = convert(_numbers(source, header, nx * ny * planes, low, high, rounding)).reshape(
                planes, ny, nx
            )
            if whole is None:
                whole = np.empty((nz, ny, nx), slab.dtype)
            whole[z : z + planes] = slab
        source.finish()
    assert whole is not None  # a header without a plane was refused
    return Volume(header.grid, whole.T, tuple(source.notes))


def read_field(path: Path) -> tuple[Volume, Literal["lps", "ras"]]:
    """Read a field of 3-D vectors, (x, y, z, 3) or, as ITK writes it, (x, y, z, 1, 3), and its usual axes.

    ITK's vector images (5-D, or intent 1007) hold LPS components; a plain 4-D image is taken for RAS.

    Raises InputError: NII006 where there are not three components in every voxel, NII013 for nan,
    NII014 for a vector beyond a kilometer.
    """
    with Source(path) as source:
        header = read_header(source, LIMITS, vectors=True)
        if header.components != 3:
            message = f"the field has {header.components} components in every voxel, expected 3"
            raise source.refusal("NII006", message, "save a displacement in x, y and z")
        nx, ny, nz = header.grid.shape
        whole: np.ndarray | None = None
        for component, z in np.ndindex(3, nz):
            plane = _numbers(source, header, nx * ny, -MOST_MM, MOST_MM)
            if whole is None:
                whole = np.empty((3, nz, ny, nx), np.float64 if plane.dtype.kind != "f" else plane.dtype)
            whole[component, z] = plane.reshape(ny, nx)
        source.finish()
    assert whole is not None  # a header without a plane was refused
    volume = Volume(header.grid, whole.T, tuple(source.notes))
    return volume, "lps" if header.is_itk_vector else "ras"


def _numbers(
    source: Source, header: Header, count: int, low: float, high: float, rounding: float = 0.0
) -> np.ndarray:
    """The next values, scaled as the header says; refuses nan, infinity and values out of range."""
    wanted = count * header.dtype.itemsize
    raw = source.read(wanted)
    if len(raw) != wanted:
        raise source.refusal("NII005", "the file ends before its image does", "write the file again")
    values = scaled(np.frombuffer(raw, header.dtype), header)
    least, most = values.min(), values.max()
    if not (np.isfinite(least) and np.isfinite(most)):
        number = int(np.count_nonzero(~np.isfinite(values)))
        raise source.refusal("NII013", f"{number} or more voxels are NaN or infinite", "write finite numbers")
    if least < low - rounding or most > high + rounding:
        found = least if least < low - rounding else most
        message = f"the value {found:g} lies outside {low:g} to {high:g}"
        raise source.refusal("NII014", message, "check the scale and the unit of the map")
    return values
